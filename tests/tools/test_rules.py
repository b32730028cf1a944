"""Tests of tools/notebooks.py and tools/rules.py: every rule has a notebook or a line of code that breaks it."""

import copy

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from suites import ROOT, run_python, setup_cell

from tools import notebooks, publish, rules

PNG = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 1x1 with 1 Axes>"}


def good():
    """Return a notebook that keeps every rule."""
    printed = [new_output("stream", text="a line\n")]
    cells = [
        new_markdown_cell(f"{publish.notebook_badge(publish.Path('01_x.ipynb'))}\n\n# Title\n\nGoals:\n\n- one"),
        setup_cell(),
        new_markdown_cell("## A section"),
        new_code_cell("print('a line')", outputs=printed),
        new_code_cell("x = 1"),
        new_code_cell("show()", outputs=[new_output("display_data", PNG), *printed]),
        new_markdown_cell("## Summary\n\n- one\n\n## Exercises\n\n1. do"),
    ]
    nb = new_notebook(cells=cells)
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
    return notebooks.clean(nb)


def problems(tmp_path, change=None):
    """Write the good notebook after a change; return what check says of it."""
    nb = good()
    if change:
        change(nb.cells)
    path = tmp_path / "01_x.ipynb"
    notebooks.write(nb, path)
    return rules.check(path)


def test_a_good_notebook_has_no_problem(tmp_path):
    assert problems(tmp_path) == []


def replace(number, old, new):
    """Return a change of one cell's source."""

    def change(cells):
        assert old in cells[number].source
        cells[number].source = cells[number].source.replace(old, new)

    return change


def put_out(number, *outputs):
    """Return a change of one cell's outputs."""
    return lambda cells: cells[number].update(outputs=[copy.deepcopy(output) for output in outputs])


def stream(text, name="stdout"):
    return new_output("stream", text=text, name=name)


def count_from_two(cells):
    for cell in cells:
        if cell.cell_type == "code":
            cell.execution_count += 1


def forget_outputs(cells):
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs = []


def figure_last(cells):
    cells[5].outputs = cells[5].outputs[:1]


BROKEN = {
    "no title": (replace(0, "# Title", "Title"), "no title"),
    "no summary": (replace(6, "## Summary", "## The end"), "no Summary"),
    "no exercises": (replace(6, "## Exercises", "## Tasks"), "no Exercises"),
    "no goals": (replace(0, "Goals:\n\n- one", "Welcome."), "no list of goals"),
    "a comment before text": (replace(6, "- one", "<!-- x -->*one*"), "begins with a comment"),
    "another set-up cell": (replace(1, "start()", "start()  # mine"), "tagged setup"),
    "two set-up cells": (lambda cells: cells[4].metadata.update(tags=["setup"]), "tagged setup"),
    "counts": (count_from_two, "execution counts"),
    "not run": (lambda cells: cells[3].update(execution_count=None), "execution counts"),
    "no output": (forget_outputs, "no cell has an output"),
    "a silent figure": (figure_last, "cell 6: a figure without"),
    "an error": (put_out(3, new_output("error", ename="E", evalue="x", traceback=[])), "cell 4: error output: E: x"),
    "stderr": (put_out(3, stream("careful", "stderr")), "cell 4: stderr output: careful"),
    "a script": (put_out(3, new_output("display_data", {"text/html": "<script>x"})), "cell 4: a script"),
    "javascript": (put_out(3, new_output("display_data", {"application/javascript": "x"})), "cell 4: a script"),
    "the suite's path": (put_out(3, stream(f"in {ROOT}/data")), "cell 4: a path of this machine"),
    "a home": (put_out(3, stream("in /home/ann/x")), "cell 4: a path of this machine"),
    "a home on a Mac": (put_out(3, stream("/Users/ann.b/x")), "cell 4: a path of this machine"),
    "a home on Windows": (replace(3, "a line", r"C:\\Users\\ann"), "cell 4: a path of this machine"),
    "a widget": (put_out(3, new_output("display_data", {notebooks.WIDGET: {}, "text/plain": "x"})), "not clean"),
    "torn streams": (put_out(3, stream("a"), stream("b")), "not clean"),
    "other metadata": (lambda cells: cells[3].metadata.update(collapsed=True), "not clean"),
    "a forbidden call": (replace(4, "x = 1", "import pickle\nx = pickle.load(f)"), "cell 5: line 2: pickle.load"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_is_broken_by_some_notebook_and_says_so(tmp_path, name):
    change, key_words = BROKEN[name]
    listed = problems(tmp_path, change)
    assert any(key_words in problem for problem in listed), listed
    assert len(listed) <= 2, listed  # no rule but one that is closely related complains as well


def messy():
    """Return a notebook as people's tools leave it."""
    data = {notebooks.WIDGET: {"model_id": "1"}, "text/plain": "slider"}
    outputs = [
        stream("10 %\r"),
        stream("100 %\ndone\n"),
        new_output("display_data", data),
        new_output("display_data", {notebooks.WIDGET: {}}),
        new_output("execute_result", {"text/plain": "1"}, execution_count=7),
    ]
    kept = {"tags": ["setup"], "seconds": 1.26, "execution": {"shell.execute_reply": "now"}, "collapsed": True}
    nb = new_notebook(
        cells=[new_code_cell("x\n", outputs=outputs, execution_count=7, metadata=kept), new_code_cell("y")]
    )
    nb.metadata = {"kernelspec": {"name": "my-env", "display_name": "My own"}, "widgets": {"state": {}}, "colab": {}}
    return nb


def test_cleaning_keeps_what_a_reader_needs():
    nb = notebooks.clean(messy())
    cell, other = nb.cells
    assert nb.metadata == notebooks.METADATA
    assert cell.metadata == {"tags": ["setup"], "seconds": 1.3} and other.metadata == {}
    assert cell.source == "x" and (cell.execution_count, other.execution_count) == (1, None)
    texts = [output.get("text") or output.data for output in cell.outputs]
    assert texts == ["100 %\ndone\n", {"text/plain": "slider"}, {"text/plain": "1"}]
    assert cell.outputs[2].execution_count == 1


def test_cleaning_twice_is_cleaning_once():
    once = notebooks.clean(messy())
    assert notebooks.text_of(notebooks.clean(copy.deepcopy(once))) == notebooks.text_of(once)


def test_ids_that_are_missing_or_doubled_are_filled_in_the_same_way_every_time(tmp_path):
    nb = messy()
    path = tmp_path / "old.ipynb"
    for cell in nb.cells:
        cell.id = "same"
    path.write_text(notebooks.nbformat.v4.writes(nb))
    first, second = notebooks.read(path), notebooks.read(path)
    assert first == second and len({cell.id for cell in first.cells}) == 2
    assert first.cells[0].id == "same" and first.nbformat_minor == 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\rb\n", "b\n"), ("a\r\nb\r\n", "a\nb\n"), ("1 %\r2 %\r", "2 %"), ("x\n1\r2\ny", "x\n2\ny"), ("", "")],
)
def test_of_a_line_rewritten_by_carriage_returns_the_last_writing_is_kept(text, shown):
    assert notebooks.last_frames(text) == shown


def test_the_command_cleans_a_notebook_and_leaves_a_refused_one_alone(tmp_path):
    tidy, refused = tmp_path / "tidy.ipynb", tmp_path / "refused.ipynb"
    nb = messy()
    tidy.write_text(notebooks.nbformat.v4.writes(nb))
    nb.cells[0].outputs = [stream("careful", "stderr")]
    refused.write_text(notebooks.nbformat.v4.writes(nb))
    before = refused.read_text()
    done = run_python("-m", "tools.notebooks", tidy, refused, cwd=ROOT)
    assert done.returncode == 1
    assert "tidy.ipynb: cleaned" in done.stdout and "refused.ipynb: cell 1: stderr output: careful" in done.stdout
    assert notebooks.text_of(notebooks.clean(notebooks.read(tidy))) == tidy.read_text(encoding="utf-8")
    assert refused.read_text() == before


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(f)",
        "from pickle import loads as read\nread(b)",
        "import torch\ntorch.load(f)",
        "import torch as t\nt.load(f, weights_only=False)",
        "from torch import load\nload(f)",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "archive.extractall()",
        "eval('1')",
        "exec('1')",
        "import os\nos.system('ls')",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "serve(host='0.0.0.0')",
        "serve(token='')",
        "run(['lab', '--ServerApp.token='])",
    ],
)
def test_forbidden_code_is_found_and_its_line_named(source):
    (problem,) = rules.forbidden("x = 0\n" + source)
    assert problem.startswith(f"line {len(source.splitlines()) + 1}: ")


