#!/usr/bin/env python3
"""Kill commands at random moments and run them again: the files are those of a run left alone.

usage: interruptions.py WORK [--kills 20] [--each 5] [--seed 0] [COMMAND...]

For each command (simulate, mask, map, train, evaluate, study; all by default): once undisturbed,
then into a new folder, killed with SIGKILL at a random moment and run again, `--each` times, and
then to its end; and so on with new folders until there were `--kills`. Every file must have the
bytes of the undisturbed run (of times and peak memory in it: the same keys), and no temporary file
may be left. `train` and `study` build networks of two layers and keep a state after every epoch, so
that most kills meet the work and not the compiler. Prints a row for each command; exits with 1
where they differ.
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

INSAR_SEG = [shutil.which("insar-seg") or "insar-seg"]
# the command with networks of two layers, whose training keeps a state after every epoch
SMALL = """
from functools import partial
import keras
from insar_seg.networks import build
from insar_seg.patches.encoding import encoding_of

def small_network(network, weights="none", seed=None, devices=1, dropout=0.1):
    if seed is not None:
        keras.utils.set_random_seed(seed)
    seen = keras.Input((None, None, encoding_of(network.encoding).count))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(seen)
    x = keras.layers.Dropout(dropout)(keras.layers.BatchNormalization()(x))
    probability = keras.layers.Conv2D(1, 1, activation="sigmoid")(x)
    return keras.Model(seen, probability, name=network.name)

build.build_network = small_network
from insar_seg.networks import training
from insar_seg.pipeline.cli import main
training.train = partial(training.train, state_seconds=0)
main()
"""
TINY = """base = "quick"
name = "tiny"
[data]
events = 3
interferograms = 4
scene_px = 256
[patches]
size_px = 32
max_per_scene = 2
[models]
names = ["unet_inceptionv3", "unet_vgg19"]
visible_names = ["unet_inceptionv3", "unet_vgg19"]
encoder_weights = "none"
width = 0.0625
[training]
epochs = 8
batch_size = 4
[evaluation]
bootstrap = 100
"""
COMMANDS = {  # name: its arguments; {data} is an archive with masks, {bare} one without
    "simulate": ("simulate", "--profile", "{tiny}", "--out", "{out}"),
    "mask": ("mask", "{out}"),
    "map": ("map", "{data}", "--out", "{out}", "--html", "--gpkg", "--stac"),
    "train": (
        *("train", "--archive", "{data}", "--profile", "{tiny}", "--out", "{out}"),
        *("--model", "unet_vgg19"),
    ),
    "evaluate": ("evaluate", "--archive", "{data}", "--model", "pretrained", "--out", "{out}"),
    "study": ("study", "--archive", "{data}", "--profile", "{tiny}", "--out", "{out}"),
}
# what may differ between two runs of the same work
CLOCK = re.compile(
    rb'("?(?:seconds|finished|started|peak_memory_gb|time)"?\s*[:=]\s*)[-\d.eE"T:Z+]+'
)
STAGES = re.compile(rb'"stages": \{[^}]*\}')  # of results.json: seconds, or none where skipped


def command(name: str, names: dict) -> list[str]:
    "The words of a command."
    program = INSAR_SEG
    if name in ("train", "study"):
        program = [sys.executable, "-c", SMALL]
    return [*program, *(word.format(**names) for word in COMMANDS[name])]


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


def without_clock(path: Path, folder: Path) -> bytes:
    "What is in a file, but for what a clock says and the name of the folder."
    data = path.read_bytes()
    if path.name == "history.csv":  # its last column: seconds of an epoch
        return re.sub(rb",[^,\n]*\n", b"\n", data)
    if path.suffix in (".json", ".csv", ".html", ".toml", ".txt"):
        data = STAGES.sub(b"", CLOCK.sub(rb"\1", data)).replace(str(folder).encode(), b"")
    return data


def contents(folder: Path) -> dict[str, str]:
    "Digest of every file, without what a clock says."
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {
        str(path.relative_to(folder)): hashlib.sha256(without_clock(path, folder)).hexdigest()
        for path in files
    }


def killed(words: list[str], after_s: float) -> bool:
    "Run, and kill after some seconds. Returns whether the kill came before the end."
    process = start(words)
    try:
        process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


def disturbed(words: list[str], kills: int, seconds: float, draw: random.Random) -> int:
    "Run, kill and run again, at most so many times, then to the end. Returns the kills."
    for n in range(kills):
        # in the mean, the last kill comes near the end
        if not killed(words, draw.uniform(0.02, 2 / kills) * seconds):
            return n
    finish(words)
    return kills


def compare(name: str, work: Path, places: dict, options: argparse.Namespace) -> dict:
    "The row of a command."

    def fresh(folder):
        shutil.rmtree(folder, ignore_errors=True)
        if name == "mask":
            shutil.copytree(places["bare"], folder)
        return command(name, {**places, "out": folder})

    draw = random.Random(f"{options.seed} {name}")
    seconds = finish(fresh(work / "alone"))
    expected = contents(work / "alone")
    row = {"command": name, "seconds": round(seconds, 1), "files": len(expected)}
    row |= {"folders": 0, "killed": 0}
    differing: dict[str, int] = {}
    while row["killed"] < options.kills:
        most = min(options.each, options.kills - row["killed"])
        row["killed"] += disturbed(fresh(work / "again"), most, seconds, draw)
        row["folders"] += 1
        print(f"{name}: {row['killed']} of {options.kills}", file=sys.stderr, flush=True)
        got = contents(work / "again")
        for path in expected.keys() | got.keys():
            if expected.get(path) != got.get(path):
                differing[path] = differing.get(path, 0) + 1
        if row["folders"] >= 2 * options.kills:
            break
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
    parser.add_argument("--each", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = set(options.commands) - set(COMMANDS)
    if unknown:
        parser.error(f"unknown {', '.join(sorted(unknown))}; known: {', '.join(COMMANDS)}")
    places = prepare(options.work)
    bad = False
    for name in options.commands or COMMANDS:
        row = compare(name, options.work, places, options)
        print(json.dumps(row), flush=True)
        bad |= bool(row["differing"])
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
