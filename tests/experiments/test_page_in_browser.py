"""The comparison page in a browser: what a reader does with it works, whatever the runs are called."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import urllib.parse

import pytest
from patience import PATIENCE

from utils.experiments.page import write_page
from utils.recipes import SYSTEMS

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome, and none is installed")


@pytest.fixture
def browse(add, tmp_path):
    """Return a function that opens the page at a view, runs a script in it, and gives back what it returned."""

    def browse(script, view=""):
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
        found = re.search(r'<pre id="answer">([^<]*)</pre>', dom(path, view, tmp_path))
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


def dom(path, view, tmp_path):
    """Return the document that a browser has made of a page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--window-size=1400,1000"]
    command = [BROWSER, *options, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"{path.as_uri()}{view}"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_page_opens_with_all_runs_newest_first_and_the_curves_of_some(add, browse):
    for i in range(8):
        add(f"run{i}", 0.3, 0.5 + i / 100)
    add("no epoch")
    opened, listed, curves, visible, ranking = browse(
        "return [document.documentElement.dataset.ready, rows(), drawn(), shown(), all('figure text').map((t) =>"
        "t.textContent).filter((text) => text.startsWith('run'))]"
    )
    newest_first = [f"run{i}" for i in range(7, -1, -1)]
    assert opened == "yes" and listed == ["no epoch", *newest_first]
    assert curves == newest_first[:6] and visible == 2 * 6  # by epoch and by seconds
    assert set(ranking) == set(newest_first)


def test_an_address_gives_a_view(add, browse):
    for name, accuracy in (("a", 0.7), ("b", 0.9), ("c", 0.8), ("d", 0.6)):
        add(name, 0.1, accuracy, state="stopped" if name == "d" else "finished")
    view = browse(
        'return [rows(), drawn(), all("th[aria-sort]").map((th) => [th.dataset.key, th.getAttribute("aria-sort")]),'
        'document.getElementById("count").textContent, ticked()]',
        "#sort=val_acc&desc&filter=state%3Afinished&runs=c,a,nonesuch",
    )
    assert view == [["b", "c", "a"], ["c", "a"], [["val_acc", "descending"]], "3 of 4 runs", ["a", "c"]]


def test_headings_sort_up_and_down_with_unknown_values_last_and_the_address_follows(add, browse):
    for name, accuracies in (("a", [0.7]), ("none", []), ("b", [0.9]), ("c", [0.08])):
        add(name, *accuracies)
    down, sign, address, up, later, by_name, order = browse("""
        const button = document.querySelector('th[data-key="val_acc"] button');
        const first = (button.click(), rows()), sign = button.textContent, address = location.hash;
        const second = (button.click(), rows()), later = location.hash;
        document.querySelector('th[data-key="run"] button').click();
        return [first, sign, address, second, later, rows(), document.querySelector("th[aria-sort]").ariaSort];""")
    assert down == ["b", "a", "c", "none"] and up == ["c", "a", "b", "none"] and by_name == ["a", "b", "c", "none"]
    assert sign.endswith("▼") and address == "#sort=val_acc&desc" and later == "#sort=val_acc"
    assert order == "ascending"


def test_the_filter_takes_words_columns_comparisons_and_exclusions(add, browse):
    recipe, other = SYSTEMS["plain_cnn"], SYSTEMS["dropout_cnn"]
    add("one", 0.7, recipe=recipe.change(lr=0.1), sweep="first try")
    add("two", 0.9, recipe=other.change(lr=0.01), data=add.synthetic)
    add("three", 0.8, recipe=recipe.change(lr=0.001), state="diverged")
    add("four", recipe=recipe)
    every = {"one", "two", "three", "four"}
    filters = {
        "": every,
        "system:dropout": {"two"},
        "DROPOUT": {"two"},
        "-state:diverged": {"one", "two", "four"},
        "lr<0.05 lr>0.002": {"two"},
        "val_acc>0.75 -three": {"two"},
        "val_acc >= 0.8": {"two", "three"},
        "val_acc>=80,0%": {"two", "three"},
        "val_acc>=80": {"two", "three"},
        "val_acc > 70.00 %": {"two", "three"},
        "val_acc<=70.00": {"one"},
        "parameters>=1,000": every,
        "parameters>1,000": set(),
        "val_acc>": every,  # what can't be understood hides no run
        "foo>1": every,
        "state>1 val_acc>0.75": {"two", "three"},
        "val_acc<=0.8 system: plain": {"one", "three"},
        'data:"synthetic images"': {"two"},
        'sweep:"first try"': {"one"},
        "nonesuch:x": set(),
        "[.*(": set(),
        '"': every,
        "-": every,  # a lone dash is searched for: all dates have it
    }
    script = f"const found = {{}}; for (const f of {json.dumps(list(filters))}) {{ await type(f); found[f] = rows(); }}"
    found = browse(script + " return found;")
    assert {text: set(names) for text, names in found.items()} == filters


def test_a_filter_that_cannot_be_understood_says_why(add, browse):
    add("one", 0.7)
    filters = ["val_acc>0.5", "val_acc>", "val_acc<many", "foo>1", "acc>1", "system>1", "-foo>1 bar<2"]
    script = f"""const problems = {{}};
    for (const f of {json.dumps(filters)}) {{
      await type(f);
      problems[f] = document.getElementById("problem").textContent;
    }}
    return problems;"""
    problems = browse(script)
    assert problems.pop("val_acc>0.5") == "" and all(problems.values())
    assert "val_acc" in problems["val_acc>"] and "foo" in problems["foo>1"] and "system" in problems["system>1"]
    assert "val_acc" in problems["acc>1"] and "foo" in problems["-foo>1 bar<2"] and "bar" in problems["-foo>1 bar<2"]


def test_curves_of_test_accuracies_are_marked_among_those_of_validation_accuracies(add, browse):
    add("a", 0.5, seed=1)
    add("b", 0.6, seed=2, watched="test")
    legend, axes = browse("""return [all("#legend li").map((item) => item.textContent.trim()),
        all("figure text").map((text) => text.textContent).filter((text) => text.includes("accuracy"))];""")
    assert legend == ["seed 2 (test accuracy)", "seed 1"] and all("validation" in text for text in axes[:2])


def test_ticks_choose_the_curves_name_what_differs_and_the_address_remembers_them(add, browse):
    for name, seed in (("a", 0), ("b,b", 1), ("c", 1)):
        add(name, 0.3, 0.6, seed=seed)
    none, one, address, every, differ, classes, again, bold = browse("""
        const click = (id) => document.getElementById(id).click();
        const none = (click("none"), [drawn(), shown()]);
        document.querySelector('tr[data-run="b,b"] input').click();
        const one = drawn(), address = location.hash;
        const every = (click("all"), shown()), differ = document.getElementById("differ").textContent;
        const classes = all(".curve.shown").map((curve) => getComputedStyle(curve).getPropertyValue("--own"));
        location.hash = address;
        await wait(200);
        document.querySelector('tr[data-run="b,b"]').dispatchEvent(new PointerEvent("pointerenter"));
        return [none, one, address, every, differ, classes, drawn(), all(".curve.on").length];""")
    assert none == [[], 0] and one == again == ["b,b"] and every == 2 * 3 and bold == 2
    assert "runs=b%2Cb" in address and "seed" in differ and "lr" not in differ
    assert len(set(classes)) == 3


def test_states_and_synthetic_images_are_told_by_word_and_sign(add, browse):
    states = {"finished": "✓", "stopped": "■", "diverged": "✕", "failed": "!"}
    for state in states:
        add(state, state=state)
    add("cut off", state="running", data=add.synthetic)
    cells = browse("""return Object.fromEntries(all("#runs tbody tr").map((row) =>
        [row.dataset.run, [row.cells[1].textContent, row.cells[4].textContent]]))""")
    assert {name: cells[name] for name in states} == {s: [f"{sign} {s}", "CIFAR-10"] for s, sign in states.items()}
    assert cells["cut off"] == ["◧ interrupted", "✎ synthetic images"]


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


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", "a,b&c=d#e%zz +", "javascript:alert(1)", "__proto__", "$\\x'\"", "ü\u202e"]
)
def test_a_run_in_a_folder_of_any_name_can_be_chosen_and_its_report_opened(add, browse, name):
    (add(name, 0.3, 0.5).folder / "report.html").write_text("a report")
    add("plain")
    chosen, links, names, images = browse(
        'return [drawn(), all("#runs a").map((a) => a.href), all("#runs label span").map((s) => s.textContent),'
        'all("img").length]',
        f"#runs={urllib.parse.quote(name, safe='')}",
    )
    assert chosen == [name] and names == ["plain", name] and images == 0
    (link,) = map(urllib.parse.urlsplit, links)
    assert (link.scheme, link.query, link.fragment) == ("file", "", "")
    assert urllib.parse.unquote(link.path) == str(add.top / name / "report.html")


@pytest.mark.parametrize("runs", [40, pytest.param(500, marks=pytest.mark.faults)])
def test_many_runs_of_100_epochs_make_a_page_of_few_megabytes_that_opens(add, browse, runs):
    for i in range(runs):
        recipe = SYSTEMS["plain_cnn"].change(lr=10 ** -(1 + i % 5))
        add(f"run{i:03d}", *(0.9 - 0.8 / (epoch + i % 7 + 1) for epoch in range(100)), recipe=recipe, seed=i)
    assert browse('document.getElementById("all").click(); return [rows().length, shown()];') == [runs, 2 * runs]
    assert (add.top / "compare.html").stat().st_size < 80_000 + 3_600 * runs
