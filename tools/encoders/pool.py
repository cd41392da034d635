"""The simulated interferograms that encoders learn from: one fixed pool, kept on disk as bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from insar_seg.core.base import atomic_path, rng_for
from insar_seg.patches.samples import Sample, StreamOptions, sample

SIDE = 128  # pixels of a scene
SHARD = 512  # scenes in a file
PIXEL_M = (100.0, 800.0)
LAYERS = ("phase", "coherence", "truth")
POOL = 8_000_001  # seed of the scenes that are learnt from
HELD_OUT = 8_000_002  # seed of the scenes that measure


def options_of(seed: int, number: int) -> StreamOptions:
    "What scene `number` draws from; larger pixels have larger earthquakes."
    rng = rng_for(seed, "encoders", number)
    pixel = float(np.exp(rng.uniform(*np.log(PIXEL_M))))
    tens = np.log10(pixel / 100)
    common = (4.8 + tens, 6.8 + 0.8 * tens)
    return StreamOptions(
        (SIDE, SIDE),
        (pixel, pixel),
        positive_share=0.7,
        filter_m=3200.0,
        magnitude=common if rng.random() < 0.8 else None,
    )


def as_bytes(
    s: Sample,
) -> dict[str, np.ndarray]:  # phase int8 in 127ths of pi, -128: no data; coherence uint8 in 255ths
    "The layers of a scene; truth is 1 visible, 0 not, -1 does not count."
    ok = np.isfinite(s.phase)
    steps = np.clip(np.round(np.nan_to_num(s.phase) * (127 / np.pi)), -127, 127)
    truth = np.where(s.masks.ignore > 0, -1, s.masks.visible.astype(np.int8))
    return {
        "phase": np.where(ok, steps, -128).astype(np.int8),
        "coherence": (np.round(np.nan_to_num(s.coherence) * 255) * ok).astype(np.uint8),
        "truth": np.where(ok, truth, -1).astype(np.int8),
    }


def make_shard(
    folder: Path,
    seed: int,
    k: int,  # which shard, 0 or more
) -> Path:  # its file
    "Simulate shard `k` unless it is there."
    path = folder / f"{seed}_{k:03d}.npz"
    if not path.is_file():
        numbers = range(k * SHARD, (k + 1) * SHARD)
        made = [as_bytes(sample(seed, n, options_of(seed, n))) for n in numbers]
        arrays = {name: np.stack([m[name] for m in made]) for name in LAYERS}
        with atomic_path(path) as tmp, open(tmp, "wb") as f:
            np.savez(f, **arrays)
    return path


def load_pool(paths: list[Path]) -> dict[str, np.ndarray]:  # layer -> (N, SIDE, SIDE)
    "All scenes of some shards, in memory."
    parts: dict[str, list] = {name: [] for name in LAYERS}
    for path in paths:
        with np.load(path, allow_pickle=False) as f:
            for name in LAYERS:
                parts[name].append(f[name])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}
