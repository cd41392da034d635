#!/usr/bin/env python3
"""Tests of experiments.py and experiment_runs.py: settings, intervals, one run on a few patches."""

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
from experiment_runs import (
    Setting,
    experiments,
    marking_everything,
    plot_settings,
    readable,
    stored_table,
    summarise,
    verdict,
)
from experiments import TARGET, run_setting, simulated_patches

from insar_seg.core.base import RequestError
from insar_seg.core.profile import TrainingProfile


def test_settings():
    "A setting differs from its reference in one field, or in two that belong together."
    plan = experiments()
    settings = [s for group in plan.values() for s in group]
    names = {(s.experiment, s.name) for s in settings}
    assert len(names) == len(settings)
    # the reference is in four experiments, 200 interferograms in two
    assert len({s.key for s in settings}) == len(settings) - 4
    fields = ("network", "training", "patches", "momentum", "start")
    for reference, *others in plan.values():
        for s in others:
            changed = [f for f in fields if getattr(s, f) != getattr(reference, f)]
            assert 1 <= len(changed) <= 2, (s.name, changed)
    assert {max(s.patches, 800) * s.training.epochs for s in plan["data"]} == {6400}
    # the stored results are of these settings
    results = json.loads(TARGET.read_text(encoding="utf-8"))
    for name, group in plan.items():
        assert set(stored_table(results, name).index) <= {s.name for s in group}


def record(name, seed, tp):
    return {"name": name, "seed": seed, "counts": [[t, 10, 10, 80] for t in tp]}


def test_intervals_by_hand():
    "A difference that every event and seed shows has an interval without zero."
    low = [record("a", seed, [10, 20, 30]) for seed in (0, 1)]
    high = [record("b", seed, [30, 60, 90]) for seed in (0, 1)]
    table = summarise(low + high, "a")
    np.testing.assert_allclose(table.iou, [60 / 120, 180 / 240])
    np.testing.assert_allclose(table.difference["b"], 0.25)
    assert table.difference_low["b"] > 0
    assert table.low["a"] < 0.5 < table.high["a"]
    assert verdict(table) == "Better than a: b."


def test_intervals_of_noise():
    "Noise is not told apart, and the seed fixes the interval."
    rng = np.random.default_rng(0)
    noisy = [record(n, s, rng.integers(5, 50, 200)) for n in "ab" for s in range(3)]
    table = summarise(noisy, "a")
    assert table.difference_low["b"] < 0 < table.difference_high["b"]
    np.testing.assert_array_equal(summarise(noisy, "a"), table)
    assert verdict(table) == "No difference shown from a: b."
    assert readable(table)["difference [95 %]"].iloc[0] == "reference"
    assert len(plot_settings(table, everything=0.2).lines) == 8
    try:
        summarise(noisy, "c")
    except RequestError as e:
        assert "must have been run" in str(e)
    else:
        raise AssertionError("a reference without a record was accepted")


def test_patches_and_run():
    "The seed fixes the patches; every pixel that counts is counted once; a record is found again."
    few = simulated_patches(12, 5)
    for name, a in simulated_patches(3, 5).items():
        np.testing.assert_array_equal(a, few[name][:3])
    assert (few["visible"] <= few["margin"]).all()
    assert not few["margin"][few["magnitude"] == 0].any()
    small = {k: v[:8] for k, v in few.items()}
    rest = {k: v[8:] for k, v in few.items()}
    data = {"train": small, "validation": rest, "test": small, "signals": None}
    fit = TrainingProfile(epochs=1, batch_size=4)
    tiny = dataclasses.replace(Setting("walk", "through"), training=fit, patches=8)
    with tempfile.TemporaryDirectory() as d:
        first = run_setting(tiny, 0, data, Path(d))
        assert run_setting(tiny, 0, {}, Path(d)) == first
    counted = (small["ignore"] == 0) & np.isfinite(small["phase"])
    np.testing.assert_array_equal(np.array(first["counts"]).sum(1), counted.sum((1, 2)))
    np.testing.assert_allclose(marking_everything(small), small["margin"][counted].mean())
