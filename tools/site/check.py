"""Checks a built site: dead links and anchors, files of other servers, figures without a text."""

from __future__ import annotations

import posixpath
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("use", "href")}


class _Reader(HTMLParser):
    """What a page links to, loads and defines."""

    def __init__(self):
        super().__init__()
        self.links, self.loaded, self.anchors, self.faults = [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if "id" in values:
            self.anchors.append(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img" and not (values.get("alt") or "").strip():
            self.faults.append(f"a picture without a text: {values.get('src')}")
        self.loaded += [values[name] for kind, name in LOADED if kind == tag and name in values]


def problems(folder: Path) -> list[str]:
    """List what is wrong with the pages of a site, as "page: what"."""
    pages = {path.relative_to(folder).as_posix(): _read(path) for path in sorted(folder.rglob("*.html"))}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    found = []
    for name, page in pages.items():
        twice = {anchor for anchor in page.anchors if page.anchors.count(anchor) > 1}
        faults = [*page.faults, *(f"an anchor that is there twice: {anchor}" for anchor in sorted(twice))]
        faults += [f"loads a file of another server: {address}" for address in page.loaded if _is_remote(address)]
        local = [address for address in page.links + page.loaded if not _is_remote(address)]
        faults += [f"a dead link: {address}" for address in local if _is_dead(address, name, pages, files)]
        found += [f"{name}: {fault}" for fault in faults]
    for path in sorted(folder.rglob("*.css")):
        if "url(" in (words := path.read_text(encoding="utf-8")) or "@import" in words:
            found.append(f"{path.name}: loads a file")
    return found


def _read(path):
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def _is_remote(address):
    return bool(urllib.parse.urlsplit(address).scheme or address.startswith("//"))


def _is_dead(address, page, pages, files):
    path, _, anchor = address.partition("#")
    where = posixpath.normpath(posixpath.join(posixpath.dirname(page), urllib.parse.unquote(path))) if path else page
    if where not in files:
        return True
    return bool(anchor) and where in pages and urllib.parse.unquote(anchor) not in pages[where].anchors
