#!/usr/bin/env python3
"""Check what `python -m build` made: the wheel and the source distribution hold the package, all of
it and nothing else.

usage: check_package.py dist/NAME.whl dist/NAME.tar.gz [--tag v1.2.3]

Compared with the working tree: every module, table and file of the pretrained network is inside,
unchanged; no notebook, test's leftover or module that is no longer there; sizes; name, version,
requirements and command of the
metadata as settings.ini says. With --tag also: the tag is the version, and CHANGELOG.md gives it a
date. Prints everything that is wrong; exit code 1 if anything is.
"""

import argparse
import configparser
import email.parser
import re
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 24_000_000  # bytes of a distribution
# what must be there whatever the working tree holds
NEEDED = (
    "insar_seg/__init__.pyi",
    "insar_seg/candidates.csv",
    "insar_seg/fusion.json",
    "insar_seg/py.typed",
    "insar_seg/weights/best.onnx",
    "insar_seg/weights/best.weights.h5",
    "insar_seg/weights/card.json",
    "insar_seg/weights/fringes/encoders.json",
)
KINDS = ("*.py", "*.pyi", "*.csv", "*.typed", "*.json", "*.h5", "*.onnx", "*.j2", "*.css")
UNREADABLE = (zipfile.BadZipFile, tarfile.TarError)
# what a source distribution needs beside the package
BESIDE = ("README.md", "LICENSE", "settings.ini", "setup.py", "CHANGELOG.md", "CITATION.cff")
LEFTOVERS = re.compile(
    r"\.(ipynb|pyc|bak|part|orig|rej)$"
    r"|(^|/)(__pycache__|\.ipynb_checkpoints|nbs|_proc|_docs|runs?|tests?)/"
    r"|(^|/)(test_[^/]*|\.[^/]*|Untitled[^/]*|[^/]*-Copy[^/]*)$"
)


def settings():
    "The section of settings.ini."
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def wanted():
    "Path in a distribution -> content, for every file of the package."
    paths = {p for kind in KINDS for p in (ROOT / "insar_seg").rglob(kind)}
    paths |= {ROOT / name for name in NEEDED}
    return {
        p.relative_to(ROOT).as_posix(): p.read_bytes() if p.is_file() else None
        for p in sorted(paths)
    }


def compared(inside, files):
    "What is wrong with the package's files in a distribution; `inside` is path -> content."
    absent = [name for name, content in files.items() if content is None]
    yield from (f"{name} is not in the working tree" for name in absent)
    yield from (f"lacks {name}" for name in files if name not in inside and name not in absent)
    yield from (
        f"{name} differs from the working tree: build again"
        for name, content in files.items()
        if name in inside and content is not None and inside[name] != content
    )
    yield from (
        f"holds {name}, which is no file of the package"
        for name in inside
        if name.startswith("insar_seg/") and name not in files
    )
    yield from (
        f"holds {name}, a leftover"
        for name in inside
        if not name.startswith("insar_seg/") and LEFTOVERS.search(name)
    )


def plain(requirement):
    "A requirement in a form in which two spellings of it are equal."
    text, _, marker = requirement.partition(";")
    name, bounds = re.fullmatch(r"\s*([A-Za-z0-9._-]+(?:\[[^\]]*\])?)(.*)", text).groups()
    return (
        re.sub(r"[-_.]+", "-", name).lower(),
        tuple(sorted(b.strip() for b in bounds.strip(" ()").split(",") if b.strip())),
        re.sub(r"[\s\"']", "", marker),
    )


def described(text, cfg):
    "What is wrong with the metadata."
    made = email.parser.HeaderParser().parsestr(text)
    for key, want in (
        ("Name", cfg["lib_name"]),
        ("Version", cfg["version"]),
        ("Requires-Python", f">={cfg['min_python']}"),
        ("Summary", cfg["description"]),
    ):
        if re.sub("[-_]", "-", made[key] or "") != re.sub("[-_]", "-", want):
            yield f"metadata: {key} is {made[key]!r}, settings.ini says {want!r}"
    has = {plain(r) for r in made.get_all("Requires-Dist", []) if "extra ==" not in r}
    want = {plain(r) for r in cfg["requirements"].split()}
    yield from (
        f"metadata: requirement {r[0]} {','.join(r[1])} is"
        f" {'absent' if r in want else 'not one of settings.ini'}"
        for r in sorted(has ^ want)
    )
    if not made.get_payload().strip():
        yield "metadata: no description; it is README.md's text"


