"""The parts of a report, blocks and texts, as plain data; and the parsing of Markdown into them.

    read_markdown("a *word*")  # [{"kind": "paragraph", "text": ["a ", {"kind": "emph", "text": ["word"]}]}]

A block is a dict with a kind: paragraph, heading, list, quote, code, table, figure, row (of blocks side by side), words
(the student's own text). A text is a list of strings and of spans {"kind", "text"}, such as emphasis. Strings contain
no markup: as_html and as_pdf escape them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

SAFE_LINK = re.compile(r"(https?://|mailto:)[^\s]+", re.IGNORECASE)
LONGEST = 200_000  # the characters of a file that are read
LONGEST_LINK = 8000  # typst's limit for the characters of an address; a longer one is shown as text
COMMAND = re.compile(r"^::: *(.*?) *$", re.MULTILINE)
CAPTION = "Table: "


def strong(text):
    """Mark a text as important."""
    return {"kind": "strong", "text": [text]}


def table(rows, head=None, *, caption=None, align=None, widths=None, fold=1, shade=None):
    """Make a table of texts; by default the first column is wide and left-aligned, and the others are for numbers.

    widths: shares of the page, 0 for the width that the column needs. fold: the number of tables, side by side, into
    which it may be split. shade: a fraction or None for every cell.
    """
    width = len(head or rows[0])
    return {
        "kind": "table",
        "head": [_text(cell) for cell in head] if head else None,
        "rows": [[_text(cell) for cell in row] for row in rows],
        "caption": caption,
        "align": align or "l" + "r" * (width - 1),
        "widths": widths or [1] + [0] * (width - 1),
        "fold": fold,
        "shade": shade,
    }


def figure(svg, alt, caption, full=None):
    """Make a figure from the text of an SVG; alt is a description for readers who can't see it.

    full: the width, in points of the SVG, that fills the line; a narrower figure is scaled in proportion.
    """
    width, height = (float(side) for side in re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg).groups())
    share = min(1.0, width / full) if full else 1.0
    size = {"width": width, "height": height, "share": share}
    return {"kind": "figure", "svg": svg, "alt": alt, "caption": caption, **size}


def plain_text(value) -> str:
    """Return all strings in a block, a list of blocks or a text, as one string."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(plain_text(item) for item in value)
    if value is None:
        return ""
    keys = ("text", "head", "rows", "caption", "columns", "items", "blocks")
    return "\n".join(plain_text(value[key]) for key in keys if value.get(key))


def read_markdown(text: str) -> list[dict]:
    """Return a student's Markdown as blocks. HTML is shown as text, and a picture is replaced by its description."""
    return _blocks(_parse(text[:LONGEST]))


def read_report(text: str, insert: Callable[[str, str, str], list[dict]]) -> dict:
    """Return the Markdown of a report as a document: {"title", "first_line", "about", "sections"}.

    A paragraph that is a picture, ![caption](name "description"), is replaced by the blocks that
    insert(name, caption, description) returns. Lines that begin with ::: are commands; report.md.j2 lists them.
    """
    blocks = _replace_pictures(_run_commands(text), insert)
    title, first_line, about = blocks[:3]
    document = {
        "title": plain_text(title["text"]),
        "first_line": first_line["blocks"][0]["text"],
        "about": about["text"],
        "sections": [],
    }
    is_appendix = False
    for block in blocks[3:]:
        if block["kind"] == "appendix":
            is_appendix = True
        elif block["kind"] == "heading" and block["level"] == 2:
            section = {"title": plain_text(block["text"]), "is_appendix": is_appendix, "blocks": []}
            document["sections"].append(section)
        else:
            document["sections"][-1]["blocks"].append(block)
    return document


def _run_commands(text):
    """Return the blocks of a report's Markdown, after its commands for rows, tables and the appendix were applied."""
    first, *rest = COMMAND.split(text)
    blocks = _blocks(_parse(first), with_pictures=True)
    row, outer = None, None
    for command, text_after in zip(rest[::2], rest[1::2], strict=True):
        name, *settings = command.split()
        new = _captioned(_blocks(_parse(text_after), with_pictures=True))
        if name == "row":
            row = {"kind": "row", "columns": [[]], "widths": [int(width) for width in settings]}
            outer, blocks = blocks, row["columns"][0]
        elif name == "beside":
            row["columns"].append([])
            blocks = row["columns"][-1]
        elif name == "end":
            outer.append(row)
            blocks = outer
        elif name == "appendix":
            blocks.append({"kind": "appendix"})
        elif name == "table":
            new[0] |= _table_settings(settings)
        else:
            raise ValueError(f"The report's template has no command {command!r}.")
        blocks += new
    return blocks


