#!/usr/bin/env python3
"""Pre-train the encoders of the study's networks on simulated fringes.

usage: train.py WORK [NETWORK ...] [--steps 15000] [--pack]

Every network learns to outline the visible fringes of the same pool of simulated interferograms,
from random weights; its encoder is what is kept. A training may be stopped at any moment: the same
command goes on from its state in WORK, and ends with the same weights. Several processes may share
WORK, each with networks of its own. --pack writes the encoders of finished trainings into the
package (insar_seg/weights/fringes), and the log beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
from examples import BATCH, ENCODING, WINDOW, batch, scene_patch
from filelock import FileLock
from pool import HELD_OUT, PIXEL_M, POOL, SHARD, SIDE, load_pool, make_shard

import insar_seg  # noqa: F401  (settings that must stand before TensorFlow loads)
from insar_seg.core.base import atomic_path, code_version, write_text
from insar_seg.networks.build import NETWORKS, STUDY_NETWORKS, Network, build_network, encoder_model
from insar_seg.networks.layers import loss_of
from insar_seg.networks.weights import save_weights
from insar_seg.patches.encoding import channels

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent.parent / "insar_seg" / "weights" / "fringes"
WIDTH = 0.25
SHARDS = 48  # of the pool
SEED = 8_000_000
RISE = 300  # steps in which the rate rises
SAVE_SECONDS = 60
# a network without normalisation bears less
RATES = dict.fromkeys(STUDY_NETWORKS, 1e-3) | {"unet_vgg19": 4e-4}


def scenes_of(work, seed, shards):
    "The scenes of a seed, simulated once for all processes."
    with FileLock(work / f".{seed}.lock"):
        return load_pool([make_shard(work / "pool", seed, k) for k in range(shards)])


def network_for(name):
    "The network with random weights, without dropout: its draws are no part of the state."
    keras.backend.clear_session()
    model = build_network(Network(name, ENCODING, width=WIDTH), seed=0, dropout=0.0)
    optimizer = keras.optimizers.AdamW(RATES[name], weight_decay=1e-4, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    model.compile(optimizer, loss=[loss_of("bce_dice")] * len(model.outputs))
    optimizer.build(model.trainable_variables)
    return model


class State:
    "Where a training stands, in one file that is replaced as a whole."

    def __init__(self, path):
        self.path = path

    def save(self, step, model, average, log):
        arrays = {f"weight{i}": w for i, w in enumerate(model.get_weights())}
        arrays |= {f"average{i}": w for i, w in enumerate(average)}
        arrays |= {f"optimizer{i}": np.asarray(v) for i, v in enumerate(model.optimizer.variables)}
        with atomic_path(self.path) as tmp, open(tmp, "wb") as f:
            np.savez(f, step=step, log=json.dumps(log), **arrays)

    def load(self, model):
        "Fill model and optimizer: (steps done, averaged weights, log)."
        if not self.path.is_file():
            return 0, model.get_weights(), []
        with np.load(self.path, allow_pickle=False) as f:
            count = len(model.get_weights())
            model.set_weights([f[f"weight{i}"] for i in range(count)])
            for i, variable in enumerate(model.optimizer.variables):
                variable.assign(f[f"optimizer{i}"])
            average = [f[f"average{i}"] for i in range(count)]
            return int(f["step"]), average, json.loads(str(f["log"]))


def batches_ahead(pool, steps):
    "The batches of these steps, made in a thread beside the training."
    ready = queue.Queue(8)

    def work():
        try:
            for step in steps:
                ready.put(batch(pool, SEED, step))
        except Exception as e:
            ready.put(e)

    threading.Thread(target=work, daemon=True).start()
    for _ in steps:
        made = ready.get()
        if isinstance(made, Exception):
            raise made
        yield made


def rate_at(peak, step, steps):
    "A linear rise, then half a cosine down to a hundredth."
    rise = min(1, (step + 1) / RISE)
    return peak * rise * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * step / steps)))


def averaged(average, weights, step):
    "The running mean of weights over about a twentieth of the steps so far."
    keep = 1 - 10 / max(10, min(1000, 0.05 * step))
    return [np.float32(keep) * a + np.float32(1 - keep) * w for a, w in zip(average, weights)]


def score(model, held):
    "Cross-entropy, and micro IoU at the best threshold, on whole scenes never learnt from."
    edges = np.linspace(0, 1, 101)
    yes = np.zeros(100)
    no = np.zeros(100)
    entropy = 0.0
    pixels = 0
    for start in range(0, len(held["truth"]), 64):
        patches = [scene_patch(held, i) for i in range(start, start + 64)]
        x = np.stack([channels(p.phase, p.coherence, ENCODING) for p in patches])
        truth = np.stack([p.truth for p in patches])
        answer = model.predict_on_batch(x)
        answer = answer[0] if isinstance(answer, list) else answer
        p = np.clip(np.asarray(answer)[..., 0], 1e-6, 1 - 1e-6)
        entropy -= np.log(p[truth == 1]).sum() + np.log(1 - p[truth == 0]).sum()
        pixels += (truth >= 0).sum()
        yes += np.histogram(p[truth == 1], edges)[0]
        no += np.histogram(p[truth == 0], edges)[0]
    hit = yes[::-1].cumsum()[::-1]
    iou = hit / (yes.sum() + no[::-1].cumsum()[::-1])
    best = int(iou.argmax())
    return {
        "entropy": round(float(entropy / pixels), 4),
        "iou": round(float(iou[best]), 4),
        "at": round(float(edges[best]), 2),
        "iou_half": round(float(iou[50]), 4),
    }


def pretrain(work, name, steps, pool, held):
    "Train one network to its last step."
    model = network_for(name)
    state = State(work / f"{name}.npz")
    done, average, log = state.load(model)
    losses = []
    saved = time.monotonic()
    start = saved - (log[-1]["seconds"] if log else 0)
    remaining = range(done, steps)
    for step, (x, y) in zip(remaining, batches_ahead(pool, remaining)):
        model.optimizer.learning_rate = rate_at(RATES[name], step, steps)
        value = model.train_on_batch(x, [y] * len(model.outputs))
        losses.append(float(np.ravel(value)[0]))
        if step % 10 == 9:
            average = averaged(average, model.get_weights(), step)
        last = step == steps - 1
        if step % 1000 == 999 or last:
            log.append(_row(model, average, held, step + 1, losses, start))
            print(json.dumps({"network": name, **log[-1]}), flush=True)
            losses = []
        if last or time.monotonic() - saved > SAVE_SECONDS:
            state.save(step + 1, model, average, log)
            saved = time.monotonic()


def _row(model, average, held, step, losses, start):
    present = model.get_weights()
    model.set_weights(average)
    row = {"steps": step, "seconds": round(time.monotonic() - start)}
    row |= {"loss": round(float(np.mean(losses)), 4), **score(model, held)}
    model.set_weights(present)
    return row


def pack(work, networks):
    "The encoders of finished trainings, in half precision, into the package; and their log."
    TARGET.mkdir(parents=True, exist_ok=True)
    logs = {}
    for name in networks:
        model = network_for(name)
        _, average, logs[name] = State(work / f"{name}.npz").load(model)
        if not logs[name]:
            raise SystemExit(f"{name} has not been trained in {work}; train it before --pack")
        model.set_weights(average)
        save_weights(encoder_model(model), TARGET / f"{NETWORKS[name].encoder}.weights.h5", True)
    card = {
        "format": "insar_seg encoders 1",
        "width": WIDTH,
        "channels": ENCODING,
        "encoders": [NETWORKS[name].encoder for name in networks],
        "task": "segmentation of visible fringes",
        "data": f"{SHARDS * SHARD} simulated interferograms, {SIDE} pixels of {PIXEL_M} m a side",
        "seeds": {"scenes": POOL, "held out": HELD_OUT, "batches": SEED},
        "batch": [BATCH, WINDOW, WINDOW],
        "reached": {name: log[-1] for name, log in logs.items()},
        "licence": "Apache-2.0",
        "version": code_version(),
    }
    write_text(TARGET / "encoders.json", json.dumps(card, indent=1) + "\n")
    write_text(HERE / "log.json", json.dumps(logs, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("networks", nargs="*", default=STUDY_NETWORKS)
    parser.add_argument("--steps", type=int, default=15_000)
    parser.add_argument("--pack", action="store_true")
    args = parser.parse_args()
    if args.pack:
        pack(args.work, args.networks)
        return
    (args.work / "pool").mkdir(parents=True, exist_ok=True)
    held = scenes_of(args.work, HELD_OUT, 1)
    pool = scenes_of(args.work, POOL, SHARDS)
    for name in args.networks:
        pretrain(args.work, name, args.steps, pool, held)


if __name__ == "__main__":
    main()
