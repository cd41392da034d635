"A reader that fails, hangs or dies is found; one that refuses is not."

import os
import time
from types import SimpleNamespace

import fuzz
import pytest
from fuzz_targets import TARGETS, Edit, Valid, changed

from insar_seg.core.base import WorkError


def make(folder):
    path = folder / "file.txt"
    path.write_bytes(b"valid")
    return Valid(path, path.read_bytes())


def refuse(path):
    raise WorkError("A file must be good", path, "Fetch it again")


def fail(path):
    if path.read_bytes() != b"valid":
        raise KeyError("foreign")


def hang(path):
    if path.read_bytes() != b"valid":
        time.sleep(30)


def die(path):
    if path.read_bytes() != b"valid":
        os._exit(3)


@pytest.mark.parametrize(
    ("reader", "words"),
    [(refuse, ""), (fail, "foreign"), (hang, "within the limit"), (die, "ended with 3")],
)
def test_findings(reader, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TARGETS, "it", (make, reader))
    monkeypatch.setattr(fuzz, "EXAMPLES", 3)
    options = SimpleNamespace(limit=0.2, memory_gb=8, findings=tmp_path)
    report = fuzz.Report()
    fuzz.play("it", 0, options, report)
    assert len(report.findings) == (1 if words else 0)
    assert words in "".join(f["what"] for f in report.findings)
    assert (tmp_path / "it_0" / "file.txt").exists() == bool(words)


def test_every_edit_changes_some_file():
    text = b'{"a": 1, "b": [2.5, "word"]}'
    for kind in range(8):
        for is_text in (False, True):
            edits = [Edit(kind, place, 7) for place in (0.2, 0.5, 0.9)]
            assert any(changed(text, [edit], is_text) != text for edit in edits)
    assert changed(b"", [Edit(0, 0.5, 1)], True) == b""


def test_valid_files_are_read(tmp_path):
    for name in ("phase", "coherence", "gunw", "outlines", "events", "results", "comcat"):
        valid, read = TARGETS[name]
        (tmp_path / name).mkdir()
        read(valid(tmp_path / name).path)
