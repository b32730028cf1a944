"""Tests of tools/run.py, session.py, kernel.py, live.py and pages.py: what a run leaves, shows and answers."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # ipykernel's own dependency
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from suites import add_notebook, make_suite, run_python

from tools import live, notebooks, pages, run, session
from tools.kernel import Event, execute

FIGURE = """\
import matplotlib.pyplot as plt
fig, ax = plt.subplots(figsize=(1, 1))
plt.show()
print("The *line* <rises>.")"""
SOURCE = "import os; print('kernel sees', os.environ.get('CIFAR10_SOURCE'))"


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Return a suite of notebooks, the second of which fails."""
    suite = make_suite(tmp_path_factory.mktemp("run") / "a süite")
    add_notebook(suite, "01_good", "## A figure", FIGURE, SOURCE, seconds=60)
    bad = add_notebook(
        suite, "02_bad", "## The trouble", "print('so far')\nfruit = {}\nfruit['pear']", "print('never')"
    )
    nb = notebooks.read(bad)
    nb.cells[-1].update(execution_count=3, outputs=[new_output("stream", text="of an earlier run")])
    notebooks.write(nb, bad)
    add_notebook(suite, "03_next", "print('first\\nsecond')", seconds=60)
    add_notebook(suite, "04_dies", "import os; os._exit(9)")
    return suite


@pytest.fixture(scope="module")
def ran(suite):
    """Return what a first run over all of them said."""
    return run_python("-m", "tools.run", cwd=suite, CIFAR10_SOURCE="synthetic")


def executed(suite, name):
    """Return the code cells of a notebook's executed copy."""
    copy = notebooks.read(suite / "runs" / "coursework" / f"{name}.ipynb")
    return [cell for cell in copy.cells if cell.cell_type == "code"]


def test_a_failing_cell_ends_the_run_with_exit_code_1(suite, ran):
    assert ran.returncode == 1, ran.stderr
    assert not (suite / "runs" / "coursework" / "03_next.ipynb").exists()


def test_a_failure_names_the_cell_and_shows_its_lines_the_error_and_the_copy(ran):
    after = ran.stdout[ran.stdout.index("02_bad failed in cell 2 of 3, The trouble") :]
    assert "    fruit = {}" in after and "KeyError: 'pear'" in after
    assert os.path.join("runs", "coursework", "02_bad.ipynb") in after
    assert "\x1b" not in ran.stdout and "Traceback" not in ran.stderr


def test_a_failed_notebook_is_kept_as_far_as_it_ran(suite, ran):
    _, bad, never = executed(suite, "02_bad")
    assert [output.output_type for output in bad.outputs] == ["stream", "error"]
    assert never.outputs == [] and never.execution_count is None


def test_a_good_notebook_leaves_a_copy_with_its_outputs_and_seconds(suite, ran):
    setup, figure, source = executed(suite, "01_good")
    assert setup.outputs[0].text == "ready\n"
    assert source.outputs[0].text == "kernel sees synthetic\n"
    assert [cell.execution_count for cell in (setup, figure, source)] == [1, 2, 3]
    assert all(isinstance(cell.metadata.seconds, float) for cell in (setup, figure, source))


def test_a_page_stands_alone_and_says_its_figures_in_words(suite, ran):
    page = (suite / "runs" / "coursework" / "01_good.html").read_text(encoding="utf-8")
    assert re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?!data:)', page) == []
    assert 'alt="The line &lt;rises&gt;."' in page and "data:image/png;base64" in page


def test_without_a_terminal_there_are_plain_lines_with_the_forecast_from_the_notebooks(ran):
    lines = ran.stdout.splitlines()
    assert lines[1] == "4 notebooks with 10 cells."
    assert "01_good: 3 cells, about 3 min left" in lines  # 60 s for each of three cells
    assert not [line for line in lines if "\r" in line]


def test_the_closing_table_has_notebook_cells_seconds_and_page(ran):
    head, good, bad, total = ran.stdout.rstrip().splitlines()[-4:]
    assert head.split() == ["notebook", "cells", "seconds", "page"]
    assert good.split()[:2] == ["01_good", "3"] and good.endswith(os.path.join("coursework", "01_good.html"))
    assert bad.split()[:2] == ["02_bad", "3"] and bad.endswith("(failed)")
    assert total.split()[:2] == ["together", "6"]


def test_keep_going_runs_the_others_and_verbose_echoes_what_cells_print(suite, ran):
    words = ["--keep-going", "-v", "--only", "02", "03", "04"]
    done = run_python("-m", "tools.run", *words, cwd=suite, CIFAR10_SOURCE="synthetic")
    assert done.returncode == 1
    assert "    so far\n" in done.stdout and "    first\n    second\n" in done.stdout
    assert len(executed(suite, "03_next")) == 2 and "01_good" not in done.stdout
    assert "04_dies failed in cell 2 of 2" in done.stdout
    assert "The kernel died; often the memory was not enough." in done.stdout


