"""Scenes that the shipped network learns from: simulated without an end, kept in shards on disk."""

import os
import time
from pathlib import Path

import numpy as np

SIDE = 256
SHARD = 64  # scenes in a file
MOVED = ("volcano", "dyke", "sill", "subsidence", "mining", "landslide")
LAYERS = ("phase", "coherence", "motion", "truth", "other")
F = np.float32


def options_of(seed, number):
    "What scene `number` draws from: pixels of 40 to 1000 m, larger earthquakes in larger pixels."
    from insar_seg.core.base import rng_for
    from insar_seg.patches.samples import StreamOptions
    from insar_seg.simulation.scene import LAYERS as ALL

    rng = rng_for(seed, "pretraining", number)
    if rng.random() < 0.25:
        return _moved_otherwise(rng)
    low, high = ((100, 100), (200, 200), (100, 400), (400, 1000))[
        int(rng.choice(4, p=(0.15, 0.15, 0.25, 0.45)))
    ]
    pixel = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    tens = np.log10(pixel / 100)
    layers = tuple(n for n in ALL if n != "filter") if rng.random() < 0.15 else ALL
    return StreamOptions(
        (SIDE, SIDE),
        (pixel, pixel),
        bands=(str(rng.choice(("C", "L", "X"), p=(0.87, 0.09, 0.04))),),
        positive_share=0.5,
        distractor_share=0.85,
        filter_m=3200.0,
        magnitude=(4.6 + tens, 7.0 + 0.8 * tens) if rng.random() < 0.7 else None,
        layers=layers,
        distractors=MOVED if rng.random() < 0.75 else None,
    )


def _moved_otherwise(rng):
    "No earthquake, but another motion, in pixels small enough to show it."
    from insar_seg.patches.samples import StreamOptions

    pixel = float(np.exp(rng.uniform(np.log(40), np.log(300))))
    return StreamOptions(
        (SIDE, SIDE),
        (pixel, pixel),
        positive_share=0.0,
        distractor_share=1.0,
        filter_m=3200.0,
        distractors=MOVED,
    )


def other_mask(s):
    "1, 0, -1: where a distractor that is a motion of the ground shows, as an eye sees it."
    from insar_seg.masks.definitions import masks_from_displacement

    out = np.where(s.valid, np.int8(0), np.int8(-1))
    if s.distractor not in MOVED:
        return out
    delay = s.layers["distractor"]
    los = np.where(s.water, 0, -delay).astype(F)
    coherence = np.where(s.valid, s.coherence, np.nan)
    # of the rest of the phase only the air counts as what hides it
    air = s.atmosphere - delay
    masks = masks_from_displacement(los, s.valid, s.view.pixel_m, air, coherence, s.wavelength_m)
    out[masks.visible > 0] = 1
    return np.where(masks.ignore > 0, np.int8(-1), out)


def encoded(s):
    "The layers of a sample as bytes: phases in 127ths of pi with -128 for no data, and masks."
    from insar_seg.core.base import phase_from_los, wrap

    def steps(phase):
        return np.clip(np.round(np.nan_to_num(phase) * (127 / np.pi)), -127, 127)

    ok = np.isfinite(s.phase)
    truth = np.where(s.masks.ignore > 0, -1, s.masks.visible.astype(np.int8))
    return {
        "phase": np.where(ok, steps(s.phase), -128).astype(np.int8),
        "coherence": (np.round(np.nan_to_num(s.coherence) * 255) * ok).astype(np.uint8),
        "motion": steps(wrap(phase_from_los(s.los, s.wavelength_m))).astype(np.int8),
        "truth": np.where(ok, truth, -1).astype(np.int8),
        "other": np.where(ok, other_mask(s), -1).astype(np.int8),
    }


def phase_of(steps):
    "Radians, NaN where there is no data."
    return np.where(steps != -128, steps.astype(F) * F(np.pi / 127), F(np.nan))


def write_shard(folder, seed, k):
    "Make shard `k` of a seed unless it is there."
    from insar_seg.patches.samples import sample

    path = folder / f"{seed}_{k:05d}.npz"
    if path.exists():
        return path
    made = [
        encoded(sample(seed, n, options_of(seed, n))) for n in range(k * SHARD, (k + 1) * SHARD)
    ]
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as f:
        np.savez_compressed(f, **{name: np.stack([m[name] for m in made]) for name in LAYERS})
    part.replace(path)
    return path


def keep_making(folder, seed, part, parts, needed):
    """A process that makes every parts-th shard, never more than 8 beyond `needed` (a shared
    number: the first shard that the training waits for).
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    folder.mkdir(parents=True, exist_ok=True)
    k = part
    while True:
        while k > needed.value + 8:
            time.sleep(1)
        write_shard(folder, seed, k)
        k += parts


class Window:
    "The last shards, in memory; asking for a later one waits until it is made."

    def __init__(self, folder, seed, width=16):
        self.folder, self.seed, self.width = Path(folder), seed, width
        self.shards = {}

    def up_to(self, last):
        "Shards that may be drawn from when `last` is the newest: a list of dicts of arrays."
        first = max(0, last - self.width + 1)
        for k in [k for k in self.shards if k < first]:
            del self.shards[k]
        for k in range(first, last + 1):
            if k not in self.shards:
                self.shards[k] = self._wait(k)
        return [self.shards[k] for k in range(first, last + 1)]

    def _wait(self, k):
        path = self.folder / f"{self.seed}_{k:05d}.npz"
        while not path.exists():
            time.sleep(0.5)
        with np.load(path, allow_pickle=False) as f:
            return {name: f[name] for name in LAYERS}
