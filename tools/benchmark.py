#!/usr/bin/env python3
"""Measure what the docs' benchmark page shows and write nbs/findings/results/benchmark.json. Needs
the installed package; takes about ten minutes.

usage: benchmark.py [RUN]   (RUN: a new folder that keeps the quick study's run; default: a
temporary one)
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "nbs/findings/results/benchmark.json"


def run(*command):
    "Wall seconds and peak resident memory (GB) of a command; its text output"
    script = (
        "import json,resource,subprocess,sys;"
        " p=subprocess.run(sys.argv[1:],capture_output=True,text=True); "
        "kb=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss; "
        "print(json.dumps([p.returncode,kb,p.stdout[-4000:],p.stderr[-2000:]]))"
    )
    start = time.perf_counter()
    out = subprocess.run(
        [sys.executable, "-c", script, *map(str, command)], capture_output=True, text=True, cwd=ROOT
    )
    seconds = time.perf_counter() - start
    status, kb, text, errors = json.loads(out.stdout.splitlines()[-1])
    if status:
        sys.exit(f"{command} failed with {status}:\n{text}\n{errors}")
    return seconds, kb * 1024 / 1e9, text


CUT = """
import dataclasses, sys, tempfile
from pathlib import Path
from insar_seg.interferograms.archive import Archive
from insar_seg.core.profile import PROFILES, DataProfile
from insar_seg.pipeline.run import Run, write_truth
root, times = Path(sys.argv[1]), int(sys.argv[2])
archive = Archive(root)
archive.pairs = archive.pairs * times
import insar_seg.pipeline.stages as s
s.split_scenes = lambda scenes, *a: scenes.assign(split="train")
quick = PROFILES["quick"]
patches = dataclasses.replace(quick.patches, multilook=1, size_px=64)
profile = dataclasses.replace(quick, patches=patches)
with tempfile.TemporaryDirectory() as d:
    write_truth(Path(d), archive, archive.pairs)
    s.cut_scenes(Run(Path(d), profile, quiet=True), archive)
"""


def main():
    info = {
        "machine": (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        )
    }
    starts = [run("insar-seg", "--help") for _ in range(7)]
    info["help"] = {
        "seconds": round(statistics.median(s for s, *_ in starts), 2),
        "peak_memory_gb": round(max(m for _, m, _ in starts), 2),
    }
    loaded = (
        "import sys, insar_seg.pipeline.cli; print(*[m for m in ('tensorflow', 'keras', 'numpy') if"
        " m in sys.modules] or ['none'])"
    )
    info["help"]["heavy_modules"] = run(sys.executable, "-c", loaded)[2].strip()
    with tempfile.TemporaryDirectory() as d:
        seconds, memory, _ = run(
            "insar-seg", "simulate", "--out", f"{d}/a", "--events", 3, "--quiet"
        )
        info["simulate"] = {
            "interferograms": 12,
            "seconds": round(seconds, 1),
            "peak_memory_gb": round(memory, 2),
        }
        info["cut"] = []
        for times in (1, 4, 8):
            seconds, memory, _ = run(sys.executable, "-c", CUT, f"{d}/a", times)
            info["cut"].append(
                {
                    "scenes": 12 * times,
                    "seconds": round(seconds, 1),
                    "peak_memory_gb": round(memory, 2),
                }
            )
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else f"{d}/quick").resolve()
        if folder.exists():
            sys.exit(f"{folder} exists: give a new folder, so that every stage is timed")
        seconds, memory, _ = run(
            "insar-seg", "study", "--profile", "quick", "--out", folder, "--quiet"
        )
        results = json.loads((folder / "results.json").read_text())
        info["study"] = {
            "seconds": round(seconds),
            "peak_memory_gb": round(memory, 2),
            "stages": results["run"]["stages"],
        }
        # the page findings/whole_scenes makes them anew
        results.pop("scenes", None)
        (TARGET.parent / "quick.json").write_text(json.dumps(results, indent=1) + "\n")
    TARGET.write_text(json.dumps(info, indent=1) + "\n")
    print(json.dumps(info, indent=1))


if __name__ == "__main__":
    main()
