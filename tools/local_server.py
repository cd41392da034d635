"A web server on this computer that behaves, well or badly, as COMET's and CEDA's do."

from __future__ import annotations

import contextlib
import hashlib
import html
import http.server
import posixpath
import re
import socketserver
import threading
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class File:
    "Bytes with what a server says about them."

    data: bytes
    # default: from the ending; none for a name without ending means text/plain
    content_type: str = ""
    validators: bool = True  # False: neither ETag nor Last-Modified
    ranges: bool = True  # False: the whole file whatever is asked for


@dataclass(frozen=True)
class LinkFile:
    "The catalogue's entry for a pair: links to where its files are."

    links: tuple  # of absolute addresses


@dataclass(frozen=True)
class Redirect:
    "An address that sends the client elsewhere."

    to: str
    status: int = 302


@dataclass(frozen=True)
class Missing:
    "Listed by its folder, yet not there."


@dataclass(frozen=True)
class Directory:
    "How a folder (path with a slash at its end) lists itself."

    style: str = "table"  # or "pre"; "empty" lists nothing


@dataclass
class Fault:
    "Something that goes wrong with the addresses that match."

    pattern: str  # regular expression, searched in the path
    kind: str  # status, slow, cut, length, html, empty, no_range, hang, redirect
    times: int | None = 1  # how often; None: always
    # status: number; slow, hang: seconds (slow: of each 16 kB); cut: bytes sent; length: bytes too
    # many announced; redirect: address
    value: object = None
    headers: dict = field(default_factory=dict)  # further headers of a status, e.g. Retry-After


_Entry = bytes | str | File | LinkFile | Redirect | Missing | Directory

_TYPES = {
    ".tif": "image/tiff",
    ".html": "text/html; charset=utf-8",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".json": "application/json",
    ".geojson": "application/json",
    ".png": "image/png",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".xml": "application/xml",
}
_MODIFIED = "Wed, 10 Sep 2025 08:00:00 GMT"


def link_file(links: Iterable[str]) -> bytes:  # absolute addresses
    "The text of a link file: an anchor and a line break for each address."
    return "\n".join(
        f"<a href='{u}'>{posixpath.basename(urllib.parse.urlsplit(u).path)}</a><br />"
        for u in links
    ).encode()


def listing(
    path: str,  # of the folder, with a slash at its end
    names: Iterable[str],  # entries; folders with a slash at their end
    style: str = "table",  # or "pre"
    sizes: dict | None = None,  # name -> bytes
) -> bytes:
    "An index page in Apache's manner, sort links and parent directory included."
    top = "".join(
        f'<a href="?C={c};O=A">{n}</a> ' for c, n in zip("NMS", ("Name", "Last modified", "Size"))
    )

    def size(n):
        return f"{max(1, (sizes or {}).get(n, 0) // 1024)}K" if not n.endswith("/") else "-"

    def link(n):
        return f'<a href="{html.escape(urllib.parse.quote(n))}">{html.escape(n if len(n) < 24 else n[:20] + "..>")}</a>'

    if style == "pre":
        rows = "\n".join(f"{link(n)} 2025-09-10 08:00 {size(n)}" for n in names)
        body = f'<pre>{top}<hr><a href="../">Parent Directory</a> -\n{rows}<hr></pre>'
    else:
        rows = "\n".join(
            f"<tr><td>{link(n)}</td><td align='right'>2025-09-10 08:00</td><td"
            f" align='right'>{size(n)}</td></tr>"
            for n in names
        )
        body = (
            f'<table><tr><th>{top}</th></tr>\n<tr><td><a href="../">Parent'
            f" Directory</a></td><td>-</td></tr>\n{rows}\n</table>"
        )
    return (
        f"<!DOCTYPE HTML><html><head><title>Index of {path}</title></head>\n<body><h1>Index of"
        f" {path}</h1>\n{body}\n</body></html>".encode()
    )


