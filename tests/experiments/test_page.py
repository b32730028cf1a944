"""The comparison page: what a reader does with it in a browser works, offline, whatever the runs are called."""

import base64
import collections
import hashlib
import io
import json
import re
import shutil
import subprocess
import urllib.parse
from pathlib import Path

import pytest
from patience import PATIENCE

from tools import compare
from utils import files as records
from utils.experiments.page import COLUMNS, comparison_page, write_page
from utils.files import write_json
from utils.recipes import SYSTEMS

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome, and none is installed")


@pytest.fixture
def browse(add, tmp_path):
    """Return a function that opens the page, runs a script in it, and gives back what it returned."""

    def browse(script):
        text = write_page(add.top).read_text(encoding="utf-8")
        wrapped = f"""
        const answer = (value) => {{
          const place = document.createElement("pre");
          place.id = "answer";
          place.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(value))));
          document.body.append(place);
        }};
        (async () => {{ {TOOLS} {script} }})().then(answer, (error) => answer("error: " + error.stack));"""
        digest = base64.b64encode(hashlib.sha256(wrapped.encode()).digest()).decode()
        assert text.count("script-src ") == 1  # the page stays as it is, but for one more script that may run
        text = text.replace("script-src ", f"script-src 'sha256-{digest}' ")
        path = add.top / "tested.html"
        path.write_text(text.replace("</body>", f"<script>{wrapped}</script></body>"), encoding="utf-8")
        found = re.search(r'<pre id="answer">([^<]*)</pre>', dom(path, tmp_path))
        return json.loads(base64.b64decode(found[1]).decode())

    return browse


TOOLS = """
const all = (what) => [...document.querySelectorAll(what)];
const rows = () => all("#runs tbody tr:not([hidden])").map((row) => row.dataset.run);
const ticked = () => all("#runs input:checked").map((box) => box.closest("tr").dataset.run).sort();
const drawn = () => all("#legend li").map((item) => item.dataset.run);
const shown = () => all(".curve.shown").filter((curve) => getComputedStyle(curve).display !== "none").length;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const type = async (text) => {
  const box = document.getElementById("filter");
  box.value = text;
  box.dispatchEvent(new Event("input"));
  await wait(300);
};
"""