@pytest.mark.parametrize(
    "source",
    [
        "net.eval()",
        "import torch\ntorch.load(f, weights_only=True)",
        "import numpy as np\nnp.load(f)",
        "import json\njson.load(f)",
        "class Safe(pickle.Unpickler): pass",
        "serve(host='127.0.0.1', token='abc')",
        "say('version 10.0.0.01 of the token = secret')",
    ],
)
def test_code_that_only_looks_like_it_is_left_alone(source):
    assert rules.forbidden(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "from utils.data import load_cifar10",
        "import utils.models as models",
        "from utils import runs",
        "from utils.my_utils import accuracy",
        "from utils.notebook import start\nfrom utils.devices import try_gpu",
        "from my_network import MyNet\nimport torch, pandas as pd\nfrom torch import nn",
    ],
)
def test_a_notebook_may_import_from_rooms_and_from_its_own_network(source):
    assert rules.imports_past_rooms(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "from utils.data.loader import BatchLoader",
        "import utils.models.gated",
        "from utils.files import plain",
        "from utils import files",
        "def f():\n    from tools.run import main",
        "from utils.nonesuch import x",
    ],
)
def test_an_import_past_the_rooms_is_listed_with_its_line(source):
    (problem,) = rules.imports_past_rooms("x = 0\n" + source)
    assert problem.startswith(f"line {len(source.splitlines()) + 1}: ")


def test_the_rule_on_imports_holds_for_notebooks(tmp_path):
    assert problems(tmp_path) == []
    (problem,) = problems(tmp_path, replace(4, "x = 1", "from utils.data.loader import x"))
    assert problem.startswith("cell 5: line 1: utils.data.loader")


def test_a_name_defined_in_two_places_is_listed_with_both(tmp_path):
    def write(name, *sources):
        nb = new_notebook(cells=[new_code_cell(source) for source in sources])
        notebooks.write(nb, tmp_path / name)
        return tmp_path / name

    module = tmp_path / "nets.py"
    module.write_text("class Net: pass\ndef alone(): pass\nclass GatedConv: pass\n")
    one = write("01.ipynb", "def f(): pass", "%time x = 1\nloss = 1\ndef once(): pass")
    rewritten = "class GatedConv: pass"  # one of rules.REWRITTEN
    two = write("02.ipynb", "def f(): pass\ndef f(): pass", "class Net: pass", rewritten)
    assert sorted(rules.defined_twice([one, two], [module])) == [
        "Net is defined in 02.ipynb and nets.py",
        "f is defined in 01.ipynb and 02.ipynb",
    ]
