"""Turns an executed notebook into HTML: text, formulas, code, outputs, and a text for each figure.

body, headings = chapter(nb, figure)     # figure(number, png) keeps a picture and returns its address
as_page(nb, "04_training")               # one page that needs no other file, for `make run`
"""

from __future__ import annotations

import ast
import base64
import html
import re

from tools.site import text
from tools.site.template import standalone

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
TABLE_STYLE = re.compile(r"<style.*?</style>\s*|\s(?:border|style)=\"[^\"]*\"", re.DOTALL)
NOTE = re.compile(r"\(.*\)", re.DOTALL)  # what stands for a widget where no kernel runs


def chapter(nb, figure):
    """Return a notebook as (HTML, headings); figure(number, png) keeps a picture and returns its address."""
    taken, parts, headings, pictures = set(), [], [], 0
    for number, cell in enumerate(nb.cells):
        if _is_text(cell):
            body, found = text.render(cell.source, taken)
            parts.append(body)
            headings += found
        elif cell.cell_type == "code":
            parts.append(_code(cell))
            following = next((later.source for later in nb.cells[number + 1 : number + 2] if _is_text(later)), "")
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    pictures += 1
                    address = figure(pictures, base64.b64decode(output.data["image/png"]))
                    parts.append(_picture(output, address, alternative(cell, following)))
                else:
                    parts.append(_output(output))
    return "\n".join(parts), headings


def _is_text(cell):
    return cell.cell_type == "markdown"


def _code(cell):
    """Return the source of a cell; the set-up cell, which is the same in every notebook, is folded."""
    source = text.code(cell.source)
    if "setup" not in cell.metadata.get("tags", []):
        return source
    return f"<details><summary>The set-up cell, the same in every notebook</summary>\n{source}</details>"


def _picture(output, address, alt):
    """Return a figure with the width and height that the notebook gives it, so that the page does not jump."""
    size = output.metadata.get("image/png", {})
    width, height = size.get("width"), size.get("height")
    sizes = f' width="{width}" height="{height}"' if width and height else ""
    return f'<p class="figure"><img src="{address}" alt="{alt}"{sizes} loading="lazy"></p>'


def _output(output):
    """Return what a cell has printed, or the table that it shows."""
    if output.output_type == "stream":
        return _printed(output.text)
    if output.output_type == "error":
        return _printed("\n".join(output.traceback))
    if "text/html" in output.data:
        table = TABLE_STYLE.sub("", output.data["text/html"]).replace("<th></th>", "<td></td>")
        return f'<div class="output scroll">{table}</div>'
    words = output.data.get("text/plain", "")
    return f'<p class="note">{html.escape(words)}</p>' if NOTE.fullmatch(words) else _printed(words)


def _printed(words):
    words = ANSI.sub("", words).rstrip("\n")
    return f'<pre class="output">{html.escape(words)}</pre>' if words else ""


def alternative(cell, following: str) -> str:
    """Return the text that stands for a figure: its title, what was printed beside it, and where the caption looks."""
    said = [output.data["text/plain"] for output in cell.outputs if set(output.get("data", {})) == {"text/plain"}]
    said = [words for words in said if not NOTE.fullmatch(words)]
    sentences = [*titles(cell.source), *said, *_first_sentence(following)] or ["The figure that this code draws"]
    ended = [sentence if sentence.endswith((".", "?", "!", ":")) else sentence + "." for sentence in sentences]
    return text.plain(html.escape(" ".join(ended)))


def titles(source: str) -> list[str]:
    """Return the titles that a cell gives to its figures, each up to a value that is only known when it runs."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:  # such as a magic command
        return []
    keywords = [node.value for node in nodes if isinstance(node, ast.keyword) and node.arg == "title"]
    assigned = [node.value for node in nodes if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "title"]
    found = []
    for value in keywords + assigned:
        piece = value.values[0] if isinstance(value, ast.JoinedStr) and value.values else value
        if isinstance(piece, ast.Constant) and isinstance(piece.value, str):
            found.append(re.sub(r"\s*\([^)]*$|[\s:;,]+$", "", piece.value))
    return [words for words in found if words]


def _first_sentence(source):
    """Return the first sentence of the text below a figure, if a paragraph stands there."""
    paragraph = " ".join(source.strip().split("\n\n")[0].split())
    if not paragraph or paragraph.startswith(("#", "|", "-", "$$", "```", "**")):
        return []
    return [re.split(r"(?<=[.!?])\s+(?=[A-Z])", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", paragraph))[0]]


def as_page(nb, title: str) -> str:
    """Return an executed notebook as one HTML page that needs no other file and no network."""

    def embedded(number, png):
        return "data:image/png;base64," + base64.b64encode(png).decode()

    body, headings = chapter(nb, embedded)
    return standalone(title, body, headings)
