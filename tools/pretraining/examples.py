"""Training examples out of scenes: cut, coarsened, changed in the ways that real data differ."""

from typing import NamedTuple

import numpy as np
from scenes import SHARD, SIDE, phase_of
from scipy.ndimage import gaussian_filter, uniform_filter

F = np.float32
ENCODING = "cos_sin_coherence"
AUGMENTED = ("turn", "sign", "ramp", "offset", "decorrelate", "drop_coherence", "cut_out")


class Example(NamedTuple):
    "Layers (H, W) of an example."

    phase: np.ndarray  # radians, NaN = no data
    coherence: np.ndarray  # 0 to 1, NaN = unknown
    truth: np.ndarray  # int8 (H, W, 2): earthquake, other deformation; 1, 0, -1 does not count


def of_scene(shard, i):
    "Scene `i` of a shard."
    phase = phase_of(shard["phase"][i])
    coherence = np.where(shard["coherence"][i] > 0, shard["coherence"][i] / F(255), F(np.nan))
    truth = np.stack([shard["truth"][i], shard["other"][i]], -1)
    return Example(phase, coherence.astype(F), truth)


def on_background(shard, i, backgrounds, rng):
    "The motion of a scene's earthquake on quiet real phase."
    phase, coherence = backgrounds[int(rng.integers(len(backgrounds)))]
    at = [int(rng.integers(0, n - SIDE + 1)) for n in phase.shape]
    part = tuple(slice(a, a + SIDE) for a in at)
    moved = phase_of(shard["motion"][i]) + phase[part]
    ok = np.isfinite(moved)
    truth = np.stack([shard["truth"][i], np.zeros((SIDE, SIDE), np.int8)], -1)
    truth = np.where(ok[..., None], truth, np.int8(-1))
    return Example(np.angle(np.exp(1j * moved)).astype(F), coherence[part], truth)


# What real data do that the stream does not
def coarser(e, rng):
    "Averaged over 2 x 2 pixels, repeated to the old size: a product that was enlarged."
    from insar_seg.maps.windows import Grid, to_model

    grid = Grid(e.phase.shape, (1.0, 1.0), 2.0)
    phase, coherence = to_model(grid, e.phase, e.coherence)

    def again(a):
        return a.repeat(2, 0).repeat(2, 1)

    return e._replace(phase=again(phase), coherence=again(coherence))


def resampled(e, cells):
    "An example of square shape on a grid of so many cells a side."
    from insar_seg.maps.windows import Grid, to_model

    n = len(e.phase)
    at = np.arange(cells) * n // cells
    grid = Grid((n, n), (1.0, 1.0), n / cells)
    if grid.coarse != (cells, cells):  # nearly the same size
        return Example(*(a[at][:, at] for a in e))
    phase, coherence = to_model(grid, e.phase, e.coherence)
    return Example(phase, coherence, e.truth[at][:, at])


def enlarged(e, rng):
    "A part of it, up to four times as large: every pattern is to be seen at every scale."
    n = int(SIDE / np.exp(rng.uniform(0, np.log(4))))
    shown = np.argwhere((e.truth > 0).any(-1))
    middle = shown[int(rng.integers(len(shown)))] if len(shown) else rng.integers(0, SIDE, 2)
    top, left = np.clip(middle - n // 2, 0, SIDE - n)
    return resampled(Example(*(a[top : top + n, left : left + n] for a in e)), SIDE)


def reduced(e, rng):
    "Averaged to 0.4 to 0.9 of its size, and mirrored to the old one."
    small = resampled(e, int(SIDE * rng.uniform(0.4, 0.9)))
    n = len(small.phase)
    at = np.pad(np.arange(n), (0, SIDE - n), "symmetric")
    return Example(*(a[at][:, at] for a in small))


def stretched(e, rng):
    "One axis squeezed to 0.5 to 0.9 of its length and mirrored to the old size: oblong pixels."
    n = e.phase.shape[0]
    at = (np.arange(n) / rng.uniform(0.5, 0.9)).astype(int)
    at = np.where(at < n, at, 2 * n - 2 - at)
    return Example(*(a[at] for a in e))


def in_steps(e, rng):
    "Phase in 24 to 256 steps of a cycle, as pictures and bytes store it."
    step = F(2 * np.pi / rng.choice((24, 57, 128, 256)))
    phase = np.round(e.phase / step) * step
    return e._replace(phase=((phase + F(np.pi)) % F(2 * np.pi) - F(np.pi)).astype(F))


def unfiltered(e, rng):
    "Noise of few looks, alike everywhere, that no filter has smoothed."
    level = rng.uniform(0.2, 1.3)
    noise = rng.standard_normal((2, *e.phase.shape), dtype=F) * F(level / np.sqrt(2))
    phasor = np.exp(1j * e.phase) + noise[0] + 1j * noise[1]
    lower = e.coherence / F(np.sqrt(1 + level**2))
    return e._replace(phase=np.angle(phasor).astype(F), coherence=lower)


def sea(e, rng):
    "Filtered noise of low coherence over part of it; nothing there is visible."
    n = e.phase.shape[0]
    field = gaussian_filter(rng.standard_normal((n, n), dtype=F), rng.uniform(10, 40), mode="wrap")
    tilt = rng.uniform(0, 2 * np.pi)
    r, c = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j].astype(F)
    field = field / field.std() * F(rng.uniform(0.3, 1))
    field += F(2) * (np.cos(tilt) * r + np.sin(tilt) * c)
    wet = field > np.quantile(field[::4, ::4], 1 - rng.uniform(0.1, 1.0) ** 0.7)
    size = int(rng.choice((1, 2, 3, 5)))
    z = rng.standard_normal((2, n, n), dtype=F)
    for _ in range(2):
        z = uniform_filter(z, (0, size, size), mode="wrap")
    low = F(rng.uniform(0.02, 0.3)) + F(0.05) * rng.standard_normal((n, n), dtype=F)
    return Example(
        np.where(wet, np.arctan2(z[1], z[0]), e.phase).astype(F),
        np.where(wet, np.clip(low, 0.004, 1), e.coherence).astype(F),
        np.where(wet[..., None], np.int8(0), e.truth),
    )


CHANGES = {  # chance of each
    enlarged: 0.45,
    reduced: 0.2,
    coarser: 0.15,
    stretched: 0.12,
    sea: 0.12,
    unfiltered: 0.12,
    in_steps: 0.25,
}


def example(shards, backgrounds, rng, key, seed):
    "Channels (SIDE, SIDE, 3) and truth (SIDE, SIDE, 2) of one training example."
    from insar_seg.patches.augmentation import Patch, augment
    from insar_seg.patches.encoding import channels

    shard = shards[int(rng.integers(len(shards)))]
    i = int(rng.integers(SHARD))
    shown = (shard["truth"][i] > 0).any()
    if shown and backgrounds and rng.random() < 0.15:
        e = on_background(shard, i, backgrounds, rng)
    else:
        e = of_scene(shard, i)
    for change, chance in CHANGES.items():
        if rng.random() < chance:
            e = change(e, rng)
    if rng.random() < 0.2:
        e = e._replace(coherence=np.full_like(e.coherence, np.nan))
    changed = augment(Patch(*e), AUGMENTED, seed, key)
    return channels(changed.phase, changed.coherence, ENCODING), changed.truth


def batch(shards, backgrounds, seed, number, size):
    "Batch `number` of a seed, the same whenever it is asked for."
    rng = np.random.default_rng((seed, number))
    made = [example(shards, backgrounds, rng, (number, k), seed) for k in range(size)]
    return tuple(np.stack(part) for part in zip(*made))
