"""The test web server: what it serves, how it fails, and what a client makes of each fault.

Run with: pytest tools/tests
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from insar_seg.core.base import RequestError, WorkError
from insar_seg.core.fetching import Client, NotFound, ServerTrouble
from insar_seg.interferograms.comet import read_links

sys.path.append(str(Path(__file__).parents[1]))

from local_server import (  # noqa: E402  the folder is known only now
    ROOT,
    Directory,
    Fault,
    File,
    LinkFile,
    Missing,
    Redirect,
    licsar_tree,
    scripted,
    serve,
)

DATA = bytes(range(256)) * 800  # 204,800 bytes
PAIR = "20210218_20210303"


def client(*servers, **options):
    patience = {"pause_s": 0, "retries": 3, "backoff_s": 0.01, "timeout_s": 0.5, "least_rate": 1e5}
    patience |= options
    return Client(extra_hosts=tuple(server.host for server in servers), **patience)


def links_of(base, path):
    page = client(base).page(base + path)
    return [link.name for link in read_links(page.text, page.url) if link.name not in ("", "..")]


@pytest.fixture
def small():
    tree = {
        "/x/102/a.tif": bytes(100),
        "/x/102/b.txt": "see {base}/x",
        f"/x/102/{PAIR}": LinkFile((f"{{base}}/y/{PAIR}.geo.cc.tif",)),
        "/x/7/": Directory("pre"),
        "/x/7/c.tif": Missing(),
        "/x/8/": Directory("empty"),
        "/x/8/d.tif": b"d",
        "/old/a.tif": Redirect("{base}/x/102/a.tif"),
        "/twice": lambda query: query["word"].encode() * 2,
    }
    with serve(tree) as base:
        yield base


@pytest.mark.parametrize(
    "path, names",
    [
        ("/x/", ["102", "7", "8"]),
        ("/x/102/", [PAIR, "a.tif", "b.txt"]),
        ("/x/7/", ["c.tif"]),
        ("/x/8/", []),
    ],
)
def test_folder_lists_what_lies_below(small, path, names):
    assert links_of(small, path) == names


def test_folder_without_slash_redirects(small):
    assert client(small).page(small + "/x").url == small + "/x/"


@pytest.mark.parametrize("path", ["/x/7/c.tif", f"/x/102/{PAIR}/", "/nowhere", "/nowhere/"])
def test_not_there(small, path):
    with pytest.raises(NotFound, match=path):
        client(small).page(small + path)


def test_link_file_is_plain_text_with_links(small):
    answer = requests.get(f"{small}/x/102/{PAIR}", timeout=5)
    assert answer.headers["content-type"] == "text/plain"
    (link,) = read_links(answer.text)
    assert link.url == f"{small}/y/{PAIR}.geo.cc.tif"


def test_text_names_the_server(small):
    assert client(small).page(small + "/x/102/b.txt").text == f"see {small}/x"


def test_function_gets_the_query(small):
    assert requests.get(small + "/twice?word=ab", timeout=5).text == "abab"


def test_redirect_is_followed_and_counted(small, tmp_path):
    fetched = client(small).download(small + "/old/a.tif", tmp_path / "a.tif")
    assert fetched.final_url == small + "/x/102/a.tif"
    assert small.asked("old") == ["/old/a.tif"]


def test_script_ends_with_500():
    with scripted((200, {"X": "1"}, b"abc", 2)) as base:
        with pytest.raises(requests.RequestException):
            requests.get(base, timeout=5)
        assert requests.get(base + "/y", timeout=5).status_code == 500
    assert [path for path, _ in base.requests] == ["/", "/y"]


def outcome(faults, tmp_path):
    "A file as a client gets it from a server with these faults: (server, file, what came of it)."

    def check(part):
        if part.read_bytes() != DATA:
            raise WorkError("A file must have its bytes", part.name)

    path = tmp_path / "f.tif"
    with serve({"/f": File(DATA, "image/tiff")}, faults) as base:
        try:
            result = client(base).download(base + "/f", path, check)
        except (RequestError, WorkError) as e:
            result = e
    return base, path, result


ALWAYS_WHOLE = {"kind": "no_range", "times": None}
PASSING = {
    # faults, requests (a wrong length makes the part useless too), bytes kept of a broken attempt
    "none": ([], 1, 0),
    "503 twice": ([Fault("f", "status", 2, 503)], 3, 0),
    "504 once": ([Fault("f", "status", 1, 504)], 2, 0),
    "429": ([Fault("f", "status", 1, 429, {"Retry-After": "0"})], 2, 0),
    "slow": ([Fault("f", "slow", 1, 0.01)], 1, 0),
    "silent once": ([Fault("f", "hang", 1, 0.8)], 2, 0),
    "cut": ([Fault("f", "cut", 1, 50_000)], 2, 49_152),
    "cut, no range": ([Fault("f", "cut", 1, 50_000), Fault("f", **ALWAYS_WHOLE)], 2, 0),
    "too many announced": ([Fault("f", "length", 1, 9)], 3, None),
    "too few announced": ([Fault("f", "length", 1, -9)], 2, None),
    "web page once": ([Fault("f", "html")], 2, 0),
    "empty once": ([Fault("f", "empty")], 2, 0),
    "ten bytes a second": ([Fault("f", "raw", 1, "slow_body")], 2, 0),
    "headers at that rate": ([Fault("f", "raw", 1, "slow_headers")], 2, 0),
    "100 Continue for ever": ([Fault("f", "raw", 1, "endless_continue")], 2, 0),
    "trailers for ever": ([Fault("f", "raw", 1, "endless_trailers")], 2, 0),
    "a chunk of -1 bytes": ([Fault("f", "raw", 1, "negative_chunk")], 2, 0),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_survived(name, tmp_path):
    faults, n_requests, kept = PASSING[name]
    base, path, fetched = outcome(faults, tmp_path)
    assert path.read_bytes() == DATA
    assert len(base.requests) == n_requests
    assert kept is None or fetched.resumed_bytes == kept
    assert [p.name for p in tmp_path.iterdir()] == ["f.tif"]


def test_cut_every_time_gets_further_every_time(tmp_path):
    _, path, _ = outcome([Fault("f", "cut", None, 50_000)], tmp_path)
    assert path.read_bytes() == DATA


LASTING = {
    # faults: error, a word of its message, requests
    "503": ([Fault("f", "status", None, 503)], ServerTrouble, "status 503", 4),
    "404": ([Fault("f", "status", 1, 404)], NotFound, "404", 1),
    "403": ([Fault("f", "status", 1, 403)], ServerTrouble, "status 403", 1),
    "length": ([Fault("f", "length", None, 9)], ServerTrouble, "attempt", None),
    "web page": ([Fault("f", "html", None)], ServerTrouble, "web page", 2),
    "named tif": ([Fault("f", "html", None, "image/tiff")], ServerTrouble, "web page", 2),
    "empty": ([Fault("f", "empty", None)], WorkError, "must hold something", 2),
    "loop": ([Fault("f", "redirect", None, "/f")], ServerTrouble, "redirect 5 times", 6),
    "stranger": (
        [Fault("f", "redirect", None, "http://example.org/f")],
        RequestError,
        "example.org",
        1,
    ),
}


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_said(name, tmp_path):
    faults, error, word, n_requests = LASTING[name]
    base, path, result = outcome(faults, tmp_path)
    assert type(result) is error and word in str(result)
    assert not path.exists()
    assert n_requests in (None, len(base.requests))


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate with")
def test_nothing_leads_from_https_to_http(tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*made, "-addext", "subjectAltName=IP:127.0.0.1"], check=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tree = {"/a": "good", "/b": Redirect("/a"), "/c": Redirect("{base}/a")}
    with serve(tree, tls=(certificate, key)) as base:
        secure = base.replace("http:", "https:")
        asking = client(base)
        assert [asking.page(secure + path).text for path in ("/a", "/b")] == ["good", "good"]
        with pytest.raises(ServerTrouble, match="from https to http"):
            asking.page(secure + "/c")


def test_what_a_cut_transfer_left_is_kept(tmp_path):
    cut = [Fault("f", "cut", None, 50_000), Fault("f", **ALWAYS_WHOLE)]
    _, path, result = outcome(cut, tmp_path)
    assert "cut after" in str(result)
    assert path.with_name("f.tif.part").stat().st_size == 49_152


F, G = "102A_05206_131313", "007D_05180_131313"
Q, R = "20210225_20210309", "20210225_20210303"
PRODUCTS = {
    (F, PAIR): {"geo.diff_pha.tif": b"II*\0 phase 1", "geo.cc.tif": b"II*\0 coherence 1"},
    (F, Q): {"geo.diff_pha.tif": b"II*\0 phase 2", "geo.cc.tif": Missing()},
    (G, R): {"geo.diff_pha.tif": b"II*\0 phase 3"},
}
PORTAL = {"events": {"us7000df40": list(PRODUCTS)}, "archived": [(F, Q)], "old": [G]}


def test_link_leads_to_the_archive_and_redirects_once_more(tmp_path):
    with (
        serve(licsar_tree(PRODUCTS, **PORTAL)) as ceda,
        serve(licsar_tree(PRODUCTS, **PORTAL, archive=ceda)) as base,
    ):
        asking = client(base, ceda)
        entry = asking.page(f"{base}{ROOT}/102/{F}/interferograms/{Q}")
        phase, coherence = read_links(entry.text)
        fetched = asking.download(phase.url, tmp_path / "phase")
        with pytest.raises(NotFound):
            asking.page(coherence.url)
    assert (tmp_path / "phase").read_bytes() == b"II*\0 phase 2"
    assert fetched.final_url.startswith(f"{ceda}/dap/")
    assert fetched.final_url.endswith("?download=1")


def test_old_frame_has_folders():
    with serve(licsar_tree(PRODUCTS, **PORTAL)) as base:
        assert links_of(base, f"{ROOT}/7/{G}/interferograms/{R}/") == [f"{R}.geo.diff_pha.tif"]


def test_new_frame_has_files_in_the_public_folder_only():
    name = f"102/{F}/interferograms/{PAIR}/{PAIR}.geo.cc.tif"
    with serve(licsar_tree(PRODUCTS, **PORTAL)) as base:
        assert client(base).page(f"{base}{ROOT}.public/{name}").text == "II*\0 coherence 1"
        with pytest.raises(NotFound):
            client(base).page(f"{base}{ROOT}/{name}")


def test_event_page_and_metadata():
    with serve(licsar_tree(PRODUCTS, **PORTAL)) as base:
        page = client(base).page(f"{base}{ROOT}/EQ/us7000df40.html")
        metadata = client(base).page(f"{base}{ROOT}/102/{F}/metadata/metadata.txt")
    texts = [link.text for link in read_links(page.text)]
    assert f"{F}: {PAIR}" in texts and f"{G} metadata" in texts
    assert "center_time=4:39:10.514823" in metadata.text
