"""Builds the site: every notebook, document and room of the library becomes a page at the place of its source.

So a link of a document is a link of the site, and one to any other file leads to its highlighted source.
"""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
from pathlib import Path, PurePosixPath

from tools import notebooks, publish
from tools.site import chapters, reference, template, text
from tools.site.places import (
    GLOSSARY,
    GUIDE,
    LIBRARY,
    RESULTS,
    ROOM,
    ROOT,
    START,
    course,
    groups,
    meant,
    relative,
    target,
)
from utils.errors import CourseworkError

NAME = "CIFAR-10 coursework"
BAR = {"Notebooks": START, "Guide": GUIDE, "Glossary": GLOSSARY, "Results": RESULTS, "Library": LIBRARY}
COPIED = (".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp", ".pt", ".pdf", ".zip")
TAG = re.compile(r"<(a|img)\b[^>]*>")
ATTRIBUTE = re.compile(r'\b(href|src)="([^"]*)"')
FILE_NAME_AS_TEXT = re.compile(r'(<a href="([^"]+)">)(?:<code>)?[\w./-]+\.(?:md|ipynb)(?:</code>)?(</a>)')
TERM = re.compile(r"<tr>\s*<td>(.*?)</td>\s*<td>(.*?)</td>")


@dataclasses.dataclass
class Page:
    """A page: where its source is in the repository, its HTML, its headings and its title."""

    source: str
    body: str
    headings: list
    title: str


