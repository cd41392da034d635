"""What `fuzz.py` changes and reads: for every kind of input a small valid file and its reader."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import rasterio
from rasterio.transform import Affine

# numbers and words that programs trip over
ATOMS = (
    *(
        "0",
        "-1",
        "1e308",
        "-1e-308",
        "nan",
        "inf",
        "1e400",
        "9" * 5000,
        "0x7fffffff",
        "true",
        "null",
    ),
    *(
        '""',
        "[]",
        "{}",
        "[" * 2000,
        '{"a":' * 500,
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "\0",
        "\r\n",
        "'",
        '"',
    ),
    *(
        "../../etc/passwd",
        "/vsicurl/http://127.0.0.1:9/x",
        "http://127.0.0.1:9/x.wkt",
        "x" * 100_000,
    ),
    *("EPSG:4978", "EPSG:3857", "+proj=longlat +R=1737400", 'LOCAL_CS["x",UNIT["metre",1]]'),
    *(
        "20190704_20190716",
        "99999999_99999999",
        "urn:ogc:def:crs:EPSG::4326",
        "-338",
        "1e9",
        ";",
        ",",
    ),
)
LARGEST = 300_000  # bytes of a file that is changed once more
INTEGERS = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1)
_TOKEN = re.compile(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?|\"[^\"]*\"|\w+|[^\w\s]")


@dataclass(frozen=True)
class Edit:
    "One change of a file."

    kind: int  # 0 to 7
    place: float  # 0 to 1, from its beginning to its end
    value: int  # 0 to 2**32 - 1


@dataclass(frozen=True)
class Valid:
    "A valid file, and where its changed forms are written."

    path: Path
    data: bytes
    is_text: bool = False

    def write(self, data: bytes) -> None:
        self.path.write_bytes(data)


def changed(data: bytes, edits: list, is_text: bool) -> bytes:
    "The bytes of a file after some edits."
    for edit in edits:
        data = data[:LARGEST]
        data = (
            _token_changed(data, edit) if is_text and edit.kind < 5 else _bytes_changed(data, edit)
        )
    return data


def _token_changed(data, edit):
    "A number, word or sign of a text replaced, doubled or taken away."
    text = data.decode("utf-8", "surrogateescape")
    tokens = list(_TOKEN.finditer(text))
    if not tokens:
        return data
    at = tokens[min(int(edit.place * len(tokens)), len(tokens) - 1)]
    by = ATOMS[edit.value % len(ATOMS)]
    if edit.kind == 3:
        by = at[0] * (2 + edit.value % 2000)
    elif edit.kind == 4:
        by = ""
    text = text[: at.start()] + by + text[at.end() :]
    return text.encode("utf-8", "surrogatepass" if by == "\ud800" else "surrogateescape")


def _bytes_changed(data, edit):
    "Bits turned, numbers set to extremes, pieces taken away, doubled or put in."
    at = int(edit.place**2 * max(len(data) - 1, 0))  # headers come first
    kind = edit.kind % 8
    if kind == 0:
        return (
            data[:at] + bytes([data[at] ^ (1 << edit.value % 8)] if data else []) + data[at + 1 :]
        )
    if kind in (1, 2, 3):
        number = INTEGERS[edit.value % len(INTEGERS)]
        form = ("<H", "<I", "<Q")[kind - 1]
        size = struct.calcsize(form)
        return data[:at] + struct.pack(form, number % 2 ** (8 * size)) + data[at + size :]
    length = 1 + edit.value % 64
    if kind == 4:
        return data[:at] + data[at + length :]
    if kind == 5:
        return data[:at] + data[at : at + length] * 3 + data[at + length :]
    if kind == 6:
        return data[: int(edit.place * len(data))]
    atom = ATOMS[edit.value % len(ATOMS)].encode("utf-8", "surrogatepass")
    return data[:at] + atom[:64] + data[at + len(atom[:64]) :]


SHAPE = (24, 30)


def _phase():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (((rows * 3.0 + columns) % 6.2) - 3.1).astype(np.float32)


def _raster(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = Affine(0.001, 0, 22, 0, -0.001, 40)
    size = {"height": SHAPE[0], "width": SHAPE[1], "count": 1}
    with rasterio.open(
        path, "w", "GTiff", dtype=array.dtype, crs="EPSG:4326", transform=grid, **size, **options
    ) as f:
        f.write(array, 1)
    return path


def _file(path, is_text=False):
    return Valid(path, path.read_bytes(), is_text)


def _text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return _file(path, True)


def make_phase(folder: Path) -> Valid:
    "LiCSAR's wrapped phase."
    return _file(_raster(folder / "20190704_20190716.geo.diff_pha.tif", _phase()))


def make_coherence(folder: Path) -> Valid:
    "LiCSAR's coherence, compressed in tiles, beside phase."
    _raster(folder / "20190704_20190716.geo.diff_pha.tif", _phase())
    array = np.full(SHAPE, 150, np.uint8)
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
    return _file(_raster(folder / "20190704_20190716.geo.cc.tif", array, **tiles))


def make_gunw(folder: Path) -> Valid:
    "ARIA's product."
    path = folder / "S1-GUNW-A-R-102-tops-20210303_20210218-043020-00022E_00039N-PP-6267-v3_0_1.nc"
    with h5py.File(path, "w") as f:
        data = f.create_group("science/grids/data")
        data["longitude"] = 22 + np.arange(SHAPE[1]) / 1200
        data["latitude"] = 40 - np.arange(SHAPE[0]) / 1200
        data["unwrappedPhase"] = _phase()
        data["coherence"] = np.full(SHAPE, 0.6, np.float32)
        data["crs"] = 0
        data["crs"].attrs["crs_wkt"] = rasterio.crs.CRS.from_epsg(4326).to_wkt()
        f["science/radarMetaData/wavelength"] = 0.05546576
    return _file(path)


def make_grd(folder: Path) -> Valid:
    "GMTSAR's grid as classic netCDF."
    from scipy.io import netcdf_file

    path = folder / "phasefilt_ll.grd"
    with netcdf_file(path, "w") as f:
        axes = {"lat": 40 - np.arange(SHAPE[0]) / 1200, "lon": 22 + np.arange(SHAPE[1]) / 1200}
        for name, values in axes.items():
            f.createDimension(name, values.size)
            f.createVariable(name, "d", (name,))[:] = values
        f.createVariable("z", "f", ("lat", "lon"))[:] = _phase()
    return _file(path)


def make_mintpy(folder: Path) -> Valid:
    "A MintPy stack of one pair."
    path = folder / "ifgramStack.h5"
    with h5py.File(path, "w") as f:
        place = {"X_FIRST": "22", "X_STEP": "0.001", "Y_FIRST": "40", "Y_STEP": "-0.001"}
        f.attrs.update({"FILE_TYPE": "ifgramStack", "X_UNIT": "degrees", **place})
        f["unwrapPhase"] = _phase()[None]
        f["date"] = np.array([[b"20190704", b"20190716"]])
    return _file(path)


def make_zip(folder: Path) -> Valid:
    "HyP3's product as the service sends it."
    stem = "S1AA_20190704T135158_20190716T135159_VVP012_INT80_G_ueF_612C"
    phase = _raster(folder / "inside" / f"{stem}_wrapped_phase.tif", _phase(), nodata=0)
    with zipfile.ZipFile(folder / f"{stem}.zip", "w") as z:
        z.write(phase, f"{stem}/{phase.name}")
    return _file(folder / f"{stem}.zip")


def make_outlines(folder: Path) -> Valid:
    "Drawn outlines."
    ring = [[22.005, 39.98], [22.02, 39.98], [22.02, 39.99], [22.005, 39.98]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {"analyst": "a"}, "geometry": shape}
    data = {"type": "FeatureCollection", "features": [feature], "crs": None}
    return _text(folder / "drawn.geojson", json.dumps(data))


_EVENTS = """event_id,name,time_utc,latitude,longitude,depth_km,magnitude,\
strike_deg,dip_deg,rake_deg,source
us1,made up,2019-07-10T00:00:00Z,39.9,22.1,8,6.0,120,45,-90,test
"""
_PAIRS = """frame,pair,event_id,coseismic,pass,origin
021D_04972_131213,20190704_20190716,us1,true,descending,real
"""


def _archive(folder):
    pair = "20190704_20190716"
    inside = folder / "21" / "021D_04972_131213" / "interferograms" / pair
    _raster(inside / f"{pair}.geo.diff_pha.tif", _phase())
    (folder / "events.csv").write_text(_EVENTS, encoding="utf-8")
    (folder / "pairs.csv").write_text(_PAIRS, encoding="utf-8")


def make_events(folder: Path) -> Valid:
    "An archive's table of earthquakes."
    _archive(folder)
    return _file(folder / "events.csv", True)


def make_pairs(folder: Path) -> Valid:
    "An archive's table of pairs."
    _archive(folder)
    return _file(folder / "pairs.csv", True)


def make_profile(folder: Path) -> Valid:
    "A profile."
    from insar_seg.core.profile import load_profile, save_profile

    save_profile(folder / "mine.toml", load_profile("quick"))
    return _file(folder / "mine.toml", True)


def make_card(folder: Path) -> Valid:
    "The card of the network that comes with the package, beside weights."
    from insar_seg.maps.predictor import pretrained_folder

    (folder / "best.weights.h5").write_bytes(b"")
    return _text(folder / "card.json", (pretrained_folder() / "card.json").read_text("utf-8"))


def make_keras(folder: Path) -> Valid:
    "The two texts of a Keras model."
    config = {"config": {"name": "net", "layers": [{}]}}
    with zipfile.ZipFile(folder / "net.keras", "w") as z:
        z.writestr("config.json", json.dumps(config))
        z.writestr("metadata.json", json.dumps({"keras_version": "3.6.0"}))
    return _file(folder / "net.keras")


def make_results(folder: Path) -> Valid:
    "The scores of a run."
    score = {"micro": {"iou": 0.5}}
    data = {
        **{"profile": "quick", "archive": "a", "version": "0.1", "seed": 0, "threshold": 0.5},
        "dataset": {"events": 1, "interferograms": 1, "patches": {"train": 1}},
        "experiments": {"margin": {"unet_vgg19": score}},
    }
    return _text(folder / "results.json", json.dumps(data))


def make_listing(folder: Path) -> Valid:
    "A page of COMET's portal."
    names = ("20190704_20190716", "20190716_20190728")
    rows = "".join(f'<tr><td><a href="{n}/">{n}/</a></td><td>2019-08-01</td></tr>' for n in names)
    return _text(folder / "index.html", f"<html><body><table>{rows}</table></body></html>")


def make_comcat(folder: Path) -> Valid:
    "An answer of ComCat."
    properties = {"mag": 6.3, "place": "Greece", "time": 1614766568000, "type": "earthquake"}
    geometry = {"type": "Point", "coordinates": [22.2, 39.8, 8]}
    plane = {"nodal-plane-1-strike": "120", "nodal-plane-1-dip": "45", "nodal-plane-1-rake": "-90"}
    properties["products"] = {"moment-tensor": [{"properties": plane}]}
    feature = {"id": "us7000df40", "properties": properties, "geometry": geometry}
    return _text(folder / "event.json", json.dumps(feature))


def read_scene(path: Path) -> None:
    "As `info` and `map` do."
    from insar_seg.interferograms.products import read_product
    from insar_seg.pipeline.describe import describe_path

    describe_path(path)
    read_product(path, unwrapped=True)


def read_beside(path: Path) -> None:
    "The phase beside it."
    read_scene(path.with_name("20190704_20190716.geo.diff_pha.tif"))


def read_outlines(path: Path) -> None:
    "As masks."
    from insar_seg.masks.definitions import masks_from_polygons

    grid = Affine(0.001, 0, 22, 0, -0.001, 40)
    masks_from_polygons(path, rasterio.crs.CRS.from_epsg(4326), grid, SHAPE, (111, 85))


def read_archive(path: Path) -> None:
    "As `info` and a study do."
    from insar_seg.pipeline.describe import describe_path

    describe_path(path.parent)


def read_profile(path: Path) -> None:
    "As every command does."
    from insar_seg.pipeline.run import open_profile

    open_profile(path)


def read_path(path: Path) -> None:
    "As `info` does."
    from insar_seg.pipeline.describe import describe_path

    describe_path(path)


def read_listing(path: Path) -> None:
    "As the plan of a download does."
    from insar_seg.interferograms import comet

    text = path.read_bytes().decode("utf-8", "replace")
    comet.read_links(text, "https://gws-access.jasmin.ac.uk/public/x/")
    comet.parse_event_page(text)
    comet.parse_eqframes(text, "us1")
    comet.parse_center_time(text)
    comet.parse_polygon(text)


def read_comcat(path: Path) -> None:
    "As the table of earthquakes does; what is no JSON was refused by the client before."
    from insar_seg.earthquakes import comcat

    try:
        feature = json.loads(path.read_bytes().decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return
    comcat.event_row(feature)
    comcat.planes_of(feature)


TARGETS: dict[str, tuple[Callable[[Path], Valid], Callable[[Path], None]]] = {
    "phase": (make_phase, read_scene),
    "coherence": (make_coherence, read_beside),
    "gunw": (make_gunw, read_scene),
    "grd": (make_grd, read_scene),
    "mintpy": (make_mintpy, read_scene),
    "zip": (make_zip, read_scene),
    "outlines": (make_outlines, read_outlines),
    "events": (make_events, read_archive),
    "pairs": (make_pairs, read_archive),
    "profile": (make_profile, read_profile),
    "card": (make_card, read_archive),
    "keras": (make_keras, read_path),
    "results": (make_results, read_archive),
    "listing": (make_listing, read_listing),
    "comcat": (make_comcat, read_comcat),
}
