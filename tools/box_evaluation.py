#!/usr/bin/env python3
"""Score a network as `insar-seg map` uses it, areas and verdicts included, on the twin's test
scenes and on real interferograms that played no part in it.

usage: box_evaluation.py ARCHIVE REAL [--splits nbs/findings/leaderboard/twin_splits.csv]
    [--model pretrained]

Writes nbs/findings/results/box.json, nbs/findings/images/box_twin.jpg and
nbs/findings/images/box_real.jpg, and the scores into the card of the pretrained network. REAL
holds archive/, other/ and masks/ as for real_evaluation.py. Every scene is
scored on its own grid, by the loop of `insar-seg evaluate`; a pixel is marked where it belongs
to an area of the map.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from real_evaluation import EARTHQUAKES, LANDMASK, QUIET, scores

BARS = {
    "micro_iou": 0.70,
    "micro_dice": 0.80,
    "found_magnitude_6": 0.95,
    "quiet_marked": 0.05,
    "thessaly_iou": 0.6,
    "dinar_iou": 0.6,
}


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
    import numpy as np
    import pandas as pd
    import PIL.Image

    from insar_seg.core.base import code_version
    from insar_seg.evaluation.benchmark import gallery_rows, score_scene, scores_of
    from insar_seg.evaluation.curves import best_edge
    from insar_seg.evaluation.difficulty import detection_limit, scene_facts
    from insar_seg.evaluation.pixels import to_json_ready
    from insar_seg.interferograms.archive import Archive
    from insar_seg.interferograms.interferogram import read_band
    from insar_seg.interferograms.products import read_product
    from insar_seg.maps.mapper import MapOptions, map_interferogram, predictor_of
    from insar_seg.maps.predictor import PRETRAINED, pretrained_folder
    from insar_seg.masks.definitions import masks_from_polygons
    from insar_seg.networks.weights import read_card, write_card
    from insar_seg.pipeline.leaderboard import select_pairs
    from insar_seg.pipeline.report import figure, save_figure
    from insar_seg.pipeline.run import write_truth
    from insar_seg.pipeline.scoring import known_scenes, score_maps

    predictor = predictor_of(MapOptions((args.model,)))
    archive = Archive(args.archive)
    pairs, units = select_pairs(archive, args.splits, "test")
    facts = scene_facts(archive)
    verdicts = []
    start = time.monotonic()

    def marked(m, sure=False):
        "Probability that is above the threshold in the areas alone; or in the sure ones."
        mask = m.mask
        if sure:
            over = np.where(m.mask, m.probability, 0)
            mask = sure_pixels(over, predictor.threshold, predictor.mean)
        low = np.minimum(m.probability, np.float32(predictor.threshold))
        return np.where(mask, m.probability, low)

    def maps_of(s):
        m = map_interferogram(s.scene, predictor)
        f = facts.loc[(s.pair.frame, s.pair.pair)]
        row = {k: s.about[k] for k in ("frame", "pair", "event_id")}
        row |= {"magnitude": f.magnitude, "kind": str(f.kind), "peak_los_mm": f.peak_los_mm}
        row |= {"truth": bool(s.masks.visible.any()), "hidden": s.masks.hidden}
        row |= {k: m.verdict[k] for k in ("deformation", "score", "areas", "area_km2")}
        verdicts.append(row)
        print(s.pair.key, row, flush=True)
        return {"box": marked(m), "sure areas": marked(m, True)}

    work = tempfile.TemporaryDirectory()
    write_truth(Path(work.name), archive, pairs)
    scenes = known_scenes(work.name, archive, units)
    table = score_maps(scenes, {"visible": maps_of}, predictor.threshold)["visible"]
    seconds = time.monotonic() - start
    calls = pd.DataFrame(verdicts)
    rows = table.of("box")
    sure = table.of("sure areas")
    rows = rows.merge(
        calls[["frame", "pair", "magnitude", "kind", "peak_los_mm", "hidden", "deformation"]],
        on=["frame", "pair"],
    )
    rows["sure_found"] = sure.found
    rows["sure_false"] = sure.false_objects
    large = rows[(rows.magnitude >= 6) & (rows.truth_objects > 0)]
    calm = rows[rows.truth_km2 == 0]
    out = {
        "version": code_version(),
        "model": {
            "name": predictor.name,
            "version": predictor.version,
            "threshold": predictor.threshold,
            "min_km2": predictor.min_km2,
            "mean": predictor.mean,
        },
        "bars": BARS,
        "twin": {
            "scenes": len(rows),
            "seconds_a_scene": round(seconds / len(rows), 2),
            "box": scores_of(table, "box"),
            "sure_areas": scores_of(table, "sure areas"),
            "best_threshold_in_hindsight": best_edge(*table.pooled("box")),
            "found_magnitude_6": {
                "scenes": len(large),
                "found": int(large.found.sum()),
                "found_by_sure_areas": int((large.sure_found == 1).sum()),
                "events": int(large.event_id.nunique()),
                "events_found": int(large[large.found == 1].event_id.nunique()),
            },
            "quiet": {
                "scenes": len(calm),
                "without_earthquake": int((calm.event_id == "").sum()),
                "marked": int((calm.false_objects > 0).sum()),
                "marked_by_sure_areas": int((calm.sure_false > 0).sum()),
                "verdict_yes": int(calm.deformation.sum()),
                "by_kind": {
                    k: [int((g.false_objects > 0).sum()), int((g.sure_false > 0).sum()), len(g)]
                    for k, g in calm.groupby("kind")
                },
            },
            "verdict": {
                "yes_of_visible": [
                    int(calls.deformation[calls.truth].sum()),
                    int(calls.truth.sum()),
                ],
                "yes_of_others": [
                    int(calls.deformation[~calls.truth].sum()),
                    int((~calls.truth).sum()),
                ],
            },
            "events": {
                e: {
                    "magnitude": float(g.magnitude.iloc[0]),
                    "scenes": int((g.truth_objects > 0).sum()),
                    "found": int(g.found[g.truth_objects > 0].sum()),
                    "iou": float(g.tp.sum() / max(1, (g.tp + g.fp + g.fn).sum())),
                }
                for e, g in rows[rows.event_id != ""].groupby("event_id")
            },
            "detection_limit_mm": detection_limit(
                rows.peak_los_mm, rows.found.where(rows.truth_objects > 0), rows.event_id
            )["limits"],
        },
    }
    drawn = []
    for i, title in gallery_rows(rows):
        key = f"{rows.frame[i]}/{rows['pair'][i]}"
        known = next(known_scenes(work.name, archive, {key: units[key]}))
        about = f"{title}\n{known.pair.event_id or rows.kind[i]}"
        mapped = map_interferogram(known.scene, predictor)
        drawn.append((about, known.scene, [known.masks.visible], mapped))
    work.cleanup()
    draw(drawn, ROOT / "nbs/findings/images/box_twin.jpg", figure, save_figure, PIL.Image, np)

    out["real"] = {"earthquakes": {}, "quiet": {}}
    drawn = []
    for place, path in EARTHQUAKES.items():
        scene = read_product(args.real / path)
        outline = args.real / f"masks/{place}.geojson"
        names = sorted(
            {f["properties"]["analyst"] for f in json.loads(outline.read_text())["features"]}
        )
        truth = {
            a: masks_from_polygons(
                outline,
                scene.crs,
                scene.transform,
                scene.shape,
                scene.pixel_m,
                scene.valid,
                analyst=a,
            )
            for a in names
        }
        m = map_interferogram(scene, predictor)
        entry = {"analysts": {}, "box": {}}
        for a in names:
            others = {b: truth[b].visible.astype(np.float32) for b in names if b != a}
            for row in score_scene(
                truth[a],
                scene.valid,
                {**others, "box": marked(m)},
                scene.pixel_m,
                "visible",
                predictor.threshold,
            )[0]:
                if row["name"] == "box":
                    entry["box"][a] = scores(row)
                else:
                    entry["analysts"][f"{row['name']} against {a}"] = scores(row)
        out["real"]["earthquakes"][place] = entry | {
            "verdict": m.verdict,
            "sure_areas": int(m.areas.sure.sum()),
            "fringes": (
                None
                if not len(m.areas) or np.isnan(m.areas.fringes.iloc[0])
                else float(m.areas.fringes.iloc[0])
            ),
        }
        drawn.append(
            (
                (
                    f"{place}, IoU"
                    f" {' and '.join(format(v['iou'], '.2f') for v in entry['box'].values())}"
                ),
                scene,
                [truth[a].visible for a in names],
                m,
            )
        )
        print(
            place,
            {a: round(v["iou"], 3) for a, v in entry["box"].items()},
            {a: round(v["iou"], 2) for a, v in entry["analysts"].items()},
            m.verdict["reason"],
            flush=True,
        )
    land = read_band(args.real / LANDMASK)[0] > 0
    for place, path in QUIET.items():
        scene = read_product(args.real / path)
        m = map_interferogram(scene, predictor)
        area = float(np.prod(scene.pixel_m)) / 1e6
        entry = {
            "scene_km2": float(scene.valid.sum() * area),
            "marked_km2": float((m.mask & scene.valid).sum() * area),
            "areas": len(m.areas),
            "sure_areas": int(m.areas.sure.sum()),
            "verdict": m.verdict,
        }
        if land.shape == scene.shape:
            entry |= {
                f"{k}_share": float(
                    (m.mask & scene.valid & part).sum() / max(1, (scene.valid & part).sum())
                )
                for k, part in (("land", land), ("water", ~land))
            }
        out["real"]["quiet"][place] = entry
        drawn.append((f"{place}\n{entry['marked_km2']:.0f} km² marked", scene, [], m))
        print(place, entry, flush=True)
    draw(drawn, ROOT / "nbs/findings/images/box_real.jpg", figure, save_figure, PIL.Image, np)
    (ROOT / "nbs/findings/results/box.json").write_text(
        json.dumps(to_json_ready(out), indent=1, allow_nan=False) + "\n"
    )
    if predictor.name == PRETRAINED:
        card = read_card(pretrained_folder())
        twin = out["twin"]
        card["scores"] = to_json_ready(
            {
                "twin test scenes": {
                    "scenes": twin["scenes"],
                    "micro": twin["box"]["micro"],
                    "interval_95": twin["box"]["interval_95"],
                    "found_magnitude_6": twin["found_magnitude_6"],
                    "quiet": {k: v for k, v in twin["quiet"].items() if k != "by_kind"},
                },
                **{
                    f"real, {place}": {
                        "iou_by_analyst": {a: round(v["iou"], 4) for a, v in e["box"].items()}
                    }
                    for place, e in out["real"]["earthquakes"].items()
                },
                **{
                    f"real, {place}": {"marked_km2": round(e["marked_km2"], 1)}
                    for place, e in out["real"]["quiet"].items()
                },
            }
        )
        write_card(pretrained_folder(), card)
    print(
        {"micro": twin["box"]["micro"], "found": twin["found_magnitude_6"], "quiet": twin["quiet"]}
        if predictor.name == PRETRAINED
        else out["twin"]["box"]["micro"]
    )


def sure_pixels(probability, threshold, mean):
    "(H, W) bool: pixels of the pieces above a threshold whose mean probability reaches `mean`."
    import numpy as np
    from scipy import ndimage

    p = np.nan_to_num(probability)
    labels, n = ndimage.label(p > threshold, np.ones((3, 3)))
    means = np.atleast_1d(ndimage.mean(p, labels, np.arange(1, n + 1))) if n else np.zeros(0)
    return np.r_[False, means >= mean][labels]


def draw(drawn, target, figure, save_figure, image, np):
    "Phase above, probability and outlines below: truth white and black, areas red."
    fig, axes = figure(2, len(drawn), (2.3 * len(drawn), 5))
    for k, (title, scene, outlines, m) in enumerate(drawn):
        step = (slice(None, None, max(1, max(scene.shape) // 320)),) * 2
        axes[0, k].imshow(
            scene.phase[step], cmap="hsv", vmin=-np.pi, vmax=np.pi, interpolation="nearest"
        )
        axes[1, k].imshow(
            np.where(scene.valid, m.probability, np.nan)[step],
            cmap="viridis",
            vmin=0,
            vmax=1,
            interpolation="nearest",
        )
        for ax in axes[:, k]:
            for mask, colour in zip(outlines, ("k", "w")):
                if mask.any():
                    ax.contour(mask[step], [0.5], colors=colour, linewidths=1.2)
            if m.mask.any():
                ax.contour(m.mask[step], [0.5], colors="r", linewidths=1.2)
            ax.set(
                xticks=[], yticks=[], facecolor="0.85", aspect=scene.pixel_m[0] / scene.pixel_m[1]
            )
        axes[0, k].set_title(title, fontsize=8)
    axes[0, 0].set_ylabel("wrapped phase")
    axes[1, 0].set_ylabel("probability")
    with tempfile.TemporaryDirectory() as folder:
        save_figure(fig, Path(folder) / "a.png", 64)
        with image.open(Path(folder) / "a.png") as picture:
            picture.convert("RGB").save(target, quality=78)


if __name__ == "__main__":
    main()
