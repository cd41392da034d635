"What a clock says may differ between two runs, nothing else, and what is unfinished is seen."

from interruptions import contents


def write(folder, seconds, score, left_over=False):
    folder.mkdir()
    stage = f'{{"fingerprint": "a1", "seconds": {seconds}, "iou": {score}}}'
    (folder / "stage.json").write_text(stage, encoding="utf-8")
    (folder / ".lock").touch()
    if left_over:
        (folder / ".map.tif.abcdefgh.part").mkdir()
        (folder / ".map.tif.abcdefgh.part" / "map.tif").write_bytes(b"half")
    return contents(folder)


def test_contents(tmp_path):
    alone = write(tmp_path / "a", 1.5, 0.25)
    assert list(alone) == ["stage.json"]
    assert write(tmp_path / "b", 12.75, 0.25) == alone
    assert write(tmp_path / "c", 1.5, 0.26) != alone
    assert write(tmp_path / "d", 1.5, 0.25, left_over=True) != alone
