#!/usr/bin/env python3
"""Score a network as `insar-seg map` uses it, areas and verdicts included, on the twin's test
scenes and on the real interferograms that chose its rules (its weights have seen none of them but
two quiet ones).

usage: box_evaluation.py ARCHIVE REAL [--splits nbs/findings/leaderboard/twin_splits.csv]
    [--model pretrained]

Writes nbs/findings/results/box.json, nbs/findings/images/box_twin.jpg, box_real.jpg and
box_quiet.jpg, and the scores into the card of the pretrained network. REAL holds what
tools/pretraining/real.py names. Every scene is scored on its own grid, by the loop of `insar-seg
evaluate`; a pixel is marked where it belongs to an area of the map.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools" / "pretraining"))
from real import iou, negatives, positives

BARS = {  # what is aimed at, mean over two analysts
    "thessaly": 0.75,
    "khost": 0.62,
    "dinar": 0.70,
    "tiles": 0.55,
    "found": 11,
    "quiet_tiles_sure": 1,
}
SIDE = 320  # pixels of a scene in a picture, about


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument(
        "--splits", type=Path, default=ROOT / "nbs/findings/leaderboard/twin_splits.csv"
    )
    parser.add_argument("--model", default="pretrained")
    args = parser.parse_args()
    from insar_seg.core.base import code_version
    from insar_seg.evaluation.pixels import to_json_ready
    from insar_seg.maps.mapper import MapOptions, predictor_of
    from insar_seg.maps.predictor import PRETRAINED

    predictor = predictor_of(MapOptions((args.model,)))
    out = {
        "version": code_version(),
        "model": {
            "name": predictor.name,
            "version": predictor.version,
            "thresholds": list(predictor.thresholds),
            "min_km2": predictor.min_km2,
        },
        "bars": BARS,
        "real": real_scores(predictor, args.real),
        "twin": twin_scores(predictor, args.archive, args.splits),
    }
    out = to_json_ready(out)
    target = ROOT / "nbs/findings/results/box.json"
    target.write_text(json.dumps(out, indent=1, allow_nan=False) + "\n")
    if predictor.name == PRETRAINED:
        tell_card(out)
    print(json.dumps({"twin": out["twin"]["box"]["micro"], "real": out["real"]["mean"]}))


# Real scenes
def real_scores(predictor, real):
    "Of each scene IoU with two analysts or what is marked, and the verdict; pictures beside it."
    from insar_seg.maps.mapper import map_interferogram

    out = {"earthquakes": {}, "quiet": {}}
    drawn = []
    for name, scene, outlines in positives(real):
        m = map_interferogram(scene, predictor)
        out["earthquakes"][name] = {
            "iou": [round(iou(m.mask, o), 4) for o in outlines],
            "between_analysts": round(iou(*outlines), 4),
            **told(m),
        }
        score = np.mean(out["earthquakes"][name]["iou"])
        drawn.append((f"{short(name)}, IoU {score:.2f}\n{said(m)}", scene, outlines, m))
        print(drawn[-1][0], flush=True)
    draw(drawn, ROOT / "nbs/findings/images/box_real.jpg")
    drawn = []
    for name, scene in negatives(real):
        m = map_interferogram(scene, predictor)
        out["quiet"][name] = {"scene_km2": km2(scene.valid, scene), **told(m)}
        drawn.append((f"{short(name)}\n{said(m)}", scene, [], m))
        print(drawn[-1][0], flush=True)
    draw(drawn, ROOT / "nbs/findings/images/box_quiet.jpg")
    return out | {"mean": means(out)}


def told(m):
    areas = m.areas
    return {
        "verdict": m.verdict["verdict"],
        "score": m.verdict["score"],
        "reason": m.verdict["reason"],
        "marked_km2": km2(m.mask, m.scene),
        "areas": len(areas),
        "sure_areas": int(areas.sure.sum()),
    }


def said(m):
    return m.verdict["verdict"]


def short(name):
    return name.replace("tile_", "tile ").replace("_20190109_20190121", "").replace("_", " ")


def km2(mask, scene):
    return round(float((mask & scene.valid).sum() * np.prod(scene.pixel_m) / 1e6), 1)


def means(out):
    "Mean IoU of the scenes and of the tiles, how many are found, and what is sure where none is."
    quakes = {name: np.mean(e["iou"]) for name, e in out["earthquakes"].items()}
    tiles = [v for name, v in quakes.items() if name.startswith("tile")]
    quiet_tiles = [e for name, e in out["quiet"].items() if name.startswith("quiet_")]
    return {
        "iou": round(float(np.mean(list(quakes.values()))), 4),
        "tiles": round(float(np.mean(tiles)), 4),
        "found": sum(v >= 0.1 for v in quakes.values()),
        "said_to_show_an_earthquake": sum(
            e["verdict"] == "deformation" for e in out["earthquakes"].values()
        ),
        "quiet_said_to_show_an_earthquake": sum(
            e["verdict"] == "deformation" for e in out["quiet"].values()
        ),
        "quiet_tiles_sure": sum(e["verdict"] == "deformation" for e in quiet_tiles),
        "quiet_tiles_outlined": sum(e["areas"] > 0 for e in quiet_tiles),
    }


# The twin's test scenes
def twin_scores(predictor, archive, splits):
    "Scores of the areas, found earthquakes, false ones, verdicts; the picture of some scenes."
    import pandas as pd

    from insar_seg.evaluation.difficulty import scene_facts
    from insar_seg.interferograms.archive import Archive
    from insar_seg.pipeline.leaderboard import select_pairs
    from insar_seg.pipeline.run import write_truth
    from insar_seg.pipeline.scoring import known_scenes, score_maps

    archive = Archive(archive)
    pairs, units = select_pairs(archive, splits, "test")
    facts = scene_facts(archive)
    verdicts = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        write_truth(Path(work), archive, pairs)
        scenes = known_scenes(work, archive, units)
        maps_of = mapping(predictor, facts, verdicts)
        table = score_maps(scenes, {"visible": maps_of}, predictor.threshold)["visible"]
        seconds = time.monotonic() - start
        rows = table.of("box").merge(pd.DataFrame(verdicts), on=["frame", "pair"])
        draw_twin(predictor, rows, work, archive, units)
    return {
        "scenes": len(rows),
        "seconds_a_scene": round(seconds / len(rows), 2),
        **summary(table, rows),
    }


def mapping(predictor, facts, verdicts):
    "Function of a known scene to what is scored; verdicts are added to the list."
    from insar_seg.maps.mapper import map_interferogram

    def maps_of(s):
        m = map_interferogram(s.scene, predictor)
        f = facts.loc[(s.pair.frame, s.pair.pair)]
        verdicts.append(
            {
                "frame": s.pair.frame,
                "pair": s.pair.pair,
                "magnitude": f.magnitude,
                "kind": str(f.kind),
                "peak_los_mm": f.peak_los_mm,
                "verdict": m.verdict["verdict"],
                "areas": len(m.areas),
            }
        )
        low = np.minimum(m.probability, np.float32(predictor.threshold))
        # what no area holds is not marked
        return {
            "box": np.where(m.mask, np.maximum(m.probability, predictor.threshold + 0.001), low)
        }

    return maps_of


def summary(table, rows):
    from insar_seg.evaluation.benchmark import scores_of
    from insar_seg.evaluation.difficulty import detection_limit

    seen = rows[rows.truth_objects > 0]
    large = seen[seen.magnitude >= 6]
    calm = rows[rows.truth_km2 == 0]
    yes = "deformation"
    return {
        "box": scores_of(table, "box"),
        "found_magnitude_6": {
            "scenes": len(large),
            "found": int(large.found.sum()),
            "verdict_yes": int((large.verdict == yes).sum()),
            "events": int(large.event_id.nunique()),
            "events_found": int(large[large.found == 1].event_id.nunique()),
        },
        "quiet": {
            "scenes": len(calm),
            "marked": int((calm.areas > 0).sum()),
            "verdict_yes": int((calm.verdict == yes).sum()),
            "by_kind": {
                kind: [int((g.areas > 0).sum()), int((g.verdict == yes).sum()), len(g)]
                for kind, g in calm.groupby("kind")
            },
        },
        "events": {
            event: {
                "magnitude": float(g.magnitude.iloc[0]),
                "scenes": int((g.truth_objects > 0).sum()),
                "found": int(g.found[g.truth_objects > 0].sum()),
                "iou": float(g.tp.sum() / max(1, (g.tp + g.fp + g.fn).sum())),
            }
            for event, g in rows[rows.event_id != ""].groupby("event_id")
        },
        "detection_limit_mm": detection_limit(
            rows.peak_los_mm, rows.found.where(rows.truth_objects > 0), rows.event_id
        )["limits"],
    }


def draw_twin(predictor, rows, work, archive, units):
    from insar_seg.evaluation.benchmark import gallery_rows
    from insar_seg.maps.mapper import map_interferogram
    from insar_seg.pipeline.scoring import known_scenes

    drawn = []
    for i, title in gallery_rows(rows):
        key = f"{rows.frame[i]}/{rows['pair'][i]}"
        known = next(known_scenes(work, archive, {key: units[key]}))
        about = f"{title}\n{known.pair.event_id or rows.kind[i]}"
        mapped = map_interferogram(known.scene, predictor)
        drawn.append((about, known.scene, [known.masks.visible], mapped))
    draw(drawn, ROOT / "nbs/findings/images/box_twin.jpg")


# Pictures and card
def draw(drawn, target, columns=6):
    "Phase above, probability and outlines below: analysts white and black, areas red."
    from insar_seg.pipeline.report import figure

    rows = -(-len(drawn) // columns)
    fig, axes = figure(2 * rows, columns, (1.9 * columns, 4.3 * rows))
    for ax in axes.ravel():
        ax.set_axis_off()
    for k, (title, scene, outlines, m) in enumerate(drawn):
        pair = axes[2 * (k // columns) : 2 * (k // columns) + 2, k % columns]
        step = (slice(None, None, max(1, max(scene.shape) // SIDE)),) * 2
        show(pair[0], scene.phase[step], ("hsv", -np.pi, np.pi))
        show(pair[1], np.where(scene.valid, m.probability, np.nan)[step], ("viridis", 0, 1))
        for ax in pair:
            for mask, colour in (*zip(outlines, "kw"), (m.mask, "r")):
                if mask.any():
                    ax.contour(mask[step], [0.5], colors=colour, linewidths=1)
            ax.set_aspect(scene.pixel_m[0] / scene.pixel_m[1])
        pair[0].set_title(title, fontsize=8)
    save(fig, target)


def show(ax, layer, colours):
    name, low, high = colours
    ax.set_axis_on()
    ax.imshow(layer, cmap=name, vmin=low, vmax=high, interpolation="nearest")
    ax.set(xticks=[], yticks=[], facecolor="0.85")


def save(fig, target):
    import PIL.Image

    from insar_seg.pipeline.report import save_figure

    with tempfile.TemporaryDirectory() as folder:
        save_figure(fig, Path(folder) / "a.png", 60)
        with PIL.Image.open(Path(folder) / "a.png") as picture:
            picture.convert("RGB").save(target, quality=75)


def tell_card(out):
    "The scores in the card of the package's network."
    from insar_seg.maps.predictor import pretrained_folder
    from insar_seg.networks.weights import read_card, write_card

    twin = out["twin"]
    card = read_card(pretrained_folder())
    card["scores"] = {
        "twin test scenes": {
            "scenes": twin["scenes"],
            "micro": twin["box"]["micro"],
            "interval_95": twin["box"]["interval_95"],
            "found_magnitude_6": twin["found_magnitude_6"],
            "quiet": {k: v for k, v in twin["quiet"].items() if k != "by_kind"},
        },
        "real scenes that chose its rules": out["real"]["mean"],
    }
    write_card(pretrained_folder(), card)


if __name__ == "__main__":
    main()