class Server(str):
    """A running server: a string, its address without a slash at the end, that also knows what was
    asked.
    """

    # (path with query, headers) of every request, in order
    requests: list[tuple[str, dict[str, str]]]
    faults: list[Fault]  # those still to come

    @property
    def host(self) -> str:
        "Name and port, for a client's `extra_hosts`."
        return self.split("//")[1]

    def asked(
        self,
        pattern: str = "",  # regular expression, searched in the path with its query
    ) -> list[str]:
        "The paths asked for that match, in order."
        return [path for path, _ in self.requests if re.search(pattern, path)]


class _HTTPServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        "As the base, but without looking up the computer's name, which may take seconds."
        socketserver.TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)


@contextlib.contextmanager
def serve(
    # path such as "/a/b.tif" -> bytes, str, File, LinkFile, Redirect, Missing; "/a/" -> Directory
    tree: Mapping[str, _Entry],
    faults: Iterable[Fault] = (),  # those that match an address act together
) -> Iterator[Server]:
    "Run a server on a free port of this computer; yields its address, a `Server`."

    class Handler(_Handler):
        pass

    http_server = _HTTPServer(("127.0.0.1", 0), Handler)
    base = Server(f"http://127.0.0.1:{http_server.server_port}")
    base.requests = []
    base.faults = list(faults)
    Handler.base = base
    Handler.tree = {"/" + p.lstrip("/"): v for p, v in tree.items()}
    Handler.lock = threading.Lock()
    thread = threading.Thread(
        target=http_server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    try:
        yield base
    finally:
        http_server.shutdown()
        http_server.server_close()
        thread.join()


class _Answers(http.server.BaseHTTPRequestHandler):
    "How one answer is sent, and what goes wrong on the way."

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def _file(self, path, entry, fault):
        "A file: whole, or the range asked for; with what goes wrong on the way."
        data = b"" if "empty" in fault else entry.data
        headers = {"Accept-Ranges": "bytes"} if entry.ranges else {}
        etag = '"' + hashlib.sha1(entry.data).hexdigest()[:12] + '"'
        if entry.validators:
            headers |= {"ETag": etag, "Last-Modified": _MODIFIED}
        status = 200
        first = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        if (
            first
            and entry.ranges
            and "no_range" not in fault
            and self.headers.get("If-Range", etag) in (etag, _MODIFIED)
        ):
            start = int(first[1])
            total = len(data)
            if start >= total:
                return self._send(416, b"", "text/plain", {"Content-Range": f"bytes */{total}"})
            status, data = 206, data[start:]
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        kind = entry.content_type or _TYPES.get(posixpath.splitext(path)[1], "text/plain")
        self._send(status, data, kind, headers, fault)

    def _send(self, status, data, kind, headers=None, fault=None):
        """Status line, headers, body; cut, slow or of another length than announced if a fault says
        so.
        """
        fault = fault or {}
        self.send_response(status)
        length = len(data) + (fault["length"].value if "length" in fault else 0)
        for key, value in {
            "Content-Type": kind,
            "Content-Length": length,
            **(headers or {}),
        }.items():
            self.send_header(key, str(value))
        if "cut" in fault:
            data = data[: fault["cut"].value]
        if len(data) != length:
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(data), 1 << 14):
                self.wfile.write(data[at : at + (1 << 14)])
                if "slow" in fault:
                    time.sleep(fault["slow"].value)


