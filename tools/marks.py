"""Owns the places in a page that a command fills: all between <!-- NAME --> and <!-- /NAME -->, and nothing else."""

from __future__ import annotations

import re

from utils.errors import CourseworkError


def filled(text, name, content, where):
    """Return a page's text with this content, which ends its line, in the place of that name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    places = re.compile(f"({re.escape(begin)}\n).*?({re.escape(end)})", re.DOTALL)
    if len(places.findall(text)) != 1:
        next_step = f"Put {begin} and {end} on lines of their own, once each."
        raise CourseworkError(f"There is no one place for {name}.", where=where, next_step=next_step)
    return places.sub(lambda marks: marks[1] + content + marks[2], text)
