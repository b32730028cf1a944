"""Fill in the report's template: `render(facts(run))` returns the report's text as Markdown.

The text is in report.md.j2, with instructions for editing at its top. Every value that the template inserts is escaped,
so that a class name or a file name is never interpreted as Markdown, HTML or a command of the template.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from utils.data import augment
from utils.optim import losses, optimizers, schedules
from utils.report import formats

TEMPLATE = Path(__file__).with_name("report.md.j2")
SPECIAL = re.compile(r"""[\\`*_\[\]<>|~#!"{}]""")  # characters with a meaning in Markdown
AT_START = re.compile(r"[-+=:]|\d{1,9}[.)](?=\s|$)")  # the start of a list, an underline or one of our commands


class Markdown(str):
    """A text that is Markdown already and is inserted without escaping."""


def render(facts: dict) -> str:
    """Return the report's text as Markdown, which `document.read_report` parses."""
    text = _template(TEMPLATE.read_text(encoding="utf-8")).render(facts)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


@functools.cache
def _template(text):
    import jinja2

    environment = jinja2.Environment(
        finalize=escape,
        undefined=jinja2.StrictUndefined,  # raise an error for a misspelt name in the template
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(formats, name) for name in ("percent", "number", "count", "duration")}
    environment.filters |= {"setting": formats.setting, "code": code, "one_line": one_line, "markdown": Markdown}
    environment.globals |= {
        "LOSSES": losses.EXPLANATIONS,
        "OPTIMIZERS": optimizers.EXPLANATIONS,
        "SCHEDULES": {name: explanation for name, (_, _, explanation) in schedules.SCHEDULES.items()},
        "AUGMENTATIONS": augment.EXPLANATIONS,
    }
    return environment.from_string(text)


def escape(value) -> str:
    """Return a value as a line of Markdown that is displayed as exactly this text."""
    if isinstance(value, Markdown):
        return value
    text = SPECIAL.sub(r"\\\g<0>", " ".join(str(value).splitlines()).replace("&", "&amp;"))
    start = AT_START.match(text)
    if start:
        text = f"{start[0][:-1]}\\{text[start.end() - 1 :]}"
    return text


def code(value) -> Markdown:
    """Return a value as code, or as plain text if it contains a character that would end the code."""
    text = " ".join(str(value).split())
    return Markdown(escape(text) if not text or re.search(r"[`|]", text) else f"`{text}`")


def one_line(text: str) -> Markdown:
    """Join the lines of a `{% set %}` block, for a cell of a table; its values are already escaped."""
    return Markdown(re.sub(r"[ \n]+", " ", text).strip())
