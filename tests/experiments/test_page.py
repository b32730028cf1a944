"""The comparison page: what a reader does with it in a browser works, offline, whatever the runs are called."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import urllib.parse

import pytest

from tools import compare
from utils import files as records
from utils.experiments.page import COLUMNS, POINTS, page, write_page
from utils.recipes import SYSTEMS

REAL = {"name": "CIFAR-10", "source": "archive", "fingerprint": "a" * 16}
DRAWN = {"name": "drawn images", "source": "drawn", "fingerprint": "d" * 16}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome, and none is installed")


@pytest.fixture
def add(tmp_path):
    """Return a function that puts a run with these accuracies into tmp_path/runs."""
    top = tmp_path / "runs"
    top.mkdir()

    def add(name, accs=(0.5,), lr=5e-4, recipe=SYSTEMS["plain_cnn"], report=False, **changes):
        folder, recipe = top / name, recipe.change(lr=lr)
        folder.mkdir()
        record = {"run": name, "system": recipe.name, "state": "finished", "seed": 0, "data": REAL, "parameters": 1000}
        record |= {"recipe": recipe.describe(), "budget": "full", "protocol": "honest", "images": 45000, "batches": 10}
        record |= {
            "created": f"2026-01-01T00:00:{len(list(top.iterdir())):02d}",
            "watched": "val",
            "settings": {"lr": lr},
        }
        (folder / "run.json").write_text(json.dumps(record | changes))
        rows = [{"epoch": i, "val_acc": acc, "train_acc": acc, "seconds": 2.0 * i} for i, acc in enumerate(accs, 1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if report:
            (folder / "report.html").write_text("a report")

    add.top = top
    return add


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
const rows = () => all("#runs tbody tr").map((row) => row.dataset.run);
const drawn = () => all("#by-epoch polyline").map((curve) => curve.dataset.run);
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
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@needs_browser
def test_the_page_opens_as_it_is_with_all_runs_and_curves(add, tmp_path):
    for i in range(8):
        add(f"run{i}", (0.3, 0.5 + i / 100))
    text = dom(write_page(add.top), "", tmp_path)
    assert 'data-ready="yes"' in text
    assert re.findall(r'<tr data-run="(run\d)"', text) == [f"run{i}" for i in range(7, -1, -1)]
    assert re.search(r'id="by-epoch">.*?>0</text>.*?id="by-seconds">', text, re.DOTALL)  # an axis from zero on
    assert re.findall(r'<polyline class="curve" data-run="(run\d)"', text)[:6] == [f"run{i}" for i in range(7, 1, -1)]


@needs_browser
def test_an_address_gives_a_view(add, browse):
    for name, acc in (("a", 0.7), ("b", 0.9), ("c", 0.8), ("d", 0.6)):
        add(name, (0.1, acc), state="stopped" if name == "d" else "finished")
    said = browse(
        'return [rows(), drawn(), all("th[aria-sort]").map((th) => [th.dataset.key, th.getAttribute("aria-sort")]),'
        'document.getElementById("count").textContent, all("input:checked").length]',
        "#sort=val_acc&desc&filter=state%3Afinished&runs=c,a,nonesuch",
    )
    assert said == [["b", "c", "a"], ["c", "a"], [["val_acc", "descending"]], "3 of 4 runs", 2]


@needs_browser
def test_headings_sort_up_and_down_with_the_unknown_last_and_the_address_follows(add, browse):
    for name, accs in (("a", (0.7,)), ("none", ()), ("b", (0.9,)), ("c", (0.8,))):
        add(name, accs)
    said = browse("""
        const button = document.querySelector('th[data-key="val_acc"] button');
        const first = (button.click(), rows()), sign = button.textContent, address = location.hash;
        button.focus();
        return [first, sign, address, (button.click(), rows()), location.hash, button.tagName,
                document.querySelector('th[data-key="val_acc"]').getAttribute("aria-sort"),
                document.activeElement === button];""")
    down, sign, address, up, later, tag, order, focused = said
    assert down == ["b", "c", "a", "none"] and up == ["a", "c", "b", "none"]
    assert sign.endswith("▼") and address == "#sort=val_acc&desc" and later == "#sort=val_acc"
    assert tag == "BUTTON" and order == "ascending" and focused


@needs_browser
def test_the_filter_takes_words_columns_comparisons_and_exclusions(add, browse):
    add("one", (0.7,), lr=0.1, sweep="first try")
    add("two", (0.9,), lr=0.01, recipe=SYSTEMS["dropout_cnn"], data=DRAWN)
    add("three", (0.8,), lr=0.001, state="diverged")
    add("four", ())
    filters = {
        "": {"one", "two", "three", "four"},
        "system:dropout": {"two"},
        "DROPOUT": {"two"},
        "state:diverged": {"three"},
        "-state:diverged": {"one", "two", "four"},
        "lr<0.05 lr>0.002": {"two"},
        "val_acc>75%": {"two", "three"},
        "val_acc>0.75 -three": {"two"},
        "val_acc >= 0.8": {"two", "three"},
        "val_acc>=80,0%": {"two", "three"},
        "val_acc<=0.8 system: plain": {"one", "three"},
        "val_acc <0,75": {"one"},
        'data:"drawn images"': {"two"},
        'sweep:"first try"': {"one"},
        "run:t system:plain": {"three"},
        "nonesuch:x": set(),
        "[.*(": set(),
        '"': {"one", "two", "three", "four"},
        "-": set(),
    }
    script = f"const found = {{}}; for (const f of {json.dumps(list(filters))}) {{ await type(f); found[f] = rows(); }}"
    found = browse(script + " return found;")
    # A lone dash is looked for as such: all runs have dates.
    filters["-"] = {"one", "two", "three", "four"}
    assert {text: set(names) for text, names in found.items()} == filters


@needs_browser
def test_ticks_choose_the_curves_and_the_address_remembers_them(add, browse):
    for name in ("a", "b,b", "c"):
        add(name, (0.3, 0.6))
    said = browse("""
        document.getElementById("clear").click();
        const none = drawn(), words = document.getElementById("by-epoch").textContent;
        document.querySelector('tr[data-run="b,b"] input').click();
        const one = drawn(), address = location.hash;
        document.getElementById("draw").click();
        const every = drawn();
        document.querySelector('tr[data-run="a"] input').click();
        const two = drawn();
        const look = (curve) => ["stroke", "stroke-dasharray"].map((name) => curve.getAttribute(name));
        const looks = all("#by-epoch polyline").map(look);
        location.hash = address;
        await wait(200);
        return [none, words, one, address, every.length, two.length, looks, drawn()];""")
    none, words, one, address, every, two, looks, again = said
    assert none == [] and "Tick a run" in words and one == again == ["b,b"]
    assert "runs=b%2Cb" in address and (every, two) == (3, 2)
    assert looks[0][0] != looks[1][0] and looks[0][1] != looks[1][1]


@needs_browser
def test_hovering_over_a_point_says_which_run_and_how_good(add, browse):
    add("low", (0.2, 0.4))
    add("high", (0.6, 0.8), data=DRAWN)
    said = browse("""
        const at = (chart) => {
          const place = chart.getBoundingClientRect();
          chart.closest("svg").dispatchEvent(new PointerEvent("pointermove",
            { clientX: place.x + place.width / 2, clientY: place.y + place.height / 2, bubbles: true }));
          return [document.getElementById("tip").textContent, all("tr.on").map((row) => row.dataset.run)];
        };
        const tips = ["by-epoch", "by-seconds"].map((id) => at(all(`#${id} circle`)[1]));
        tips.push(at(document.querySelector('#by-parameters [data-run="high"]')));
        const hidden = document.getElementById("tip").hidden;
        document.querySelector("#by-epoch svg").dispatchEvent(new PointerEvent("pointerleave"));
        return [tips, hidden, document.getElementById("tip").hidden];""")
    (epoch, seconds, parameters), before, after = said
    assert epoch == seconds == ["low\nepoch 2, 4 s: 40.00 %\nCIFAR-10", ["low"]]
    assert parameters == ["high\nwatched accuracy 80.00 %, 1,000 parameters\ndrawn images", ["high"]]
    assert (before, after) == (False, True)


@needs_browser
def test_states_and_drawn_images_are_told_by_word_and_sign(add, browse):
    states = {"finished": "✓", "stopped": "■", "diverged": "✕", "failed": "!"}
    for state in states:
        add(state, state=state)
    add("cut off", state="running", data=DRAWN)
    said = browse("""return Object.fromEntries(all("#runs tbody tr").map((row) =>
        [row.dataset.run, [row.cells[1].textContent, row.cells[3].textContent]]))""")
    assert {name: said[name] for name in states} == {s: [f"{sign} {s}", "CIFAR-10"] for s, sign in states.items()}
    assert said["cut off"] == ["◧ interrupted", "✎ drawn images"]


@needs_browser
def test_one_change_at_a_time_has_a_bar_for_each_with_its_seeds(add, browse):
    add("base", (0.8,))
    add("lr0", (0.7,), lr=0.1)
    add("lr1", (0.72,), lr=0.1, seed=1)
    add("far", (0.9,), lr=0.3, precision="bf16")
    said = browse("""
        const say = () => [all("#changes text").map((t) => t.textContent), all("#changes circle").length,
                           all("#changes .spread").length];
        const first = say(), select = document.getElementById("base");
        select.value = "lr0";
        select.dispatchEvent(new Event("change"));
        return [first, say(), location.hash];""")
    first, second, address = said
    assert first == [["the base", "80.00 %", "lr: 0.1 (base: 0.0005)", "71.00 % ± 1.41, 2 seeds"], 3, 1]
    assert second[0][2:] == ["lr: 0.0005 (base: 0.1)", "80.00 %"] and "base=lr0" in address


HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">",
    "<!--<script>",
    "\"'><svg onload=document.title='taken'>",
    "@@data@@ @@script@@",
    "a,b&c=d#e%zz +\\u003c\u2028\u2029\u202e",
    "__proto__",
    "\ud800",
)


@needs_browser
def test_hostile_texts_are_shown_as_texts_and_nothing_of_them_runs(add, browse):
    for i, text in enumerate(HOSTILE):
        changes = {"system": text, "device": text, "sweep": text, "data": {"name": text}, "protocol": text}
        add(f"run{i}", (0.3, 0.5), **changes)
    said = browse(
        """return [document.title, all("script").length, all("img, svg[onload]").length, rows().sort(),
        Object.fromEntries(all("#runs tbody tr").map((row) => [row.dataset.run, row.cells[2].textContent]))]"""
    )
    title, scripts, images, names, shown = said
    assert (title, scripts, images) == ("Comparison of runs", 3, 0)  # data, the page's own, the test's
    assert names == [f"run{i}" for i in range(len(HOSTILE))]
    assert [shown[f"run{i}"] for i in range(len(HOSTILE))] == [*HOSTILE[:-1], "?"]  # no file can hold the last one


@needs_browser
@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", "a,b&c=d#e%zz +", "javascript:alert(1)", "__proto__", "'\"", "ü\u202e"]
)
def test_a_run_in_a_folder_of_any_name_can_be_chosen_and_its_report_opened(add, browse, name):
    add(name, (0.3, 0.5), report=True)
    add("plain")
    said = browse(
        'return [drawn(), all("#runs a").map((a) => a.href), all("#runs td.first span").map((s) => s.textContent),'
        'all("img").length]',
        f"#runs={urllib.parse.quote(name, safe='')}",
    )
    assert said[0] == [name] and said[2] == ["plain", name] and said[3] == 0
    (link,) = map(urllib.parse.urlsplit, said[1])
    assert (link.scheme, link.query, link.fragment) == ("file", "", "")
    assert urllib.parse.unquote(link.path) == str(add.top / name / "report.html")


@needs_browser
@pytest.mark.parametrize("runs", [40, pytest.param(500, marks=pytest.mark.faults)])
def test_many_runs_of_100_epochs_make_a_page_of_few_megabytes_that_opens(add, browse, runs):
    for i in range(runs):
        add(f"run{i:03d}", [0.9 - 0.8 / (epoch + i % 7 + 1) for epoch in range(100)], lr=10 ** -(1 + i % 5), seed=i)
    said = browse('document.getElementById("draw").click(); return [rows().length, drawn().length];')
    assert said == [runs, runs]
    assert (add.top / "compare.html").stat().st_size < 60_000 + 3_000 * runs


def test_the_page_fetches_nothing_and_only_its_own_script_may_run(add):
    add("a")
    text = page(add.top)
    assert not re.search(r"""(?i)\b(?:src|href)\s*=|url\(|@import|\bimport\s*\(|fetch\(|XMLHttp""", text)
    assert "default-src 'none'" in text and "'unsafe-eval'" not in text
    (digest,) = re.findall(r"script-src 'sha256-([^']+)'", text)
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)[1]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == digest


def test_the_data_are_json_whatever_is_in_them_and_close_no_element(add):
    add("a", (0.5, float("nan")), system=HOSTILE[0], sweep=HOSTILE[2])
    text = page(add.top)
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert not set(data) & set("<>&")
    (run,) = json.loads(data)["runs"]
    assert run["system"] == HOSTILE[0] and run["sweep"] == HOSTILE[2]
    assert set(run) >= {key for key, *_ in COLUMNS}


def test_long_curves_are_thinned_and_keep_both_ends(add):
    add("long", [i / 1000 for i in range(1, 1001)])
    add("short", [0.1, 0.2])
    data = json.loads(re.search(r'id="data">(.*?)</script>', page(add.top), re.DOTALL)[1])
    long, short = (run["curve"] for run in data["runs"])
    assert len(long) == POINTS and (long[0][0], long[-1][0]) == (1, 1000)
    assert [epoch for epoch, *_ in short] == [1, 2]


def test_reported_figures_stand_there_without_any_run(tmp_path):
    text = write_page(tmp_path / "new folder").read_text(encoding="utf-8")
    assert "There are no runs yet" in text
    assert text.count("not yet run") == 5 + 15 + 19
    for figure in ("88.85 %", "83.67 %", "84.00 %", "90.51 %", "85.65 %", "91.38 %"):
        assert figure in text


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


def test_the_command_writes_the_page_of_the_ledger_and_prints_its_path(add, capsys, monkeypatch):
    add("a")
    monkeypatch.setenv("COURSEWORK_RUNS", str(add.top))
    assert compare.main([]) == 0
    assert capsys.readouterr().out == f"{(add.top / 'compare.html').resolve()}\n"
    assert compare.main([str(add.top / "nonesuch")]) == 1
    assert "There is no folder" in capsys.readouterr().err
