"""tools.document writes pages as PDFs, and says what is wrong with a page that it can't write."""

import pytest
from suites import ROOT

from tools import document
from utils.report import as_pdf

PAGE = """# A title

> The first line.

A paragraph.

## A section

| marks | what |
|---:|---|
| 5 | a text that is much longer than the others |
"""


def test_a_page_becomes_a_pdf(tmp_path, capsys):
    page, pdf = tmp_path / "page.md", tmp_path / "page.pdf"
    page.write_text(PAGE, encoding="utf-8")
    assert document.main([str(page), str(pdf)]) == 0
    assert as_pdf.pages(pdf.read_bytes()) == 1
    assert str(pdf) in capsys.readouterr().out


def test_the_assignment_and_the_rubric_fit_on_two_pages(tmp_path):
    for name in ("assignment", "rubric"):
        assert as_pdf.pages(as_pdf.write(document.read(ROOT / f"docs/{name}.md"))) == 2


def test_a_narrow_column_is_as_wide_as_it_needs_to_be(tmp_path):
    (tmp_path / "page.md").write_text(PAGE, encoding="utf-8")
    (section,) = document.read(tmp_path / "page.md")["sections"]
    assert section["blocks"][0]["widths"] == [0, 6]


@pytest.mark.parametrize("text", [None, "", "Only a paragraph.", "# A title\n\nNo quote.\n\n## A section"])
def test_a_page_that_is_missing_or_begins_otherwise_is_refused_in_words(tmp_path, capsys, text):
    page, pdf = tmp_path / "page.md", tmp_path / "page.pdf"
    if text is not None:
        page.write_text(text, encoding="utf-8")
    assert document.main([str(page), str(pdf)]) == 1
    assert str(page) in capsys.readouterr().err and not pdf.exists()
