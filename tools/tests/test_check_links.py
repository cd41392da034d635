"Links, images and anchors of sources and of built sites."

import check_links
import pytest

EXPORTED = "#| export\ndef f(): pass\nclass C:\n    def g(self): pass"
GOOD = """# One

[a](02_two.ipynb) [b](two.html#f) [c](two.html#C.g) [d](02_two.ipynb#in-the-middle-of-3)
[e](#one) [f](https://example.org) ![A picture](pic.png) `[code](no.md)`

```
[code](no.md)
```

| [t](pic.png) |
|---|
"""
BAD = """[a](three.html) [b](two.html#h) [c]() ![](pic.png) ![x](no.png) [d](/two.html) [e][ref]

[ref]: gone.md

<img src='pic.png'> <img src='pic.png' role='presentation'>
"""
SITE = """<h2 id="here">x</h2><a href="#here">1</a><a href="b.html#there">2</a>
<a href="b.html?q=1">3</a><img src="p.png" alt="p"><a href="" onclick="go()"></a>
<script src="https://cdn.example/x.js"></script>"""


@pytest.fixture
def sources(tmp_path, write_notebook):
    "A folder of pages, one of them with mistakes."
    lost = {"data": {"text/markdown": "[lost](nowhere.md)"}}
    (tmp_path / "pic.png").write_bytes(b"png")
    write_notebook(
        tmp_path / "02_two.ipynb",
        ("markdown", "# Two\n\n## In the *middle* of 3"),
        ("code", EXPORTED),
        ("code", "1", [lost]),
    )
    (tmp_path / "one.md").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad.md").write_text(BAD, encoding="utf-8")
    return tmp_path


@pytest.fixture
def site(tmp_path):
    "A built site with two mistakes."
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text(SITE, encoding="utf-8")
    (folder / "b.html").write_text("<p>no anchor</p>", encoding="utf-8")
    return folder


def test_good_links_are_not_mistakes(sources):
    mistakes, _, pages = check_links.check([sources])
    assert not [m for m in mistakes if "/one.md," in m]
    assert len(pages) == 3


@pytest.mark.parametrize(
    "part",
    [
        "three.html: no such file",
        "no anchor #h in 02_two.ipynb",
        "leads nowhere",
        "image no.png: no such file",
        "/two.html: begins with /",
        "gone.md: no such file",
        "cell 2, output: link nowhere.md",
    ],
)
def test_each_mistake_is_named(sources, part):
    mistakes, _, _ = check_links.check([sources])
    assert sum(part in m for m in mistakes) == 1


def test_pictures_need_a_text_unless_they_are_decoration(sources):
    mistakes, _, _ = check_links.check([sources])
    assert sum("no alternative text" in m for m in mistakes) == 2
    assert len(mistakes) == 9


def test_other_hosts_are_listed(sources, site):
    assert "https://example.org" in check_links.check([sources / "one.md"])[1]
    assert list(check_links.check([site])[1]) == ["https://cdn.example/x.js"]


def test_two_sources_of_one_page(sources):
    check_links.tracked.cache_clear()
    (sources / "two.qmd").write_text("# Two", encoding="utf-8")
    assert any("both become two.html" in m for m in check_links.check([sources])[0])


def test_built_site(site):
    mistakes, _, _ = check_links.check([site])
    assert len(mistakes) == 2
    assert any("no anchor #there" in m for m in mistakes)
    assert any("p.png: no such file" in m for m in mistakes)


def test_exit_codes(sources, site, run_tool):
    assert run_tool("check_links", sources).returncode == 1
    assert run_tool("check_links", site / "b.html").returncode == 0
    assert run_tool("check_links", sources / "absent").returncode == 2
