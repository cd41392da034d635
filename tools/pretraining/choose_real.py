#!/usr/bin/env python3
"""Compare ways of mapping on the real interferograms that may choose one.

usage: choose_real.py REAL MAPS WEIGHTS... [--pixels 200 ...] [--coarse 250]

WEIGHTS: files of the pyramid, or "pretrained" for the network in the package. For each, and each
size of pixels (metres), the scenes are mapped (kept in MAPS), and a row tells the mean IoU with two
analysts at thresholds, the scenes found, and what is marked where there is no earthquake.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from real import iou, negatives, positives

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def predictor_of(weights, pixel_m):
    "The network of a file as a `Predictor` of its first answer, or the one in the package."
    from insar_seg.maps.predictor import Predictor, load_predictor
    from insar_seg.networks.training import predict

    if str(weights) == "pretrained":
        return load_predictor()
    from learning import network

    model = network()
    model.load_weights(weights)

    def answers(phase, coherence):
        return predict(model, phase, coherence, batch_size=4)[..., 0]

    return Predictor(Path(weights).stem, answers, 512, pixel_m)


def mapped(name, scene, weights, pixel_m, coarse_m, folder):
    "The map of a scene, made once."
    from insar_seg.maps.windows import map_array

    path = folder / f"{name}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        own = min(scene.pixel_m) > coarse_m and str(weights) != "pretrained"
        np.save(path, map_array(scene, predictor_of(weights, None if own else pixel_m)))
    return np.load(path)


def largest_km2(marked, scene):
    from scipy.ndimage import label

    labels, count = label(marked)
    if not count:
        return 0.0
    return float(np.bincount(labels.ravel())[1:].max() * np.prod(scene.pixel_m) / 1e6)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("real", type=Path)
    parser.add_argument("maps", type=Path)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--pixels", type=float, nargs="+", default=[200.0])
    parser.add_argument("--coarse", type=float, default=250.0)
    args = parser.parse_args()
    seen = list(positives(args.real))
    quiet = list(negatives(args.real))
    for weights in args.weights:
        for pixel_m in args.pixels:
            folder = args.maps / f"{Path(weights).stem}_{pixel_m:g}_{args.coarse:g}"
            use = (weights, pixel_m, args.coarse, folder)
            rows = {}
            for name, scene, outlines in seen:
                answer = mapped(name, scene, *use)
                with np.errstate(invalid="ignore"):
                    rows[name] = [
                        round(np.mean([iou(answer > t, o) for o in outlines]), 3)
                        for t in THRESHOLDS
                    ]
            mean = np.mean(list(rows.values()), 0).round(3).tolist()
            tiles = np.mean([r for n, r in rows.items() if n.startswith("tile")], 0).round(3)
            print(json.dumps({"of": str(folder.name), "mean": mean, "tiles": tiles.tolist()}))
            for name, row in rows.items():
                print("  ", name, row)
            for name, scene in quiet:
                answer = mapped(name, scene, *use)
                with np.errstate(invalid="ignore"):
                    km2 = [round(largest_km2(answer > t, scene), 1) for t in THRESHOLDS]
                print("  ", name, f"top {np.nanmax(answer):.2f}", km2, flush=True)


if __name__ == "__main__":
    main()
