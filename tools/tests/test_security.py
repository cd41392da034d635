"Every cell and file that SECURITY.md names as the test of a promise is there."

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_named_cells_exist():
    notebooks = {path.stem: path for path in (ROOT / "nbs").rglob("*.ipynb")}
    named = re.findall(r"`(\d\d_\w+)`: ((?:`c-[\w-]+`(?:, )?)+)", TEXT)
    assert len(named) > 20
    for notebook, cells in named:
        content = json.loads(notebooks[notebook].read_text(encoding="utf-8"))
        there = {cell["id"] for cell in content["cells"]}
        assert set(re.findall(r"c-[\w-]+", cells)) <= there, notebook


def test_linked_files_exist():
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT)
    assert links and all((ROOT / link).exists() for link in links)
