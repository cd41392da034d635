"What the tools read of notebooks: which there are, their cells, the directives of a cell."

import configparser
import json
import re
import sys
from pathlib import Path


def die(message):
    "End with a line that names the tool."
    sys.exit(f"{Path(sys.argv[0]).stem}: {message}")


def notebooks(folder):
    "Notebooks below `folder`, without files and folders whose names start with _ or ."
    root = Path(folder)
    if not root.is_dir():
        die(f"no folder '{folder}'. Run from the repository root, or name the notebooks folder.")
    found = [
        p
        for p in sorted(root.rglob("*.ipynb"))
        if not any(part[0] in "_." for part in p.relative_to(root).parts)
    ]
    return found or die(f"no notebook under '{folder}'.")


def read_notebook(path):
    "A notebook as a dictionary."
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["cells"]
    except (ValueError, KeyError, TypeError) as e:
        die(f"{path} is not a readable notebook ({type(e).__name__}: {e}).")
    return notebook


def cells_of(path):
    "The cells of a notebook as (type, source) pairs."
    return [(c["cell_type"], "".join(c["source"])) for c in read_notebook(path)["cells"]]


def code_cells(path):
    "Sources of the code cells of a notebook."
    return [source for kind, source in cells_of(path) if kind == "code"]


def directives(source):
    "nbdev directives (`#| name args`) at the top of a cell, as {name: [args]}."
    found = {}
    for line in source.splitlines():
        if not line.strip() or re.match(r"\s*%%\w", line):
            continue
        directive = re.match(r"\s*#\s*\|(.*)", line)
        if not directive:
            break
        words = directive[1].replace(":", ": ").split()
        if words:
            found[words[0].rstrip(":")] = words[1:]
    return found


def settings():
    "The section of settings.ini in the current folder; empty where there is none."
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read("settings.ini", encoding="utf-8")
    except configparser.Error as e:
        die(f"settings.ini cannot be read ({e}).")
    return config["DEFAULT"]
