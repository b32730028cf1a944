"""The report's HTML and PDF: the same text in both, two pages, nothing runs or is fetched, hostile text stays text."""

import html.parser
import json
import re
import shutil
import subprocess

import matplotlib.pyplot as plt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_parts import COPIES, PLAIN, RECIPE, evaluation, fake_run, metrics, network, plain_network, record

from utils.report import as_html, as_pdf, content
from utils.report.document import plain_text, read_markdown, read_report
from utils.report.template import code, escape

typst = pytest.importorskip("typst", reason="the PDF needs typst")
pytestmark = pytest.mark.usefixtures("one_thread")
HOSTILE = r"""# A title with *stars* and <b>tags</b>

<script>alert("html")</script> and <img src=x onerror=alert(1)> and &lt;b&gt; and "quotes' & more.

#read("/etc/passwd") #import "x": y #panic("typst") #include "/etc/hostname" $x^2$ @label <label> \ // /* `#eval("1")`

[script](javascript:alert(1)) [data](data:text/html,x) [file](file:///etc/passwd) [page](https://example.org/?a=1&b="2")
![a picture](https://example.org/tracker.png)

</style></main></body>

```typst
#read("/etc/passwd")
```

- one
  1. nested **bold**

> said

| left | right |
|:-----|------:|
| `a|b` | ~~2~~ |
"""


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Return {name: a report's document} of a gated run, a plain one, and one with hostile text in every section."""
    words = {f"{name}.md": HOSTILE for name in ("data", "model", "loss", "training", "accuracy")}
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utils.report.drawings.draw_network", lambda summary: plt.figure(figsize=(7, 2)))
        return {
            "gated": content(fake_run(folder / "gated")),
            "plain": content(
                fake_run(
                    folder / "plain", about=record(PLAIN), net=plain_network(path=None), tested=evaluation(gates=None)
                )
            ),
            "hostile": content(fake_run(folder / "hostile", words=words)),
        }


@pytest.fixture(scope="module")
def written(documents):
    """Return {name: (HTML text, PDF bytes)} of the documents."""
    return {name: (as_html.write(one), as_pdf.write(one)) for name, one in documents.items()}


class Page(html.parser.HTMLParser):
    """Collect a page's tags and words, and check that every tag that is opened is closed."""

    VOID = {"meta", "img", "br"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._open = [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open += [] if tag in self.VOID else [tag]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "title"):
            self.words.append(data)


def letters(text):
    """Return a text's letters and digits: what is left when line breaks, hyphens and spaces differ."""
    return re.sub(r"[\W_]+", "", text)


def pdf_text(pdf, folder):
    """Return a PDF's text with pdftotext, its words in the order in which they were written."""
    (folder / "it.pdf").write_bytes(pdf)
    command = ["pdftotext", "-raw", str(folder / "it.pdf"), "-"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


RIGHT_MARGIN = 595 - 0.8 * 16 * 72 / 25.4  # the width of A4 less most of its margin, in points


def right_edge(pdf, folder):
    """Return where the rightmost word of a PDF ends, in points."""
    (folder / "it.pdf").write_bytes(pdf)
    command = ["pdftotext", "-bbox", str(folder / "it.pdf"), "-"]
    boxes = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return max(float(edge) for edge in re.findall(r'xMax="([\d.]+)" yMax="[\d.]+">', boxes))


def pieces(thing):
    """Yield every string that a document wants to be read, one by one."""
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, list):
        for item in thing:
            yield from pieces(item)
    elif isinstance(thing, dict):
        for key, item in thing.items():
            if key not in ("svg", "alt", "kind", "align", "to", "widths", "footer"):
                yield from pieces(item)


def test_a_normal_run_fills_exactly_two_pages_and_an_appendix_its_own(written):
    assert as_pdf.pages(written["gated"][1]) == 2
    assert as_pdf.pages(written["plain"][1]) == 3


@pytest.mark.parametrize("fits", [*as_pdf.SIZES, None])
def test_the_largest_letters_that_fit_are_found(fits):
    tried = []

    def at(size):
        tried.append(size)
        return b"/Type /Page " * (2 if fits and size <= fits else 3)

    assert as_pdf._largest(at) == fits
    assert len(tried) <= 5


def test_no_letters_are_found_where_none_fit():
    assert as_pdf._largest(lambda size: b"/Type /Page " * 3) is None


@pytest.mark.parametrize("name", ["gated", "plain", "hostile"])
def test_every_word_is_in_the_html(documents, written, name):
    said = letters("".join(Page(written[name][0]).words))
    missing = [piece for piece in pieces(documents[name]) if letters(piece) not in said]
    assert missing == []


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="needs pdftotext")
@pytest.mark.parametrize("name", ["gated", "plain", "hostile"])
def test_every_word_is_in_the_pdf(documents, written, name, tmp_path):
    text = pdf_text(written[name][1], tmp_path)
    assert text.count("\f") == as_pdf.pages(written[name][1])
    said = letters(text)
    # A line may end within a piece, and then the next column's line may come first: so each word for itself.
    words = {letters(word) for piece in pieces(documents[name]) for word in piece.split()}
    assert sorted(word for word in words if word not in said) == []


@pytest.mark.parametrize("name", ["gated", "plain", "hostile"])
def test_the_html_stands_alone_and_runs_nothing(written, name):
    tags = Page(written[name][0]).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "embed", "base", "form", "svg"}
    assert all(not key.startswith("on") for _, attrs in tags for key in attrs)
    assert all(attrs["src"].startswith("data:image/svg+xml;base64,") for _, attrs in tags if "src" in attrs)
    addresses = [attrs["href"] for _, attrs in tags if "href" in attrs]
    assert addresses == ["https://example.org/?a=1&b=%222%22"] * (5 * (name == "hostile"))
    assert not re.search(r"@import|url\(", written[name][0].partition("</style>")[0])
    assert ("meta", "Content-Security-Policy") in [(tag, attrs.get("http-equiv")) for tag, attrs in tags]


