"""Real interferograms that choose: their maps, and how these agree with two analysts."""

import json
import tempfile
from pathlib import Path

NAMED = {
    "thessaly": (
        "archive/102/102A_00000_000000/interferograms/20210218_20210303/"
        "20210218_20210303.geo.diff_pha.tif"
    ),
    "khost": (
        "archive/78/078D_00000_000000/interferograms/20220619_20220701/"
        "20220619_20220701.geo.diff_pha.tif"
    ),
    "dinar": "other/dinar_1995_ers_wrapped_phase.tif",
}
FRAME = "archive/106/106A_09048_000909/interferograms"
QUIET = {
    f"galapagos {d}": f"{FRAME}/{d}/{d}.geo.diff_pha.tif"
    for d in ("20240106_20240118", "20240118_20240130")
}
OTHER = {
    "mexico city": "other/mexico_city_2018_subsidence_wrapped_phase.tif",
    "okmok": "quiet/umnak_okmok_aleutians_wrapped_phase.tif",
}


def opened(path):
    "A scene; products without a statement of their content are wrapped phase."
    from insar_seg.interferograms.products import read_product

    return read_product(path)


def analysts(real, outline, scene, place=None):
    "The outlines of each analyst as masks."
    from insar_seg.masks.definitions import masks_from_polygons

    table = json.loads((Path(real) / "masks" / outline).read_text())
    if place is not None:
        table["features"] = [f for f in table["features"] if place in f["properties"]["raster"]]
    names = sorted({f["properties"]["analyst"] for f in table["features"]})
    grid = (scene.crs, scene.transform, scene.shape, scene.pixel_m, scene.valid)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outlines.geojson"
        path.write_text(json.dumps(table))
        return [masks_from_polygons(path, *grid, analyst=a).visible > 0 for a in names]


def positives(real):
    "Yields name, scene and both analysts' masks of the eleven scenes with an earthquake."
    for name, path in NAMED.items():
        scene = opened(Path(real) / path)
        yield name, scene, analysts(real, f"{name}.geojson", scene)
    for path in sorted((Path(real) / "tiles").glob("tile_*.tif")):
        scene = opened(path)
        name = path.name.removesuffix("_wrapped_phase.tif")
        yield name, scene, analysts(real, "tiles.geojson", scene, name)


def negatives(real):
    "Yields name and scene of what holds no earthquake."
    for name, path in (QUIET | OTHER).items():
        yield name, opened(Path(real) / path)
    for path in sorted(Path(real).glob("tiles/quiet_*.tif")) + sorted(Path(real).glob("quiet/s*")):
        yield path.name.removesuffix("_wrapped_phase.tif"), opened(path)


def iou(marked, truth):
    return float((marked & truth).sum() / max(1, (marked | truth).sum()))
