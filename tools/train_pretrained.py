#!/usr/bin/env python3
"""Train the network that comes with the package: simulate, train, fine-tune, choose, pack.

usage: train_pretrained.py WORK ARCHIVE [--splits nbs/findings/leaderboard/twin_splits.csv]
           [--scenes 3500] [--steps 2000] [--fine 4600] [--last 4000] [--workers 2] [--only STAGE]
       train_pretrained.py WORK ARCHIVE --experiments [--minutes 1.5]

WORK is a folder for intermediate files (1 MB a scene), ARCHIVE the simulated twin (insar-seg
simulate --profile twin). Stages, each skipped where its result is there: pool, archive, train,
fine, last, choose. The twin's test scenes are not opened. The log of the training goes to
nbs/findings/results/box_training.json; with --experiments nbs/findings/results/box_experiments.json
compares networks and inputs that were trained for the same time.
"""

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter, zoom

ROOT = Path(__file__).resolve().parent.parent
SIDE = 512
PIXEL_M = 200.0
SCALES = (1, 2, 4)
SEED = 777
F = np.float32
LAYERS = {"phase": np.int8, "coherence": np.uint8, "truth": np.int8}
AUGMENTED = ("turn", "sign", "ramp", "offset", "decorrelate", "drop_coherence", "cut_out")
EXPERIMENTS = {  # name -> network, width, encoding, scales
    "compact, 200, 400 and 800 m": ("compact", 1.0, "cos_sin_coherence", (1, 2, 4)),
    "compact, 200 and 400 m": ("compact", 1.0, "cos_sin_coherence", (1, 2)),
    "compact, half the filters": ("compact", 0.5, "cos_sin_coherence", (1, 2, 4)),
    "compact, twice the filters": ("compact", 2.0, "cos_sin_coherence", (1, 2, 4)),
    "compact, 200 m only": ("compact", 1.0, "cos_sin_coherence", (1,)),
    "compact, no coherence": ("compact", 1.0, "cos_sin_valid", (1, 2, 4)),
    "U-net VGG19, quarter of the filters, 400 m": ("unet_vgg19", 0.25, "cos_sin_coherence", (2,)),
}


# Scenes, as bytes: phase in 127ths of pi with -128 for no data, coherence in 255ths, truth 1, 0, -1
# (does not count)
def encode(phase, coherence, truth):
    ok = np.isfinite(phase)
    return {
        "phase": np.where(
            ok, np.clip(np.round(np.nan_to_num(phase) * (127 / np.pi)), -127, 127), -128
        ),
        "coherence": np.round(np.nan_to_num(coherence) * 255) * ok,
        "truth": np.where(ok, truth, -1),
    }


def decode(phase, coherence):
    ok = phase != -128
    return np.where(ok, phase.astype(F) * F(np.pi / 127), F(np.nan)), np.where(
        ok & (coherence > 0), coherence.astype(F) / F(255), F(np.nan)
    )


def opened(folder, name, count, dtype, shape=(SIDE, SIDE)):
    path = folder / f"{name}.npy"
    if not path.exists():
        np.lib.format.open_memmap(path, "w+", dtype, (count, *shape))
    return np.lib.format.open_memmap(path, "r+")


def simulate(job):
    """Every parts-th scene of the pool: 102 km a side, seven in ten with an earthquake, filtered
    over 3.2 km as LiCSAR does.
    """
    folder, count, part, parts = job
    from insar_seg.patches.samples import StreamOptions, sample

    arrays = {k: opened(folder, k, count, t) for k, t in LAYERS.items()}
    done = opened(folder, "done", count, np.uint8, ())
    options = StreamOptions(
        (SIDE, SIDE), (PIXEL_M, PIXEL_M), positive_share=0.7, distractor_share=0.6, filter_m=3200.0
    )
    for i in range(part, count, parts):
        if done[i]:
            continue
        s = sample(SEED, i, options)
        for k, a in encode(
            s.phase,
            s.coherence,
            np.where(s.masks.ignore > 0, np.int8(-1), s.masks.visible.astype(np.int8)),
        ).items():
            arrays[k][i] = a
        done[i] = 1 + bool(s.masks.visible.any())


