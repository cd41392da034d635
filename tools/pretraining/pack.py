#!/usr/bin/env python3
"""Make the averaged weights of the campaign the network of the package: calibrated, with its card.

usage: pack.py WORK [--scenes 256] [--threshold 0.35] [--threshold-other 0.5] [--min-km2 1]
           [--mean 0.6] [--own-above 250] [--out insar_seg/weights]

Both answers are calibrated, with coherence and without, on simulated scenes that no leg has seen;
then whole scenes are mapped and a logistic model of their areas tells how sure an earthquake is.
Thresholds were chosen on real scenes (choose_real.py); log.json has the legs.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from examples import AUGMENTED, CHANGES, ENCODING, of_scene
from learning import BATCH, network
from scenes import SHARD, options_of, write_shard
from train import HELD, LOG, WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("log10_area", "mean_probability", "peak_probability")
PIXEL_M = 200.0


def held_scenes(work, count):
    "(pixel in metres, example) of simulated scenes."
    (work / "pool").mkdir(parents=True, exist_ok=True)
    made = []
    for k in range(count // SHARD):
        with np.load(write_shard(work / "pool", HELD, k)) as f:
            shard = {name: f[name] for name in f.files}
        for i in range(SHARD):
            pixel_m = options_of(HELD, k * SHARD + i).pixel_m[0]
            made.append((pixel_m, of_scene(shard, i)))
    return made


def calibrators(model, scenes):
    "Isotonic calibrators by what they are for, and the micro IoU of each at its best threshold."
    from insar_seg.evaluation.curves import best_edge, fit_isotonic
    from insar_seg.patches.encoding import channels

    edges = np.linspace(0, 1, 1001)
    tables = np.zeros((2, 2, 2, 1000), np.int64)
    for _, e in scenes:
        for known in (0, 1):
            x = channels(e.phase, e.coherence if known else None, ENCODING)[None]
            y = np.asarray(model.predict_on_batch(x))[0]
            for k in (0, 1):
                for value in (0, 1):
                    p = y[..., k][e.truth[..., k] == value]
                    tables[known, k, value] += np.histogram(p, edges)[0]
    names = {
        "calibrator": tables[1, 0],
        "calibrator_without_coherence": tables[0, 0],
        "calibrator_other": tables.sum(0)[1],
    }
    fitted = {name: fit_isotonic(*table).to_dict() for name, table in names.items()}
    return fitted, {name: round(best_edge(*table)[1], 4) for name, table in names.items()}


def scene_model(predictor, scenes):
    "A logistic model of a scene's areas: does it hold a visible earthquake?"
    from rasterio.crs import CRS
    from rasterio.transform import Affine
    from sklearn.linear_model import LogisticRegression

    from insar_seg.interferograms.interferogram import Interferogram
    from insar_seg.maps.areas import scene_features
    from insar_seg.maps.mapper import map_interferogram

    rows = []
    for pixel_m, e in scenes:
        where = Affine(pixel_m, 0, 500_000, 0, -pixel_m, 4_000_000)
        scene = Interferogram(e.phase, CRS.from_epsg(32633), where, e.coherence)
        areas = map_interferogram(scene, predictor).areas
        if "kind" in areas:
            areas = areas[areas.kind == "earthquake"]
        if len(areas):
            features = scene_features(areas)
            rows.append(([features[n] for n in NAMES], bool((e.truth[..., 0] > 0).any())))
    x, y = (np.array(part) for part in zip(*rows))
    model = LogisticRegression(C=1.0).fit(x, y)
    return {
        "names": list(NAMES),
        "coefficients": model.coef_[0].round(5).tolist(),
        "intercept": round(float(model.intercept_[0]), 5),
        "threshold": 0.5,
    }, {"scenes with areas": len(y), "of them with an earthquake": int(y.sum())}


def card_of(mapping, legs):
    from insar_seg.networks.build import Network
    from insar_seg.networks.weights import model_card

    scenes = sum(leg["scenes"] for leg in legs)
    examples = sum(leg["log"][-1]["examples"] for leg in legs)
    seconds = sum(leg["log"][-1]["seconds"] for leg in legs)
    data = {
        "masks": "visible",
        "patches": {"size_px": 256, "multilook": 2, "overlap": 0.5},
        "simulated_scenes": scenes,
        "pixels_m": [40, 1000],
    }
    training = {
        "profile": "pretraining",
        "optimizer": "AdamW, averaged weights",
        "loss": "cross-entropy and half the Dice loss (legs 1 to 3: a quarter)",
        "augmentation": [*AUGMENTED, *(change.__name__ for change in CHANGES)],
        "precision": "float32",
        "legs": len(legs),
        "examples": examples,
        "batch": BATCH,
        "seconds": seconds,
        "began_with": "the compact network of 0.1.0",
    }
    card = model_card(Network("pyramid", ENCODING, answers=2), data, training)
    card["answer"] = "probabilities of earthquake deformation and of other deformation"
    card["mapping"] = mapping
    return card


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--scenes", type=int, default=256)
    parser.add_argument("--threshold", type=float, default=0.35)
    parser.add_argument("--threshold-other", type=float, default=0.5)
    parser.add_argument("--min-km2", type=float, default=1.0)
    parser.add_argument("--mean", type=float, default=0.6)
    parser.add_argument("--own-above", type=float, default=250.0)
    parser.add_argument("--out", type=Path, default=ROOT / "insar_seg" / "weights")
    args = parser.parse_args()
    from insar_seg.maps.predictor import load_predictor
    from insar_seg.networks.export import export_network
    from insar_seg.networks.weights import save_weights, write_card

    model = network()
    model.load_weights(WEIGHTS)
    scenes = held_scenes(args.work, args.scenes)
    fitted, told = calibrators(model, scenes)
    legs = json.loads(LOG.read_text())
    mapping = {
        "pixel_m": PIXEL_M,
        "size_px": 512,
        "overlap": 0.5,
        "own_pixels_above_m": args.own_above,
        "threshold": args.threshold,
        "threshold_other": args.threshold_other,
        "min_km2": args.min_km2,
        "mean": args.mean,
        **fitted,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    save_weights(model, args.out / "best.weights.h5", True)
    write_card(args.out, card_of(mapping, legs))
    mapping["scene"], counts = scene_model(load_predictor(args.out), scenes)
    write_card(args.out, card_of(mapping, legs))
    export_network(args.out)
    print(json.dumps({"iou": told, **counts, "scene": mapping["scene"]}))


if __name__ == "__main__":
    sys.exit(main())
