"""Owns what a report is made of: blocks and runs of text as plain data, and Markdown read into them. Writes no file.

A block is a dict with a kind: paragraph, heading, list, quote, code, table, figure, row (of blocks side by side), words
(a student's own). A text is a list of strings and of marked parts {"kind", "text"}. Nothing in a block is markup: the
writers set every string as it is.
"""

from __future__ import annotations

import html
import re

SAFE_LINK = re.compile(r"(https?://|mailto:)[^\s]+", re.IGNORECASE)
LONGEST = 200_000  # characters that are read of one file of words
LONGEST_LINK = 8000  # characters of an address, as typst allows; a longer one is no link


def paragraph(*text):
    """Make a paragraph of texts, with a space between two; empty ones are left out."""
    return {"kind": "paragraph", "text": [x for part in text if part for x in (" ", *_text(part))][1:]}


def strong(text):
    """Mark a text as important."""
    return {"kind": "strong", "text": [text]}


def code(text):
    """Mark a text as something to be typed, or a name."""
    return {"kind": "code", "text": text}


def table(rows, head=None, *, caption=None, align=None, widths=None, fold=1, shade=None):
    """Make a table of texts, its first column by choice to the left and the wide one, the rest numbers.

    widths are shares of the page, 0 for what the column needs; fold says into how many tables, side by side, it may be
    cut; shade gives a fraction or None for every cell.
    """
    width = len(head or rows[0])
    align = align or "l" + "r" * (width - 1)
    return {
        "kind": "table",
        "head": [_text(cell) for cell in head] if head else None,
        "rows": [[_text(cell) for cell in row] for row in rows],
        "caption": caption,
        "align": align,
        "widths": widths or [1] + [0] * (width - 1),
        "fold": fold,
        "shade": shade,
    }


def figure(svg, alt, caption, full=None):
    """Make a figure of an SVG's text; alt says in words what is to be seen.

    full is the width, in points of the SVG, that fills the line: a narrower one is shown in proportion.
    """
    width, height = (float(side) for side in re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg).groups())
    size = {"width": width, "height": height, "share": min(1.0, width / full) if full else 1.0}
    return {"kind": "figure", "svg": svg, "alt": alt, "caption": caption} | size


def row(*blocks, widths):
    """Put lists of blocks side by side where there is room; widths are shares."""
    return {"kind": "row", "columns": list(blocks), "widths": list(widths)}


def plain_text(thing):
    """Return all that a block, a list of blocks or a text says, as one string."""
    if isinstance(thing, str):
        return thing
    if isinstance(thing, list):
        return "".join(plain_text(part) for part in thing)
    if thing is None:
        return ""
    keys = ("text", "head", "rows", "caption", "columns", "items", "blocks")
    return "\n".join(plain_text(thing[key]) for key in keys if thing.get(key))


def read_markdown(text):
    """Return Markdown as blocks. HTML in it stays the text that it is, and pictures become what they are called."""
    import mistune

    parse = mistune.create_markdown(renderer=None, plugins=["table", "strikethrough"])
    return [{"kind": "words", "blocks": _blocks(parse(text[:LONGEST]))}]


def _text(value):
    return value if isinstance(value, list) else [value if isinstance(value, dict) else str(value)]


def _blocks(tokens):
    """Turn mistune's tokens into blocks; what is none of the kinds below is given as the text it was."""
    found = []
    for token in tokens:
        kind, children = token["type"], token.get("children", [])
        if kind in ("paragraph", "block_text"):
            found.append({"kind": "paragraph", "text": _inline(children)})
        elif kind == "heading":
            found.append({"kind": "heading", "text": _inline(children)})
        elif kind == "list":
            items = [_blocks(item.get("children", [])) for item in children]
            attrs = token["attrs"]
            how = {"ordered": bool(attrs.get("ordered")), "start": attrs.get("start", 1)}
            found.append({"kind": "list", **how, "items": items})
        elif kind == "block_quote":
            found.append({"kind": "quote", "blocks": _blocks(children)})
        elif kind == "table":
            found.append(_table(children))
        elif kind in ("block_code", "block_html"):
            found.append({"kind": "code", "text": token.get("raw", "").rstrip("\n")})
        elif kind not in ("blank_line", "thematic_break"):
            found.append({"kind": "paragraph", "text": [token.get("raw", "")]})
    return found


def _table(parts):
    """Turn the parts of a Markdown table into a block."""
    head = next(part["children"] for part in parts if part["type"] == "table_head")
    body = [line["children"] for part in parts if part["type"] == "table_body" for line in part["children"]]
    align = "".join((cell["attrs"].get("align") or "left")[0] for cell in head)
    lines = [[_inline(cell["children"]) for cell in line] for line in body]
    return table(lines, [_inline(cell["children"]) for cell in head], align=align, widths=[1] * len(head))


def _inline(tokens):
    """Turn mistune's tokens of a line into a text."""
    marks = {"strong": "strong", "emphasis": "emph", "strikethrough": "strike"}
    text = []
    for token in tokens:
        kind, children = token["type"], token.get("children", [])
        if kind in marks:
            text.append({"kind": marks[kind], "text": _inline(children)})
        elif kind == "codespan":
            text.append(code(token["raw"]))
        elif kind == "link":
            address = token["attrs"]["url"]
            safe = SAFE_LINK.fullmatch(address) and len(address) <= LONGEST_LINK
            text += [{"kind": "link", "text": _inline(children), "to": address}] if safe else _inline(children)
        elif kind == "image":
            text += ["[picture: ", *_inline(children), "]"]
        elif kind == "linebreak":
            text.append({"kind": "break", "text": ""})
        else:
            text.append(" " if kind == "softbreak" else html.unescape(token.get("raw", "")))
    return text