def read_archive(folder, archive, splits):
    "The training and validation scenes of the twin, averaged to 200 m."
    import pandas as pd

    from insar_seg.interferograms.archive import Archive
    from insar_seg.maps.windows import Grid, area_shares, to_model
    from insar_seg.masks.truth import stored_masks

    folder.mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(splits, dtype=str, keep_default_na=False)
    split = {
        (r.frame, r.pair): r.split for r in table.itertuples() if r.split in ("train", "validation")
    }
    for pair in (p for p in Archive(archive).pairs if (p.frame, p.pair) in split):
        path = folder / f"{split[pair.frame, pair.pair]}_{pair.frame}_{pair.pair}.npz"
        if path.exists():
            continue
        scene = pair.read()
        masks = stored_masks(archive_of(pair), pair, scene)
        grid = Grid(scene.shape, scene.pixel_m, PIXEL_M)
        phase, coherence = to_model(grid, scene.phase, scene.coherence)
        down, across = (area_shares(n, m) for n, m in zip(grid.shape, grid.coarse))

        def most(mask, down=down, across=across):
            return (across @ (down @ mask.astype(F)).T).T >= 0.5

        made = encode(
            phase,
            coherence,
            np.where(most(masks.ignore), np.int8(-1), most(masks.visible).astype(np.int8)),
        )
        np.savez(path, **{k: made[k].astype(t) for k, t in LAYERS.items()}, event=pair.event_id)


def archive_of(pair):
    from insar_seg.interferograms.archive import Archive

    return Archive(pair.root)


class Pool:
    "Scenes on disk."

    def __init__(self, folder):
        self.arrays = {k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in LAYERS}
        done = np.load(folder / "done.npy")
        self.positive = np.flatnonzero(done == 2)
        self.negative = np.flatnonzero(done == 1)

    def scene(self, i):
        return (
            *decode(self.arrays["phase"][i], self.arrays["coherence"][i]),
            self.arrays["truth"][i],
        )


class Held:
    "Scenes of the archive, in memory."

    def __init__(self, folder, split):
        self.scenes = []
        for path in sorted(folder.glob(f"{split}_*.npz")):
            with np.load(path, allow_pickle=False) as f:
                self.scenes.append(tuple(f[k] for k in LAYERS))
        shown = np.array([(t > 0).any() for *_, t in self.scenes])
        self.positive = np.flatnonzero(shown)
        self.negative = np.flatnonzero(~shown)

    def scene(self, i):
        return (*decode(*self.scenes[i][:2]), self.scenes[i][2])


# What the network learns from
def halve(phase, coherence, truth=None):
    "The scene averaged over 2 x 2 pixels, as `multilook` of interferograms does it."
    h, w = (n // 2 * 2 for n in phase.shape)

    def total(a):
        return sum(a[i:h:2, j:w:2] for i in (0, 1) for j in (0, 1))

    ok = np.isfinite(phase)
    known = np.isfinite(coherence)
    angle = np.where(ok, phase, F(0))
    cc = np.where(known, coherence, F(0))
    weight = np.maximum(np.where(known, cc, F(0.05)), F(0.05)) * ok
    keep = total(ok.astype(F)) >= 2
    count = total(known.astype(F))
    p = np.where(
        keep, np.arctan2(total(np.sin(angle) * weight), total(np.cos(angle) * weight)), F(np.nan)
    )
    c = np.where(keep & (count > 0), total(cc) / np.maximum(count, 1), F(np.nan))
    if truth is None:
        return p, c, None
    return (
        p,
        c,
        np.where(
            keep,
            np.where(
                total((truth < 0).astype(np.int8)) >= 2, -1, total((truth > 0).astype(np.int8)) >= 2
            ),
            -1,
        ).astype(np.int8),
    )


def sea(patch, rng):
    """The patch with a sea of filtered noise of low coherence over part of it; nothing there is
    visible.
    """
    n = patch.phase.shape[0]
    field = gaussian_filter(rng.standard_normal((n, n), dtype=F), rng.uniform(10, 40), mode="wrap")
    tilt = rng.uniform(0, 2 * np.pi)
    r, c = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j].astype(F)
    field = field / field.std() * F(rng.uniform(0.3, 1)) + F(2) * (
        np.cos(tilt) * r + np.sin(tilt) * c
    )
    wet = (
        field > np.quantile(field[::4, ::4], 1 - rng.uniform(0.1, 1.0) ** 0.7)
        if rng.random() < 0.7
        else np.ones((n, n), bool)
    )
    size = int(rng.choice((1, 2, 3, 5)))
    z = rng.standard_normal((2, n, n), dtype=F)
    for _ in range(2):
        z = uniform_filter(z, (0, size, size), mode="wrap")
    cc = np.clip(
        F(rng.uniform(0.02, 0.3)) + F(0.05) * rng.standard_normal((n, n), dtype=F), 0.004, 1
    )
    seen = rng.random((n, n)) < rng.uniform(0.3, 1) if rng.random() < 0.3 else np.ones((n, n), bool)

    def put(new, old):
        return np.where(wet, np.where(seen, new, np.nan), old).astype(F)

    return type(patch)(
        put(np.arctan2(z[1], z[0]), patch.phase),
        put(cc, patch.coherence),
        np.where(wet, np.where(seen, 0, -1), patch.truth).astype(np.int8),
    )


