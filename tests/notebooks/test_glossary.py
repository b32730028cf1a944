"""The glossary: each term is explained in its notebook, where it is emphasised, no later than it is first used."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.compile(r"(?m)^## Notebook (\d\d)$")
ROW = re.compile(r"(?m)^\| ([^|]+) \| [^|]+ \|$")
NOT_SECTIONS = ("Summary", "Exercises", "Further reading")


def read_glossary():
    """Return {term: number of the notebook that explains it}."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    parts = SECTION.split(text.partition("\n## In recipes only\n")[0])  # no notebook explains the last part's terms
    rows = zip(parts[1::2], parts[2::2], strict=True)
    return {term.strip("`"): number for number, text in rows for term in ROW.findall(text) if term != "term"}


TERMS = read_glossary()


def sections(number):
    """Return the prose of a notebook's sections: without its introduction, summary, exercises, code and formulas."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]
    first = next(i for i, text in enumerate(cells) if text.startswith("## Set-up")) + 1
    prose = "\n\n".join(cells[first:])
    for heading in NOT_SECTIONS:
        prose = re.sub(rf"(?ms)^## {heading}$.*?(?=^## |\Z)", "", prose)
    prose = re.sub(r"(?m)^#.*$", "", prose)  # a heading names what the text below it explains
    return re.sub(r"(?s)```.*?```|\$\$.*?\$\$|\$[^$\n]*\$|\]\([^)]*\)", " ", prose)


def emphasised(term, prose):
    """Return where a term is emphasised for the first time: in bold, in italics or, for code, between backticks."""
    words = re.escape(term).replace(r"\ ", r"\s+")
    return re.search(rf"(?i)(\*\*?[^*\n]{{0,30}}\b{words}(?:e?s)?\b[^*]{{0,30}}\*\*?)|`{words}`", prose)


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_explained_where_it_is_first_used(term):
    prose = sections(TERMS[term])
    explained = emphasised(term, prose)
    assert explained, f"{term} is not emphasised in notebook {TERMS[term]}"
    words = re.escape(term).replace(r"\ ", r"\s+")
    before = prose[: explained.start()]
    paragraphs_before = before.rpartition("\n\n")[0]  # the same paragraph may use the word a sentence earlier
    used = re.search(rf"(?i)\b{words}\b", paragraphs_before)
    assert not used, paragraphs_before[max(0, used.start() - 80) : used.end() + 80]


def test_the_glossary_is_large_and_no_term_stands_twice():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = [term for term in ROW.findall(text) if term != "term"]
    assert len(rows) == len(set(rows)) > len(TERMS) >= 60