class _Handler(_Answers):
    "One request."

    base: Server
    tree: dict[str, _Entry]
    lock: threading.Lock

    def handle(self):
        # a client may hang up at any moment
        with contextlib.suppress(ConnectionError):
            super().handle()

    def _faults(self, path) -> dict:
        "kind -> Fault for this request; each use is counted."
        found = {}
        with self.lock:
            self.base.requests.append((self.path, dict(self.headers)))
            for fault in self.base.faults:
                if fault.times != 0 and fault.kind not in found and re.search(fault.pattern, path):
                    found[fault.kind] = fault
                    if fault.times:
                        fault.times -= 1
        return found

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        fault = self._faults(path)
        if "hang" in fault:
            time.sleep(fault["hang"].value)
        if "status" in fault:
            return self._send(
                fault["status"].value, b"try later", "text/plain", fault["status"].headers
            )
        if "redirect" in fault:
            return self._send(302, b"", "text/plain", {"Location": str(fault["redirect"].value)})
        if "html" in fault:
            return self._send(
                200,
                b"<!DOCTYPE html><html><body>Service is being maintained</body></html>",
                fault["html"].value or "text/html",
            )
        entry = self.tree.get(path)
        if path.endswith("/") and (entry is None or isinstance(entry, Directory)):
            return self._folder(path, entry or Directory())
        if entry is None and any(p.startswith(path + "/") for p in self.tree):
            return self._send(301, b"", "text/plain", {"Location": path + "/"})
        if isinstance(entry, Redirect):
            return self._send(entry.status, b"", "text/plain", {"Location": self._own(entry.to)})
        if isinstance(entry, LinkFile):
            entry = File(link_file(self._own(u) for u in entry.links), "text/plain")
        if isinstance(entry, str):
            entry = self._own(entry).encode()
        if isinstance(entry, bytes):
            entry = File(entry)
        if not isinstance(entry, File):
            return self._send(404, b"<html><body>404 Not Found</body></html>", "text/html")
        self._file(path, entry, fault)

    do_HEAD = do_GET

    def _own(self, text):
        return text.replace("{base}", self.base)

    def _folder(self, path, entry):
        "The listing, or 404 if nothing lies below."
        below = [p[len(path) :] for p in self.tree if p.startswith(path) and p != path]
        if not below and path not in self.tree:
            return self._send(404, b"<html><body>404 Not Found</body></html>", "text/html")
        names = (
            sorted({n.split("/")[0] + ("/" if "/" in n else "") for n in below})
            if entry.style != "empty"
            else []
        )
        self._send(200, listing(path, names, entry.style), "text/html;charset=UTF-8")


ROOT = "/public/nceo_geohazards/LiCSAR_products"
_CEDA = "/neodc/comet/data/licsar_products"


def metadata_text(
    center_time: str = "4:39:10.514823",  # UTC time of the acquisition
    heading: float = -167.9,  # flight direction, degrees clockwise from north
    **more: object,  # further keys, or others of these
) -> bytes:
    "A frame's metadata.txt; the hour has no leading zero."
    values = {
        "master": "20160113",
        "center_time": center_time,
        "heading": heading,
        "avg_incidence_angle": 39.5,
        "azimuth_resolution": 14.0,
        "range_resolution": 2.33,
        "centre_range_m": 877000.1,
        "avg_height": 512.0,
        "applied_DEM": "SRTM_30m",
        **more,
    }
    return "".join(f"{k}={v}\n" for k, v in values.items()).encode()


def event_page(
    event_id: str,  # USGS id
    pairs: Iterable[tuple[str, str]],  # (frame, pair)
    root: str,  # address of the catalogue
) -> bytes:
    "COMET's page of an event: one anchor a line, sorted."
    usgs = f"https://earthquake.usgs.gov/earthquakes/eventpage/{event_id}"
    lines = {
        f'<a href="{usgs}">USGS info on {event_id}</a> <br />',
        f'<a href="{root}/EQ/{event_id}.kml">USGS kml file</a> <br />',
    }
    for frame, pair in pairs:
        folder = f"{root}/{int(frame[:3])}/{frame}"
        lines |= {
            (
                f'<a href="{folder}/interferograms/{pair}/{frame}_{pair}.kmz">{frame}:'
                f" {pair}.kmz</a> <br />"
            ),
            f'<a href="{folder}/metadata">{frame} metadata</a> <br />',
            f'<a href="{folder}/interferograms/{pair}">{frame}: {pair}</a> <br />',
        }
    return "\n".join(sorted(lines)).encode()


