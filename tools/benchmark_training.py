#!/usr/bin/env python3
"""Measure training throughput and the input pipeline; write
nbs/findings/results/training_speed.json.

usage: benchmark_training.py [--yardstick PYTHON] [--batch 4] [--size 256] [--steps 4]

PYTHON: an interpreter of an environment that has segmentation_models_pytorch; its U-nets are then
measured in turn with ours, in processes of two threads each. On a quiet machine of two cores this
takes about ten minutes. The benchmark page shows the results.
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

TARGET = Path(__file__).resolve().parent.parent / "nbs/findings/results/training_speed.json"
ENCODERS = {
    "unet_inceptionv3": "tu-inception_v3",
    "unet_vgg19": "vgg19",
    "unet_resnet50": "resnet50",
}

OURS = """
import os, sys, json, time
name, precision, batch, size, steps = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "2"}
import keras, numpy as np
from insar_seg.core.profile import TrainingProfile
from insar_seg.networks.build import build_network, computing
from insar_seg.networks.training import compile_for, rate_of
p = TrainingProfile()
with computing(precision):
    model = build_network(name, seed=0)
    compile_for(model, p, rate_of(p, 1000))
    x = np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype(np.float32)
    y = (x[..., :1] > 0).astype(np.float32)
    y = [y] * len(model.outputs) if len(model.outputs) > 1 else y
    for _ in range(2):
        model.train_on_batch(x, y)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        model.train_on_batch(x, y)
        times.append(time.perf_counter() - start)
print(json.dumps({"seconds": times, "weights": model.count_params()}))
"""

YARDSTICK = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
name, layout, precision, batch, size, steps = *sys.argv[1:4], *map(int, sys.argv[4:7])
import torch, segmentation_models_pytorch as smp
torch.set_num_threads(2)
torch.manual_seed(0)
model = smp.Unet(name, encoder_weights=None, classes=1)
x = torch.randn(batch, 3, size, size)
y = (x[:, :1] > 0).float()
if layout == "channels_last":
    model = model.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
half = precision == "mixed_bfloat16"
optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=1e-4)
def step():
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        logits = model(x)
    p = torch.sigmoid(logits.float())
    dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    loss = torch.nn.functional.binary_cross_entropy(p, y) + dice
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
for _ in range(2):
    step()
times = []
for _ in range(steps):
    start = time.perf_counter()
    step()
    times.append(time.perf_counter() - start)
weights = sum(p.numel() for p in model.parameters())
versions = [torch.__version__, smp.__version__]
print(json.dumps({"seconds": times, "weights": weights, "versions": versions}))
"""


def measured(python, script, *arguments, batch):
    "Patches a second (median step) of a script in a process of its own."
    done = subprocess.run(
        [python, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )
    if done.returncode:
        sys.exit(f"{arguments}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "patches_per_second": round(batch / statistics.median(found["seconds"]), 3),
        "slowest": round(batch / max(found["seconds"]), 3),
        "fastest": round(batch / min(found["seconds"]), 3),
        **{k: v for k, v in found.items() if k != "seconds"},
    }


def pipeline(size):
    """Patches a second that a patch store on disk delivers, read, augmented and encoded in one
    thread.
    """
    import numpy as np
    import zarr

    from insar_seg.core.profile import TrainingProfile
    from insar_seg.patches.augmentation import AUGMENTATIONS
    from insar_seg.patches.batches import PatchSequence

    rng = np.random.default_rng(0)
    n = 64
    out = {}
    with tempfile.TemporaryDirectory() as d:
        arrays = {
            "phase": rng.uniform(-3, 3, (n, size, size)).astype(np.float32),
            "coherence": rng.random((n, size, size), np.float32),
            **{
                k: (rng.random((n, size, size)) < 0.2).astype(np.uint8)
                for k in ("visible", "margin", "ignore")
            },
        }
        store = {}
        for k, a in arrays.items():
            store[k] = zarr.open_array(
                f"{d}/{k}", mode="w", shape=a.shape, chunks=(1, size, size), dtype=a.dtype
            )
            store[k][:] = a
        for label, names in (
            ("default augmentation", TrainingProfile().augment),
            ("every augmentation", tuple(AUGMENTATIONS)),
        ):
            batches = PatchSequence(store, np.arange(n), augment=names, shuffle=True)
            start = time.perf_counter()
            for i in range(len(batches)):
                batches[i]
            out[label] = round(n / (time.perf_counter() - start), 1)
    return out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--yardstick")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=4)
    a = parser.parse_args()
    numbers = (a.batch, a.size, a.steps)
    flags = (
        next(
            (
                line
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("flags")
            ),
            "",
        )
        if Path("/proc/cpuinfo").exists()
        else ""
    )
    info = {
        "machine": (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        ),
        "bfloat16_hardware": "avx512_bf16" in flags or "amx_bf16" in flags,
        "threads": 2,
        "batch": a.batch,
        "size_px": a.size,
        "steps": a.steps,
        "pipeline": pipeline(a.size),
        "networks": {},
    }
    for name in (*ENCODERS, "dual_attention_resnet50"):
        row = info["networks"][name] = {}
        for precision in ("float32", "mixed_bfloat16"):
            row[f"ours, {precision}"] = measured(
                sys.executable, OURS, name, precision, *numbers, batch=a.batch
            )
            if not a.yardstick or name not in ENCODERS:
                continue
            for layout in ("contiguous", "channels_last")[precision != "float32" :]:
                row[f"yardstick, {layout}, {precision}"] = measured(
                    a.yardstick,
                    YARDSTICK,
                    ENCODERS[name],
                    layout,
                    precision,
                    *numbers,
                    batch=a.batch,
                )
        print(name, {k: v["patches_per_second"] for k, v in row.items()}, flush=True)
    TARGET.write_text(json.dumps(info, indent=1) + "\n")


if __name__ == "__main__":
    main()