@pytest.mark.parametrize("name", ["gated", "plain"])
def test_every_picture_has_a_size_and_says_in_words_what_it_shows(documents, written, name):
    images = [attrs for tag, attrs in Page(written[name][0]).tags if tag == "img"]
    assert len(images) == (5 if name == "gated" else 4)
    assert all(len(image["alt"]) > 40 and int(image["width"]) > 100 for image in images)
    inputs = {"document": json.dumps(documents[name]), "size": "9", "spread": "yes"}
    in_pdf = json.loads(typst.query(as_pdf.TEMPLATE, "image", field="alt", sys_inputs=inputs))
    assert in_pdf == [image["alt"] for image in images]


@pytest.mark.parametrize("name", ["gated", "plain"])
def test_the_html_is_small_enough_to_be_sent(written, name):
    assert len(written[name][0]) < 1_500_000


def test_hostile_words_are_shown_as_they_were_written(written):
    page = " ".join("".join(Page(written["hostile"][0]).words).split())
    for text in ('<script>alert("html")</script>', '#read("/etc/passwd")', "<b>tags</b>", "</style></main></body>"):
        assert text in page
    assert "[picture: a picture]" in page
    assert "tracker.png" not in written["hostile"][0]


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="needs pdftotext")
def test_hostile_words_run_no_typst(written, tmp_path):
    text = pdf_text(written["hostile"][1], tmp_path)
    assert '#read("/etc/passwd")' in text and "#panic(" in text
    assert "root:" not in text
    assert b"javascript:" not in written["hostile"][1] and b"file:///" not in written["hostile"][1]


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="needs pdftotext")
def test_a_word_longer_than_a_line_is_broken_and_stays_on_the_page(tmp_path, blank_figures):
    word = "".join(f"x{i:03d}" for i in range(150))
    words = {"data.md": f"{word}\n\n`{word}`\n\n| {word} | b |\n|---|---|\n| {word} | c |\n"}
    pdf = as_pdf.write(content(fake_run(tmp_path / "run", words=words)))
    assert right_edge(pdf, tmp_path) < RIGHT_MARGIN
    assert letters(pdf_text(pdf, tmp_path)).count(word) >= 2


@pytest.mark.parametrize(
    "text", ["Größe α → β ≈ 10⁻³", "中文 русский עברית", "\u202eright to left", "emoji 😀", "a\u0301"]
)
def test_words_of_any_script_make_a_report(tmp_path, blank_figures, text):
    document = content(
        fake_run(tmp_path / "run", about=record(num_epochs=2), lines=metrics(2), words={"data.md": text})
    )
    assert text in plain_text(document["sections"][0]["blocks"])
    assert as_pdf.write(document).startswith(b"%PDF-")


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="needs pdftotext")
@pytest.mark.parametrize("classes", [3, 10, 12, 20, 60])
def test_any_number_of_classes_fits_the_page(tmp_path, blank_figures, classes):
    names = [f"a class with a long name, number {i}" for i in range(classes)]
    run = fake_run(tmp_path / "run", tested=evaluation(classes=names, images=100_000 * classes))
    assert right_edge(as_pdf.write(content(run)), tmp_path) < RIGHT_MARGIN


SPECIAL = st.text(st.sampled_from("\\`*_[]<>|~#!\"'{}&;:=+-.() \n\t1ab$@/é中"), max_size=12)


