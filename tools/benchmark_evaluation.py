#!/usr/bin/env python3
"""Measure how fast whole scenes are scored, and that memory does not grow with their number; writes
nbs/findings/results/evaluation_speed.json.

usage: benchmark_evaluation.py [SCENES]

A scene has the size of a LiCSAR frame (2,000 x 2,500 pixels). One thread. SCENES (default 469) are
streamed through counts and histograms; objects and edges are timed on one scene.
"""

import json
import os
import platform
import sys
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
TARGET = Path(__file__).resolve().parent.parent / "nbs/findings/results/evaluation_speed.json"


def main():
    import numpy as np
    from scipy.ndimage import gaussian_filter

    from insar_seg.core.base import code_version
    from insar_seg.evaluation.benchmark import SceneScores, classes_of, score_scene
    from insar_seg.evaluation.curves import histogram
    from insar_seg.evaluation.objects import boundary_counts, match_objects, tolerance_counts
    from insar_seg.evaluation.pixels import counts
    from insar_seg.masks.definitions import Masks
    from insar_seg.pipeline.run import peak_memory_gb

    scenes = int(sys.argv[1]) if len(sys.argv) > 1 else 469
    shape = (2000, 2500)
    pixel = (100.0, 100.0)
    rng = np.random.default_rng(0)
    y, x = np.ogrid[: shape[0], : shape[1]]
    motion = np.exp(-(((x - 1200) / 160) ** 2 + ((y - 900) / 120) ** 2))
    masks = Masks(
        (motion > 0.5).astype(np.uint8),
        (motion > 0.1).astype(np.uint8),
        (x + 0 * y < 200).astype(np.uint8),
        False,
        0.014,
    )
    valid = np.ones(shape, bool)
    probability = np.clip(
        motion + 0.15 + 2 * gaussian_filter(rng.normal(size=shape), 12), 0, 1
    ).astype(np.float32)
    truth = masks.margin > 0
    skip = masks.ignore > 0
    marked = probability > 0.5
    classes = classes_of(masks, valid)
    megapixels = probability.size / 1e6
    rows = {}
    for name, work, n in (
        ("counts", lambda: counts([masks.margin], [probability], [masks.ignore]), 10),
        ("histogram", lambda: histogram(probability, classes), 10),
        ("objects", lambda: match_objects(truth, marked, skip, pixel), 3),
        ("boundary", lambda: boundary_counts(truth, marked, skip, pixel, 1000.0), 3),
        ("tolerance band", lambda: tolerance_counts(truth, marked, skip, pixel, 1000.0), 3),
        (
            "all of it (score_scene)",
            lambda: score_scene(masks, valid, {"x": probability}, pixel),
            3,
        ),
    ):
        work()
        times = []
        for _ in range(n):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        rows[name] = {
            "seconds": float(np.median(times)),
            "megapixels_per_second": megapixels / float(np.median(times)),
        }
        print(
            f"{name:26}{rows[name]['megapixels_per_second']:8.1f} megapixels per second", flush=True
        )
    before = peak_memory_gb()
    start = time.perf_counter()
    kept = SceneScores()
    blank = {k: 0 for k in ("unpredicted",)}
    for i in range(scenes):
        table = counts([masks.margin], [probability], [masks.ignore]).iloc[0].to_dict()
        kept.add(
            {"frame": f"{i}", "pair": "p", "event_id": f"e{i % 29}", "unit": f"e{i % 29}"},
            [{"name": "x", **table, **blank}],
            {"x": histogram(probability, classes)},
        )
    seconds = time.perf_counter() - start
    out = {
        "version": code_version(),
        "machine": (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, one"
            " thread"
        ),
        "shape": shape,
        "parts": rows,
        "stream": {
            "scenes": scenes,
            "seconds": seconds,
            "megapixels_per_second": scenes * megapixels / seconds,
            "peak_memory_gb_before": before,
            "peak_memory_gb_after": peak_memory_gb(),
        },
    }
    TARGET.write_text(json.dumps(out, indent=1) + "\n")
    print(out["stream"])


if __name__ == "__main__":
    main()