class Site:
    """The pages of the suite, and the files that they need."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.pages: dict[str, Page] = {}
        self.files: dict[str, bytes] = {}
        self.rooms: list[str] = []

    def build(self):
        """Write the whole site into a new folder, which then takes the place of the old one."""
        self._read_library()
        self._read_documents()
        queue = list(self.pages.values())
        for page in queue:  # a link to a file adds the page of this file to the queue
            known = set(self.pages)
            self._link(page)
            queue += [self.pages[source] for source in self.pages if source not in known]
        for page in queue:
            self.files[target(page.source)] = self._framed(page).encode()
        self.files["style.css"] = template.style().encode()
        self.files["page.js"] = template.script().encode()
        self.files["icon.svg"] = (template.FOLDER / "icon.svg").read_bytes()
        self.files["search.js"] = self._search_index().encode()
        self._write()

    def _read_library(self):
        self._add(LIBRARY, *reference.overview())
        for room, path in reference.rooms().items():
            self.rooms.append(str(path) if path.suffix == "" else f"{path}{ROOM}")
            self._add(self.rooms[-1], *reference.room_page(room))

    def _read_documents(self):
        for source in [source for sources in groups(()).values() for source in sources if source != LIBRARY]:
            if source.endswith(".ipynb"):
                self._add_notebook(ROOT / source, source)
            else:
                markdown = (ROOT / source).read_text(encoding="utf-8")
                self._add(source, *text.render(publish.BADGES.sub("", markdown, count=1)))

    def _add(self, source, body, headings):
        title = next((words for level, _, words in headings if level == 1), f"<code>{source}</code>")
        self.pages[source] = Page(source, body, headings, title)

    def _add_notebook(self, path, source):
        """Make the page of a notebook; its figures become files, and "Open in Colab" a link without a picture."""
        nb = notebooks.read(path)
        nb.cells[0].source = publish.BADGES.sub("", nb.cells[0].source, count=1)

        def keep(number, png):
            name = f"{path.stem}-{number}.png"
            self.files[f"notebooks/{name}"] = png
            return name

        body, headings = chapters.chapter(nb, keep)
        if publish.settings()[0]:
            link = f'<p class="lead"><a href="{publish.colab_link(path)}">Open in Colab</a></p>'
            body = body.replace("</h1>", f"</h1>\n{link}", 1)
        self._add(source, body, headings)

    def _link(self, page):
        """Turn the links of a page into links of the site."""
        page.body = FILE_NAME_AS_TEXT.sub(lambda match: self._named(match, page.source), page.body)
        page.body = TAG.sub(lambda match: self._linked(match[0], page.source), page.body)

    def _named(self, match, source):
        """Return a link that shows the title of a page where the document shows the name of a file."""
        page = self.pages.get(meant(match[2].partition("#")[0], source))
        return f"{match[1]}{page.title}{match[3]}" if page else match[0]

    def _linked(self, tag, source):
        """Return a tag with its address in the site; a picture of another server gives way to its text."""
        match = ATTRIBUTE.search(tag)
        address = html.unescape(match[2]) if match else "#"
        if address.startswith(("https://", "http://")):
            alt = re.search(r'\balt="([^"]*)"', tag)
            return alt[1] if tag.startswith("<img") and alt else tag
        is_figure = (PurePosixPath(source).parent / address).as_posix() in self.files
        if address.startswith(("#", "mailto:")) or is_figure:
            return tag
        path, mark, anchor = address.partition("#")
        where = relative(self._file(path, source), target(source)) + mark + anchor
        tag = tag.replace(match[0], f'{match[1]}="{html.escape(where)}"')
        return _sized(tag, ROOT / meant(path, source)) if tag.startswith("<img") else tag

    def _file(self, link, source):
        """Return the site's file for a link of a document; make a page for a file that has none yet."""
        where = meant(link, source)
        place = ROOT / where
        if not place.exists() or ROOT not in place.resolve().parents:
            next_step = "Correct the link, or add the file that it names."
            raise CourseworkError(f"A link leads nowhere: {link}.", where=source, next_step=next_step)
        if where.endswith(COPIED):
            self.files.setdefault(where, place.read_bytes())
            return where
        if source == LIBRARY and f"{where}{ROOM}" in self.pages:
            where = f"{where}{ROOM}"
        if where not in self.pages:
            self._add(where, _listed(place, where), [])
        return target(where)

    def _framed(self, page):
        """Return a page in the site's frame, with the list of all pages, and its neighbours in the course."""
        here = target(page.source)

        def entry(source):
            return self.pages[source].title, relative(target(source), here)

        order = course()
        place = order.index(page.source) if page.source in order else -1
        before = entry(order[place - 1]) if place > 0 else None
        after = entry(order[place + 1]) if 0 <= place < len(order) - 1 else None
        rooms = self.rooms if page.source.startswith(LIBRARY) else ()
        site = {"name": NAME, "root": "../" * here.count("/"), "address": publish.settings()[0]}
        site["bar"] = [(words, entry(source)[1]) for words, source in BAR.items()]
        listed = {
            name: [(*entry(source), source == page.source) for source in sources]
            for name, sources in groups(rooms).items()
        }
        more = {"site": site, "here": page.source, "groups": listed.items(), "previous": before, "next": after}
        return template.page(re.sub(r"</?code>", "", page.title), page.body, page.headings, **more)

    def _search_index(self):
        """Return a script that holds [text, page, address] of every heading, term of the glossary and public name."""
        rows = []
        for page in self.pages.values():
            found = [(words, f"#{anchor}") for _, anchor, words in page.headings]
            if page.source == GLOSSARY:
                found += [(f"{term}: {words}", "") for term, words in TERM.findall(page.body)]
            title = html.unescape(text.plain(page.title))
            rows += [[html.unescape(text.plain(words)), title, target(page.source) + mark] for words, mark in found]
        return f"setIndex({json.dumps(rows, ensure_ascii=False, separators=(',', ':'))});\n"

    def _write(self):
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / "search.js").exists():
            what = f"The folder {self.folder} holds something else than a site."
            raise CourseworkError(what, next_step="Move it away, then build the site again.")
        part = self.folder.with_name(self.folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        for name, content in sorted(self.files.items()):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(content)
        shutil.rmtree(self.folder, ignore_errors=True)
        part.rename(self.folder)


def _listed(place, where):
    """Return the source of a file, or the names in a folder, as the body of a page."""
    title = f"<h1><code>{where}</code></h1>\n"
    if place.is_dir():
        return title + text.code("\n".join(sorted(entry.name for entry in place.iterdir())), "text")
    return title + text.listing(place.read_text(encoding="utf-8"), place.name)


def _sized(tag, path):
    """Add width and height to a picture, so that the text does not jump when it arrives."""
    if "width=" in tag or path.suffix != ".png":
        return tag.replace("<img", '<img loading="lazy"')
    width, height = (int.from_bytes(path.read_bytes()[start : start + 4], "big") for start in (16, 20))
    return tag.replace("<img", f'<img loading="lazy" width="{width}" height="{height}"')