def test_a_run_expects_what_the_last_one_took_on_the_same_images(suite, ran):
    file = suite / "runs" / "coursework" / "timings.json"
    path = suite / "notebooks" / "01_good.ipynb"
    nb = notebooks.read(path)
    same = dict(session.Timings(file, "tiny images").steps(path, nb)).values()
    assert {group for group, _ in same} == {"here"} and sum(seconds for _, seconds in same) < 60
    others = dict(session.Timings(file, "other images").steps(path, nb))
    assert sorted(others.values()) == [("elsewhere", 60.0), ("elsewhere", 60.0), ("unknown", 1.0)]


@pytest.mark.parametrize("text", ["", "[]", '{"images": "x"}', '{"images": "x", "cells": {"a": 3}}'])
def test_a_damaged_file_of_timings_is_as_good_as_none(tmp_path, text):
    (tmp_path / "timings.json").write_text(text)
    assert session.Timings(tmp_path / "timings.json", "x").cells == {}


def test_only_names_the_notebooks_that_there_are(suite, monkeypatch):
    monkeypatch.setattr(notebooks, "FOLDER", suite / "notebooks")
    with pytest.raises(SystemExit, match="01_good, 02_bad, 03_next, 04_dies"):
        run.main(["--only", "07"])


def test_in_place_rewrites_a_fit_notebook_and_leaves_an_unfit_one_as_it_was(tmp_path):
    suite = make_suite(tmp_path / "suite")
    fit = add_notebook(suite, "01_fit", "print('x')")
    unfit = add_notebook(suite, "02_unfit", "import os; print(os.getcwd())")
    before = unfit.read_text(encoding="utf-8")
    done = run_python("-m", "tools.run", "--in-place", cwd=suite, CIFAR10_SOURCE="synthetic")
    assert done.returncode == 1 and "a path of this machine" in done.stdout
    assert notebooks.read(fit).cells[-1].outputs[0].text == "x\n"
    assert notebooks.text_of(notebooks.clean(notebooks.read(fit))) == fit.read_text(encoding="utf-8")
    assert unfit.read_text(encoding="utf-8") == before


def interrupt(suite, moment):
    """Start a run, send it Ctrl-C when it prints `moment`; return its exit code and all that it said."""
    command = [sys.executable, "-u", "-m", "tools.run", "-v"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "encoding": "utf-8"}
    environ = {**os.environ, "CIFAR10_SOURCE": "auto", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, cwd=suite, env=environ, **pipes) as process:
        said = ""
        for line in process.stdout:
            said += line
            if moment in line:
                process.send_signal(signal.SIGINT)
        return process.wait(timeout=30), said


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to whole groups of processes")
def test_ctrl_c_while_jupyter_is_loading_ends_in_one_line(tmp_path):
    suite = make_suite(tmp_path / "suite")
    session = suite / "tools" / "session.py"
    slow = "import time\n\ntime.sleep(60)\nfrom tools import closing"  # it is still loading when Ctrl-C comes
    session.write_text(session.read_text(encoding="utf-8").replace("from tools import closing", slow), encoding="utf-8")
    code, said = interrupt(suite, "Loading Jupyter.")
    assert code == 130 and said.splitlines()[1].startswith("Stopped.") and len(said.splitlines()) == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to whole groups of processes")
def test_ctrl_c_in_a_cell_ends_in_one_line_and_stops_the_kernel(tmp_path):
    suite = make_suite(tmp_path / "suite")
    add_notebook(suite, "01_long", "import os, time\nprint('kernel', os.getpid(), flush=True)\ntime.sleep(600)")
    code, said = interrupt(suite, "kernel")
    assert code == 130
    assert said.splitlines()[-1].startswith("Stopped.") and "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(re.search(r"kernel (\d+)", said).group(1)), 0)


def test_closing_the_events_stops_the_kernel_in_the_middle_of_a_cell(tmp_path):
    source = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)"
    nb = new_notebook(cells=[new_code_cell(source)])
    with open(tmp_path / "log", "wb") as log:
        events = execute(nb, tmp_path, dict(os.environ), log)
        pid = next(int(event.value) for event in events if event.what == "text")
        assert psutil.pid_exists(pid)
        events.close()
    assert not psutil.pid_exists(pid)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to whole groups of processes")
