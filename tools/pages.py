"""Owns turning an executed notebook into one HTML page that stands alone. Runs nothing."""

from __future__ import annotations

import html
import re

from jinja2 import DictLoader
from nbconvert import HTMLExporter

# The page's own part of nbconvert's template: a readable width, and no script, but for formulas where there are some.
TEMPLATE = """\
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{% if resources.has_formulas %}{{ super() }}{% endif %}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block extra_css -%}<style>main { max-width: 64rem; margin: auto; padding: 0 1rem; }</style>{%- endblock -%}
"""
NO_ALT = 'alt="No description has been provided for this image"'


def page(nb, title):
    """Return an executed notebook as HTML."""
    options = {"embed_images": True, "exclude_anchor_links": True}
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"page.html.j2": TEMPLATE})], template_file="page.html.j2", **options
    )
    exporter.log.setLevel("ERROR")  # it warns of figures without alt text, which come next
    prose = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    has_formulas = bool(re.search(r"\$[^$\n]+\$|\$\$", prose))
    text, _ = exporter.from_notebook_node(nb, {"metadata": {"name": title}, "has_formulas": has_formulas})
    return with_alts(text, figure_texts(nb))


def figure_texts(nb):
    """Return for each figure the line of text that follows it, which says what it shows."""
    found = []
    for number, cell in enumerate(nb.cells):
        outputs = cell.get("outputs", [])
        following = nb.cells[number + 1].source if nb.cells[number + 1 :] else ""
        for place, output in enumerate(outputs):
            if "image/png" in output.get("data", {}):
                printed = [later.text for later in outputs[place + 1 :] if later.output_type == "stream"]
                line = (" ".join([*printed, following]).strip() or "a figure").splitlines()[0]
                found.append(re.sub(r"[`*]", "", line))
    return found


def with_alts(text, alts):
    """Fill in the images' missing alt texts in order; where their number is not as expected, change none."""
    if text.count(NO_ALT) != len(alts):
        return text
    following = iter(alts)
    return re.sub(re.escape(NO_ALT), lambda _: f'alt="{html.escape(next(following))}"', text)
