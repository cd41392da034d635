#!/usr/bin/env python3
"""Score a finished run on its archive again, without training, write its report, and put the
results where the pages of the site read them.

Cards that older versions wrote do not say what mapping needs; they get it here, from their
patches and the median pixel of the run's scenes.

usage: twin_evaluation.py RUN ARCHIVE [--profile tools/twin_cpu.toml]

The run is one that `insar-seg study --profile tools/twin_cpu.toml --archive ARCHIVE --out RUN`
made. Writes RUN/results.json and RUN/report.html, nbs/findings/results/twin.json and
nbs/findings/images/twin_*.jpg.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent


def complete_cards(run):
    "Write into cards without it what mapping needs."
    from insar_seg.maps.predictor import mapping_of
    from insar_seg.networks.weights import read_card, write_card
    from insar_seg.pipeline.run import read_splits

    mapping = mapping_of(run.profile.patches, float(read_splits(run).pixel_m.median()))
    for path in sorted(run.folder.glob("models/*/card.json")):
        card = read_card(path.parent)
        if "mapping" not in card:
            write_card(path.parent, card | {"mapping": mapping})


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--profile", default=str(ROOT / "tools/twin_cpu.toml"))
    args = parser.parse_args()
    import PIL.Image

    from insar_seg.core.profile import save_profile
    from insar_seg.interferograms.archive import Archive
    from insar_seg.networks.weights import read_card
    from insar_seg.pipeline.run import Run, open_profile
    from insar_seg.pipeline.stages import finish_run, score_run, study_plan

    start = time.monotonic()
    run = Run(args.run, open_profile(args.profile))
    source = Archive(args.archive)
    save_profile(args.run / "profile.toml", run.profile)
    complete_cards(run)
    plan = study_plan(run.profile)
    results = score_run(run, source, plan, args.archive.name)
    cards = [read_card(p.parent) for p in args.run.glob("models/*/card.json")]
    results["trained_by"] = sorted({card["version"] for card in cards})
    finish_run(run, source, results, plan, start)
    results = json.loads((args.run / "results.json").read_text(encoding="utf-8"))
    text = json.dumps(results, allow_nan=False)
    (ROOT / "nbs/findings/results/twin.json").write_text(text + "\n", encoding="utf-8")
    for name in ("gallery_margin", "disagreement"):
        with PIL.Image.open(args.run / f"figures/{name}.png") as image:
            image.convert("RGB").save(ROOT / f"nbs/findings/images/twin_{name}.jpg", quality=78)
    print(f"{results['run']}, {len(text):,} characters")


if __name__ == "__main__":
    main()
