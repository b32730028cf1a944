"""Write a report as a PDF with typst, if possible on two pages of A4; it needs no internet and no LaTeX."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font

from utils.files import as_bytes

TEMPLATE = Path(__file__).with_name("pages.typ")
PAGES = 2  # the length that the coursework asks for
SIZES = [size / 8 for size in range(84, 63, -1)]  # points, largest first
USUAL = 9.5  # points, used if even the smallest size needs more pages
LONGEST, PIECE = 28, 6  # words of more letters may be broken, into pieces of this many letters

NO_TEXT = ("kind", "align", "svg", "to", "alt")  # keys of a block that are not printed


def write(document: dict, is_spread: bool = True) -> bytes:
    """Return a report's document as the bytes of a PDF, in the largest font size with which it fits on two pages.

    If the sections are spread, what is left of a page goes between them; otherwise it stays at the end.

    An appendix starts on a new page, which is not counted.
    """
    import typst

    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")  # DejaVu has characters that typst's own fonts lack
    texts = {}
    for name, sections in (("body", _body(document)), ("all", document["sections"])):
        texts[name] = as_bytes(json.dumps(_breakable(document | {"sections": sections}), ensure_ascii=False)).decode()
    # Other fonts of the machine are used only if they are needed, so that the PDF is the same on every machine.
    is_enough = {ord(sign) for sign in texts["all"]} <= FT2Font(str(fonts / "DejaVuSans.ttf")).get_charmap().keys()
    compiler = typst.Compiler(TEMPLATE, font_paths=[fonts], ignore_system_fonts=is_enough)

    def compile_at(size, text="body"):
        inputs = {"document": texts[text], "size": str(size), "spread": "yes" if is_spread else "no"}
        return compiler.compile(format="pdf", sys_inputs=inputs)

    return compile_at(_largest(compile_at) or USUAL, "all")


def _body(document):
    return [section for section in document["sections"] if not section["is_appendix"]]


def _largest(compile_at):
    """Return the largest of the SIZES with which the report fits on two pages (binary search), or None."""
    low, high, best = 0, len(SIZES) - 1, None
    while low <= high:
        middle = (low + high) // 2
        if pages(compile_at(SIZES[middle])) <= PAGES:
            best, high = SIZES[middle], middle - 1
        else:
            low = middle + 1
    return best


def pages(pdf: bytes) -> int:
    """Count the pages of a PDF that typst made."""
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def _breakable(value):
    """Allow line breaks inside very long words, which would otherwise extend beyond the edge of the page."""
    if isinstance(value, str):
        return re.sub(rf"\S{{{LONGEST + 1},}}", lambda match: _pieces(match[0]), value)
    if isinstance(value, list):
        return [_breakable(item) for item in value]
    if isinstance(value, dict):
        return {key: item if key in NO_TEXT else _breakable(item) for key, item in value.items()}
    return value


def _pieces(word):
    return "\u200b".join(word[i : i + PIECE] for i in range(0, len(word), PIECE))
