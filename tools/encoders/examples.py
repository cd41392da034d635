"""Training examples out of the pool: windows of scenes, as other passes would have seen them."""

from __future__ import annotations

import numpy as np
from pool import SIDE

from insar_seg.core.base import rng_for
from insar_seg.interferograms.interferogram import multilook_mask
from insar_seg.patches.augmentation import Patch, augment
from insar_seg.patches.encoding import channels

WINDOW = 64  # pixels
BATCH = 16
ENCODING = "cos_sin_coherence"
CHANGES = ("turn", "sign", "ramp", "offset", "decorrelate", "drop_coherence")
F = np.float32


def scene_patch(pool: dict[str, np.ndarray], i: int) -> Patch:
    "Scene `i` of a pool."
    steps = pool["phase"][i]
    phase = np.where(steps != -128, steps * F(np.pi / 127), F(np.nan))
    coherence = np.where(steps != -128, pool["coherence"][i] / F(255), F(np.nan))
    return Patch(phase, coherence, pool["truth"][i])


def _blocks(a):
    "(2, 2) neighbours of every pixel of the coarser grid, as the last axis."
    n = a.shape[0] // 2
    return a.reshape(n, 2, n, 2).transpose(0, 2, 1, 3).reshape(n, n, 4)


def halved(patch: Patch) -> Patch:
    "Complex averages of 2 x 2 pixels; a pixel shows what at least two of its four show."
    phasor = np.where(np.isfinite(patch.phase), np.exp(1j * np.nan_to_num(patch.phase)), 0)
    mean = _blocks(phasor).mean(-1)
    known = _blocks(np.isfinite(patch.phase)).sum(-1) >= 2
    truth = multilook_mask(np.maximum(patch.truth, 0), 2).astype(np.int8)
    uncounted = _blocks(patch.truth < 0).sum(-1) >= 2
    coherence = _blocks(np.nan_to_num(patch.coherence)).mean(-1)
    return Patch(
        np.where(known, np.angle(mean), np.nan).astype(F),
        np.where(known, coherence, np.nan).astype(F),
        np.where(uncounted | ~known, np.int8(-1), truth),
    )


def window_of(patch: Patch, rng: np.random.Generator) -> Patch:
    "A window of it: anywhere, or where something shows."
    shown = np.argwhere(patch.truth > 0)
    at = rng.integers(0, SIDE - WINDOW + 1, 2)
    if len(shown) and rng.random() < 0.7:
        middle = shown[int(rng.integers(len(shown)))]
        spread = rng.integers(-WINDOW // 2, WINDOW // 2, 2)
        at = np.clip(middle + spread - WINDOW // 2, 0, SIDE - WINDOW)
    part = tuple(slice(a, a + WINDOW) for a in at)
    return Patch(*(layer[part] for layer in patch))


def batch(
    pool: dict[str, np.ndarray], seed: int, number: int
) -> tuple[np.ndarray, np.ndarray]:  # channels (BATCH, WINDOW, WINDOW, 3), truth (..., 1)
    "Batch `number` of a seed, the same whenever it is asked for."
    made = []
    for k in range(BATCH):
        rng = rng_for(seed, "example", number, k)
        patch = scene_patch(pool, int(rng.integers(len(pool["truth"]))))
        patch = halved(patch) if rng.random() < 0.3 else window_of(patch, rng)
        patch = augment(patch, CHANGES, seed, (number, k))
        made.append((channels(patch.phase, patch.coherence, ENCODING), patch.truth[..., None]))
    return tuple(np.stack(part) for part in zip(*made))
