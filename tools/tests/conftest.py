"Tests of the tools: each tool is imported by its name, and run as a command."

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOOLS))


@pytest.fixture
def run_tool():
    "Function that runs a tool as a command."

    def run(name, *arguments, cwd=None):
        command = [sys.executable, str(TOOLS / f"{name}.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd)

    return run


@pytest.fixture
def write_notebook():
    "Function that writes a notebook of given cells."
    import json

    def write(path, *cells):
        body = [
            {"cell_type": kind, "source": source, "outputs": outputs}
            for kind, source, outputs in ((*cell, [])[:3] for cell in cells)
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cells": body, "metadata": {}}), encoding="utf-8")
        return path

    return write
