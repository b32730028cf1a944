"""Writes a page of Markdown, such as the assignment, as a PDF that looks like the report.

    python -m tools.document docs/assignment.md assignment.pdf

The page begins with a title, a quote and a paragraph. Headings of level 2 divide the rest into sections. What stands
between `<!-- teachers -->` and `<!-- /teachers -->` is left out: the PDF is to be handed out.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from tools.command import command
from tools.student_edition import FOR_TEACHERS
from utils.errors import CourseworkError
from utils.files import write_bytes
from utils.report import as_pdf
from utils.report import document as blocks

NARROW = 14  # a column whose texts have at most this many characters is as wide as it needs to be


@command
def main(arguments=None):
    """Write a page of Markdown as a PDF, and print the path of the PDF."""
    parser = argparse.ArgumentParser(prog="python -m tools.document", description=main.__doc__)
    parser.add_argument("page", type=Path, help="the file with the Markdown")
    parser.add_argument("pdf", type=Path, help="the file to write")
    args = parser.parse_args(arguments)
    write_bytes(args.pdf, as_pdf.write(read(args.page), is_spread=False))
    print(args.pdf)
    return 0


def read(path):
    """Return a page as a document of the report: {"title", "first_line", "about", "sections", "footer"}."""
    try:
        text = FOR_TEACHERS.sub("", path.read_text(encoding="utf-8"))
        document = blocks.read_report(text, insert=lambda *picture: [])
    except OSError as error:
        raise CourseworkError("The page cannot be read.", where=path, next_step=f"Check the path: {error}.") from error
    except (LookupError, TypeError, ValueError) as error:
        next_step = "Begin with # Title, > a quote and a paragraph; then come ## headings."
        raise CourseworkError("The page does not begin like a document.", where=path, next_step=next_step) from error
    for section in document["sections"]:
        for block in section["blocks"]:
            if block["kind"] == "table":
                block["widths"] = widths([block["head"] or [], *block["rows"]])
    return document | {"footer": document["title"]}


def widths(rows):
    """Return the shares of a table's columns: 0 for a narrow one, otherwise the root of its longest text's length."""
    longest = [max(len(blocks.plain_text(cell)) for cell in column) for column in zip(*filter(None, rows), strict=True)]
    return [0 if length <= NARROW else round(math.sqrt(length)) for length in longest]


if __name__ == "__main__":
    sys.exit(main())
