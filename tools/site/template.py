"""Puts the content of a page into the frame that all pages share."""

from __future__ import annotations

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent / "template"
DEPTH = 3  # the table of contents of a page lists headings down to this level


@functools.cache
def _frame():
    environment = Environment(loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("page.html.j2")


def page(title, body, headings, **more) -> str:
    """Return a page; `more` names what only a page of the site has, such as the list of all pages."""
    empty = {"site": None, "groups": (), "previous": None, "next": None, "here": None, "style": None, "script": None}
    contents = [(level, anchor, words) for level, anchor, words in headings if 1 < level <= DEPTH]
    return _frame().render(**empty | {"title": title, "body": body, "contents": contents} | more)


def standalone(title, body, headings) -> str:
    """Return a page that holds its own style and script and links to no other page."""
    return page(title, body, headings, style=style(), script=script())


def style() -> str:
    """Return the one style sheet."""
    return (FOLDER / "style.css").read_text(encoding="utf-8")


def script() -> str:
    """Return the script: copying code, search."""
    return (FOLDER / "page.js").read_text(encoding="utf-8")