def test_ctrl_c_while_the_images_are_fetched_continues_with_synthetic_ones(tmp_path):
    suite = make_suite(tmp_path / "suite")
    loader = suite / "utils" / "data" / "cifar10.py"
    loader.write_text(loader.read_text().replace("    return", "    import time; time.sleep(60)\n    return"))
    add_notebook(suite, "01_sees", SOURCE)
    code, said = interrupt(suite, "asked for auto")
    assert code == 0 and "kernel sees synthetic" in said
    assert "continues with synthetic images" in said


def test_a_forecast_scales_the_expected_seconds_by_those_taken():
    forecast = live.Forecast({("01", cell): ("elsewhere", 100.0) for cell in "abc"})
    assert forecast.remaining() == 300
    forecast.finish(("01", "a"), 200.0)
    assert forecast.remaining() == pytest.approx(2 * 100 * 205 / 105)
    assert forecast.done() == pytest.approx(200 / (200 + forecast.remaining()))
    forecast.forget("01")
    assert forecast.remaining() == 0


def test_a_cell_that_overruns_raises_what_the_others_are_expected_to_take():
    forecast = live.Forecast({("01", cell): ("here", 10.0) for cell in "ab"})
    assert forecast.remaining(("01", "a"), 4.0) == pytest.approx(16)
    assert forecast.remaining(("01", "a"), 40.0) > forecast.remaining(("01", "a"), 20.0) > 10


def test_cells_timed_here_and_elsewhere_are_scaled_apart():
    forecast = live.Forecast(
        {("01", "a"): ("here", 10.0), ("01", "b"): ("elsewhere", 10.0), ("02", "c"): ("here", 10.0)}
    )
    forecast.finish(("01", "b"), 1000.0)
    assert forecast.remaining() == 20


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2, "a few seconds"), (41, "about 40 s"), (100, "about 2 min"), (1500, "about 25 min"), (9000, "about 2.5 h")],
)
def test_a_forecast_is_said_no_more_exactly_than_it_is_known(seconds, text):
    assert live.about(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (83, "1:23"), (3725, "1:02:05")])
def test_elapsed_time_reads_like_a_clock(seconds, text):
    assert live.clock(seconds) == text


class Terminal(io.StringIO):
    """Looks like a terminal of 40 columns, and knows what it shows."""

    encoding = "utf-8"

    def isatty(self):
        return True

    def shown(self):
        """Return its lines; what follows a carriage return overwrites the line, letter by letter."""
        lines = []
        for line in self.getvalue().split("\n"):
            screen = ""
            for part in line.split("\r"):
                screen = part + screen[len(part) :]
            lines.append(screen.rstrip())
        return lines


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_on_a_terminal_one_line_follows_the_run_and_lines_that_stay_are_above_it(terminal):
    screen = live.Screen(terminal)
    screen.update("a long line that will not fit into forty columns", share=0.5)
    assert len(terminal.shown()[-1]) == 39
    screen.update("short")
    assert terminal.shown()[-1] == "⠙ short"
    screen.line("stays")
    assert terminal.shown() == ["stays", ""]


def test_the_live_line_says_notebook_cell_heading_time_and_the_last_printed_line(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    cells = [new_markdown_cell("# Training\n\n## One epoch"), new_code_cell("a"), new_code_cell("b")]
    nb = new_notebook(cells=cells)
    steps = {("04_x.ipynb", cell.id): ("here", 30.0) for cell in cells[1:]}
    view = live.View(live.Screen(terminal), live.Forecast(steps))
    view.begin(Path("04_x.ipynb"), nb)
    for event in (Event("start", 1), Event("end", 1, 30.0), Event("start", 2), Event("text", 2, "loss 2\rloss 1\nlo")):
        view.see(event)
    shown = terminal.shown()[-1]
    assert "04_x: cell 2 of 2, One epoch  0:00, about 30 s left" in shown and shown.endswith("| lo")
    assert shown.count("━") == live.BAR // 2


def test_a_page_without_the_expected_number_of_figures_keeps_its_alt_texts():
    assert pages.with_alts(f"<img {pages.NO_ALT}>", ["one", "two"]) == f"<img {pages.NO_ALT}>"
    assert pages.with_alts(f"<img {pages.NO_ALT}>", ['a "b"']) == '<img alt="a &quot;b&quot;">'


@pytest.mark.parametrize(("prose", "scripts"), [("costs $a^2$", 1), ("costs nothing", 0)])
def test_a_page_loads_the_formula_script_only_when_it_has_formulas(prose, scripts):
    output = new_output("stream", text="x")
    nb = new_notebook(cells=[new_markdown_cell(prose), new_code_cell("1", outputs=[output])])
    assert pages.page(nb, "a page").count("<script src=") == scripts
