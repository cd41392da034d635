#!/usr/bin/env python3
"""Run the training experiments and write nbs/findings/results/experiments.json.

usage: experiments.py FOLDER [EXPERIMENT ...] [--seeds N] [--summary]

FOLDER keeps patches, weights and records; what is there is not made again, so a stopped run goes
on, and several processes may share a folder (each takes what no other has begun). --summary only
writes the results file. What is compared is in experiment_runs.py. Needs the installed package.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
import keras
import numpy as np
from experiment_runs import FIT, REFERENCE, Setting, experiments, marking_everything, summarise
from filelock import FileLock, Timeout

from insar_seg.core.base import atomic_path, code_version, write_text
from insar_seg.evaluation.pixels import counts, to_json_ready
from insar_seg.networks.build import build_network, computing, encoder_layers
from insar_seg.networks.training import predict, train
from insar_seg.networks.weights import load_weights
from insar_seg.patches.augmentation import Signals, simulated_signals
from insar_seg.patches.batches import PatchSequence
from insar_seg.patches.samples import StreamOptions, sample

TARGET = Path(__file__).resolve().parent.parent / "nbs/findings/results/experiments.json"
SIZE_PX = 64
PIXEL_M = 400.0  # so that a patch covers the ground of the study's: 256 pixels of 100 m
SPLITS = {"train": (4800, 11), "validation": (300, 12), "test": (800, 13)}  # patches, seed
MASKS = ("visible", "margin", "ignore")


def simulated_patches(
    number: int,  # patches, 0 or more
    seed: int,  # of the stream, 0 or more
    layers: tuple[str, ...] | None = None,  # layers of the simulator; None: all
    # phase, coherence (N, H, W) float32; visible, margin, ignore uint8; magnitude (N,) float32, 0 =
    # no earthquake
) -> dict[str, np.ndarray]:
    "Patches as a store holds them, in memory; each has its own earthquake, air and ground."
    options = StreamOptions((SIZE_PX, SIZE_PX), (PIXEL_M, PIXEL_M), layers=layers)
    shape = (number, SIZE_PX, SIZE_PX)
    patches = {name: np.empty(shape, np.float32) for name in ("phase", "coherence")}
    patches |= {name: np.empty(shape, np.uint8) for name in MASKS}
    patches["magnitude"] = np.empty(number, np.float32)
    for i in range(number):
        s = sample(seed, i, options)
        patches["phase"][i] = np.where(s.valid, s.phase, np.nan)
        patches["coherence"][i] = s.coherence
        patches["magnitude"][i] = s.magnitude
        for name in MASKS:
            patches[name][i] = getattr(s.masks, name)
    return patches


def stored(path, make):
    "What `make` returns, a dict of arrays, kept in `path` for the next call."
    if not path.is_file():
        with atomic_path(path) as tmp, open(tmp, "wb") as f:
            np.savez(f, **make())
    with np.load(path, allow_pickle=False) as f:
        return {k: f[k] for k in f.files}


def patches_of(folder, split):
    number, seed = SPLITS[split]
    return stored(folder / f"{split}.npz", lambda: simulated_patches(number, seed))


def load(folder):
    "Patches of every split, and signals to paste."
    with FileLock(folder / ".patches.lock"):
        data = {split: patches_of(folder, split) for split in SPLITS}
        signals = stored(
            folder / "signals.npz",
            lambda: simulated_signals(400, SIZE_PX, PIXEL_M, seed=14)._asdict(),
        )
    data["signals"] = Signals(**signals)
    return data


def pretrain(folder):
    """The encoder that 'pre-trained' means: the reference network on 3,200 crudely simulated
    patches, without any atmosphere, none of which is used elsewhere.
    """
    target = folder / "weights/pretrained"
    with FileLock(folder / ".pretrain.lock"):
        if (target / "last.weights.h5").is_file():
            return
        layers = ("coseismic", "decorrelation", "filter")
        crude = stored(folder / "crude.npz", lambda: simulated_patches(3200, 15, layers))
        common = (REFERENCE.encoding, FIT.batch_size)
        rows = np.arange(2900)
        training = PatchSequence(crude, rows, "margin", *common, augment=FIT.augment, shuffle=True)
        validation = PatchSequence(crude, np.arange(2900, 3200), "margin", *common)
        train(
            build_network(REFERENCE, seed=0),
            training,
            validation,
            target,
            dataclasses.replace(FIT, epochs=4),
            verbose=False,
            network=REFERENCE,
            state_seconds=1e9,
        )


def start_from(model, network, path):
    "Copy the encoder of stored weights of the same network; the decoder keeps its random start."
    source = build_network(network)
    load_weights(source, path)
    for a, b in zip(encoder_layers(source), encoder_layers(model)):
        b.set_weights(a.get_weights())


def batches(setting, data, seed):
    "Training and validation batches; few patches are gone through more often."
    p = setting.training
    rows = np.resize(np.arange(setting.patches), max(setting.patches, 800))
    training = PatchSequence(
        data["train"],
        rows,
        "margin",
        setting.network.encoding,
        p.batch_size,
        augment=p.augment,
        seed=seed,
        shuffle=True,
        positive=data["train"]["margin"].any((1, 2))[rows],
        positive_share=p.positive_share,
        signals=data["signals"],
        paste_share=p.paste_share,
    )
    everything = np.arange(len(data["validation"]["phase"]))
    encoding = setting.network.encoding
    return training, PatchSequence(data["validation"], everything, "margin", encoding, 32)


def run_setting(
    setting: Setting,  # what to train, and on how much
    seed: int,  # of the weights, of dropout and of the order of the patches
    # train, validation, test: patches of `simulated_patches`; signals: to paste, or None
    data: dict,
    # weights are kept in folder/weights/<key>-<seed>, the record in folder/runs/<key>-<seed>.json
    folder: Path,
) -> dict:  # the record: what was done, the history, and tp, fp, fn, tn of every test patch
    "Train and score one setting; a record that is there already is returned."
    names = {"experiment": setting.experiment, "name": setting.name}
    path = folder / "runs" / f"{setting.key}-{seed}.json"
    if not path.is_file():
        keras.backend.clear_session()
        with computing(setting.training.precision, setting.training.devices):
            record = trained(setting, seed, data, folder)
        write_text(path, json.dumps(record, allow_nan=False))
    return names | json.loads(path.read_text(encoding="utf-8"))


def trained(setting, seed, data, folder):
    "The record of a run."
    network = setting.network
    fringes = setting.start == "fringes"
    start = "fringes" if fringes else "none"
    model = build_network(network, start, seed, setting.training.devices)
    if setting.start and not fringes:
        start_from(model, network, folder / "weights" / setting.start / "best.weights.h5")
    history = train(
        model,
        *batches(setting, data, seed),
        folder / "weights" / f"{setting.key}-{seed}",
        setting.training,
        seed,
        verbose=False,
        momentum=setting.momentum,
        network=network,
        state_seconds=1e9,
    )
    test = data["test"]
    answer = predict(model, test["phase"], test["coherence"], network.encoding, 32)
    ignored = (test["ignore"] > 0) | ~np.isfinite(test["phase"])
    return {
        "seed": seed,
        "patches": setting.patches,
        "network": dataclasses.asdict(network),
        "training": dataclasses.asdict(setting.training),
        "momentum": setting.momentum,
        "start": setting.start,
        "history": history.drop(columns="seconds").round(6).to_dict("list"),
        "seconds": round(float(history.seconds.sum()), 1),
        "counts": counts(test["margin"], answer, ignored).to_numpy().tolist(),
        "version": code_version(),
    }


def records(folder, settings):
    "What has been run of an experiment."
    found = []
    for setting in settings:
        for path in sorted((folder / "runs").glob(f"{setting.key}-*.json")):
            found.append({"name": setting.name} | json.loads(path.read_text(encoding="utf-8")))
    return found


def experiment_summary(found, reference):
    table = summarise(found, reference)
    curves = ("loss", "val_loss", "val_iou")
    return {
        "reference": reference,
        "rows": table.reset_index().round(4).to_dict("records"),
        "seconds": round(sum(r["seconds"] for r in found)),
        "runs": [
            {
                "name": r["name"],
                "seed": r["seed"],
                "patches": r["patches"],
                "iou": round(max(r["history"]["val_iou"]), 4),
                "history": {k: r["history"][k] for k in curves},
            }
            for r in found
        ],
    }


def write_summary(folder):
    "Write the results file from all records; experiments without a record stay as they were."
    test = patches_of(folder, "test")
    out = {}
    if TARGET.is_file():
        before = json.loads(TARGET.read_text(encoding="utf-8"))
        origin = {k: before[k] for k in ("version", "machine")}
        out = {name: origin | entry for name, entry in before["experiments"].items()}
    cores = f"{os.cpu_count()} cores, {platform.machine()}"
    made = {"version": code_version(), "machine": f"{cores}, Python {platform.python_version()}"}
    for name, settings in experiments().items():
        found = records(folder, settings)
        reference = settings[0].name
        if any(r["name"] == reference for r in found):
            out[name] = experiment_summary(found, reference) | made
    results = {
        **made,
        "patches": {
            "size_px": SIZE_PX,
            "pixel_m": PIXEL_M,
            "validation": SPLITS["validation"][0],
            "test": SPLITS["test"][0],
        },
        "positive_share": float((test["magnitude"] > 0).mean()),
        "with_margin": float(test["margin"].any((1, 2)).mean()),
        "marking_everything": marking_everything(test),
        "experiments": out,
    }
    TARGET.write_text(json.dumps(to_json_ready(results), indent=1, allow_nan=False) + "\n")
    print("wrote", TARGET)


def run_once(folder, setting, seed, data):
    "A run that nobody has done or is doing; its weights are not needed afterwards."
    name = f"{setting.key}-{seed}"
    if (folder / "runs" / f"{name}.json").is_file():
        return
    lock = FileLock(folder / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    if setting.start == "pretrained":
        pretrain(folder)
    start = time.monotonic()
    record = run_setting(setting, seed, data, folder)
    shutil.rmtree(folder / "weights" / name, ignore_errors=True)
    lock.release()
    print(
        f"{time.strftime('%H:%M:%S')} {setting.experiment}, {setting.name}, seed {seed}: validation"
        f" IoU {max(record['history']['val_iou']):.3f}, {time.monotonic() - start:.0f} s",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("experiment", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    plan = experiments()
    unknown = set(args.experiment) - set(plan)
    if unknown:
        sys.exit(f"Experiments are {', '.join(plan)}; not {', '.join(unknown)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    if not args.summary:
        data = load(args.folder)
        for seed in range(args.seeds):
            for name in args.experiment or plan:
                for setting in plan[name]:
                    run_once(args.folder, setting, seed, data)
    write_summary(args.folder)


if __name__ == "__main__":
    main()
