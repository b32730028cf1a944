"""Owns the report as a PDF, set by typst on two pages of A4 if it can be. Adds no words; needs no network, no LaTeX."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font

from utils.files import as_bytes

TEMPLATE = Path(__file__).with_name("pages.typ")
PAGES = 2  # that the coursework asks for
SIZES = [size / 8 for size in range(84, 63, -1)]  # points, largest first
USUAL = 9.5  # points, where even the smallest size needs more pages
LONGEST, PIECE = 28, 6  # letters of a word that is not broken, and of what a longer one may be broken into

AS_IT_IS = ("kind", "align", "svg", "to", "alt")  # what of a block is no text on the page


def write(document):
    """Return a report's document as the bytes of a PDF: in the largest letters with which it fits on two pages.

    The second page begins where the first is full, or with the training if that leaves room for larger letters.
    """
    import typst

    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")  # DejaVu has the signs that typst's own fonts lack
    data = as_bytes(json.dumps(_breakable(document), ensure_ascii=False)).decode()
    # Other programs' fonts only where they are needed, for the PDF should be the same on every machine.
    enough = {ord(sign) for sign in data} <= FT2Font(str(fonts / "DejaVuSans.ttf")).get_charmap().keys()
    compiler = typst.Compiler(TEMPLATE, font_paths=[fonts], ignore_system_fonts=enough)

    def at(size, halves):
        inputs = {"document": data, "size": str(size), "halves": halves}
        return compiler.compile(format="pdf", sys_inputs=inputs)

    fitting = [found for halves in ("no", "yes") if (found := _largest(at, halves))]
    return max(fitting, key=lambda found: found[0])[1] if fitting else at(USUAL, "no")


def _largest(at, halves):
    """Find the largest of the SIZES with which it fits, in few attempts: (size, pdf), or None."""
    low, high, best = 0, len(SIZES) - 1, None
    while low <= high:
        middle = (low + high) // 2
        pdf = at(SIZES[middle], halves)
        if pages(pdf) <= PAGES:
            best, high = (SIZES[middle], pdf), middle - 1
        else:
            low = middle + 1
    return best


def pages(pdf):
    """Count the pages of a PDF that typst made."""
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def _breakable(thing):
    """Allow a break inside very long words, which would run over the edge of the page."""
    if isinstance(thing, str):
        return re.sub(rf"\S{{{LONGEST + 1},}}", lambda found: _pieces(found[0]), thing)
    if isinstance(thing, list):
        return [_breakable(item) for item in thing]
    if isinstance(thing, dict):
        return {key: item if key in AS_IT_IS else _breakable(item) for key, item in thing.items()}
    return thing


def _pieces(word):
    return "\u200b".join(word[i : i + PIECE] for i in range(0, len(word), PIECE))