@settings(deadline=None)
@given(SPECIAL | st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12))
def test_a_value_is_read_as_the_text_it_is_wherever_it_stands(value):
    safe = escape(value)
    text = (
        f"# Title\n\n> {safe} y\n\n{safe} end\n\n## Section\n\na {safe} b\n\n- {safe} x\n\n"
        f'| h | {safe} |\n|---|---|\n| {safe} | {code(value)} |\n\n![{safe} c](name "{safe} d")\n'
    )
    inserted = []
    document = read_report(text, lambda *picture: inserted.append(picture) or [])
    said = [document["first_line"], document["about"], document["sections"][0]["blocks"], *map(list, inserted)]
    expected = f"{value}y {value}end a{value}b {value}x h {value}{value}{value}name {value}c {value}d"
    assert letters(plain_text(said)) == letters(expected)
    kinds = [block["kind"] for block in document["sections"][0]["blocks"]]
    assert kinds == ["paragraph", "list", "table"] and len(inserted) == 1
    (paragraph, listed, table) = document["sections"][0]["blocks"]
    texts = [paragraph["text"], listed["items"][0][0]["text"], table["rows"][0][0]]
    assert all(isinstance(part, str) for text in texts for part in text)  # no emphasis, code or link
    line = " ".join(value.split())
    assert " ".join(plain_text(paragraph["text"]).split()) == f"a {line} b".replace("  ", " ")


EVIL = 'a|b*c* [x](javascript:y) <script>z</script> ![](words/../run.json) {{ 7 * 7 }} `"'


def test_names_in_a_record_are_text_and_nothing_else(tmp_path, blank_figures):
    evil_data = {"name": f"::: appendix\n{EVIL}", "source": "image folder", "checksum": EVIL}
    layers = [{**entry, "text": EVIL, "name": EVIL} for entry in network()["layers"]]
    about = record(
        {**RECIPE, "augment": [{EVIL: {EVIL: EVIL}}], "loss": EVIL, "optimizer": EVIL, "schedule": EVIL},
        data=evil_data,
    )
    about |= {"system": EVIL, "device": EVIL, "git": {"commit": EVIL}, "state": "failed", "unsaved": EVIL}
    run = fake_run(
        tmp_path / "run",
        about=about,
        net=network(layers, **{"class": EVIL, "path": None, "source": f"::: row\n{EVIL}", "printed": EVIL}),
        tested=evaluation(classes=[f"{EVIL}{i}" for i in range(10)]),
        faults=[{"kind": "failed", "what": EVIL, "epoch": EVIL, "batch": 1}],
    )
    clean = fake_run(tmp_path / "clean", about=record(data=COPIES, state="failed"), net=plain_network())
    titles = [section["title"] for section in content(clean)["sections"]]
    document = content(run)
    assert [section["title"] for section in document["sections"]] == titles
    assert document["title"].endswith(EVIL)
    page = Page(as_html.write(document))
    assert not {tag for tag, _ in page.tags} & {"script", "a", "iframe"}
    assert "49" not in plain_text(document["first_line"]) and EVIL in plain_text(document["first_line"])
    assert as_pdf.write(document).startswith(b"%PDF-")


@pytest.mark.parametrize(
    "text", ["*" * 3000 + "a", "[" * 2000, "> " * 500 + "x", "- " * 500 + "x", "`" * 999, "\x00\x01"]
)
def test_words_made_to_confuse_are_read_all_the_same(text):
    blocks = read_markdown(text)
    assert Page(as_html._blocks(blocks)) is not None


LONG = "https://example.org/" + "a" * 8000
ODD = {
    "a table of a heading": ("| left | right |\n|---|---|\n", ["left", "right"]),
    "many columns": ("|" + "a|" * 40 + "\n|" + "-|" * 40 + "\n|" + "b|" * 40 + "\n", ["a", "b"]),
    "a long address": (f"[this page]({LONG}) <{LONG}>", ["this page"]),
    "a numbered list": ("7. seven\n8. eight\n", ["seven", "eight"]),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_words_are_set_in_both(tmp_path, blank_figures, name):
    text, words = ODD[name]
    document = content(fake_run(tmp_path / "run", words={"data.md": text}))
    page, pdf = as_html.write(document), as_pdf.write(document)
    assert all(word in "".join(Page(page).words) for word in words) and pdf.startswith(b"%PDF-")
    assert LONG not in [attrs.get("href") for _, attrs in Page(page).tags]


def test_a_numbered_list_begins_with_its_number():
    for start in (0, 1, 7):
        (ordered,) = [attrs for tag, attrs in Page(as_html._blocks(read_markdown(f"{start}. x\n"))).tags if tag == "ol"]
        assert int(ordered.get("start", 1)) == start


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="needs pdftotext")
def test_a_numbered_list_begins_with_its_number_in_the_pdf(tmp_path, blank_figures):
    words = {"data.md": "7. seventh thing\n8. eighth thing\n"}
    text = pdf_text(as_pdf.write(content(fake_run(tmp_path / "run", words=words))), tmp_path)
    assert re.search(r"7\.\s+seventh thing\s+8\.\s+eighth thing", text)


def test_both_writers_know_every_kind_of_block():
    kinds = set(as_html.WRITERS)
    named = set(re.findall(r'data\.kind == "(\w+)"', as_pdf.TEMPLATE.read_text()))
    assert kinds == named