def wheel_faults(path, cfg, files):
    "What is wrong with a wheel."
    with zipfile.ZipFile(path) as f:
        inside = {n: f.read(n) for n in f.namelist() if not n.endswith("/")}
    info = f"{cfg['lib_name']}-{cfg['version']}.dist-info/"
    yield from compared(inside, files)
    yield from (
        f"holds {name}, outside of the package"
        for name in inside
        if not name.startswith(("insar_seg/", info)) and not LEFTOVERS.search(name)
    )
    if not path.name.endswith("-py3-none-any.whl"):
        yield "must be for any Python 3 and any system: py3-none-any"
    if not any(n.startswith(info) and PurePosixPath(n).name == "LICENSE" for n in inside):
        yield "lacks the LICENSE"
    if info + "METADATA" in inside:
        yield from described(inside[info + "METADATA"].decode(), cfg)
    else:
        yield f"lacks {info}METADATA"
    entry = configparser.ConfigParser(delimiters="=")
    entry.read_string(inside.get(info + "entry_points.txt", b"").decode())
    for script in cfg["console_scripts"].split():
        name, target = script.split("=")
        if entry.get("console_scripts", name, fallback=None) != target:
            yield f"lacks the command {name}, which runs {target}"


def sdist_faults(path, cfg, files):
    "What is wrong with a source distribution."
    top = f"{cfg['lib_name']}-{cfg['version']}/"
    with tarfile.open(path) as f:
        members = f.getmembers()
        yield from (
            f"holds {m.name}, which is no plain file"
            for m in members
            if not (m.isfile() or m.isdir())
        )
        yield from (
            f"holds {m.name}, outside of {top}"
            for m in members
            if not (m.name + "/").startswith(top)
        )
        inside = {
            m.name.removeprefix(top): f.extractfile(m).read()
            for m in members
            if m.isfile() and m.name.startswith(top)
        }
    yield from compared(
        inside,
        {**files, **{n: (ROOT / n).read_bytes() if (ROOT / n).is_file() else None for n in BESIDE}},
    )
    if "PKG-INFO" in inside:
        yield from described(inside["PKG-INFO"].decode(), cfg)
    else:
        yield "lacks PKG-INFO"


def tree_faults(cfg, tag):
    "What is wrong with the version where it is written."
    version = cfg["version"]

    def first(file, pattern):
        return next(
            iter(re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.M)), None
        )

    for file, pattern in (
        ("insar_seg/__init__.py", r'^__version__ = "(.*)"'),
        ("CITATION.cff", r"^version: (.*)"),
    ):
        if first(file, pattern) != version:
            yield f"{file} says {first(file, pattern)}, settings.ini {version}"
    date = first("CHANGELOG.md", rf"^## \[{re.escape(version)}\] - (\S+)")
    if date is None:
        yield f"CHANGELOG.md has no heading '## [{version}] - DATE'"
    if tag is None:
        return
    if tag != f"v{version}":
        yield f"the tag is {tag}, settings.ini's version {version}: it must be v{version}"
    if date is not None and not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        yield f"CHANGELOG.md calls {version} {date}: a release has a date, YYYY-MM-DD"


def distribution_faults(path, cfg, files):
    "What is wrong with one file that was built."
    looks = {".whl": wheel_faults, ".gz": sdist_faults}
    look = looks.get(path.suffix)
    if look is None:
        return [f"{path}: neither .whl nor .tar.gz"]
    if not path.is_file():
        return [f"{path}: no such file; run python -m build first"]
    faults = []
    size = path.stat().st_size
    if size > LARGEST:
        allowed = f"{LARGEST / 1e6:.0f} MB are allowed"
        faults.append(f"{path.name}: has {size / 1e6:.1f} MB; {allowed}")
    try:
        faults += [f"{path.name}: {f}" for f in look(path, cfg, files)]
    except (*UNREADABLE, OSError, EOFError, UnicodeDecodeError, configparser.Error) as e:
        faults.append(f"{path.name}: cannot be read ({type(e).__name__}: {e})")
    return faults


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", help="wheel, source distribution, or both")
    parser.add_argument("--tag", help="the tag that is released")
    args = parser.parse_args()
    cfg = settings()
    files = wanted()
    faults = [f"working tree: {f}" for f in tree_faults(cfg, args.tag)]
    for path in args.files:
        faults += distribution_faults(path, cfg, files)
    if faults:
        sys.exit("\n".join(f"check_package: {f}" for f in faults))
    for path in args.files:
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        print(f"{path.name}: {len(files)} files of the package, {size}, version {cfg['version']}")


if __name__ == "__main__":
    main()
