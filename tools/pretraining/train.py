#!/usr/bin/env python3
"""Train the network that comes with the package, one leg of its campaign at a time.

usage: train.py WORK LEG [--batches 4000] [--rate 1e-3] [--real DIR] [--workers 1]

A leg begins with the averaged weights of the one before (tools/pretraining/averaged.weights.h5; the
first with the compact network's) and sees scenes of its own, which are simulated beside it. It may
be stopped at any moment; the same command goes on, and the state lies in WORK. At its end the
averaged weights replace those of the leg before, and its log is added to log.json.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from learning import BATCH, REUSE, grow, learn, network, score
from scenes import SHARD, SIDE, write_shard

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE / "averaged.weights.h5"
LOG = HERE / "log.json"
SEED = 7_000_000  # a leg's scenes are those of SEED + LEG
HELD = 6_999_998
BACKGROUNDS = (
    "archive/106/106A_09048_000909/interferograms/20240106_20240118/20240106_20240118.geo.diff_pha.tif",
    "archive/106/106A_09048_000909/interferograms/20240118_20240130/20240118_20240130.geo.diff_pha.tif",
    "quiet/san_francisco_bay_20190109_20190121_wrapped_phase.tif",
)


def backgrounds_of(real):
    "Quiet real (phase, coherence): of each scene, in its pixels and in up to seven times as large."
    from insar_seg.interferograms.products import read_product
    from insar_seg.maps.windows import Grid, to_model

    made = []
    for path in BACKGROUNDS if real else ():
        scene = read_product(real / path)
        unknown = np.full(scene.shape, np.nan, np.float32)
        layers = scene.phase, unknown if scene.coherence is None else scene.coherence
        for times in (1, 2, 4, 7):
            grid = Grid(scene.shape, (1.0, 1.0), float(times))
            if min(grid.coarse) >= SIDE:
                made.append(to_model(grid, *layers) if times > 1 else layers)
    return made


def held_out(work):
    "128 scenes that no leg sees, each as an example whose changes stay the same."
    from examples import of_scene

    (work / "pool").mkdir(parents=True, exist_ok=True)
    made = []
    for k in (0, 1):
        with np.load(write_shard(work / "pool", HELD, k)) as f:
            shard = {name: f[name] for name in f.files}
        made += [of_scene(shard, i) for i in range(SHARD)]
    return made


def start(leg):
    "The network as the leg before left it."
    import keras

    model = network()
    if leg > 1:
        model.load_weights(WEIGHTS)
        return model
    from insar_seg.maps.predictor import pretrained_folder
    from insar_seg.networks.weights import load_network

    old, _ = load_network(pretrained_folder() / "best.weights.h5")
    grow(model, old)
    keras.backend.clear_session()
    return model


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("leg", type=int)
    parser.add_argument("--batches", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    held = held_out(args.work)
    model = start(args.leg)

    def report(number, averaged):
        averaged.save_weights(args.work / "averaged.weights.h5")
        return score(averaged, held)

    print(json.dumps({"leg": args.leg, "start": score(model, held)}), flush=True)
    average, log = learn(
        args.work,
        SEED + args.leg,
        model,
        args.batches,
        args.rate,
        backgrounds_of(args.real),
        report,
        args.workers,
    )
    from insar_seg.networks.weights import save_weights

    model.set_weights(average)
    save_weights(model, WEIGHTS, True)
    legs = json.loads(LOG.read_text()) if LOG.exists() else []
    legs = [entry for entry in legs if entry["leg"] != args.leg]
    scenes = args.batches * BATCH // REUSE
    LOG.write_text(
        json.dumps(
            [*legs, {"leg": args.leg, "rate": args.rate, "scenes": scenes, "log": log}], indent=1
        )
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
