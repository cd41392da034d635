#!/usr/bin/env python3
"""Score the networks of a finished run on real interferograms that played no part in it, and write
nbs/findings/results/real.json and nbs/findings/images/real_scenes.jpg.

usage: real_evaluation.py RUN REAL

RUN is a run's folder with its networks and results.json; REAL holds archive/ (LiCSAR layout),
other/ (plain GeoTIFFs of wrapped phase) and masks/<place>.geojson, polygons of the visible
deformation with the property `analyst`, drawn by two people. Model against analyst stands beside
analyst against analyst; scenes without an earthquake give false alarms.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
EARTHQUAKES = {
    "thessaly": (
        "archive/102/102A_00000_000000/interferograms/20210218_20210303/20210218_20210303.geo.diff_pha.tif"
    ),
    "khost": (
        "archive/78/078D_00000_000000/interferograms/20220619_20220701/20220619_20220701.geo.diff_pha.tif"
    ),
    "dinar": "other/dinar_1995_ers_wrapped_phase.tif",
}
QUIET = {
    f"galapagos {d}": f"archive/106/106A_09048_000909/interferograms/{d}/{d}.geo.diff_pha.tif"
    for d in ("20240106_20240118", "20240118_20240130")
}
QUIET["mexico city"] = "other/mexico_city_2018_subsidence_wrapped_phase.tif"
LANDMASK = "archive/106/106A_09048_000909/metadata/106A_09048_000909.geo.landmask.tif"


def scores(row):
    "The shares of one row of counts."

    def share(p):
        return row[f"{p}tp"] / max(1, row[f"{p}tp"] + row[f"{p}fp"] + row[f"{p}fn"])

    return {
        "iou": share(""),
        "boundary_iou": share("edge_"),
        "tolerance_iou": share("band_"),
        "precision": row["tp"] / max(1, row["tp"] + row["fp"]),
        "recall": row["tp"] / max(1, row["tp"] + row["fn"]),
        "found": bool(row["found"]),
        "false_objects": row["false_objects"],
        "centroid_km": row["centroid_km"],
        "area_ratio": row["area_ratio"],
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("real", type=Path)
    args = parser.parse_args()
    import numpy as np
    import PIL.Image

    from insar_seg.core.base import code_version
    from insar_seg.core.profile import load_profile
    from insar_seg.evaluation.benchmark import score_scene
    from insar_seg.evaluation.pixels import to_json_ready
    from insar_seg.interferograms.interferogram import read_band
    from insar_seg.interferograms.products import read_product
    from insar_seg.maps.ensemble import MEMBERS, combiner_from_dict
    from insar_seg.maps.predictor import load_predictor
    from insar_seg.maps.windows import map_array
    from insar_seg.masks.definitions import empty_masks, masks_from_polygons
    from insar_seg.pipeline.leaderboard import simulated_baselines
    from insar_seg.pipeline.report import figure, save_figure
    from insar_seg.pipeline.run import model_folder
    from insar_seg.pipeline.scoring import baseline_maps

    profile = load_profile(str(args.run / "profile.toml"))
    results = json.loads((args.run / "results.json").read_text())
    combiner = combiner_from_dict(results["scenes"]["fitted"]["visible"]["ensemble"])
    leader = results["scenes"]["leader"]["visible"]
    baselines = simulated_baselines("visible")
    predictors = {}
    for experiment, names in (
        ("visible", profile.models.visible_names),
        ("margin", profile.models.names),
    ):
        for name in names:
            called = name if experiment == "visible" else f"{name} (margin)"
            predictors[called] = load_predictor(model_folder(args.run, name, experiment))

    def maps_of(scene):
        networks = {n: map_array(scene, p) for n, p in predictors.items()}
        simple = baseline_maps(baselines, scene)
        del simple["all_negative"]
        return networks | combiner.maps({m: networks[m] for m in MEMBERS}) | simple

    out = {
        "version": code_version(),
        "trained_on": results["archive"],
        "profile": results["profile"],
        "leader": leader,
        "threshold": profile.evaluation.threshold,
        "earthquakes": {},
        "quiet": {},
    }
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
        maps = maps_of(scene)
        entry = {
            "shape": list(scene.shape),
            "pixel_m": [round(v, 1) for v in scene.pixel_m],
            "analysts": {},
            "models": {},
        }
        for a in names:
            others = {b: truth[b].visible.astype(np.float32) for b in names if b != a}
            rows, _ = score_scene(
                truth[a],
                scene.valid,
                {**others, **{n: np.where(scene.valid, m, np.nan) for n, m in maps.items()}},
                scene.pixel_m,
                "visible",
                profile.evaluation.threshold,
            )
            for row in rows:
                (
                    entry["analysts"]
                    if row["name"] in others
                    else entry["models"].setdefault(row["name"], {})
                )[a if row["name"] not in others else f"{row['name']} against {a}"] = scores(row)
        out["earthquakes"][place] = entry
        drawn.append((place, scene, [truth[a].visible for a in names], maps))
        print(
            place,
            {a: round(v["iou"], 2) for a, v in entry["analysts"].items()},
            {n: [round(v["iou"], 2) for v in m.values()] for n, m in entry["models"].items()},
            flush=True,
        )
    land = read_band(args.real / LANDMASK)[0] > 0
    for place, path in QUIET.items():
        scene = read_product(args.real / path)
        maps = maps_of(scene)
        area = float(np.prod(scene.pixel_m)) / 1e6
        rows, _ = score_scene(
            empty_masks(scene.valid),
            scene.valid,
            {n: np.where(scene.valid, m, np.nan) for n, m in maps.items()},
            scene.pixel_m,
            "visible",
            profile.evaluation.threshold,
            edges=False,
        )
        entry = {"scene_km2": float(scene.valid.sum() * area), "models": {}}
        for row in rows:
            marked = scene.valid & (np.nan_to_num(maps[row["name"]]) > profile.evaluation.threshold)
            told = {
                "marked_km2": float(marked.sum() * area),
                "marked_share": float(marked.sum() / scene.valid.sum()),
                "objects": row["predicted_objects"],
            }
            if land.shape == scene.shape:
                told |= {
                    f"{k}_share": float((marked & part).sum() / max(1, (scene.valid & part).sum()))
                    for k, part in (("land", land), ("water", ~land))
                }
            entry["models"][row["name"]] = told
        out["quiet"][place] = entry
        drawn.append((place, scene, [], maps))
        print(
            place, {n: round(v["marked_share"], 3) for n, v in entry["models"].items()}, flush=True
        )
    (ROOT / "nbs/findings/results/real.json").write_text(
        json.dumps(to_json_ready(out), indent=1, allow_nan=False) + "\n"
    )
    fig, axes = figure(2, len(drawn), (2.5 * len(drawn), 5.2))
    for k, (place, scene, outlines, maps) in enumerate(drawn):
        step = (slice(None, None, max(1, max(scene.shape) // 300)),) * 2
        axes[0, k].imshow(
            scene.phase[step], cmap="hsv", vmin=-np.pi, vmax=np.pi, interpolation="nearest"
        )
        axes[1, k].imshow(
            np.where(scene.valid, maps[leader], np.nan)[step],
            cmap="viridis",
            vmin=0,
            vmax=1,
            interpolation="nearest",
        )
        for ax in axes[:, k]:
            for mask, colour in zip(outlines, ("k", "w")):
                if mask.any():
                    ax.contour(mask[step], [0.5], colors=colour, linewidths=1.1)
            ax.set(
                xticks=[], yticks=[], facecolor="0.85", aspect=scene.pixel_m[0] / scene.pixel_m[1]
            )
        axes[0, k].set_title(place, fontsize=9)
    axes[0, 0].set_ylabel("wrapped phase")
    axes[1, 0].set_ylabel("probability")
    save_figure(fig, args.run / "figures/real_scenes.png", 70)
    with PIL.Image.open(args.run / "figures/real_scenes.png") as image:
        image.convert("RGB").save(ROOT / "nbs/findings/images/real_scenes.jpg", quality=80)


if __name__ == "__main__":
    main()
