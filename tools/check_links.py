#!/usr/bin/env python3
"""Check the links and the images of a built site or of its sources.

usage: check_links.py PATH... [--figures] [--offline] [--external] [--seconds 15] [--tries 3]

PATH is a file or a folder. A folder with an index.html is a built site: its pages are checked. Any
other folder gives its sources: notebooks (markdown cells, and what cells
displayed as markdown or HTML), .md and .qmd files; what git ignores, and names that begin with _ or
., are left out.

A relative link must lead to a file, and to an anchor in it where it names one. In sources a link to
x.html is met by x.ipynb, 01_x.ipynb, x.qmd or x.md, because that is what becomes
x.html; two sources that would become one page are a mistake too. An image must exist and have an
alternative text, unless it is marked as decoration (role="presentation",
aria-hidden="true"). --figures also asks for a `#| fig-alt:` that says something in cells that drew
a figure, which is where the site takes its alternative text from.

With --offline a page may load nothing from another host: no script, style, frame, picture. Links to
other hosts are left alone. With --external they are asked for (HEAD, a few tries each), and listed:
a page that is not there is a mistake, a server that refuses or does not answer is told.

Exit code 0: nothing found; 1: mistakes, one a line; 2: the request was wrong. Needs markdown-it-py,
which comes with the package's own requirements (typer, rich).
"""

import argparse
import ast
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SOURCES = (".ipynb", ".md", ".qmd")
NUMBER = re.compile(r"^\d+[a-zA-Z0-9]*_")  # what nbdev takes off a notebook's name


@dataclass
class Page:
    "What a file links to and shows."

    path: Path
    links: list = field(default_factory=list)  # (target, where)
    images: list = field(default_factory=list)  # (source, alternative text or None, where)
    loads: list = field(default_factory=list)  # (target, where): scripts, styles, frames
    anchors: set = field(default_factory=set)
    figures: list = field(default_factory=list)  # where a figure was drawn without fig-alt


class Tags(HTMLParser):
    "Links, images and anchors of HTML, added to a page."

    def __init__(self, page, where):
        super().__init__(convert_charrefs=True)
        self.page, self.where = page, where

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        where = self.where or f"line {self.getpos()[0]}"
        self.page.anchors |= {v for v in (a.get("id"), a.get("name") if tag == "a" else None) if v}
        # an empty one may be a button
        if (
            tag in ("a", "area")
            and a.get("href") is not None
            and (a["href"] or not {"onclick", "role"} & set(a))
        ):
            self.page.links.append((a["href"], where))
        if (
            tag == "link"
            and a.get("href")
            and not {"canonical", "alternate"} & set((a.get("rel") or "").split())
        ):
            self.page.loads.append((a["href"], where))
        if tag in ("script", "iframe", "source", "video", "audio", "embed") and a.get("src"):
            self.page.loads.append((a["src"], where))
        if tag == "img":
            decoration = a.get("role") in ("presentation", "none") or a.get("aria-hidden") == "true"
            self.page.images.append(
                (a.get("src") or "", "decoration" if decoration else a.get("alt"), where)
            )


def slugs(text, page):
    "Anchors a heading gets: pandoc's, and GitHub's."
    plain = re.sub(r"\{[^}]*\}\s*$", "", text).strip()
    for m in re.finditer(r"\{[^}]*#([\w.:-]+)[^}]*\}\s*$", text):
        page.anchors.add(m[1])
    base = re.sub(r"\s+", "-", re.sub(r"[^\w\s.-]", "", plain).strip()).lower()
    pandoc = re.sub(r"^[^a-z]+", "", base) or "section"
    github = re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
    for s in {pandoc, github}:
        n, name = 0, s
        while name in page.anchors:
            n, name = n + 1, f"{s}-{n + 1}"
        page.anchors.add(name)


def read_markdown(text, page, where):
    "Add the links, images and headings of Markdown to a page; code is no text."
    try:
        from markdown_it import MarkdownIt
    except ImportError:
        print(
            "check_links: reading Markdown needs markdown-it-py; install the package first: pip"
            " install .",
            file=sys.stderr,
        )
        sys.exit(2)

    def look(tokens, place):
        for i, t in enumerate(tokens):
            at = where or (f"line {t.map[0] + 1}" if t.map else place)
            if t.type == "heading_open":
                slugs(tokens[i + 1].content, page)
            if t.type == "link_open":
                page.links.append((t.attrGet("href"), at))
            if t.type == "image":
                page.images.append((t.attrGet("src"), t.content, at))
            if t.type in ("html_inline", "html_block"):
                Tags(page, at).feed(t.content)
            if t.children:
                look(t.children, at)

    # front matter
    text = re.sub(r"\A---\n.*?\n---\n", lambda m: "\n" * m[0].count("\n"), text, flags=re.S)
    look(MarkdownIt("commonmark").enable("table").parse(text), where or "line 1")