def event_tables(
    # event id -> dict(magnitude, depth, time, lat, lon, location, pairs = [(frame, pair), ...])
    events: dict,
    root: str,  # of the catalogue
) -> dict:  # path -> bytes of EQ/eqs.csv and EQ/eqframes.csv
    """COMET's tables of events (with a header, a made-up small event among them) and of events and
    frames (without one).
    """

    def link(i):
        return f"<a href='https://earthquake.usgs.gov/earthquakes/eventpage/{i}'>{i}</a>"

    dummy = {
        "dummy1": dict(
            magnitude=3.0, depth=5.0, time="2021-01-01 00:00:00", lat=0.0, lon=0.0, location="test"
        )
    }
    eqs = ["USGS_ID;magnitude;depth;time;lat;lon;link;location"]
    eqs += [
        ";".join(
            str(v)
            for v in (
                i,
                e["magnitude"],
                e["depth"],
                e["time"],
                e["lat"],
                e["lon"],
                link(i),
                e.get("location", ""),
            )
        )
        for i, e in {**events, **dummy}.items()
    ]
    frames = [
        f"0103000020E6100000;{f};{i};<a href='{root}/{int(f[:3])}/{f}'>{f}</a>;;;-999"
        for i, e in events.items()
        for f in dict.fromkeys(f for f, _ in e.get("pairs", ()))
    ]
    return {
        f"{ROOT}/EQ/eqs.csv": "\n".join(eqs).encode() + b"\n",
        f"{ROOT}/EQ/eqframes.csv": "\n".join(frames).encode() + b"\n",
    }


def licsar_tree(
    products: dict,  # (frame, pair) -> {ending such as "geo.diff_pha.tif": bytes, or `Missing()`}
    events: dict | None = None,  # as for `event_tables`
    # frame -> {file name: bytes}; metadata.txt is made where it is not given
    metadata: dict | None = None,
    old: Iterable[str] = (),  # frames served in the old way
    archived: Iterable[tuple[str, str]] = (),  # (frame, pair) whose files are in CEDA's archive
    archive: str = "{base}",  # address of that archive's server
    padded: bool = False,  # the catalogue's tracks keep their leading zeros
) -> dict[str, _Entry]:  # for `serve`
    "Everything a client meets on the way from an event to a file."
    tree: dict[str, _Entry] = {}
    root, old, archived = "{base}" + ROOT, tuple(old), tuple(archived)
    for (frame, pair), files in products.items():
        track = frame[:3] if padded else str(int(frame[:3]))
        there = f"{track}/{frame}/interferograms/{pair}"
        names = {f"{pair}.{ending}": body for ending, body in files.items()}
        if frame in old:
            tree |= {f"{ROOT}/{there}/{name}": body for name, body in names.items()}
        elif (frame, pair) in archived:
            here = f"{_CEDA}/{int(track):02d}/{frame}/{pair}"
            tree[f"{ROOT}/{there}"] = LinkFile(tuple(f"{archive}{here}/{name}" for name in names))
            for name, body in names.items():
                tree |= {
                    f"{here}/{name}": Redirect(f"{{base}}/dap{here}/{name}?download=1"),
                    f"/dap{here}/{name}": body,
                }
        else:
            tree[f"{ROOT}/{there}"] = LinkFile(
                tuple(f"{root}.public/{there}/{name}" for name in names)
            )
            tree |= {f"{ROOT}.public/{there}/{name}": body for name, body in names.items()}
        given = {"metadata.txt": metadata_text(), **(metadata or {}).get(frame, {})}
        tree |= {f"{ROOT}/{track}/{frame}/metadata/{name}": body for name, body in given.items()}
    for event_id, event in (events or {}).items():
        tree[f"{ROOT}/EQ/{event_id}.html"] = event_page(
            event_id, event.get("pairs", ()), root
        ).decode()
    return tree | ({k: v.decode() for k, v in event_tables(events, root).items()} if events else {})
