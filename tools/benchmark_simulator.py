#!/usr/bin/env python3
"""Measure the simulator and write nbs/findings/results/simulator.json. Needs the installed package
(and cutde for one ratio); about two minutes.

usage: benchmark_simulator.py [--twin DIR]   (--twin also simulates the full twin archive into DIR
and cuts its patches: half an hour or so, a few GB)
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# numbers are per core
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "nbs/findings/results/simulator.json"


def tree_memory(pid):
    "Resident memory of a process and its descendants, bytes."
    children = {}
    resident = {}
    for p in Path("/proc").glob("[0-9]*"):
        try:
            stat = (p / "stat").read_text().rsplit(")", 1)[1].split()
            children.setdefault(int(stat[1]), []).append(int(p.name))
            resident[int(p.name)] = int(stat[21]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            continue
    total = 0
    todo = [pid]
    while todo:
        one = todo.pop()
        total += resident.get(one, 0)
        todo += children.get(one, [])
    return total


def run(*command):
    "Wall seconds, and the peak memory (GB) of the command and all its processes together."
    start = time.perf_counter()
    peak = 0
    process = subprocess.Popen([str(c) for c in command], cwd=ROOT)
    while process.poll() is None:
        peak = max(peak, tree_memory(process.pid))
        time.sleep(0.2)
    if process.returncode:
        sys.exit(f"{command} failed with {process.returncode}")
    return round(time.perf_counter() - start, 1), round(peak / 1e9, 2)


def okada():
    """Million points a second and core on 1000 x 1000 points, and the ratio to cutde on 20,000 of
    them.
    """
    from insar_seg.earthquakes.okada import Fault, displacement

    east, north = np.meshgrid(
        np.linspace(-50e3, 50e3, 1000) + 13, np.linspace(-50e3, 50e3, 1000) + 7
    )
    out = {}
    for name, fault in (
        ("dipping, oblique slip", Fault(1, 2, 3, 20, 12, 25, 50, 60, 1.0)),
        ("vertical, strike-slip", Fault(1, 2, 3, 20, 12, 25, 90, 0, 1.0)),
    ):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            displacement(fault, east, north)
            times.append(time.perf_counter() - start)
        out[name] = round(1 / min(times), 2)
    try:
        import cutde.halfspace as halfspace
    except ImportError:
        return out
    fault = Fault(1, 2, 3, 20, 12, 25, 50, 60, 1.0)
    a, b, c, d = fault.corners_km * 1e3 * (1, 1, -1)
    some = np.stack([east.ravel()[::50], north.ravel()[::50], np.zeros(20_000)], 1)
    halfspace.disp_matrix(some[:100], np.array([[d, c, b], [d, b, a]]), 0.25)
    start = time.perf_counter()
    halfspace.disp_matrix(some, np.array([[d, c, b], [d, b, a]]), 0.25)
    theirs = time.perf_counter() - start
    start = time.perf_counter()
    displacement(fault, some[:, 0], some[:, 1])
    ours = time.perf_counter() - start
    return out | {"times as fast as cutde": round(theirs / ours, 1)}


def twin(folder):
    "The full twin: time, memory, and what is in it."
    import pandas as pd

    from insar_seg.core.profile import load_profile
    from insar_seg.interferograms.archive import Archive
    from insar_seg.interferograms.interferogram import read_band
    from insar_seg.pipeline.run import Run, open_run
    from insar_seg.pipeline.stages import patches_stage

    archive = folder / "archive"
    profile = load_profile("twin")
    seconds, memory = run(
        "insar-seg", "simulate", "--profile", "twin", "--out", archive, "--workers", 2
    )
    told = pd.read_csv(archive / "simulation.csv", keep_default_na=False)
    shares = {}
    for kind in ("visible", "margin", "ignore"):
        total = counted = 0
        for pair in Archive(archive).pairs:
            band = read_band(archive / "masks" / pair.frame / f"{pair.pair}.{kind}.tif")[0]
            total += int(band.sum())
            counted += band.size
        shares[kind] = round(total / counted, 4)
    out = {
        "pairs": len(told),
        "earthquakes": len(Archive(archive).events),
        "kinds": told.kind.value_counts().to_dict(),
        "hidden": int((told.hidden.astype(str) == "True").sum()),
        "seconds": seconds,
        "peak_memory_gb": memory,
        "disk_gb": round(sum(f.stat().st_size for f in archive.rglob("*") if f.is_file()) / 1e9, 2),
        "positive_share": shares,
    }
    start = time.perf_counter()
    patches_stage(Run(folder / "run", profile, quiet=True), Archive(archive))
    store, index, _ = open_run(Run(folder / "run", profile, quiet=True))
    fringes = index[index.kind == "fringes"]
    return out | {
        "patch_seconds": round(time.perf_counter() - start),
        "patches_with_fringes": len(fringes),
        "patches": index.groupby("split").size().to_dict(),
        "patch_size_px": profile.patches.size_px,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--twin", type=Path)
    arguments = parser.parse_args()
    from insar_seg.core.profile import load_profile
    from insar_seg.earthquakes.rupture import simulate_event
    from insar_seg.patches.samples import sample
    from insar_seg.simulation.scene import simulate_scene

    info = json.loads(TARGET.read_text()) if TARGET.is_file() else {}
    info["machine"] = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, NumPy"
        f" {np.__version__}"
    )
    info["okada_mpoints_per_second"] = okada()
    sample(0, 0)
    start = time.perf_counter()
    for n in range(200):
        sample(1, n)
    info["samples_256_per_second"] = round(200 / (time.perf_counter() - start), 1)
    times = []
    for i in range(12):
        event = simulate_event(3, i, 5.6, 7.2)
        start = time.perf_counter()
        simulate_scene(event, i % 2, 1024)
        times.append(time.perf_counter() - start)
    info["scene_1024_seconds"] = {
        "median": round(statistics.median(times), 2),
        "largest": round(max(times), 2),
    }
    with tempfile.TemporaryDirectory() as d:
        seconds, memory = run(
            "insar-seg", "simulate", "--profile", "quick", "--out", f"{d}/quick", "--quiet"
        )
        info["quick_twin"] = {
            "pairs": load_profile("quick").data.interferograms,
            "seconds": seconds,
            "peak_memory_gb": memory,
        }
        info["memory_by_pairs"] = []
        for events in (3, 12, 48):
            seconds, memory = run(
                "insar-seg",
                "simulate",
                "--profile",
                "quick",
                "--out",
                f"{d}/{events}",
                "--events",
                events,
                "--quiet",
            )
            info["memory_by_pairs"].append(
                {"pairs": events * 4, "seconds": seconds, "peak_memory_gb": memory}
            )
    if arguments.twin:
        info["twin"] = twin(arguments.twin.resolve())
    TARGET.write_text(json.dumps(info, indent=1) + "\n")
    print(json.dumps(info, indent=1))


if __name__ == "__main__":
    main()