def read_notebook(path, page):
    """Markdown cells; what cells displayed as Markdown or HTML; names that exported cells define,
    which are anchors of the page.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError) as e:
        what = f"check_links: {path} is not a readable notebook ({type(e).__name__})"
        raise SystemExit(what) from None
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        where = f"cell {number}"
        if cell["cell_type"] == "markdown":
            read_markdown(source, page, where)
        if cell["cell_type"] != "code":
            continue
        head = "".join(line for line in source.splitlines(True) if re.match(r"#\s*\|", line))
        if re.search(r"#\s*\|\s*export", head):
            page.anchors |= defined(source)
        if re.search(r"#\s*\|\s*(hide\b|include:\s*false)", head):
            continue
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/markdown" in data:
                read_markdown("".join(data["text/markdown"]), page, f"{where}, output")
            elif "text/html" in data:
                Tags(page, f"{where}, output").feed("".join(data["text/html"]))
            if any(k.startswith("image/") for k in data) and not re.search(
                r"#\s*\|\s*fig-alt:\s*[\"']?\s*[^\s\"']", head
            ):
                page.figures.append(where)


def defined(source):
    "Names of functions, classes and methods, as nbdev makes anchors of them."
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = set()
    for node in tree.body:
        if not isinstance(node, kinds):
            continue
        names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, kinds)}
    return names | {n.lower() for n in names}


@lru_cache(None)
def read(path):
    "The page of a file."
    page = Page(path)
    if path.suffix == ".ipynb":
        read_notebook(path, page)
    elif path.suffix in SOURCES:
        read_markdown(path.read_text(encoding="utf-8"), page, "")
    elif path.suffix in (".html", ".htm"):
        Tags(page, "").feed(path.read_text(encoding="utf-8", errors="replace"))
    return page


@lru_cache(None)
def tracked(folder):
    "Files below a folder that git does not ignore, resolved; None outside of a working tree."
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "ls-files", "-co", "--exclude-standard", "-z"],
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {(folder / name).resolve() for name in done.stdout.decode("utf-8").split("\0") if name}


def files_of(path):
    "The pages to check, and whether they are a built site."
    if path.is_file():
        return [path], path.suffix in (".html", ".htm")
    site = (path / "index.html").is_file()
    kept = None if site else tracked(path)

    def hidden(p):
        return any(part[0] in "_." for part in p.relative_to(path).parts)

    wanted = [
        p
        for p in sorted(path.rglob("*"))
        if p.suffix in ((".html", ".htm") if site else SOURCES) and p.is_file()
    ]
    return [
        p for p in wanted if site or not hidden(p) and (kept is None or p.resolve() in kept)
    ], site


def page_name(path):
    "The page a source becomes."
    return path.parent / (
        NUMBER.sub("", path.name.lower() if path.suffix == ".ipynb" else path.name).rsplit(".", 1)[
            0
        ]
        + ".html"
    )


def found(target, site):
    "The file that a path leads to, or None."
    if target.is_dir():
        return (
            target / "index.html"
            if site and (target / "index.html").is_file()
            else None
            if site
            else target
        )
    if target.is_file():
        return target
    if site or target.suffix != ".html":
        return None
    near = (
        [
            p
            for p in target.parent.glob("*")
            if p.suffix in SOURCES and page_name(p).name == target.name
        ]
        if target.parent.is_dir()
        else []
    )
    return near[0] if near else None


def broken(page, target, site, root):
    "What is wrong with a relative link, or None."
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    name = unquote(parts.path)
    if name.startswith("/"):
        return (
            None
            if site
            else "begins with /, which leads to the root of whatever host the page is put on"
        )
    place = page.path.parent / name if name else page.path
    where = found(place, site)
    if where is None:
        return "no such file"
    kept = None if site else tracked(page.path.resolve().parent if root is None else root.resolve())
    if (
        kept is not None
        and where.is_file()
        and where.resolve() not in kept
        and (root is None or root.resolve() in where.resolve().parents)
    ):
        return "git ignores the file, so a clone does not have it"
    anchor = unquote(parts.fragment)
    if (
        anchor
        and anchor != "top"
        and where.suffix in (*SOURCES, ".html", ".htm")
        and anchor not in read(where.resolve() if where != page.path else page.path).anchors
    ):
        return f"no anchor #{anchor} in {where.name}"
    return None


def top_of(path):
    "The root of the working tree, or None."
    try:
        return Path(
            subprocess.run(
                [
                    "git",
                    "-C",
                    str(path if path.is_dir() else path.parent),
                    "rev-parse",
                    "--show-toplevel",
                ],
                capture_output=True,
                check=True,
                text=True,
            ).stdout.strip()
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def check(paths, figures=False, offline=False):
    "(mistakes: lines of text, external: {address: where}, pages)"
    mistakes = []
    external = {}
    pages = []
    for path in map(Path, paths):
        listed, site = files_of(path)
        root = path if site else top_of(path)
        becomes = {}
        for p in listed:
            page = read(p)
            pages.append(page)
            if not site and p.suffix != ".md":
                becomes.setdefault(page_name(p), []).append(p)
            for target, where in [*page.links, *page.loads]:
                if target and re.match(r"(?:https?:)?//", target):
                    external.setdefault(target, f"{p.as_posix()}, {where}")
                    continue
                if not target:
                    mistakes.append(f"{p.as_posix()}, {where}: a link leads nowhere")
                    continue
                what = broken(page, target, site, root)
                if what:
                    mistakes.append(f"{p.as_posix()}, {where}: link {target}: {what}")
            for source, text, where in page.images:
                if not (text or "").strip():
                    mistakes.append(
                        f"{p.as_posix()}, {where}: image {source[:80]}: no alternative text"
                    )
                if re.match(r"(?:https?:)?//", source):
                    external.setdefault(source, f"{p.as_posix()}, {where}")
                    continue
                what = "no source" if not source else broken(page, source, site, root)
                if what:
                    mistakes.append(f"{p.as_posix()}, {where}: image {source[:80]}: {what}")
            if offline:
                mistakes += [
                    f"{p.as_posix()}, {where}: loads {target[:120]}, which needs a network"
                    for target, where in [*page.loads, *((i[0], i[2]) for i in page.images)]
                    if re.match(r"(?:https?:)?//", target)
                ]
            if figures:
                mistakes += [
                    f"{p.as_posix()}, {where}: a figure without fig-alt" for where in page.figures
                ]
        mistakes += [
            f"{' and '.join(p.as_posix() for p in same)} both become {name.name}"
            for name, same in becomes.items()
            if len(same) > 1
        ]
    return mistakes, external, pages


def ask(address, seconds, tries):
    "What a server says of an address: (status or text, is it a mistake)."
    address = "https:" + address if address.startswith("//") else address
    said = "no answer"
    for n in range(tries):
        if n:
            time.sleep(2**n)
        for method in ("HEAD", "GET"):
            request = urllib.request.Request(
                address.split("#")[0],
                method=method,
                headers={"User-Agent": "check_links (documentation test)"},
            )
            try:
                with urllib.request.urlopen(request, timeout=seconds) as answer:
                    return str(answer.status), False
            except urllib.error.HTTPError as e:
                said = f"{e.code} {e.reason}"
                if e.code in (404, 410):
                    return said, True
                if e.code not in (403, 405, 501):
                    break
            except (OSError, ValueError) as e:
                said = f"no answer ({getattr(e, 'reason', e)})"
                break
        if said[0] == "4" and not said.startswith("429"):
            break
    return said, False


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="See the first lines of the file for what is checked.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="built site, folder of sources, or files",
    )
    parser.add_argument(
        "--figures", action="store_true", help="also ask for fig-alt where a cell drew a figure"
    )
    parser.add_argument(
        "--offline", action="store_true", help="also refuse what a page loads from other hosts"
    )
    parser.add_argument(
        "--external", action="store_true", help="also ask other hosts for the pages that are linked"
    )
    parser.add_argument(
        "--seconds", type=float, default=15, help="how long to wait for an answer (default: 15)"
    )
    parser.add_argument(
        "--tries", type=int, default=3, help="how often to ask, at most (default: 3)"
    )
    args = parser.parse_args()
    for path in args.paths:
        if not path.exists():
            print(f"check_links: no file or folder '{path}'", file=sys.stderr)
            sys.exit(2)
    mistakes, external, pages = check(args.paths, args.figures, args.offline)
    if not pages:
        print("check_links: no page to check there", file=sys.stderr)
        sys.exit(2)
    if args.external:
        for address, where in sorted(external.items()):
            said, wrong = ask(address, args.seconds, max(1, args.tries))
            print(f"{said:<8} {address}")
            if wrong:
                mistakes.append(f"{where}: link {address}: {said}")
    print(
        "\n".join(
            mistakes
            + [
                f"{len(pages)} pages, {sum(len(p.links) for p in pages)} links,"
                f" {sum(len(p.images) for p in pages)} images, {len(external)} addresses on other"
                " hosts: " + (f"{len(mistakes)} mistakes" if mistakes else "all well")
            ]
        )
    )
    sys.exit(1 if mistakes else 0)


if __name__ == "__main__":
    main()
