"""A web server on this computer that behaves, well or badly, as COMET's and CEDA's do.

For tests: no test needs the internet. `serve` takes a table of paths and what lies there, and the
faults to inject; `scripted` gives answers one after another; `licsar_tree` makes the table of a
small LiCSAR portal. What they imitate was read in COMET's own programs (licsar_proc, LiCSBAS) and
in the issues that their users wrote; the servers themselves may differ.

It stands on the standard library: pytest-httpserver builds every answer with werkzeug, which
corrects a wrong length and cannot break off a body, and these faults are what matters here.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import http.server
import posixpath
import re
import socketserver
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class File:
    "Bytes with the type that the server names."

    data: bytes
    content_type: str = ""  # default: from the ending; without an ending text/plain


@dataclass(frozen=True)
class LinkFile:
    "The catalogue's entry for a pair since 2025: links to where its files are, as plain text."

    links: tuple  # of absolute addresses


@dataclass(frozen=True)
class Redirect:
    "An address that sends the client elsewhere."

    to: str


@dataclass(frozen=True)
class Missing:
    "Listed by its folder, yet not there."


@dataclass(frozen=True)
class Directory:
    "How a folder (path with a slash at its end) lists itself; folders need no entry otherwise."

    style: str = "table"  # or "pre"; "empty" lists nothing


@dataclass
class Fault:
    "Something that goes wrong with the addresses that match."

    pattern: str  # regular expression, searched in the path
    kind: str  # status, slow, cut, length, html, empty, no_range, hang, redirect, raw
    times: int | None = 1  # how often; None: always
    # status: number; slow, hang: seconds (slow: of each 16 kB); cut: bytes sent; length: bytes too
    # many announced; html: the type it claims; redirect: address; raw: one of `RAW`
    value: object = None
    headers: dict = field(default_factory=dict)  # further headers of a status, e.g. Retry-After


# a str may hold {base}, the server's own address; a function gets the query: name -> value
_Entry = bytes | str | File | LinkFile | Redirect | Missing | Directory | Callable[[dict], bytes]

_TYPES = {
    ".tif": "image/tiff",
    ".html": "text/html; charset=utf-8",
    ".csv": "text/csv",
    ".json": "application/json",
    ".xml": "application/xml",
}
_MODIFIED = "Wed, 10 Sep 2025 08:00:00 GMT"
_PIECE = 1 << 14
_NOT_FOUND = b"<html><body>404 Not Found</body></html>"
_MAINTENANCE = b"<!DOCTYPE html><html><body>Service is being maintained</body></html>"


def _begin(send, *headers: bytes, status=b"200 OK"):
    send(b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"", b""]))


def _drip(send, data):
    "Ten bytes a second."
    for n in range(len(data)):
        send(data[n : n + 1])
        time.sleep(0.1)


def slow_headers(send):
    _drip(send, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000)


def slow_body(send):
    _begin(send, b"Content-Length: 1000")
    _drip(send, b"x" * 1000)


def slow_body_without_length(send):
    _begin(send)
    _drip(send, b"x" * 1000)


def endless_continue(send):
    while True:
        _begin(send, status=b"100 Continue")


def endless_trailers(send):
    _begin(send, b"Transfer-Encoding: chunked")
    send(b"2\r\nok\r\n0\r\n")
    while True:
        send(b"X: y\r\n" * 100)


def negative_chunk(send):
    "Of -1 bytes, which some readers take for everything that comes."
    _begin(send, b"Transfer-Encoding: chunked")
    send(b"-1\r\n")
    while True:
        send(bytes(_PIECE))


def length_of_many_digits(send):
    _begin(send, b"Content-Length: " + b"9" * 5000)
    send(b"ok")


def endless_header(send):
    send(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        send(bytes(_PIECE))


def cut_text(send):
    "A text that ends with the connection, in the middle of a word."
    _begin(send)
    send(b"center_time=16:3")


def huge_location(send):
    "A megabyte with terminal escapes, folded since a line may have 64 kB only."
    pieces = [b" \x1b[31m" + b"x" * 60_000] * 17
    _begin(send, b"Location: http://127.0.0.1:1/" + b"\r\n".join(pieces), status=b"302 Found")


# what no server of the standard library sends: functions that write a whole answer themselves
RAW = {
    f.__name__: f
    for f in (
        *(slow_headers, slow_body, slow_body_without_length, endless_continue, endless_trailers),
        *(negative_chunk, length_of_many_digits, endless_header, cut_text, huge_location),
    )
}


def listing(
    path: str,  # of the folder, with a slash at its end
    names: Iterable[str],  # entries; folders with a slash at their end
    style: str = "table",  # or "pre"
) -> bytes:
    "An index page in Apache's manner, sort links and parent directory included."
    head = '<a href="?C=N;O=A">Name</a> <a href="?C=M;O=A">Last modified</a>'
    rows = []
    for name in ["../", *names]:
        # Apache shortens a long name in the text, so only the address counts
        text = name if len(name) < 24 else name[:20] + "..>"
        link = f'<a href="{html.escape(urllib.parse.quote(name))}">{html.escape(text)}</a>'
        row = f"{link} 2025-09-10 08:00"
        rows.append(row if style == "pre" else f"<tr><td>{row}</td></tr>")
    tag = "pre" if style == "pre" else "table"
    body = "\n".join([f"<{tag}>{head}", *rows, f"</{tag}>"])
    title = f"Index of {path}"
    page = f"<html><head><title>{title}</title></head>\n<body><h1>{title}</h1>\n{body}\n</body>"
    return f"<!DOCTYPE HTML>{page}</html>".encode()


class Server(str):
    "A running server: its address without a slash at the end, that also knows what was asked."

    requests: list[tuple[str, dict[str, str]]]  # (path with query, headers), in order
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
        self.server_name, self.server_port = self.server_address[:2]


@contextlib.contextmanager
def _running(handler: type[_Handler], tls: tuple = ()) -> Iterator[Server]:
    "A server on a free port that answers by `handler`."
    server = _HTTPServer(("127.0.0.1", 0), handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    base = Server(f"http://127.0.0.1:{server.server_port}")
    base.requests = []
    handler.base = base
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield base
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def serve(
    # path such as "/a/b.tif" -> bytes, text, File, LinkFile, Redirect, Missing, or a function of
    # the query; "/a/" -> Directory
    tree: Mapping[str, _Entry],
    faults: Iterable[Fault] = (),  # those that match an address act together
    tls: tuple = (),  # files of a certificate and its key: the server answers https only
) -> Iterator[Server]:
    "Run a server on a free port of this computer; yields its address, a `Server`."
    handler = type("_TreeHandler", (_TreeHandler,), {"tree": tree, "lock": threading.Lock()})
    with _running(handler, tls) as base:
        base.faults = list(faults)
        yield base


@contextlib.contextmanager
def scripted(
    *answers: tuple,  # (status, headers, body) or (status, headers, body, bytes sent)
    repeat: bool = False,  # True: the first answer always
) -> Iterator[Server]:
    "A server whose n-th answer is the n-th of `answers`, then 500; yields its address."
    handler = type("_ScriptHandler", (_ScriptHandler,), {"left": list(answers), "repeat": repeat})
    with _running(handler) as base:
        yield base


class _Handler(http.server.BaseHTTPRequestHandler):
    "How one answer is sent."

    base: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def handle(self):
        # a client may hang up at any moment
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            super().handle()

    def send(self, status, headers, body, sent=None, pause_s=0.0):
        "One answer; `sent`: only so many bytes of the body, `pause_s`: after each 16 kB."
        self.send_response(status)
        headers = {"Content-Length": len(body), "Content-Type": "text/plain", **headers}
        whole = sent is None and headers["Content-Length"] == len(body)
        if not whole:
            headers["Connection"] = "close"
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        body = body[:sent]
        for start in range(0, len(body), _PIECE):
            self.wfile.write(body[start : start + _PIECE])
            time.sleep(pause_s)
        if not whole:
            self.close_connection = True


class _ScriptHandler(_Handler):
    left: list
    repeat: bool

    def do_GET(self):
        self.base.requests.append((self.path, dict(self.headers)))
        answer = (500, {}, b"")
        if self.left:
            answer = self.left[0] if self.repeat else self.left.pop(0)
        self.send(*answer)
        self.close_connection = True


class _TreeHandler(_Handler):
    "A request is counted, then its path decides: a fault first, then what lies there, else 404."

    tree: Mapping[str, _Entry]
    lock: threading.Lock

    def due_faults(self, path) -> dict[str, Fault]:
        "kind -> fault of this request; each use is counted."
        due = {}
        with self.lock:
            self.base.requests.append((self.path, dict(self.headers)))
            for fault in self.base.faults:
                if fault.times != 0 and fault.kind not in due and re.search(fault.pattern, path):
                    due[fault.kind] = fault
                    if fault.times:
                        fault.times -= 1
        return due

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        due = self.due_faults(path)
        if "hang" in due:
            time.sleep(due["hang"].value)
        if "raw" in due:
            RAW[due["raw"].value](self.wfile.write)
            self.close_connection = True
        elif "status" in due:
            self.send(due["status"].value, due["status"].headers, b"try later")
        elif "redirect" in due:
            self.send(302, {"Location": due["redirect"].value}, b"")
        elif "html" in due:
            self.send(200, {"Content-Type": due["html"].value or "text/html"}, _MAINTENANCE)
        else:
            self.send_entry(path, self.tree.get(path), dict(urllib.parse.parse_qsl(url.query)), due)

    def send_entry(self, path, entry, query, due):
        "What lies at a path."
        if path.endswith("/") and (entry is None or isinstance(entry, Directory)):
            self.send_folder(path, entry or Directory())
        elif isinstance(entry, Redirect):
            self.send(302, {"Location": self.own(entry.to)}, b"")
        elif entry is None and any(p.startswith(path + "/") for p in self.tree):
            self.send(301, {"Location": path + "/"}, b"")
        elif entry is None or isinstance(entry, Missing):
            self.send(404, {"Content-Type": "text/html"}, _NOT_FOUND)
        else:
            self.send_file(path, self.as_file(entry, query), due)

    def own(self, text):
        return text.replace("{base}", self.base)

    def as_file(self, entry, query) -> File:
        if isinstance(entry, LinkFile):
            names = [posixpath.basename(urllib.parse.urlsplit(u).path) for u in entry.links]
            lines = [f"<a href='{u}'>{n}</a><br />" for u, n in zip(entry.links, names)]
            entry = "\n".join(lines)
        if callable(entry):
            entry = entry(query)
        if isinstance(entry, str):
            entry = self.own(entry).encode()
        return entry if isinstance(entry, File) else File(entry)

    def send_folder(self, path, folder):
        "The listing, or 404 if nothing lies below."
        below = [p[len(path) :] for p in self.tree if p.startswith(path) and p != path]
        if not below and path not in self.tree:
            return self.send(404, {"Content-Type": "text/html"}, _NOT_FOUND)
        names = {name.split("/")[0] + "/" * ("/" in name) for name in below}
        if folder.style == "empty":
            names = ()
        page = listing(path, sorted(names), folder.style)
        return self.send(200, {"Content-Type": "text/html;charset=UTF-8"}, page)

    def send_file(self, path, file, due):
        "A file, whole or the range asked for, shortened, delayed or misannounced by faults."
        data = b"" if "empty" in due else file.data
        total = len(data)
        etag = f'"{hashlib.sha1(file.data).hexdigest()[:12]}"'
        kind = file.content_type or _TYPES.get(posixpath.splitext(path)[1], "text/plain")
        headers = {"Content-Type": kind, "ETag": etag, "Last-Modified": _MODIFIED}
        status = 200
        first = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        unchanged = self.headers.get("If-Range", etag) in (etag, _MODIFIED)
        if first and unchanged and "no_range" not in due:
            start = int(first[1])
            if start >= total:
                return self.send(416, {"Content-Range": f"bytes */{total}"}, b"")
            status = 206
            data = data[start:]
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        if "length" in due:
            headers["Content-Length"] = len(data) + due["length"].value
        sent = due["cut"].value if "cut" in due else None
        pause_s = due["slow"].value if "slow" in due else 0.0
        return self.send(status, headers, data, sent, pause_s)


ROOT = "/public/nceo_geohazards/LiCSAR_products"
_CEDA = "/neodc/comet/data/licsar_products"


def metadata_text(
    center_time: str = "4:39:10.514823",  # UTC time of the acquisition
) -> bytes:
    "A frame's metadata.txt, the lines that matter; the hour has no leading zero."
    return f"master=20160113\ncenter_time={center_time}\nheading=-167.9\n".encode()


def event_page(
    event_id: str,  # USGS id
    pairs: Iterable[tuple[str, str]],  # (frame, pair)
    root: str,  # address of the catalogue
) -> str:
    "COMET's page of an earthquake: one anchor a line, sorted."
    usgs = f"https://earthquake.usgs.gov/earthquakes/eventpage/{event_id}"
    links = {(usgs, f"USGS info on {event_id}"), (f"{root}/EQ/{event_id}.kml", "USGS kml file")}
    for frame, pair in pairs:
        folder = f"{root}/{int(frame[:3])}/{frame}"
        links |= {
            (f"{folder}/interferograms/{pair}/{frame}_{pair}.kmz", f"{frame}: {pair}.kmz"),
            (f"{folder}/metadata", f"{frame} metadata"),
            (f"{folder}/interferograms/{pair}", f"{frame}: {pair}"),
        }
    return "\n".join(f'<a href="{href}">{text}</a> <br />' for href, text in sorted(links))


def licsar_tree(
    products: dict,  # (frame, pair) -> {ending such as "geo.diff_pha.tif": bytes, or `Missing()`}
    events: dict | None = None,  # event id -> [(frame, pair), ...]
    # frame -> {file name: bytes}; metadata.txt is made where it is not given
    metadata: dict | None = None,
    old: Collection[str] = (),  # frames whose pairs are folders, as all were before 2025
    archived: Collection[tuple[str, str]] = (),  # (frame, pair) whose files are in CEDA's archive
    archive: str = "{base}",  # address of that archive's server
) -> dict[str, _Entry]:  # for `serve`
    """The portal's layout: everything a client meets on the way from an earthquake to a file.

        LiCSAR_products/
            EQ/<event>.html                         frames and pairs of an earthquake
            <track>/<frame>/metadata/               a real folder
            <track>/<frame>/interferograms/<pair>   a link file, or for `old` frames a real folder

    Links lead to `LiCSAR_products.public` for files that stayed with COMET, and for those in CEDA's
    archive to an address that redirects once more. There the pairs lie directly under the frame,
    and the track has two digits at least.
    """
    tree: dict[str, _Entry] = {}
    for (frame, pair), files in products.items():
        track = int(frame[:3])
        entry = f"/{track}/{frame}/interferograms/{pair}"
        in_archive = (frame, pair) in archived
        server = archive if in_archive else "{base}"
        if in_archive:
            home = f"{_CEDA}/{track:02d}/{frame}/{pair}"
        elif frame in old:
            home = ROOT + entry
        else:
            home = f"{ROOT}.public{entry}"
        for ending, body in files.items():
            path = f"{home}/{pair}.{ending}"
            tree[path] = body
            if in_archive:
                tree[path] = Redirect(f"{{base}}/dap{path}?download=1")
                tree[f"/dap{path}"] = body
        if frame not in old:
            links = tuple(f"{server}{home}/{pair}.{ending}" for ending in files)
            tree[ROOT + entry] = LinkFile(links)
        texts = {"metadata.txt": metadata_text(), **(metadata or {}).get(frame, {})}
        for name, body in texts.items():
            tree[f"{ROOT}/{track}/{frame}/metadata/{name}"] = body
    for event_id, pairs in (events or {}).items():
        tree[f"{ROOT}/EQ/{event_id}.html"] = event_page(event_id, pairs, "{base}" + ROOT)
    return tree
