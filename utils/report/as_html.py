"""Write a report as a single HTML file for screen, phone and paper, without scripts."""

from __future__ import annotations

import base64
import html
from pathlib import Path

STYLE = Path(__file__).with_name("page.css")
# Even if a hostile text were not escaped, a browser would not run or fetch anything.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
SIDES = {"l": "left", "c": "center", "r": "right"}
MARKS = {"strong": "strong", "emph": "em", "strike": "s", "code": "code"}


def write(document: dict) -> str:
    """Return a report's document as the text of an HTML file."""
    sections = "\n".join(_section(section) for section in document["sections"])
    title = _escape(document["title"])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
<p class="first">{_inline(document["first_line"])}</p>
<p class="about">{_inline(document["about"])}</p>
</header>
{sections}
</main>
</body>
</html>
"""


def _section(section):
    return f"<section>\n<h2>{_escape(section['title'])}</h2>\n{_blocks(section['blocks'])}\n</section>"


def _blocks(blocks):
    return "\n".join(WRITERS[block["kind"]](block) for block in blocks)


def _paragraph(block):
    return f"<p>{_inline(block['text'])}</p>"


def _heading(block):
    return f"<h3>{_inline(block['text'])}</h3>"


def _list(block):
    tag = "ol" if block["ordered"] else "ul"
    start = f' start="{block["start"]}"' if block["ordered"] and block["start"] != 1 else ""
    items = "".join(f"<li>{_blocks(item)}</li>" for item in block["items"])
    return f"<{tag}{start}>{items}</{tag}>"


def _quote(block):
    return f"<blockquote>{_blocks(block['blocks'])}</blockquote>"


def _code(block):
    return f"<pre><code>{_escape(block['text'])}</code></pre>"


def _words(block):
    return f'<div class="words">{_blocks(block["blocks"])}</div>'


def _row(block):
    columns = zip(block["columns"], block["widths"], strict=True)
    inner = "".join(f'<div style="flex-grow:{width}">{_blocks(blocks)}</div>' for blocks, width in columns)
    return f'<div class="row">{inner}</div>'


def _figure(block):
    data = base64.b64encode(block["svg"].encode()).decode()
    size = f'width="{block["width"]:.0f}" height="{block["height"]:.0f}"'  # so that the page does not move on loading
    image = f'<img {size} alt="{_escape(block["alt"])}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure>{image}<figcaption>{_inline([block['caption']])}</figcaption></figure>"


def _table(block):
    """Write a table, split into `fold` tables side by side; on a narrow screen they are below each other."""
    rows = block["rows"]
    size = max(1, -(-len(rows) // block["fold"]))
    tables = [_rows(block, i, rows[i : i + size]) for i in range(0, max(1, len(rows)), size)]
    caption = f"<figcaption>{_inline([block['caption']])}</figcaption>" if block["caption"] else ""
    kind = "matrix" if block["shade"] else "plain" if block["head"] else "facts"
    return f'<figure class="{kind}"><div class="row tables">{"".join(tables)}</div>{caption}</figure>'


def _rows(block, first, rows):
    head = "".join(_cell("th", cell, side) for cell, side in zip(block["head"] or (), block["align"], strict=False))
    lines = []
    for number, row in enumerate(rows, first):
        shades = block["shade"][number] if block["shade"] else [None] * len(row)
        cells = zip(row, block["align"], shades, strict=False)
        lines.append("<tr>" + "".join(_cell("td", cell, side, shade) for cell, side, shade in cells) + "</tr>")
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<div class="scroll"><table>{top}<tbody>{"".join(lines)}</tbody></table></div>'


def _cell(tag, text, side, shade=None):
    colour = f";background:rgba(0,114,178,{0.75 * shade:.3f})" if shade else ""
    return f'<{tag} style="text-align:{SIDES[side]}{colour}">{_inline(text)}</{tag}>'


def _inline(text):
    return "".join(_escape(span) if isinstance(span, str) else _marked(span) for span in text)


def _marked(span):
    kind = span["kind"]
    if kind == "break":
        return "<br>"
    inner = _escape(span["text"]) if kind == "code" else _inline(span["text"])
    if kind == "link":
        return f'<a href="{_escape(span["to"])}" rel="noreferrer">{inner}</a>'
    return f"<{MARKS[kind]}>{inner}</{MARKS[kind]}>"


def _escape(text):
    return html.escape(str(text), quote=True)


WRITERS = {
    "paragraph": _paragraph,
    "heading": _heading,
    "list": _list,
    "quote": _quote,
    "code": _code,
    "words": _words,
    "row": _row,
    "figure": _figure,
    "table": _table,
}