def dom(path, tmp_path):
    """Return the document that a browser has made of a page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--window-size=1400,1000"]
    command = [BROWSER, *options, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@needs_browser
def test_the_page_opens_with_all_runs_newest_first_and_the_curves_of_some(add, browse):
    for i in range(8):
        add(f"run{i}", 0.3, 0.5 + i / 100)
    add("no epoch")
    opened, listed, curves, visible = browse(
        "return [document.documentElement.dataset.ready, rows(), drawn(), shown()]"
    )
    newest_first = [f"run{i}" for i in range(7, -1, -1)]
    assert opened == "yes" and listed == ["no epoch", *newest_first]
    assert curves == newest_first[:6] and visible == 2 * 6  # by epoch and by seconds


@needs_browser
def test_headings_sort_up_and_down_with_unknown_values_last(add, browse):
    for name, accuracies in (("a", [0.7]), ("none", []), ("b", [0.9]), ("c", [0.08])):
        add(name, *accuracies)
    down, sign, up, by_name, order = browse("""
        const button = document.querySelector('th[data-key="val_acc"] button');
        const first = (button.click(), rows()), sign = button.textContent;
        const second = (button.click(), rows());
        document.querySelector('th[data-key="run"] button').click();
        return [first, sign, second, rows(), document.querySelector("th[aria-sort]").ariaSort];""")
    assert down == ["b", "a", "c", "none"] and up == ["c", "a", "b", "none"] and by_name == ["a", "b", "c", "none"]
    assert sign.endswith("▼") and order == "ascending"


@needs_browser
def test_the_filter_lists_the_runs_that_have_all_its_words(add, browse):
    recipe, other = SYSTEMS["plain_cnn"], SYSTEMS["dropout_cnn"]
    add("one", 0.7, recipe=recipe.change(lr=0.1), sweep="first try")
    add("two", 0.9, recipe=other.change(lr=0.01), data=add.synthetic)
    add("three", 0.8, recipe=recipe.change(lr=0.001), state="diverged")
    add("four", recipe=recipe)
    every = {"one", "two", "three", "four"}
    filters = {
        "": every,
        "DROPOUT": {"two"},
        "first try": {"one"},
        " plain  finished": {"one", "four"},
        "plain dropout": set(),
        "[.*(": set(),
    }
    script = f"const found = {{}}; for (const f of {json.dumps(list(filters))}) {{ await type(f); found[f] = rows(); }}"
    found = browse(script + " return found;")
    assert {text: set(names) for text, names in found.items()} == filters


@needs_browser
def test_curves_of_test_accuracies_are_marked_among_those_of_validation_accuracies(add, browse):
    add("a", 0.5, seed=1)
    add("b", 0.6, seed=2, watched="test")
    legend = browse('return all("#legend li").map((item) => item.textContent.trim());')
    assert legend == ["seed 2 (test accuracy)", "seed 1"]


@needs_browser
def test_ticks_choose_the_curves_and_name_what_differs(add, browse):
    for name, seed in (("a", 0), ("b,b", 1), ("c", 1)):
        add(name, 0.3, 0.6, seed=seed)
    none, one, every, differ, classes, bold = browse("""
        const click = (id) => document.getElementById(id).click();
        const none = (click("none"), [drawn(), shown()]);
        document.querySelector('tr[data-run="b,b"] input').click();
        const one = drawn();
        const every = (click("all"), shown()), differ = document.getElementById("differ").textContent;
        const classes = all(".curve.shown").map((curve) => getComputedStyle(curve).getPropertyValue("--own"));
        document.querySelector('tr[data-run="b,b"]').dispatchEvent(new PointerEvent("pointerenter"));
        return [none, one, every, differ, classes, all(".curve.on").length];""")
    assert none == [[], 0] and one == ["b,b"] and every == 2 * 3 and bold == 2
    assert "seed" in differ and "lr" not in differ
    assert len(set(classes)) == 3


@needs_browser
def test_states_and_synthetic_images_are_told_by_word_and_sign(add, browse):
    states = {"finished": "✓", "stopped": "■", "diverged": "✕", "failed": "!"}
    for state in states:
        add(state, state=state)
    add("cut off", state="running", data=add.synthetic)
    add("trial", state="finished", ended_early={"epoch": 1, "pruned_by": "search-x"})
    cells = browse("""return Object.fromEntries(all("#runs tbody tr").map((row) =>
        [row.dataset.run, [row.cells[1].textContent, row.cells[4].textContent]]))""")
    assert {name: cells[name] for name in states} == {s: [f"{sign} {s}", "CIFAR-10"] for s, sign in states.items()}
    assert cells["cut off"] == ["◧ interrupted", "✎ synthetic images"]
    assert cells["trial"] == ["◇ pruned", "CIFAR-10"]


HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">",
    "<!--<script>",
    "\"'><svg onload=document.title='taken'>",
    "@@data@@ @@script@@",
    "a,b&c=d#e%zz +\\u003c\u2028\u2029\u202e",
    "$\\alpha$ $_{",
    "__proto__",
    "\ud800",
)


@needs_browser
def test_hostile_texts_are_shown_as_texts_and_nothing_of_them_runs(add, browse):
    for i, text in enumerate(HOSTILE):
        changes = {"system": text, "device": text, "sweep": text, "data": {"name": text}, "protocol": text}
        add(f"run{i}", 0.3, 0.5, **changes)
    title, scripts, images, names, shown = browse(
        """return [document.title, all("script").length, all("img, svg[onload]").length, rows().sort(),
        Object.fromEntries(all("#runs tbody tr").map((row) => [row.dataset.run, row.cells[2].textContent]))]"""
    )
    assert (title, scripts, images) == ("Comparison of runs", 2, 0)  # the page's own and the test's
    assert names == [f"run{i}" for i in range(len(HOSTILE))]
    assert [shown[f"run{i}"] for i in range(len(HOSTILE))] == [*HOSTILE[:-1], "?"]  # no file can hold the last one


@needs_browser
@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", "a,b&c=d#e%zz +", "javascript:alert(1)", "__proto__", "$\\x'\"", "ü\u202e"]
)
def test_a_run_in_a_folder_of_any_name_can_be_chosen_and_its_report_opened(add, browse, name):
    (add(name, 0.3, 0.5).folder / "report.html").write_text("a report")
    add("plain")
    chosen, links, names, images = browse(
        'document.getElementById("none").click(); all("#runs input")[1].click();'
        'return [drawn(), all("#runs a").map((a) => a.href), all("#runs label span").map((s) => s.textContent),'
        'all("img").length]'
    )
    assert chosen == [name] and names == ["plain", name] and images == 0
    (link,) = map(urllib.parse.urlsplit, links)
    assert (link.scheme, link.query, link.fragment) == ("file", "", "")
    assert urllib.parse.unquote(link.path) == str(add.top / name / "report.html")


@needs_browser
@pytest.mark.parametrize("runs", [40, pytest.param(500, marks=pytest.mark.faults)])
def test_many_runs_of_100_epochs_make_a_page_of_few_megabytes_that_opens(add, browse, runs):
    for i in range(runs):
        recipe = SYSTEMS["plain_cnn"].change(lr=10 ** -(1 + i % 5))
        add(f"run{i:03d}", *(0.9 - 0.8 / (epoch + i % 7 + 1) for epoch in range(100)), recipe=recipe, seed=i)
    assert browse('document.getElementById("all").click(); return [rows().length, shown()];') == [runs, 2 * runs]
    assert (add.top / "compare.html").stat().st_size < 80_000 + 3_600 * runs


def test_the_page_fetches_nothing_and_only_its_own_script_may_run(add):
    add("a", 0.5)
    text = comparison_page(add.top)
    references = re.findall(r"""(?i)\b(?:src|href)\s*=\s*["']?([^"'\s>]*)|url\(([^)]*)\)""", text)
    assert references and all((target or url).startswith("#") for target, url in references)  # within the figures
    assert not re.search(r"(?i)@import|\bimport\s*\(|fetch\(|XMLHttp", text)
    assert "default-src 'none'" in text and "'unsafe-eval'" not in text
    (digest,) = re.findall(r"script-src 'sha256-([^']+)'", text)
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)[1]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == digest


