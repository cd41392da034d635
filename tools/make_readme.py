#!/usr/bin/env python3
"""Make README.md from nbs/index.ipynb (nbdev's own step needs quarto). With --check: fail if
README.md is not what it would make."""

import json
import pathlib
import re
import sys


def from_root(text):
    "Relative links and images of a page in nbs/, as they lead from the root; code is left alone."
    parts = re.split(r"(^```.*?^```|`[^`\n]*`)", text, flags=re.M | re.S)
    return "".join(
        (
            p
            if p.startswith("`")
            else re.sub(r"\]\((?![a-z]+:|#|/)([^)\s]+)\)", lambda m: f"](nbs/{m[1]})", p)
        )
        for p in parts
    )


def readme(notebook):
    "Markdown cells and shown code cells with their text output, one after the other"
    parts = ["<!-- made from nbs/index.ipynb by tools/make_readme.py; edit the notebook -->"]
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(from_root(source))
        elif not source.startswith("#| hide"):
            parts.append(f"```python\n{source}\n```")
            for output in cell.get("outputs", []):
                text = output.get("text") or output.get("data", {}).get("text/plain")
                if text:
                    parts.append("```\n" + "".join(text).rstrip() + "\n```")
    return "\n\n".join(p.strip() for p in parts) + "\n"


if __name__ == "__main__":
    root = pathlib.Path(__file__).resolve().parent.parent
    made = readme(root / "nbs/index.ipynb")
    target = root / "README.md"
    if "--check" not in sys.argv:
        target.write_text(made, encoding="utf-8")
    elif made != target.read_text(encoding="utf-8"):
        sys.exit("README.md differs from nbs/index.ipynb: run tools/make_readme.py")
