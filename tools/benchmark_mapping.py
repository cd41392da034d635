#!/usr/bin/env python3
"""Measure `insar-seg map` from file to files, start-up included, and write
nbs/findings/results/mapping.json. Run it on an idle machine; about fifteen minutes, 1 GB of disk.

usage: benchmark_mapping.py [--sides 1000 3000 10000]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from benchmark_simulator import tree_memory

STUDY = ("unet_inceptionv3", "unet_vgg19", "unet_resnet50", "dual_attention_resnet50")


def watched(*command):
    "Wall seconds and peak resident memory (GB) of a command and its children."
    start = time.perf_counter()
    peak = 0
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, tree_memory(process.pid))
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"{command} failed with {process.returncode}")
    return round(time.perf_counter() - start, 1), round(peak / 1e9, 2)


def write_scene(path, side):
    """A LiCSAR-like scene of side x side pixels of 100 m: a simulated earthquake in its corner,
    quiet ground, repeated, elsewhere.
    """
    import numpy as np
    import rasterio

    from insar_seg.patches.samples import StreamOptions, sample

    shock, quiet = (
        sample(3, 1, StreamOptions((1024, 1024), positive_share=p, distractor_share=0.0))
        for p in (1.0, 0.0)
    )

    def layers(s):
        return {
            "diff_pha": np.nan_to_num(s.phase).astype(np.float32),
            "cc": np.round(255 * s.coherence).astype(np.uint8),
        }

    for name, a in layers(shock).items():
        with rasterio.open(
            path.with_name(path.name + f".geo.{name}.tif"),
            "w",
            driver="GTiff",
            height=side,
            width=side,
            count=1,
            dtype=a.dtype,
            crs="EPSG:32633",
            transform=rasterio.Affine(100, 0, 3e5, 0, -100, 4.9e6),
            tiled=True,
            compress="deflate",
        ) as dst:
            for row in range(0, side, 1024):
                rows = np.tile(layers(quiet)[name][: min(1024, side - row)], (1, -(-side // 1024)))[
                    :, :side
                ]
                if row == 0:
                    rows[:, : min(1024, side)] = a[: len(rows), :side]
                dst.write(rows, 1, window=((row, row + len(rows)), (0, side)))
    return path.with_name(path.name + ".geo.diff_pha.tif")


def study_model(folder, name):
    "A whole network of the study, random weights, 256-pixel windows of 100 m."
    from insar_seg.networks.build import Network, build_network
    from insar_seg.networks.weights import model_card, save_weights, write_card

    network = Network(name)
    folder.mkdir()
    save_weights(build_network(network, seed=0), folder / "best.weights.h5", True)
    write_card(
        folder,
        model_card(
            network,
            {"masks": "visible", "patches": {"size_px": 256, "multilook": 1, "overlap": 0.5}},
            {},
        ),
    )
    return folder


def bare(side):
    """Seconds of the forward passes alone that a scene of side x side pixels of 100 m needs, and of
    the whole mapping in memory, in one process.
    """
    import numpy as np
    from rasterio import Affine, crs

    from insar_seg.interferograms.interferogram import Interferogram, source_of
    from insar_seg.maps.predictor import load_predictor
    from insar_seg.maps.windows import map_source

    predictor = load_predictor()
    phase = np.tile(
        np.random.default_rng(0).uniform(-3, 3, (500, 500)).astype(np.float32),
        (side // 500, side // 500),
    )
    scene = Interferogram(
        phase,
        crs.CRS.from_epsg(32633),
        Affine(100, 0, 3e5, 0, -100, 4.9e6),
        np.full(phase.shape, 0.5, np.float32),
    )
    n = predictor.batch
    size = predictor.size_px
    windows = np.zeros((n, size, size), np.float32)
    predictor(windows, windows + 0.5)
    start = time.perf_counter()
    count = map_source(source_of(scene), predictor, lambda first, rows: None)
    whole, start = time.perf_counter() - start, time.perf_counter()
    for _ in range(-(-count // n)):
        predictor(windows, windows + 0.5)
    alone = (time.perf_counter() - start) * count / (-(-count // n) * n)
    return {
        "windows": count,
        "forward_seconds": round(alone, 2),
        "map_seconds": round(whole, 2),
        "ratio": round(whole / alone, 3),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=(1000, 3000, 10000))
    args = parser.parse_args()
    from insar_seg.core.base import code_version
    from insar_seg.maps.predictor import pretrained_folder

    rows = []
    python = sys.executable
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        scenes = {
            side: write_scene(work / f"20200101_202001{i + 10}", side)
            for i, side in enumerate((500, *args.sides))
        }

        def run(model, side):
            return watched(
                python,
                "-c",
                "from insar_seg.pipeline.cli import main; main()",
                "map",
                scenes[side],
                "--out",
                work / f"{Path(str(model)).name}_{side}",
                "--model",
                model,
                "--quiet",
            )

        for model in ("box", *STUDY):
            path = model if model == "box" else study_model(work / model, model)
            for side in args.sides if model == "box" else (500,):
                seconds, memory = run(path, side)
                rows.append(
                    {
                        "model": model,
                        "side_px": side,
                        "seconds": seconds,
                        "megapixels_a_second": round(side * side / 1e6 / seconds, 3),
                        "peak_memory_gb": memory,
                    }
                )
                print(rows[-1], flush=True)
    out = {
        "version": code_version(),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "box_mb": round(sum(f.stat().st_size for f in pretrained_folder().iterdir()) / 1e6, 2),
        "rows": rows,
        "forward": bare(3000),
    }
    (ROOT / "nbs/findings/results/mapping.json").write_text(json.dumps(out, indent=1) + "\n")
    print(out["forward"])


if __name__ == "__main__":
    main()
