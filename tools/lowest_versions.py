#!/usr/bin/env python3
"""Print the lower bounds of settings.ini as pip constraints, so that they can be tested: pip
install -c lowest.txt -e ".[dev]".

usage: lowest_versions.py > lowest.txt
"""

import configparser
import re
from pathlib import Path

config = configparser.ConfigParser(interpolation=None)
config.read(Path(__file__).resolve().parent.parent / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]
seen = {}
for requirement in " ".join(
    cfg[k] for k in ("requirements", "map_requirements", "dev_requirements") if k in cfg
).split():
    found = re.match(
        r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?>=([0-9][0-9A-Za-z.]*)[^;]*(;.*)?$", requirement
    )
    if found:
        seen[found[1]] = f"{found[1]}=={found[2]}{found[3] or ''}"
print("\n".join(seen.values()))
