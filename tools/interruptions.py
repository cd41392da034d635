#!/usr/bin/env python3
"""Kill commands at random moments and run them again: the files are those of a run left alone.

usage: interruptions.py WORK [--kills 20] [--seed 0] [COMMAND...]

For each command (simulate, mask, map, train, evaluate, study; all by default): once undisturbed,
then as often as told into a new folder, killed with SIGKILL after a random share of that time, and
run again. Every file must have the bytes of the undisturbed run (of times and peak memory in it:
the same keys), and no temporary file may be left. Prints a row for each command; exits with 1 where
they differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

INSAR_SEG = shutil.which("insar-seg") or "insar-seg"
TINY = """base = "quick"
name = "tiny"
[data]
events = 4
interferograms = 8
scene_px = 256
[models]
names = ["unet_inceptionv3", "unet_vgg19"]
visible_names = ["unet_inceptionv3", "unet_vgg19"]
width = 0.125
[training]
epochs = 2
"""
COMMANDS = {  # name: its arguments; {data} is an archive with masks, {bare} one without
    "simulate": ("simulate", "--profile", "{tiny}", "--out", "{out}"),
    "mask": ("mask", "{out}"),
    "map": ("map", "{data}", "--out", "{out}", "--html", "--gpkg", "--stac"),
    "train": ("train", "--archive", "{data}", "--profile", "{tiny}", "--out", "{out}"),
    "evaluate": ("evaluate", "--archive", "{data}", "--model", "pretrained", "--out", "{out}"),
    "study": ("study", "--archive", "{data}", "--profile", "{tiny}", "--out", "{out}"),
}
# what may differ between two runs of the same work
CLOCK = re.compile(
    rb'("?(?:seconds|finished|started|peak_memory_gb|time)"?\s*[:=]\s*)[-\d.eE"T:Z+]+'
)


def command(name: str, names: dict) -> list[str]:
    "The words of a command."
    return [INSAR_SEG, *(word.format(**names) for word in COMMANDS[name])]


def start(words: list[str]) -> subprocess.Popen:
    "A process in a group of its own."
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([*words, "--quiet"], start_new_session=True, **quiet)


def finish(words: list[str]) -> float:
    "Seconds of a whole run."
    begin = time.monotonic()
    process = start(words)
    errors = process.communicate()[1].decode(errors="replace")
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}: {errors[-500:]}")
    return time.monotonic() - begin


def contents(folder: Path) -> dict[str, str]:
    "Digest of every file, without what a clock says."
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"):
        data = path.read_bytes()
        if path.suffix in (".json", ".csv", ".html", ".toml", ".txt"):
            data = CLOCK.sub(rb"\1", data).replace(str(folder).encode(), b"")
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def disturbed(words: list[str], after_s: float) -> bool:
    "Run, kill after some seconds, run again. Returns whether the kill came before the end."
    process = start(words)
    try:
        process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        finish(words)
        return True
    return False


def compare(name: str, work: Path, places: dict, kills: int, draw: random.Random) -> dict:
    "The row of a command."

    def fresh(folder):
        shutil.rmtree(folder, ignore_errors=True)
        if name == "mask":
            shutil.copytree(places["bare"], folder)
        return command(name, {**places, "out": folder})

    seconds = finish(fresh(work / "alone"))
    expected = contents(work / "alone")
    row = {"command": name, "seconds": round(seconds, 1), "files": len(expected), "killed": 0}
    differing: dict[str, int] = {}
    for _ in range(kills):
        row["killed"] += disturbed(fresh(work / "again"), draw.uniform(0.02, 1) * seconds)
        got = contents(work / "again")
        for path in expected.keys() ^ got.keys():
            differing[path] = differing.get(path, 0) + 1
        for path in expected.keys() & got.keys():
            if expected[path] != got[path]:
                differing[path] = differing.get(path, 0) + 1
    return {**row, "differing": differing}


def prepare(work: Path) -> dict:
    "The profile and the archives that commands work on."
    work.mkdir(parents=True, exist_ok=True)
    places = {"tiny": work / "tiny.toml", "data": work / "data", "bare": work / "bare"}
    places["tiny"].write_text(TINY, encoding="utf-8")
    if not (places["data"] / "pairs.csv").is_file():
        finish(command("simulate", {**places, "out": places["data"]}))
    if not places["bare"].is_dir():
        shutil.copytree(places["data"], places["bare"])
        shutil.rmtree(places["bare"] / "masks")
    return places


def main() -> int:
    "The exit code."
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].removeprefix("usage: "))
    parser.add_argument("work", type=Path)
    parser.add_argument("commands", nargs="*", metavar="COMMAND")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = set(options.commands) - set(COMMANDS)
    if unknown:
        parser.error(f"unknown {', '.join(sorted(unknown))}; known: {', '.join(COMMANDS)}")
    places = prepare(options.work)
    draw = random.Random(options.seed)
    bad = False
    for name in options.commands or COMMANDS:
        row = compare(name, options.work, places, options.kills, draw)
        print(json.dumps(row), flush=True)
        bad |= bool(row["differing"])
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
