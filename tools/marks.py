"""Owns the places in a page that a command fills: all between <!-- NAME --> and <!-- /NAME -->, and nothing else."""

from __future__ import annotations

import re

from utils.errors import CourseworkError


def place_of(name):
    """Return the pattern of a place and its marks, which are its two groups."""
    return re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)


def filled(text, name, content, where):
    """Return a page's text with this content, which ends its line, in the place of that name."""
    places = place_of(name)
    if len(places.findall(text)) != 1:
        next_step = f"Put <!-- {name} --> and <!-- /{name} --> on lines of their own, once each."
        raise CourseworkError(f"There is no one place for {name}.", where=where, next_step=next_step)
    return places.sub(lambda marks: marks[1] + content + marks[2], text)
