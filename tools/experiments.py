#!/usr/bin/env python3
"""Run the training experiments and write nbs/findings/results/experiments.json, which the study pages 10 to 13 show. Needs the installed package.

usage: experiments.py FOLDER [EXPERIMENT ...] [--seeds N] [--summary]

FOLDER keeps patches, weights and records; what is there is not made again, so a stopped run goes on, and several processes may share a folder
(each takes what no other has begun). --summary only writes the results file.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
TARGET = Path(__file__).resolve().parent.parent / "nbs/findings/results/experiments.json"


def load(folder):
    "Patches, kept in the folder; signals to paste."
    import numpy as np
    from filelock import FileLock

    from insar_seg.experiments import kept_patches
    from insar_seg.patches.augmentation import Signals, simulated_signals

    with FileLock(folder / ".patches.lock"):
        data = {
            "train": kept_patches(folder, "train", 4800, 11),
            "validation": kept_patches(folder, "validation", 300, 12),
            "test": kept_patches(folder, "test", 800, 13),
        }
        path = folder / "signals.npz"
        if not path.is_file():
            np.savez(path, **simulated_signals(400, 64, 400.0, seed=14)._asdict())
    with np.load(path) as f:
        data["signals"] = Signals(*(f[k] for k in Signals._fields))
    return data


def pretrain(folder):
    """The encoder that 'pre-trained' means: the reference network on 3,200 crudely simulated
    patches, without any atmosphere, none of which is used elsewhere.
    """
    import numpy as np
    from filelock import FileLock

    from insar_seg.experiments import FIT, REFERENCE, kept_patches
    from insar_seg.networks.build import build_network
    from insar_seg.networks.training import train
    from insar_seg.patches.batches import PatchSequence

    with FileLock(folder / ".pretrain.lock"):
        if (folder / "weights/pretrained/last.weights.h5").is_file():
            return
        crude = kept_patches(
            folder, "crude", 3200, 15, layers=("coseismic", "decorrelation", "filter")
        )

        def make(rows, **k):
            return PatchSequence(
                crude, rows, "margin", REFERENCE.encoding, FIT.batch_size, seed=0, **k
            )

        import dataclasses

        train(
            build_network(REFERENCE, seed=0),
            make(np.arange(2900), augment=FIT.augment, shuffle=True),
            make(np.arange(2900, 3200)),
            folder / "weights/pretrained",
            dataclasses.replace(FIT, epochs=4),
            0,
            verbose=False,
            network=REFERENCE,
            state_seconds=1e9,
        )


def records(folder, settings):
    return [
        {"name": s.name} | json.loads(p.read_text())
        for s in settings
        for p in sorted((folder / "runs").glob(f"{s.key}-*.json"))
    ]


def summary(folder):
    "Write the results file from all records."
    from insar_seg.core.base import code_version
    from insar_seg.evaluation.pixels import to_json_ready
    from insar_seg.experiments import experiments, kept_patches, marking_everything, summarise

    test = kept_patches(folder, "test", 800, 13)
    out = {}
    for name, settings in experiments().items():
        found = records(folder, settings)
        if not any(r["name"] == settings[0].name for r in found):
            continue
        table = summarise(found, settings[0].name)
        out[name] = {
            "reference": settings[0].name,
            "rows": table.reset_index().round(4).to_dict("records"),
            "seconds": round(sum(r["seconds"] for r in found)),
            "runs": [
                {
                    "name": r["name"],
                    "seed": r["seed"],
                    "patches": r["patches"],
                    "iou": round(max(r["history"]["val_iou"]), 4),
                    "history": {k: r["history"][k] for k in ("loss", "val_loss", "val_iou")},
                }
                for r in found
            ],
        }
    head = {
        "version": code_version(),
        "machine": (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        ),
        "patches": {"size_px": 64, "pixel_m": 400, "validation": 300, "test": 800},
        "positive_share": float((test["magnitude"] > 0).mean()),
        "with_margin": float(test["margin"].any((1, 2)).mean()),
        "marking_everything": marking_everything(test),
    }
    TARGET.write_text(
        json.dumps(to_json_ready({**head, "experiments": out}), indent=1, allow_nan=False) + "\n"
    )
    print("wrote", TARGET)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("experiment", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.summary:
        return summary(args.folder)
    import shutil
    import time

    from filelock import FileLock, Timeout

    from insar_seg.experiments import experiments, run_setting

    plan = experiments()
    unknown = set(args.experiment) - set(plan)
    if unknown:
        sys.exit(f"Experiments are {', '.join(plan)}; not {', '.join(unknown)}")
    data = load(args.folder)
    for seed in range(args.seeds):
        for name in args.experiment or plan:
            for setting in plan[name]:
                if (args.folder / "runs" / f"{setting.key}-{seed}.json").is_file():
                    continue
                lock = FileLock(args.folder / f".{setting.key}-{seed}.lock")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                if setting.start:
                    pretrain(args.folder)
                start = time.monotonic()
                record = run_setting(setting, seed, data, args.folder)
                shutil.rmtree(args.folder / "weights" / f"{setting.key}-{seed}", ignore_errors=True)
                lock.release()
                print(
                    f"{time.strftime('%H:%M:%S')} {setting.experiment}, {setting.name}, seed"
                    f" {seed}: validation IoU {max(record['history']['val_iou']):.3f},"
                    f" {time.monotonic() - start:.0f} s",
                    flush=True,
                )
    summary(args.folder)


if __name__ == "__main__":
    main()
