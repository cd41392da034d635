#!/usr/bin/env python3
"""Score a finished run on its archive again, without training, write its report, and put the results where the pages of the site read them.

usage: twin_evaluation.py RUN ARCHIVE [--profile tools/twin_cpu.toml]

The run is one that `insar-seg study --profile tools/twin_cpu.toml --archive ARCHIVE --out RUN` made. Writes RUN/results.json and RUN/report.html, nbs/findings/results/twin.json and nbs/findings/images/twin_*.jpg.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--profile", default=str(ROOT / "tools/twin_cpu.toml"))
    args = parser.parse_args()
    import PIL.Image

    from insar_seg.core.profile import load_profile, save_profile
    from insar_seg.evaluation.pixels import to_json_ready
    from insar_seg.interferograms.archive import Archive
    from insar_seg.networks.weights import read_card
    from insar_seg.pipeline.run import Run, peak_memory_gb
    from insar_seg.pipeline.stages import _report, score_run

    run = Run(args.run, load_profile(args.profile))
    source = Archive(args.archive)
    start = time.monotonic()
    save_profile(args.run / "profile.toml", run.profile)
    plan = {"margin": run.profile.models.names, "visible": run.profile.models.visible_names}
    results = score_run(run, source, plan, args.archive.name)
    results["trained_by"] = sorted(
        {read_card(p.parent)["version"] for p in args.run.glob("models/*/card.json")}
    )
    results["run"] = {
        "seconds": round(time.monotonic() - start, 1),
        "peak_memory_gb": peak_memory_gb(),
    }
    results = to_json_ready(results)
    text = json.dumps(results, indent=1, allow_nan=False)
    (args.run / "results.json").write_text(text)
    _report(run, source, results, plan)
    (ROOT / "nbs/findings/results/twin.json").write_text(
        json.dumps(results, allow_nan=False) + "\n"
    )
    for name in ("gallery_margin", "disagreement"):
        with PIL.Image.open(args.run / f"figures/{name}.png") as image:
            image.convert("RGB").save(ROOT / f"nbs/findings/images/twin_{name}.jpg", quality=78)
    print(f"{results['run']}, {len(text):,} characters")


if __name__ == "__main__":
    main()