def _table_settings(settings):
    """Parse the settings of a table, such as "fold=3" and "widths=0,1"."""
    values = dict(setting.split("=") for setting in settings)
    chosen = {"fold": int(values.get("fold", 1))}
    if "widths" in values:
        chosen["widths"] = [int(width) for width in values["widths"].split(",")]
    return chosen


def _captioned(blocks):
    """Turn a paragraph that begins with "Table: " into the caption of the table before it."""
    merged = []
    for block in blocks:
        text = plain_text(block["text"]) if block["kind"] == "paragraph" else ""
        if text.startswith(CAPTION) and merged and merged[-1]["kind"] == "table":
            merged[-1]["caption"] = text.removeprefix(CAPTION)
        else:
            merged.append(block)
    return merged


def _replace_pictures(blocks, insert):
    replaced = []
    for block in blocks:
        if block["kind"] == "row":
            replaced.append(block | {"columns": [_replace_pictures(column, insert) for column in block["columns"]]})
        elif block["kind"] == "picture":
            replaced += insert(block["name"], block["caption"], block["alt"])
        else:
            replaced.append(block)
    return replaced


def _parse(text):
    import mistune

    return mistune.create_markdown(renderer=None, plugins=["table", "strikethrough"])(text)


def _text(value):
    return value if isinstance(value, list) else [value if isinstance(value, dict) else str(value)]


def _blocks(tokens, with_pictures=False):
    """Turn mistune's tokens into blocks; a token of an unknown kind becomes a paragraph with its text."""
    blocks = []
    for token in tokens:
        kind, children = token["type"], token.get("children", [])
        if with_pictures and kind == "paragraph" and [child["type"] for child in children] == ["image"]:
            blocks.append(_picture(children[0]))
        elif kind in ("paragraph", "block_text"):
            blocks.append({"kind": "paragraph", "text": _inline(children)})
        elif kind == "heading":
            blocks.append({"kind": "heading", "level": token["attrs"]["level"], "text": _inline(children)})
        elif kind == "list":
            items = [_blocks(item.get("children", [])) for item in children]
            ordered, start = bool(token["attrs"].get("ordered")), token["attrs"].get("start", 1)
            blocks.append({"kind": "list", "ordered": ordered, "start": start, "items": items})
        elif kind == "block_quote":
            blocks.append({"kind": "quote", "blocks": _blocks(children)})
        elif kind == "table":
            blocks.append(_table(children))
        elif kind in ("block_code", "block_html"):
            blocks.append({"kind": "code", "text": token.get("raw", "").rstrip("\n")})
        elif kind not in ("blank_line", "thematic_break"):
            blocks.append({"kind": "paragraph", "text": [token.get("raw", "")]})
    return blocks


def _picture(token):
    caption = plain_text(_inline(token["children"]))
    alt = " ".join(html.unescape(token["attrs"].get("title") or "").split("\n"))
    return {"kind": "picture", "name": token["attrs"]["url"], "caption": caption, "alt": alt}


def _table(children):
    """Turn the tokens of a Markdown table into a block; an empty head is left out."""
    head = next(token["children"] for token in children if token["type"] == "table_head")
    body = [line["children"] for token in children if token["type"] == "table_body" for line in token["children"]]
    align = "".join((cell["attrs"].get("align") or "left")[0] for cell in head)
    rows = [[_inline(cell["children"]) for cell in line] for line in body]
    titles = [_inline(cell["children"]) for cell in head]
    has_titles = not rows or any(map(plain_text, titles))
    return table(rows, titles if has_titles else None, align=align, widths=[1] * len(head))


def _inline(tokens):
    """Turn mistune's tokens of a line into a text."""
    marks = {"strong": "strong", "emphasis": "emph", "strikethrough": "strike"}
    text = []
    for token in tokens:
        kind, children = token["type"], token.get("children", [])
        if kind in marks:
            text.append({"kind": marks[kind], "text": _inline(children)})
        elif kind == "codespan":
            text.append({"kind": "code", "text": token["raw"]})
        elif kind == "link":
            address = token["attrs"]["url"]
            is_safe = SAFE_LINK.fullmatch(address) and len(address) <= LONGEST_LINK
            text += [{"kind": "link", "text": _inline(children), "to": address}] if is_safe else _inline(children)
        elif kind == "image":
            text += ["[picture: ", *_inline(children), "]"]
        elif kind == "linebreak":
            text.append({"kind": "break", "text": ""})
        else:
            text.append(" " if kind == "softbreak" else html.unescape(token.get("raw", "")))
    return text