def cut(a, row, column, size, fill):
    out = np.full((size, size), fill, a.dtype)
    h, w = a.shape
    r = slice(max(row, 0), min(row + size, h))
    c = slice(max(column, 0), min(column + size, w))
    out[r.start - row : r.stop - row, c.start - column : c.stop - column] = a[r, c]
    return out


def example(source, rng, key, size, scales, encoding, positive_share=0.6, sea_share=0.12):
    "Channels and truth of one training example."
    from insar_seg.patches.augmentation import Patch, augment
    from insar_seg.patches.encoding import channels

    positive = rng.random() < positive_share
    phase, coherence, truth = source.scene(
        int(rng.choice(source.positive if positive else source.negative))
    )
    for _ in range(int(np.log2(int(rng.choice(scales))))):
        phase, coherence, truth = halve(phase, coherence, truth)
    inside = []
    shown = np.argwhere(truth > 0) if positive and rng.random() < 0.75 else []
    for axis, n in enumerate(phase.shape):
        at = (
            int(shown[int(rng.integers(len(shown)))][axis])
            - int(rng.integers(size * 0.1, size * 0.9))
            if len(shown)
            else int(rng.integers(0, max(n - size, 0) + 1))
        )
        inside.append(int(np.clip(at, min(0, n - size), max(0, n - size))))
    patch = Patch(
        *(
            cut(a, *inside, size, fill)
            for a, fill in ((phase, np.nan), (coherence, np.nan), (truth, -1))
        )
    )
    if rng.random() < sea_share:
        patch = sea(patch, rng)
    patch = augment(patch, AUGMENTED, SEED, key)
    return channels(patch.phase, patch.coherence, encoding), patch.truth


