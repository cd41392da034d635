"What a clock says may differ between two runs, nothing else, and what is unfinished is seen."

from interruptions import contents


def write(folder, seconds, score, left_over=False):
    folder.mkdir()
    stage = f'{{"fingerprint": "a1", "seconds": {seconds}, "iou": {score}}}'
    (folder / "stage.json").write_text(stage, encoding="utf-8")
    skipped = seconds if seconds < 2 else "null"
    run = f'{{"stages": {{"masks": {skipped}}}, "iou": {score}}}'
    (folder / "results.json").write_text(run, encoding="utf-8")
    history = f"epoch,val_iou,seconds\n1,{score},{seconds}\n"
    (folder / "history.csv").write_text(history, encoding="utf-8")
    (folder / ".lock").touch()
    if left_over:
        (folder / ".map.tif.abcdefgh.part").mkdir()
        (folder / ".map.tif.abcdefgh.part" / "map.tif").write_bytes(b"half")
    return contents(folder)


def test_contents(tmp_path):
    alone = write(tmp_path / "a", 1.5, 0.25)
    assert list(alone) == ["history.csv", "results.json", "stage.json"]
    assert write(tmp_path / "b", 12.75, 0.25) == alone
    other = write(tmp_path / "c", 1.5, 0.26)
    assert all(other[name] != alone[name] for name in alone)
    assert write(tmp_path / "d", 1.5, 0.25, left_over=True) != alone
