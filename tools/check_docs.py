#!/usr/bin/env python3
"""Check that the notebooks can become pages of the site, as far as that goes without Quarto.

usage: check_docs.py [NOTEBOOK...] [--workers 2]

Before Quarto renders a notebook that exports something, nbdev executes some of its cells in the
root of the project: exported ones and every cell in which an import stands anywhere. Others are not
executed, so a test with
an import inside of it fails there on the first name that an earlier test made, although
`nbdev_test` passes. Put the import into the cell of imports.

Does what nbdev does with each notebook, and writes nothing. Prints the notebooks and cells that
fail; exit code 1 if any does.
"""

import argparse
import contextlib
import io
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def processed(path):
    "What went wrong while nbdev made a page of a notebook, or None."
    from nbdev.process import NBProcessor
    from nbdev.processors import FilterDefaults

    os.chdir(ROOT)
    warnings.simplefilter("ignore")
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            NBProcessor(path, procs=FilterDefaults().procs()).process()
    except Exception as e:  # whatever a cell raises
        return (
            f"{Path(path).relative_to(ROOT).as_posix()}: {type(e.__cause__ or e).__name__}:"
            f" {e.__cause__ or ''}\n" + "\n".join(f"    {line}" for line in str(e).splitlines()[:6])
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", type=Path, nargs="*", help="default: all that the site shows")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    args = parser.parse_args()
    for path in args.notebooks:
        if not path.is_file():
            print(f"check_docs: no notebook '{path}'", file=sys.stderr)
            sys.exit(2)
    try:
        from nbdev.doclinks import nbglob
    except ImportError:
        print('check_docs: needs nbdev: pip install -e ".[dev]"', file=sys.stderr)
        sys.exit(2)
    paths = [str(Path(p).resolve()) for p in args.notebooks or nbglob(ROOT / "nbs")]
    # by its module's name: the shell in which nbdev runs cells takes the place of __main__
    from check_docs import processed

    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        faults = [f for f in pool.map(processed, paths) if f]
    print("\n".join([*faults, f"{len(paths)} notebooks, {len(faults)} that cannot become pages"]))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