def feed(queue, seed, folder, use, batch, size, scales, encoding, sea_share):
    """A process that fills a queue with batches, the same ones for the same seed. `use`: shares of
    the pool and the archive.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    rng = np.random.default_rng(seed)
    number = 0
    sources = [
        Pool(folder / "pool") if use[0] else None,
        Held(folder / "archive", "train") if use[1] else None,
    ]
    while True:
        scale = int(rng.choice(scales))
        # a whole scene is smaller than a window at the coarsest scale: more of them in a batch
        side = min(size, SIDE // scale)
        made = [
            example(
                sources[int(rng.random() >= use[0])],
                rng,
                (seed, number, k),
                side,
                (scale,),
                encoding,
                sea_share=sea_share,
            )
            for k in range(batch * (size // side) ** 2)
        ]
        queue.put((np.stack([x for x, _ in made]), np.stack([t for _, t in made])[..., None]))
        number += 1


# Training and validation
def answers(model, scenes, scales, encoding):
    "Yields probability at each scale, on the 200 m grid, data and truth of every scene."
    from insar_seg.patches.encoding import channels

    for i in range(len(scenes.scenes)):
        phase, coherence, truth = scenes.scene(i)
        out = []
        for n in scales:
            p, c = phase, coherence
            for _ in range(int(np.log2(n))):
                p, c, _ = halve(p, c)
            x = channels(p, c, encoding)
            x = np.pad(x, [(0, -s % 64) for s in x.shape[:2]] + [(0, 0)], mode="reflect")
            y = np.asarray(model.predict_on_batch(x[None]))[
                0, : p.shape[0], : p.shape[1], 0
            ].astype(F)
            out.append(zoom(y, np.divide(phase.shape, y.shape), order=1) if n > 1 else y)
        yield out, np.isfinite(phase), truth


def validate(model, scenes, scales, encoding):
    """Micro IoU at the best threshold and at 0.5, for each scale and for their mean; AUROC of
    scenes by their highest answers.
    """
    edges = np.linspace(0, 1, 201)
    names = [*map(str, scales), "mean"]
    tables = {n: np.zeros((2, 200)) for n in names}
    tops = []
    for out, data, truth in answers(model, scenes, scales, encoding):
        mean = np.mean(out, 0)
        for name, y in zip(names, [*out, mean]):
            for k in (0, 1):
                tables[name][k] += np.histogram(y[truth == k], edges)[0]
        tops.append((bool((truth > 0).any()), float(np.quantile(mean[data], 0.995))))
    told = {}
    for name, (no, yes) in tables.items():
        tp = yes[::-1].cumsum()[::-1]
        fp = no[::-1].cumsum()[::-1]
        iou = tp / (yes.sum() + fp)
        told[name] = {
            "iou": round(float(iou.max()), 4),
            "at": round(float(edges[iou.argmax()]), 3),
            "iou_half": round(float(iou[100]), 4),
        }
    tops = np.array(tops)
    high = tops[tops[:, 0] > 0, 1]
    low = tops[tops[:, 0] == 0, 1]
    return told | {
        "scene_auroc": round(
            float(((high[:, None] > low) + 0.5 * (high[:, None] == low)).mean()), 4
        )
    }


def fit(
    model,
    work,
    out,
    use,
    steps,
    rate,
    encoding="cos_sin_coherence",
    scales=(1, 2),
    batch=8,
    size=256,
    decay=True,
    every=500,
    seed=0,
    seconds=None,
    sea_share=0.12,
):
    """Train with AdamW; a rise of 200 steps, then constant, or down to a hundredth along a straight
    line. Returns the log.
    """
    import keras

    from insar_seg.networks.layers import loss_of

    def down(share):
        return max(0.01, 1 - share) if decay else 1.0

    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-4, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    model.compile(optimizer, loss=loss_of("bce_dice"))
    held = Held(work / "archive", "validation")
    context = multiprocessing.get_context("spawn")
    log = []
    losses = []
    seen = 0
    start = time.monotonic()
    held.scenes = held.scenes[::2]
    queue = context.Queue(4)
    process = context.Process(
        target=feed,
        args=(queue, seed, work, use, batch, size, scales, encoding, sea_share),
        daemon=True,
    )
    process.start()
    try:
        for step in range(1, steps + 1):
            share = (
                step / steps if seconds is None else min(1.0, (time.monotonic() - start) / seconds)
            )
            optimizer.learning_rate = rate * min(1.0, step / 200) * down(share)
            x, truth = queue.get()
            losses.append(float(model.train_on_batch(x, truth)))
            seen += len(x)
            if (every and step % every == 0) or step == steps or share >= 1:
                log.append(
                    {
                        "step": step,
                        "examples": seen,
                        "seconds": round(time.monotonic() - start),
                        "loss": round(float(np.mean(losses)), 4),
                        **validate(model, held, scales, encoding),
                    }
                )
                model.save_weights(out / "last.weights.h5")
                (out / "log.json").write_text(json.dumps(log, indent=1))
                print(json.dumps(log[-1]), flush=True)
                losses = []
            if seconds is not None and share >= 1:
                break
    finally:
        process.terminate()
    return log


def network(name="compact", width=1.0, encoding="cos_sin_coherence", half=True):
    from insar_seg.networks.build import Network, build_network, computing

    with computing("mixed_bfloat16" if half else "float32"):
        return build_network(Network(name, encoding, width=width), seed=0)


# What is chosen on validation scenes
def scene_maps(work, archive, splits, predictor, folder, split="validation"):
    """Uncalibrated probability of every scene of a split, on its own grid, kept as half-precision
    files.
    """
    from insar_seg.interferograms.archive import Archive
    from insar_seg.maps.windows import map_array
    from insar_seg.pipeline.leaderboard import select_pairs

    folder.mkdir(parents=True, exist_ok=True)
    pairs, units = select_pairs(Archive(archive), splits, split)
    for pair in pairs:
        path = folder / f"{pair.frame}_{pair.pair}.npy"
        if not path.exists():
            np.save(path, map_array(pair.read(), predictor).astype(np.float16))
    return pairs, units


def choose(work, archive, splits, predictor):
    """Calibrators, threshold, smallest area and smallest mean, and the model of whole scenes, from
    the twin's validation scenes; and the table behind the choice.
    """
    import dataclasses
    import tempfile

    import pandas as pd
    import rasterio
    from sklearn.linear_model import LogisticRegression

    from insar_seg.evaluation.benchmark import classes_of, score_scene
    from insar_seg.evaluation.curves import best_edge, fit_isotonic, histogram, merge, recalibrated
    from insar_seg.evaluation.objects import object_summary
    from insar_seg.interferograms.archive import Archive
    from insar_seg.maps.areas import find_areas, scene_features
    from insar_seg.masks.truth import stored_masks

    folder = work / "validation"
    unknown = dataclasses.replace(
        predictor,
        predict=lambda phase, coherence: predictor.predict(phase, np.full_like(coherence, np.nan)),
    )
    pairs, _ = scene_maps(work, archive, splits, predictor, folder)
    scene_maps(work, archive, splits, unknown, work / "validation_without_coherence")
    opened = Archive(archive)
    totals = np.zeros((2, 3, 1000), np.int64)
    held = []
    for pair in pairs:
        scene = pair.read()
        masks = stored_masks(opened, pair, scene)
        classes = classes_of(masks, scene.valid)
        if masks.hidden:
            classes[masks.margin > 0] = 255
        for total, where in zip(totals, (folder, work / "validation_without_coherence")):
            total += histogram(np.load(where / f"{pair.frame}_{pair.pair}.npy").astype(F), classes)
        held.append((pair, scene, masks))
    calibrator, without = (fit_isotonic(*merge(total, "visible")) for total in totals)
    threshold, micro = best_edge(*recalibrated(*merge(totals[0], "visible"), calibrator))
    micro_without = best_edge(*recalibrated(*merge(totals[1], "visible"), without))[1]
    threshold, rows, areas_of = round(threshold, 3), [], []
    with tempfile.TemporaryDirectory() as temporary:
        for pair, scene, masks in held:
            raw = np.load(folder / f"{pair.frame}_{pair.pair}.npy").astype(F)
            probability = np.where(np.isfinite(raw), calibrator(raw), np.nan).astype(F)
            raster = Path(temporary) / "map.tif"
            with rasterio.open(
                raster,
                "w",
                driver="GTiff",
                height=scene.shape[0],
                width=scene.shape[1],
                count=1,
                dtype="float32",
                crs=scene.crs,
                transform=scene.transform,
                nodata=np.nan,
            ) as dst:
                dst.write(probability, 1)
            areas = find_areas(
                raster,
                threshold,
                1.0,
                0.0,
                lambda a, b, c, d, scene=scene: (scene.phase[a:b, c:d], scene.coherence[a:b, c:d]),
            )
            areas_of.append((areas, bool(masks.visible.any())))
            known = {}
            pieces = pieces_of(probability, threshold, scene.pixel_m)
            for km2 in (1.0, 5.0, 10.0, 20.0):
                for mean in (0.0, *np.arange(0.5, 0.71, 0.02).round(2).tolist()):
                    kept, which = kept_pixels(pieces, km2, mean)
                    if which not in known:
                        known[which] = score_scene(
                            masks,
                            scene.valid,
                            {"box": kept},
                            scene.pixel_m,
                            "visible",
                            0.5,
                            edges=False,
                        )[0][0]
                    row = known[which]
                    rows.append(
                        {
                            **row,
                            "min_km2": km2,
                            "mean": mean,
                            "frame": pair.frame,
                            "pair": pair.pair,
                            "scene": f"{pair.frame}/{pair.pair}",
                            "event_id": pair.event_id,
                        }
                    )
    table = []
    for (km2, mean), part in pd.DataFrame(rows).groupby(["min_km2", "mean"]):
        o = object_summary(part.reset_index(drop=True))
        table.append(
            {
                "min_km2": km2,
                "mean": mean,
                "micro_iou": round(float(part.tp.sum() / (part.tp + part.fp + part.fn).sum()), 4),
                "quiet_scenes": o["quiet_scenes"],
                "quiet_scenes_marked": round(
                    float((part.false_objects[part.truth_km2 == 0] > 0).mean()), 4
                ),
                "earthquake_scenes": o["earthquake_scenes"],
                "found": int((part.found == 1).sum()),
                "false_objects": int(part.false_objects.sum()),
            }
        )
    # Youden's index
    best = max(
        table,
        key=lambda r: (
            round(r["found"] / r["earthquake_scenes"] - r["quiet_scenes_marked"], 6),
            r["micro_iou"],
            -r["min_km2"],
        ),
    )
    names = ["log10_area", "mean_probability", "peak_probability"]
    kept = [
        (a[(a.area_km2 >= best["min_km2"]) & (a.mean_probability >= best["mean"])], y)
        for a, y in areas_of
    ]
    x, y = (
        np.array([[scene_features(a)[n] for n in names] for a, _ in kept if len(a)]),
        np.array([y for a, y in kept if len(a)]),
    )
    scene = None
    if len(set(y.tolist())) == 2:
        model = LogisticRegression(C=1.0).fit(x, y)
        scene = {
            "names": names,
            "coefficients": model.coef_[0].round(5).tolist(),
            "intercept": round(float(model.intercept_[0]), 5),
            "threshold": 0.5,
        }
    return {
        "calibrator": calibrator.to_dict(),
        "calibrator_without_coherence": without.to_dict(),
        "threshold": threshold,
        "min_km2": best["min_km2"],
        "mean": best["mean"],
        "scene": scene,
    }, {
        "micro_iou": round(micro, 4),
        "micro_iou_without_coherence": round(micro_without, 4),
        "scenes": len(pairs),
        "table": table,
    }


def pieces_of(probability, threshold, pixel_m):
    "Labels of the pieces above a threshold, their areas (km2) and means."
    from scipy import ndimage

    p = np.nan_to_num(probability)
    labels, n = ndimage.label(p > threshold, np.ones((3, 3)))
    return (
        labels,
        np.bincount(labels.ravel(), minlength=n + 1)[1:] * np.prod(pixel_m) / 1e6,
        np.atleast_1d(ndimage.mean(p, labels, np.arange(1, n + 1))) if n else np.zeros(0),
    )


def kept_pixels(pieces, km2, mean):
    "0/1: pixels of the pieces that are large and sure enough; and which pieces these are."
    labels, areas, means = pieces
    good = (areas >= km2) & (means >= mean)
    return np.r_[False, good][labels].astype(F), tuple(np.flatnonzero(good).tolist())


def pack(model, work, mapping, training, data):
    "Weights in half precision and card into insar_seg/weights."
    from insar_seg.networks.build import Network
    from insar_seg.networks.weights import model_card, save_weights, write_card

    out = ROOT / "insar_seg/weights"
    out.mkdir(exist_ok=True)
    card = model_card(Network("compact", "cos_sin_coherence"), data, training)
    card["mapping"] = {
        "pixel_m": PIXEL_M,
        "size_px": SIDE,
        "overlap": 0.5,
        "scales": list(SCALES),
        **mapping,
    }
    save_weights(model, out / "best.weights.h5", True)
    write_card(out, card)


def experiments(work, minutes):
    "The same minutes for every network and input; the table of what came of it."
    import keras

    from insar_seg.core.base import code_version

    target = ROOT / "nbs/findings/results/box_experiments.json"
    rows = []
    for name, (kind, width, encoding, scales) in EXPERIMENTS.items():
        keras.backend.clear_session()
        model = network(kind, width, encoding)
        out = work / "experiments" / name
        out.mkdir(parents=True, exist_ok=True)
        log = fit(
            model,
            work,
            out,
            (1.0, 0.0),
            10**6,
            2e-3,
            encoding,
            scales,
            every=0,
            seconds=60 * minutes,
        )
        x = np.zeros((4, 512, 512, model.input_shape[-1]), F)
        plain = network(kind, width, encoding, half=False)
        plain.predict_on_batch(x)
        start = time.perf_counter()
        for _ in range(2):
            plain.predict_on_batch(x)
        rows.append(
            {
                "network": name,
                "parameters": model.count_params(),
                "scales": list(scales),
                "encoding": encoding,
                "megapixels_a_second": round(
                    2
                    * x[..., 0].size
                    / 1e6
                    / (time.perf_counter() - start)
                    / sum(1 / n**2 for n in scales),
                    2,
                ),
                **log[-1],
            }
        )
        target.write_text(
            json.dumps(
                {
                    "version": code_version(),
                    "minutes": minutes,
                    "cores": os.cpu_count(),
                    "rows": rows,
                },
                indent=1,
            )
            + "\n"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument(
        "--splits", type=Path, default=ROOT / "nbs/findings/leaderboard/twin_splits.csv"
    )
    parser.add_argument("--scenes", type=int, default=3500)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--fine", type=int, default=4600)
    parser.add_argument("--last", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=("pool", "archive", "train", "fine", "last", "choose"))
    parser.add_argument("--experiments", action="store_true")
    parser.add_argument("--minutes", type=float, default=1.5)
    args = parser.parse_args()
    from insar_seg.core.base import code_version

    def wanted(stage):
        return args.only in (None, stage)

    (args.work / "pool").mkdir(parents=True, exist_ok=True)
    if args.experiments:
        return experiments(args.work, args.minutes)
    if wanted("pool"):
        for k, t in LAYERS.items():
            opened(args.work / "pool", k, args.scenes, t)
        opened(args.work / "pool", "done", args.scenes, np.uint8, ())
        with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
            pool.map(
                simulate,
                [(args.work / "pool", args.scenes, k, args.workers) for k in range(args.workers)],
                1,
            )
    if wanted("archive"):
        read_archive(args.work / "archive", args.archive, args.splits)
    # shares of pool and archive, steps, rate, decay, share of seas
    stages = {
        "train": ((1.0, 0.0), args.steps, 2e-3, False, 0.12),
        "fine": ((0.75, 0.25), args.fine, 1.5e-3, True, 0.25),
        "last": ((0.75, 0.25), args.last, 1.2e-3, True, 0.2),
    }
    for stage, (use, steps, rate, decay, share) in stages.items():
        out = args.work / stage
        if not wanted(stage) or (out / "log.json").exists():
            continue
        out.mkdir(parents=True, exist_ok=True)
        model = network()
        before = list(stages).index(stage) - 1
        if before >= 0:
            model.load_weights(args.work / list(stages)[before] / "last.weights.h5")
        fit(
            model,
            args.work,
            out,
            use,
            steps,
            rate,
            decay=decay,
            seed=list(stages).index(stage),
            sea_share=share,
            scales=SCALES if stage == "last" else SCALES[:2],
        )
    if not wanted("choose"):
        return
    from insar_seg.maps.predictor import load_predictor

    model = network(half=False)
    model.load_weights(args.work / "last/last.weights.h5")
    pool = Pool(args.work / "pool")
    twin = Held(args.work / "archive", "train")
    logs = {stage: json.loads((args.work / stage / "log.json").read_text()) for stage in stages}
    data = {
        "masks": "visible",
        "patches": {"size_px": 256, "multilook": 2, "overlap": 0.5},
        "simulated_scenes": len(pool.positive) + len(pool.negative),
        "with_visible_earthquake": len(pool.positive),
        "twin_train_scenes": len(twin.scenes),
        "scene_km": SIDE * PIXEL_M / 1000,
    }
    training = {
        "profile": "box",
        "seed": SEED,
        "optimizer": "AdamW",
        "loss": "bce_dice",
        "augmentation": [*AUGMENTED, "sea"],
        "precision": "mixed_bfloat16",
        "stages": {
            k: {
                "steps": v[-1]["step"],
                "examples": v[-1]["examples"],
                "seconds": v[-1]["seconds"],
                "rate": stages[k][2],
            }
            for k, v in logs.items()
        },
    }
    pack(model, args.work, {"threshold": 0.5, "min_km2": 1.0, "mean": 0.0}, training, data)
    mapping, chosen = choose(args.work, args.archive, args.splits, load_predictor())
    pack(model, args.work, mapping, training, data)
    out = {
        "version": code_version(),
        "data": data,
        "training": training,
        "logs": logs,
        "choice": {
            **{k: v for k, v in mapping.items() if not k.startswith("calibrator")},
            **chosen,
        },
    }
    (ROOT / "nbs/findings/results/box_training.json").write_text(json.dumps(out, indent=1) + "\n")
    print(
        json.dumps({k: v for k, v in mapping.items() if not k.startswith("calibrator")}),
        chosen["micro_iou"],
    )


if __name__ == "__main__":
    main()
