#!/usr/bin/env python3
"""Fit the numbers with which the pairs of an earthquake become one map, and say what fusion gains.

usage: fit_fusion.py ARCHIVE MAPS [--splits CSV --split validation] [--write FILE]
                     [--evaluate FILE] [--keep-curve THRESHOLD]

ARCHIVE is a simulated one with masks, MAPS the folder of `insar-seg map ARCHIVE --out MAPS`.
Fits on all events of the archive, or on those of one split, and with --write stores the table as
fusion.json wants it. --evaluate fits on all events but one group at a time, scores that group, and
writes a table: each rule that was tried, what more pairs bring, what quiet pairs are made of,
calibration; with intervals over events.

The truth of an event is the union of its pairs' margin masks. A rule sees each pair's probability
only; each gets a logistic curve and a threshold of its own on the events it is fitted on.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from scipy.optimize import minimize
from scipy.special import expit, logit

STEP = 3  # every third row and column
LEAST_KM2 = 1.0  # smaller pieces do not count
COUNTS = (1, 2, 4, 8, 16)
FITTED = ("shared_date", "shared_frame", "decorrelation", "per_month", "growth", "slope", "offset")
SMALLEST = 1e-4  # probability of one pair
START = (-0.7, -0.7, 0.0, -1.6, 0.0, 0.0, 0.0)  # of the fit, see `natural`


@dataclass
class Frame:
    "The pairs of a frame, on thinned pixels."

    pairs: list  # of EventPair, the best first
    odds: np.ndarray  # (n, pixels)
    coherence: list
    truth: np.ndarray  # (pixels,) bool


@dataclass
class Event:
    "One earthquake: co-seismic pairs, and those without it."

    event_id: str
    magnitude: float
    shape: tuple  # of the thinned grid
    pixel_km2: float
    truth: np.ndarray  # (pixels,) bool: of any frame
    frames: list = field(default_factory=list)
    quiet: list = field(default_factory=list)


def read_thin(path):
    "Every third pixel of a raster."
    with rasterio.open(path) as src:
        return src.read(1)[::STEP, ::STEP]


def event_pair(pair, kind):
    from insar_seg.events.pairs import EventPair

    return EventPair(**vars(pair), kind=kind)


def read_frame(archive, maps, pairs, rows):
    "A frame's stack."
    from insar_seg.events.fusion import log_odds

    stack = [log_odds(read_thin(maps / p.frame / f"{p.pair}.probability.tif")) for p in pairs]
    masks = [read_thin(archive.mask_path(p, "margin")) > 0 for p in pairs]
    known = [rows[p.key] for p in pairs]
    odds = np.stack([o.ravel() for o in stack])
    return Frame(pairs, odds, known, np.any(masks, axis=0).ravel()), stack[0].shape


def read_events(archive, maps, wanted=None):
    "The events whose pairs are mapped."
    from insar_seg.interferograms.archive import pair_dates

    found = []
    for event_id in archive.events.index:
        if wanted is not None and event_id not in wanted:
            continue
        mine = [p for p in archive.pairs if p.event_id == event_id and p.coseismic]
        frames = sorted({p.frame for p in mine})
        others = [p for p in archive.pairs if p.frame in frames and not p.coseismic]
        if not mine:
            continue
        rows = {p.key: map_coherence(maps, p) for p in [*mine, *others]}
        magnitude = float(archive.events.magnitude[event_id])
        event = Event(event_id, magnitude, (), STEP**2 * pixel_km2(maps, mine[0]), np.zeros(1))
        for pool, into, kind in (
            (mine, event.frames, "coseismic"),
            (others, event.quiet, "preseismic"),
        ):
            for frame in frames:
                group = [event_pair(p, kind) for p in pool if p.frame == frame]
                group.sort(key=lambda p: np.ptp([d.toordinal() for d in pair_dates(p.pair)]))
                if group:
                    made, event.shape = read_frame(archive, maps, group, rows)
                    into.append(made)
        event.truth = np.any([f.truth for f in event.frames], axis=0)
        found.append(event)
    return found


def map_coherence(maps, pair):
    "Mean coherence of a pair, as its map says."
    text = (maps / pair.frame / f"{pair.pair}.geojson").read_text(encoding="utf-8")
    scene = json.loads(text)["scene"]
    return scene["mean_coherence"] or scene["mean_phase_smoothness"] or 0.5


def pixel_km2(maps, pair):
    from insar_seg.events.fusion import EventGrid

    with rasterio.open(maps / pair.frame / f"{pair.pair}.probability.tif") as src:
        return float(np.prod(EventGrid(src.shape, src.crs, src.transform).pixel_m)) / 1e6


# ---- the fit


def table_of(values, strongest=0.5, threshold=0.5):
    "A FusionTable of the numbers that the fit moves."
    from insar_seg.events.fusion import FusionTable

    named = dict(zip(FITTED, map(float, values)))
    fixed = {"strongest": strongest, "threshold": threshold, "mean": 0.6, "made_of": ""}
    return FusionTable(**named, **fixed)


def fused_frame(frame, table, most=None):
    "Log odds of a frame by generalised least squares, of its first pairs."
    from insar_seg.events.fusion import covariance_of, fuse_pairs

    n = len(frame.pairs) if most is None else max(1, min(most, len(frame.pairs)))
    covariance = covariance_of(frame.pairs[:n], frame.coherence[:n], table)
    return fuse_pairs(frame.odds[:n], covariance, table)


def loss(odds, truth):
    "Mean log loss of the pixels that were seen."
    good = np.isfinite(odds)
    each = np.logaddexp(0, np.where(truth, -odds, odds)[good])
    return float(each.mean()) if len(each) else 0.0


def natural(raw):
    "The numbers in their bounds from numbers without bounds."
    values = np.array(raw, float)
    values[:4] = np.exp(np.clip(values[:4], -6, 3))
    values[4] = expit(values[4])
    values[5] = np.exp(np.clip(values[5], -3, 3))
    return values


def fit(events, thin=7):
    "A FusionTable for these events."
    frames = [f for e in events for f in e.frames]
    few = [Frame(f.pairs, f.odds[:, ::thin], f.coherence, f.truth[::thin]) for f in frames]

    def cost(raw):
        table = table_of(natural(raw))
        losses = []
        for frame in few:
            # one, two and all pairs: what the number of pairs is worth is learnt from it
            for most in {1, 2, len(frame.pairs)}:
                losses.append(loss(fused_frame(frame, table, most), frame.truth))
        # a pull to moderate numbers, where a small archive does not tell
        return float(np.mean(losses)) + 1e-3 * float(np.sum(np.square(np.subtract(raw, START))))

    best = minimize(
        cost, START, method="Nelder-Mead", options={"maxiter": 400, "xatol": 0.02, "fatol": 1e-5}
    )
    values = natural(best.x)
    shares = np.linspace(0, 1, 11)
    losses = [event_loss(events, table_of(values, s)) for s in shares]
    table = table_of(values, float(shares[int(np.argmin(losses))]))
    return table.model_copy(update={"threshold": best_threshold(events, gls_rule(table))})


def event_loss(events, table):
    return float(np.mean([loss(gls_rule(table)(e.frames), e.truth) for e in events]))


# ---- the rules: frames -> log odds (pixels,)


def gls_rule(table, most=None):
    def rule(frames):
        from insar_seg.events.fusion import fuse_passes

        n = [None] * len(frames) if most is None else shares_of(most, len(frames))
        used = [fused_frame(f, table, k) for f, k in zip(frames, n) if k != 0]
        return fuse_passes(np.stack(used), table)

    return rule


def shares_of(most, frames):
    "How many pairs of each frame, passes in turn."
    return [most // frames + (i < most % frames) for i in range(frames)]


def simple_rule(how):
    "Mean, median, or the best pair alone, over all pairs of all frames."

    def rule(frames):
        odds = np.concatenate([f.odds for f in frames])
        if how == "best single":
            return odds[0]
        good = np.isfinite(odds).any(0)
        some = np.where(good, odds, 0)
        made = np.nanmean(some, 0) if how == "mean" else np.nanmedian(some, 0)
        return np.where(good, made, np.nan)

    return rule


def features(frames):
    "What a learnt rule sees of a pixel: mean, median, largest, smallest, number; (pixels, 5)."
    odds = np.concatenate([f.odds for f in frames])
    good = np.isfinite(odds).any(0)
    some = np.where(good, odds, 0)
    parts = [np.nanmean(some, 0), np.nanmedian(some, 0), np.nanmax(some, 0), np.nanmin(some, 0)]
    return np.stack([*parts, np.log(np.isfinite(odds).sum(0).clip(1))], 1), good


def learnt_rule(events, model, thin=7):
    "A classifier over the stacked pairs, fitted on events."
    parts = [(features(e.frames), e.truth) for e in events]
    x = np.concatenate([f[good][::thin] for (f, good), _ in parts])
    y = np.concatenate([t[good][::thin] for (_, good), t in parts])
    model.fit(x, y)

    def rule(frames):
        f, good = features(frames)
        odds = np.full(len(f), np.nan)
        odds[good] = logit(model.predict_proba(f[good])[:, 1].clip(SMALLEST, 1 - SMALLEST))
        return odds

    return rule


def calibrated(rule, events):
    "The rule with a logistic curve fitted on events."

    def cost(x):
        return np.mean([loss(np.exp(x[0]) * odds + x[1], e.truth) for odds, e in found])

    found = [(rule(e.frames), e) for e in events]
    x = minimize(cost, [0.0, 0.0], method="Nelder-Mead", options={"maxiter": 120}).x
    return lambda frames: np.exp(x[0]) * rule(frames) + x[1]


def best_threshold(events, rule):
    "The threshold whose mean IoU over events is largest."
    found = [(expit(rule(e.frames)), e.truth) for e in events]
    steps = np.arange(0.1, 0.91, 0.02)
    scores = [np.mean([iou(p > t, truth) for p, truth in found]) for t in steps]
    return round(float(steps[int(np.argmax(scores))]), 2)


def rules_of(events):
    "name -> (rule, threshold), fitted on events."
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    table = fit(events)
    rules = {"least squares": (gls_rule(table), table.threshold)}
    made = {
        name: calibrated(simple_rule(name), events) for name in ("best single", "mean", "median")
    }
    made["logistic over pairs"] = learnt_rule(events, LogisticRegression(max_iter=500))
    network = MLPClassifier((8,), max_iter=60, random_state=0)
    made["small network over pairs"] = learnt_rule(events, network)
    rules |= {name: (rule, best_threshold(events, rule)) for name, rule in made.items()}
    for n in COUNTS:
        rules[f"least squares, {n} pairs"] = (gls_rule(table, n), table.threshold)
    return rules


# ---- scores


def iou(mark, truth):
    union = (mark | truth).sum()
    return float((mark & truth).sum() / union) if union else 1.0


def without_specks(mark, event):
    "The marked pixels in pieces of a square kilometre or more."
    from scipy import ndimage

    labels, n = ndimage.label(mark.reshape(event.shape), np.ones((3, 3)))
    size = np.bincount(labels.ravel(), minlength=n + 1) * event.pixel_km2
    size[0] = 0
    return (size >= LEAST_KM2)[labels].ravel(), int((size >= LEAST_KM2).sum())


def score(event, rule, threshold):
    "One event by one rule."
    odds = rule(event.frames)
    mark, _ = without_specks(expit(odds) > threshold, event)
    truth = event.truth & np.isfinite(odds)
    both = float((mark & truth).sum())
    row = {"iou": iou(mark, truth), "dice": 2 * both / max(float(mark.sum() + truth.sum()), 1)}
    row["found"] = both > 0.1 * truth.sum()
    row["log_loss"] = loss(odds, event.truth)
    row["bins"] = [histogram(odds, event.truth)]
    row["false_areas"] = float("nan")
    if event.quiet:
        _, row["false_areas"] = without_specks(expit(rule(event.quiet)) > threshold, event)
    return row


def histogram(odds, truth, n=10):
    "Pixels, sum of probability and of truth in tenths of probability."
    p = expit(odds[np.isfinite(odds)])
    t = truth[np.isfinite(odds)]
    where = np.minimum((p * n).astype(int), n - 1)
    return [np.bincount(where, w, n).tolist() for w in (None, p, t)]


def ece(rows):
    "Expected calibration error of all events together."
    count, p, t = np.sum([row["bins"][0] for row in rows], axis=0)
    return float(np.abs(p - t).sum() / count.sum())


def interval(values, seed=0, n=2000):
    "Mean and its 95 % interval over events."
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return [None] * 3
    picks = np.random.default_rng(seed).integers(0, len(values), (n, len(values)))
    low, high = np.percentile(values[picks].mean(1), [2.5, 97.5])
    return [round(float(v), 4) for v in (values.mean(), low, high)]


def evaluate(events, folds):
    "Every rule on every event, fitted on the events of the other folds."
    rows = {}
    for k in range(folds):
        test = events[k::folds]
        train = [e for e in events if e not in test]
        for name, (rule, threshold) in rules_of(train).items():
            for event in test:
                least = int(name.split(", ")[1].split()[0]) if ", " in name else 0
                if sum(len(f.pairs) for f in event.frames) < least:
                    continue
                rows.setdefault(name, {})[event.event_id] = score(event, rule, threshold)
        print(f"group {k + 1} of {folds}", flush=True)
    return rows


def report(events, rows):
    "The table as plain JSON."
    ours = rows["least squares"]
    magnitude = {e.event_id: e.magnitude for e in events}
    made = {}
    for name, by_event in rows.items():
        scores = list(by_event.values())
        row = {
            key: interval([s[key] for s in scores])
            for key in ("iou", "dice", "log_loss", "false_areas")
        }
        shared = [i for i in by_event if i in ours]
        row["iou_less_than_least_squares"] = interval(
            [ours[i]["iou"] - by_event[i]["iou"] for i in shared]
        )
        found = {i: s["found"] for i, s in by_event.items()}
        for low, high in ((0, 5.8), (5.8, 6.3), (6.3, 9)):
            group = [found[i] for i in found if low <= magnitude[i] < high]
            row[f"found_m{low:g}_to_{high:g}"] = [int(sum(group)), len(group)]
        made[name] = row | {"events": len(scores), "ece": round(ece(scores), 4)}
    return made


def show(made):
    "The table for the terminal."
    print(f"{'rule':28} events  IoU [95 %]            Dice   ECE    false  gain of ours [95 %]")
    for name, row in made.items():
        mean, low, high = row["iou"]
        gain = row["iou_less_than_least_squares"]
        text = f"{name:28} {row['events']:>6}  {mean:.3f} [{low:.3f}, {high:.3f}]"
        text += f"  {row['dice'][0]:.3f}  {row['ece']:.3f}  {row['false_areas'][0] or 0:>5.2f}"
        print(text + f"  {gain[0]:+.3f} [{gain[1]:+.3f}, {gain[2]:+.3f}]")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path)
    parser.add_argument("maps", type=Path)
    parser.add_argument("--splits", type=Path, help="csv with event_id and split")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--write", type=Path, help="where the table goes")
    parser.add_argument("--evaluate", type=Path, help="where the scores go")
    parser.add_argument(
        "--keep-curve",
        type=float,
        metavar="THRESHOLD",
        help="keep the network's own calibration and this threshold: where scenes are small, a"
        " larger share of them is affected than of a frame, and would be learnt",
    )
    parser.add_argument("--folds", type=int, default=5, help="groups of events (default: 5)")
    args = parser.parse_args()
    import pandas as pd

    from insar_seg.core.base import code_version, write_text
    from insar_seg.interferograms.archive import Archive

    wanted = None
    if args.splits:
        splits = pd.read_csv(args.splits, dtype=str)
        wanted = set(splits.event_id[splits.split == args.split])
    events = read_events(Archive(args.archive), args.maps, wanted)
    pairs = sum(len(f.pairs) for e in events for f in e.frames)
    made_of = f"{len(events)} simulated earthquakes with {pairs} co-seismic pairs"
    print(made_of)
    if args.write:
        table = fit(events).model_dump()
        if args.keep_curve is not None:
            table |= {"slope": 1.0, "offset": 0.0, "threshold": args.keep_curve}
        table = {k: round(v, 4) if isinstance(v, float) else v for k, v in table.items()}
        kept = "" if args.keep_curve is None else "; curve and threshold are the network's own"
        table["made_of"] = f"{made_of}, by tools/fit_fusion.py{kept}"
        write_text(args.write, json.dumps(table, indent=1) + "\n")
        print(table)
    if args.evaluate:
        made = report(events, evaluate(events, min(args.folds, len(events))))
        show(made)
        text = json.dumps({"made_of": made_of, "version": code_version(), "rules": made}, indent=1)
        write_text(args.evaluate, text + "\n")


if __name__ == "__main__":
    main()
