"""Fills the parts of a Markdown page that a command writes: the text between <!-- NAME --> and <!-- /NAME -->."""

from __future__ import annotations

import re

from utils.errors import CourseworkError


def between_marks(name):
    """Return the pattern of two marks and the text between them; the marks are its two groups."""
    return re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)


def filled(text, name, content, where):
    """Return a page's text with this content, which ends with a line break, between the marks of that name."""
    pattern = between_marks(name)
    if len(pattern.findall(text)) != 1:
        what = f"The page must have exactly one pair of marks for {name}."
        next_step = f"Put <!-- {name} --> and <!-- /{name} --> on separate lines, once each."
        raise CourseworkError(what, where=where, next_step=next_step)
    return pattern.sub(lambda match: match[1] + content + match[2], text)