def test_the_table_holds_every_column_of_every_kind_of_run_without_a_script(add):
    add("a", 0.5, float("nan"), system=HOSTILE[0], tests=[{"accuracy": 0.75, "views": "flip"}])
    add("by hand", 0.5, recipe=None, settings={"lr": 0.25})
    (add.top / "broken").mkdir()
    (add.top / "broken" / "run.json").write_text("{half")
    table = re.search(r'<table id="runs">.*?</table>', comparison_page(add.top), re.DOTALL)[0]
    assert re.findall(r'data-key="(\w+)"', table) == list(COLUMNS) and "<script" not in table
    lines = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in table.splitlines() if line.startswith("<tr")]
    cells = {line[COLUMNS.index("run")]: dict(zip(COLUMNS, line, strict=True)) for line in lines}
    assert list(cells) == ["by hand", "a", "broken"]
    assert (cells["a"]["val_acc"], cells["a"]["test_acc"], cells["a"]["test_acc_tta"]) == ("", "", "75.00 %")
    assert cells["by hand"]["lr"] == "0.25" and "unreadable" in cells["broken"]["state"]


def test_every_file_of_a_run_is_read_once(add, monkeypatch):
    opened = collections.Counter()

    def count(file, *arguments, **options):
        if str(file).startswith(str(add.top)) and not str(file).endswith("partial"):
            opened[Path(file).name] += 1
        return open(file, *arguments, **options)

    counts = []
    for runs in (20, 40):
        for i in range(runs - 20, runs):
            run = add(f"run{i:03d}", 0.5, recipe=SYSTEMS["plain_cnn"].change(lr=(i + 1) / 1000))
            write_json(run.folder / "evaluation.json", {"accuracy": 0.5})
        monkeypatch.setattr(io, "open", count)  # by which pathlib opens files
        write_page(add.top)
        monkeypatch.undo()
        monkeypatch.setenv("COURSEWORK_RUNS", str(add.top))
        counts.append({name: opened[name] / runs for name in ("run.json", "metrics.jsonl", "evaluation.json")})
        opened.clear()
    assert counts == [{"run.json": 1, "metrics.jsonl": 1, "evaluation.json": 1}] * 2


def test_unreadable_runs_are_counted_and_the_table_says_why(add):
    for i in range(3):
        (add(f"run{i:02d}", 0.5).folder / "evaluation.json").write_text('{"accuracy": "high"}')
    text = comparison_page(add.top)
    assert "3 of them can't be read" in text and text.count("accuracy must be") == 3


def test_a_new_page_takes_the_old_ones_place_in_one_step(add, monkeypatch):
    add("a")
    path = write_page(add.top)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr(records.os, "replace", fail)
    add("b")
    with pytest.raises(OSError, match="no room"):
        write_page(add.top)
    assert path.read_bytes() == before


def test_the_command_writes_the_page_of_the_run_log_and_prints_its_path(add, capsys):
    add("a")
    assert compare.main([]) == 0
    assert capsys.readouterr().out == f"{(add.top / 'compare.html').resolve()}\n"
    assert compare.main([str(add.top / "nonesuch")]) == 1
    assert "nonesuch" in capsys.readouterr().err
