#!/usr/bin/env python3
"""Make the averaged weights of the campaign the network of the package: calibrated, with its card.

usage: pack.py WORK REAL [--scenes 256] [--marked-from 0.18] [--threshold-other 0.9] [--min-km2 1]
           [--doubtful 0.25] [--sure 0.62] [--out insar_seg/weights]

Both answers are calibrated, with coherence and without, on simulated scenes that no leg has seen,
mapped as `insar-seg map` does it; a logistic model of their areas tells how sure an earthquake is.
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
LEFT_OUT = Path(__file__).with_name("left_out.json")  # legs that real scenes spoke against
RESULT = ROOT / "nbs" / "findings" / "results" / "box_training.json"
NAMES = ("log10_area", "mean_probability", "fringes")
PIXEL_M = 200.0
SCALES = (1, 2, 4)
LOOK_PX = 128  # half of what a training example shows


def held_scenes(work, count):
    "Simulated scenes and their truths."
    (work / "pool").mkdir(parents=True, exist_ok=True)
    made = []
    for k in range(count // SHARD):
        with np.load(write_shard(work / "pool", HELD, k)) as f:
            shard = {name: f[name] for name in f.files}
        for i in range(SHARD):
            pixel_m = options_of(HELD, k * SHARD + i).pixel_m[0]
            e = of_scene(shard, i)
            made.append((scene_of(e, pixel_m), e.truth))
    return made


def scene_of(e, pixel_m):
    "An example on a grid of its pixels."
    from rasterio.crs import CRS
    from rasterio.transform import Affine

    from insar_seg.interferograms.interferogram import Interferogram

    where = Affine(pixel_m, 0, 500_000, 0, -pixel_m, 4_000_000)
    return Interferogram(e.phase, CRS.from_epsg(32633), where, e.coherence)


def calibrators(predictor, scenes):
    "Isotonic calibrators by what they are for, and the micro IoU of each at its best threshold."
    from insar_seg.evaluation.curves import best_edge, fit_isotonic

    edges = np.linspace(0, 1, 1001)
    tables = np.zeros((2, 2, 2, 1000), np.int64)  # of coherence known, answer, truth, probability
    for scene, truth in scenes:
        for known in (0, 1):
            y = answer_of(predictor, scene, known)
            for k in (0, 1):
                for value in (0, 1):
                    tables[known, k, value] += np.histogram(
                        y[..., k][truth[..., k] == value], edges
                    )[0]
    names = {
        "calibrator": tables[1, 0],
        "calibrator_without_coherence": tables[0, 0],
        "calibrator_other": tables.sum(0)[1],
    }
    fitted = {name: fit_isotonic(*table).to_dict() for name, table in names.items()}
    return fitted, {name: round(best_edge(*table)[1], 4) for name, table in names.items()}


def answer_of(predictor, scene, known):
    "(H, W, 2) probability of a scene, as if its coherence were known or not."
    import dataclasses

    from insar_seg.maps.windows import map_array

    if not known:
        scene = dataclasses.replace(scene, coherence=None)
    return map_array(scene, predictor)


def scene_features_of(predictor, scenes):
    "Features of the areas of each scene that has one, and which scenes these are."
    from insar_seg.maps.areas import EARTHQUAKE, of_kind, scene_features
    from insar_seg.maps.mapper import map_interferogram

    rows = []
    which = []
    for i, scene in enumerate(scenes):
        areas = map_interferogram(scene, predictor).areas
        if len(of_kind(areas, EARTHQUAKE)):
            features = scene_features(areas)
            rows.append([features[name] for name in NAMES])
            which.append(i)
    return np.array(rows), np.array(which)


def scene_model(predictor, scenes, real, doubtful, sure):
    """A logistic model of a scene's areas: does it show an earthquake? Simulated scenes and the
    real ones that choose weigh alike; told too is how many of each are sure, and doubtful.
    """
    from real import negatives, positives
    from sklearn.linear_model import LogisticRegression

    seen = [scene for _, scene, _ in positives(real)]
    quiet = [scene for _, scene in negatives(real)]
    sets = {
        "simulated": ([s for s, _ in scenes], [bool((t[..., 0] > 0).any()) for _, t in scenes]),
        "real": (seen + quiet, [True] * len(seen) + [False] * len(quiet)),
    }
    found = {}
    for name, (some, yes) in sets.items():
        x, which = scene_features_of(predictor, some)
        found[name] = x, np.array(yes)[which]
    x, y = (np.concatenate([part[k] for part in found.values()]) for k in (0, 1))
    weight = np.concatenate([np.full(len(part[1]), 1 / len(part[1])) for part in found.values()])
    model = LogisticRegression(C=10.0).fit(x, y, weight * len(y) / 2)
    told = {}
    for name, (x, y) in found.items():
        score = model.predict_proba(x)[:, 1]
        told[name] = {
            "scenes": len(sets[name][1]),
            "with an earthquake": int(sum(sets[name][1])),
            **{f"scores, {k}": np.sort(score[y == k]).round(2).tolist() for k in (True, False)},
        }
    return {
        "names": list(NAMES),
        "coefficients": model.coef_[0].round(5).tolist(),
        "intercept": round(float(model.intercept_[0]), 5),
        "doubtful": doubtful,
        "sure": sure,
    }, told


def seconds_of(leg):
    "What a leg took; the clock of its log begins anew where it was stopped and went on."
    total = last = 0
    for row in leg["log"]:
        total += row["seconds"] - (last if row["seconds"] >= last else 0)
        last = row["seconds"]
    return total


def card_of(mapping, legs):
    from insar_seg.networks.build import Network
    from insar_seg.networks.weights import model_card

    scenes = sum(leg["scenes"] for leg in legs)
    examples = sum(leg["log"][-1]["examples"] for leg in legs)
    seconds = sum(map(seconds_of, legs))
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


def exported_card(folder, mapping, legs):
    "The card anew, with what it says of the export."
    from insar_seg.networks.weights import read_card

    return card_of(mapping, legs) | {"onnx": read_card(folder)["onnx"]}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("--scenes", type=int, default=256)
    parser.add_argument("--marked-from", type=float, default=0.18)
    parser.add_argument("--threshold-other", type=float, default=0.9)
    parser.add_argument("--min-km2", type=float, default=1.0)
    parser.add_argument("--doubtful", type=float, default=0.25)
    parser.add_argument("--sure", type=float, default=0.62)
    parser.add_argument("--out", type=Path, default=ROOT / "insar_seg" / "weights")
    args = parser.parse_args()
    from insar_seg.core.base import code_version
    from insar_seg.evaluation.curves import calibrator_from_dict
    from insar_seg.maps.predictor import load_predictor
    from insar_seg.networks.export import export_network
    from insar_seg.networks.weights import save_weights, write_card

    model = network()
    model.load_weights(WEIGHTS)
    scenes = held_scenes(args.work, args.scenes)
    legs = json.loads(LOG.read_text())
    mapping = {
        "pixel_m": PIXEL_M,
        "size_px": 512,
        "overlap": 0.5,
        "scales": list(SCALES),
        "look_px": LOOK_PX,
        "finest_share": 0.5,
        "threshold_other": args.threshold_other,
        "min_km2": args.min_km2,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    save_weights(model, args.out / "best.weights.h5", True)
    write_card(args.out, card_of(mapping, legs))
    export_network(args.out)
    fitted, told = calibrators(load_predictor(args.out), scenes)
    # chosen on the answers before calibration, whose order a calibrator keeps
    marked_from = calibrator_from_dict(fitted["calibrator_without_coherence"])(args.marked_from)
    mapping |= fitted | {"threshold": round(float(marked_from), 4)}
    write_card(args.out, exported_card(args.out, mapping, legs))
    mapping["scene"], counts = scene_model(
        load_predictor(args.out), scenes, args.real, args.doubtful, args.sure
    )
    write_card(args.out, exported_card(args.out, mapping, legs))
    told = {"version": code_version(), "held_out_iou": told, "scene_scores": counts, "legs": legs}
    told["left_out"] = json.loads(LEFT_OUT.read_text())
    RESULT.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps({**told, "legs": len(legs), "mapping": mapping}))


if __name__ == "__main__":
    sys.exit(main())
