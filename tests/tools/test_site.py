"""Tests of tools/site: the site is whole, stays on this machine, is the same each time, and says what figures show."""

import html
import importlib
import re
from xml.etree import ElementTree

import pytest
from nbformat.v4 import new_code_cell, new_output
from suites import ROOT, run_python

import utils
from tools import notebooks, publish
from tools.site import chapters, formulas, template, text
from tools.site.build import Site
from tools.site.check import problems
from tools.site.places import target
from utils.errors import CourseworkError

MATH = re.compile(r"<math.*?</math>", re.DOTALL)
CODE = re.compile(r"<(pre|code)\b.*?</\1>", re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the site, built in this process."""
    site = Site(tmp_path_factory.mktemp("site") / "site")
    site.build()
    return site


def words_of(mathml):
    """Return the characters of a formula."""
    return "".join("".join(math.itertext()) for math in ElementTree.fromstring(f"<p>{mathml}</p>".replace("<wbr>", "")))


def test_no_link_is_dead_nothing_comes_from_elsewhere_and_every_picture_has_a_text(site):
    assert problems(site.folder) == []


@pytest.mark.faults
def test_another_process_builds_the_same_site(site, tmp_path):
    done = run_python("-m", "tools.site", "--to", tmp_path / "again", cwd=ROOT, PYTHONHASHSEED="1")
    assert done.returncode == 0, done.stdout + done.stderr
    files = {path.relative_to(tmp_path / "again").as_posix(): path for path in (tmp_path / "again").rglob("*.*")}
    assert {name: path.read_bytes() for name, path in files.items() if path.is_file()} == site.files


def test_every_notebook_and_document_is_a_page_that_the_front_page_links_to(site):
    front = (site.folder / "index.html").read_text(encoding="utf-8")
    sources = [*notebooks.paths(), *(ROOT / "docs").glob("*.md"), ROOT / "results" / "README.md"]
    for source in sources:
        assert f'href="{target(source.relative_to(ROOT).as_posix())}"' in front


@pytest.mark.parametrize("room", utils.ROOMS)
def test_every_public_name_has_its_place_in_the_reference(site, room):
    source = f"utils/{room}" if (ROOT / "utils" / room).is_dir() else f"utils/{room}.py:room"
    page = (site.folder / target(source)).read_text(encoding="utf-8")
    anchors = re.findall(r'<section class="entry">.*?<h2 id="(\w+)">', page)
    names = getattr(importlib.import_module(f"utils.{room}"), "__all__", anchors)
    assert sorted(anchors) == sorted(names) and anchors


def test_every_formula_became_mathml(site):
    for name, content in site.files.items():
        if not name.endswith(".html") or name.endswith(".py.html"):
            continue
        page = content.decode().split("<main")[1].split("</main>")[0]
        for match in MATH.findall(page):
            assert "\\" not in words_of(match), (name, match)
        assert "$" not in re.sub(r'alt="[^"]*"', "", CODE.sub("", page)), name


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (r"-\ln 10", "−ln10"),
        (r"0.90 \pm 0.059", "0.90±0.059"),
        (r"\mathrm{ReLU}(x)", "ReLU(x)"),
        (r"\text{mean of } x", "mean\xa0of\xa0x"),
        (r"(0.665 - 1,\ 0.245) = (-0.335,\ 0.245)", "(0.665−1,\xa00.245)=(−0.335,\xa00.245)"),
        ("\\frac{a}{b} =\n  c", "ab=c"),
    ],
)
def test_a_formula_keeps_all_its_characters(source, expected):
    assert words_of(formulas.formula(source)) == expected


def test_a_minus_is_a_sign_after_a_bracket_and_an_operation_after_a_number():
    first, second = re.findall("<mo[^>]*>&#x02212;</mo>", formulas.formula("(-1 - 2)"))
    assert 'form="prefix"' in first and "prefix" not in second


def test_a_long_formula_of_a_paragraph_can_be_broken_before_its_equal_sign():
    source = r"0.0333 \cdot 2 + 0.0333 \cdot 1 = 0.1"
    assert formulas.formula(source).count("<math") == 2 and formulas.formula(source, "block").count("<math") == 1


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<a href="nowhere.html">x</a>', "nowhere.html"),
        ('<a href="#nowhere">x</a>', "#nowhere"),
        ('<a href="other.html#nowhere">x</a>', "other.html#nowhere"),
        ('<script src="https://example.org/a.js"></script>', "example.org"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "example.org"),
        ('<img src="https://example.org/a.png" alt="a">', "example.org"),
        ('<img src="a.png">', "a.png"),
        ('<p id="a"></p><p id="a"></p>', "twice"),
    ],
)
def test_a_fault_of_a_page_is_found(tmp_path, page, found):
    (tmp_path / "other.html").write_text(
        '<p id="here"></p><a href="page.html">x</a><a href="https://example.org">x</a>'
    )
    (tmp_path / "a.png").touch()
    (tmp_path / "page.html").write_text('<a href="other.html#here">x</a>')
    assert problems(tmp_path) == []
    (tmp_path / "page.html").write_text(page)
    (problem,) = problems(tmp_path)
    assert problem.startswith("page.html: ") and found in problem


def test_a_style_sheet_that_loads_a_file_is_found(tmp_path):
    (tmp_path / "style.css").write_text("body { background: url(https://example.org/a.png) }")
    assert problems(tmp_path) == ["style.css: loads a file"]


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("../README.md", "../index.html"),
        ("../notebooks/02_model.ipynb#x", "../notebooks/02_model.html#x"),
        ("../results/", "../results/index.html"),
        ("../utils/models/gated.py", "../utils/models/gated.py.html"),
        ("../utils/models", "../utils/models/index.html"),
        ("../results/accuracy", "../results/accuracy/index.html"),
        ("../LICENSE", "../LICENSE.html"),
        ("pictures/gates.png", "pictures/gates.png"),
        ("#here", "#here"),
        ("https://d2l.ai", "https://d2l.ai"),
    ],
)
def test_a_link_of_a_document_becomes_one_of_the_site(tmp_path, link, expected):
    assert Site(tmp_path)._linked(f'<a href="{link}">', "docs/guide.md") == f'<a href="{expected}">'


def test_a_dead_link_of_a_document_is_named_with_its_document(tmp_path):
    with pytest.raises(CourseworkError, match=r"nowhere\.md[\s\S]*docs/guide\.md"):
        Site(tmp_path)._linked('<a href="nowhere.md">', "docs/guide.md")


def test_a_picture_of_another_server_gives_way_to_its_text(tmp_path):
    tag = '<img src="https://example.org/badge.svg" alt="Open in Colab">'
    assert Site(tmp_path)._linked(tag, "README.md") == "Open in Colab"


@pytest.mark.parametrize("address", ["", "https://github.com/some-one/cifar10"])
def test_open_in_colab_stands_only_where_an_address_is_set(tmp_path, monkeypatch, address):
    monkeypatch.setattr(publish, "settings", lambda: (address, "main"))
    path = notebooks.paths()[0]
    site = Site(tmp_path)
    site._add_notebook(path, "notebooks/x.ipynb")
    body = site.pages["notebooks/x.ipynb"].body
    assert ("Open in Colab" in body) == bool(address) and "colab-badge" not in body
    assert (f"blob/main/notebooks/{path.name}" in body) == bool(address)


@pytest.mark.parametrize(
    ("source", "said", "following", "expected"),
    [
        ('show(x, title="A *truck*")', [], "Look at `x`. It is red.", "A truck. Look at x."),
        ('title = f"Ten images ({data.name})"\nshow(x, title=title);', [], "## 2. Classes", "Ten images."),
        ('show(x, title=f"{n} images")', [], "", "The figure that this code draws."),
        ("train()", ["after epoch 5: loss 1.3"], "See [05](x.md)?", "after epoch 5: loss 1.3. See 05?"),
        ("slide()", ["(It can be changed here.)"], "$-1$ is\nsmall.", "-1 is small."),
        ("%matplotlib inline", [], "", "The figure that this code draws."),
    ],
)
def test_the_text_of_a_figure_is_its_title_and_what_is_said_about_it(source, said, following, expected):
    outputs = [new_output("display_data", data={"text/plain": words}) for words in said]
    assert html.unescape(chapters.alternative(new_code_cell(source, outputs=outputs), following)) == expected


def test_what_a_cell_prints_is_text_and_a_table_brings_no_style():
    table = '<style scoped>td {}</style>\n<table border="1"><td style="x">1</td></table>'
    cell = new_code_cell("x", outputs=[new_output("stream", text="<b>\x1b[31mred\x1b[0m\n")])
    cell.outputs.append(new_output("execute_result", data={"text/html": table, "text/plain": "1"}))
    body, _ = chapters.chapter(notebooks.nbformat.v4.new_notebook(cells=[cell]), None)
    assert '<pre class="output">&lt;b&gt;red</pre>' in body and "<table><td>1</td></table>" in body


def test_anchors_are_those_of_github_and_never_the_same():
    source = "## What is `x`, really?\n\n## Été & more\n\n## A\n\n## A\n"
    body, headings = text.render(source)
    assert [anchor for _, anchor, _ in headings] == ["what-is-x-really", "été--more", "a", "a-1"]
    assert all(f'id="{anchor}"' in body for _, anchor, _ in headings)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CourseworkError, match="something else"):
        Site(tmp_path)._write()
    assert (tmp_path / "mine.txt").read_text() == "mine"


def luminance(colour):
    """Return the relative luminance of #rrggbb, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_all_text_has_the_contrast_that_wcag_asks_for(scheme):
    block = re.findall(r":root \{(.*?)\}", template.style(), re.DOTALL)[scheme]
    colours = {name: luminance(value) for name, value in re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)}
    papers = [colours[name] for name in ("paper", "tint", "ask-tint")]
    for name in set(colours) - {"paper", "tint", "ask-tint", "line"}:
        for paper in papers:
            low, high = sorted((colours[name], paper))
            assert (high + 0.05) / (low + 0.05) >= 4.5, name
