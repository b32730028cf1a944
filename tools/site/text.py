"""Turns Markdown and code into HTML: MathML for formulas, classes for colours, an anchor for each heading.

html, headings = render("# Title\\n\\nThe loss is $-\\ln p$.")
"""

from __future__ import annotations

import functools
import html
import re

import mistune
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from tools.site.formulas import formula

TAGS = re.compile(r"<[^>]+>")
PROMPTS = ("Predict first", "Question", "Your turn")  # paragraphs that start with one of these ask the reader something
BLOCK_FORMULA = r"^ {0,3}\$\$(?P<block_source>[^$]+)\$\$[ \t]*$"
INLINE_FORMULA = r"\$(?P<inline_source>[^$]+)\$"


def code(source: str, language: str = "python") -> str:
    """Return highlighted code; a language that is not known is shown as it is."""
    return f'<pre class="code"><code>{_coloured(source, language or "text")}</code></pre>'


def listing(source: str, name: str) -> str:
    """Return a whole file as highlighted code in which each line has a number and an anchor, line-1 and so on."""
    lines = _coloured(source.rstrip("\n"), name.rpartition(".")[2]).split("\n")
    numbered = (f'<span class="line" id="line-{number}">{line}\n</span>' for number, line in enumerate(lines, 1))
    return f'<pre class="code numbered"><code>{"".join(numbered)}</code></pre>'


def _coloured(source, language):
    return highlight(source, _lexer(language), HtmlFormatter(nowrap=True)).rstrip("\n")


@functools.cache
def _lexer(language):
    try:
        return get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return get_lexer_by_name("text", stripnl=False)


def plain(text: str) -> str:
    """Return the text of some HTML or Markdown without its markup, as an attribute can hold it."""
    words = re.sub(r"\\[,;! ]", " ", html.unescape(TAGS.sub("", text)).replace(r"\pm", "±"))
    return html.escape(re.sub(r"\s+", " ", re.sub(r"[`*$\\]", "", words)).strip())


def anchor_of(title: str, taken: set[str]) -> str:
    """Return the anchor that GitHub gives to a heading, so that links work there and here."""
    name = re.sub(r"[^\w\- ]", "", html.unescape(TAGS.sub("", title)).lower()).strip().replace(" ", "-") or "section"
    number = 0
    while (name if not number else f"{name}-{number}") in taken:
        number += 1
    taken.add(name if not number else f"{name}-{number}")
    return name if not number else f"{name}-{number}"


class _Renderer(mistune.HTMLRenderer):
    """HTML with anchors and formulas; it collects the headings as (level, anchor, HTML)."""

    def __init__(self, taken, escape):
        super().__init__(escape=escape)
        self.headings = []
        self._taken = taken

    def heading(self, text, level, **attrs):
        anchor = anchor_of(text, self._taken)
        self.headings.append((level, anchor, re.sub(r"</?a\b[^>]*>", "", text)))
        if level == 1:
            return f'<h1 id="{anchor}">{text}</h1>\n'
        link = f'<a class="anchor" href="#{anchor}" aria-label="Link to “{plain(text)}”">#</a>'
        return f'<h{level} id="{anchor}">{text} {link}</h{level}>\n'

    def paragraph(self, text):
        kind = ""
        if text.startswith(tuple(f"<strong>{prompt}" for prompt in PROMPTS)):
            kind = ' class="ask"'
        elif text.startswith("<em>") and text.find("</em>") == len(text) - len("</em>"):
            kind = ' class="caption"'
        return f"<p{kind}>{text}</p>\n"

    def block_code(self, code_text, info=None):
        return code(code_text, (info or "text").split()[0]) + "\n"

    def table_cell(self, text, align=None, head=False):
        name = "th" if head and text else "td"  # an empty heading says nothing
        style = f' style="text-align: {align}"' if align else ""
        return f"<{name}{style}>{text}</{name}>\n"

    def table(self, text):
        kind = "pictures" if "<img" in text else "plain"
        return f'<div class="scroll"><table class="{kind}">\n{text}</table></div>\n'

    def formula(self, source):
        return formula(source)

    def block_formula(self, source):
        return f'<div class="formula scroll">{formula(source, "block")}</div>\n'


def _formulas(markdown):
    """Teach mistune $...$ and $$...$$; its own plugin does not know a $$ that has text on its line."""

    def parse_inline(inline, match, state):
        state.append_token({"type": "formula", "raw": match["inline_source"]})
        return match.end()

    def parse_block(block, match, state):
        state.append_token({"type": "block_formula", "raw": match["block_source"]})
        return match.end() + 1

    markdown.inline.register("formula", INLINE_FORMULA, parse_inline, before="link")
    markdown.block.register("block_formula", BLOCK_FORMULA, parse_block, before="list")


def render(source: str, taken: set[str] | None = None, escape: bool = False) -> tuple[str, list[tuple[int, str, str]]]:
    """Return Markdown as HTML, and its headings as (level, anchor, HTML).

    `taken` holds the anchors that stand above on the page. With escape=True, HTML in the source is shown as text.
    """
    renderer = _Renderer(set() if taken is None else taken, escape)
    markdown = mistune.create_markdown(renderer=renderer, plugins=["table", "strikethrough", _formulas])
    return markdown(source), renderer.headings
