"""The exercises: each check accepts two right answers, and names the mistake of each wrong one.

The first right answer is the notebook's own. The others, and the wrong ones, are in answers_data.py and its neighbours.
"""

import ast
import functools
import importlib
import sys

import pytest
import torch

from tools import notebooks
from tools.rules import as_python
from tools.student import solutions, stub
from utils.teaching import examine
from utils.teaching.exercises import COMMON_HINTS, all_exercises

TABLES = {
    "01": "answers_data",
    "02": "answers_model",
    "03": "answers_loss",
    "04": "answers_training",
    "05": "answers_evaluation",
    "06": "answers_experiments",
}
EXERCISES = {item.name: item for number in TABLES for item in all_exercises(number)}
ALSO_RIGHT, WRONG = {}, {}
for table in TABLES.values():
    module = importlib.import_module(table)
    ALSO_RIGHT |= module.ALSO_RIGHT
    WRONG |= module.WRONG


@functools.cache
def code_cells(number):
    """Return (source, names of its solutions) of each code cell of a notebook."""
    (path,) = notebooks.paths([number])
    cells = [cell for cell in notebooks.read(path).cells if cell.cell_type == "code"]
    return [(as_python(cell.source), solutions(cell)) for cell in cells]


def defined(number, as_student=False):
    """Return what the solutions of a notebook define; as_student: what the student's text of these cells defines.

    A value that is computed from another cell's is left out: it is checked when the notebook is run.
    """
    names = {}
    for source, wanted in code_cells(number):
        tree = ast.parse(stub(source, wanted) if as_student and wanted else source)
        for node in tree.body:
            is_import = isinstance(node, (ast.Import, ast.ImportFrom)) and "notebook" not in ast.unparse(node)
            targets = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)} if _assigns(node) else set()
            if is_import or getattr(node, "name", None) in wanted or targets & {*wanted, "T"}:
                try:
                    exec(compile(ast.Module([node], []), f"notebook {number}", "exec"), names)
                except (NameError, ImportError):
                    continue
    return names


def _assigns(node):
    return isinstance(node, (ast.Assign, ast.AugAssign))


def checks(number):
    """Return {exercise: the text of the answer} of a notebook's check cells."""
    found = {}
    for source, _ in code_cells(number):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check":
                found[node.args[0].value] = ast.unparse(node.args[1])
    return found


def value_of(text, names):
    """Return the answer of a check cell, or None if it needs another cell's values."""
    try:
        return eval(text, names)
    except NameError:
        return None


@pytest.mark.parametrize("number", TABLES)
def test_every_exercise_has_a_check_and_a_marked_solution_in_its_notebook(number):
    found = checks(number)
    assert sorted(found) == sorted(name for name in EXERCISES if name.startswith(number))
    assert len(found) >= 6
    marked = {name for _, names in code_cells(number) for name in names}
    for text in found.values():
        assert {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)} <= marked


@pytest.mark.parametrize("number", TABLES)
def test_the_notebooks_solutions_are_right_and_the_students_cells_are_not(number):
    solved, open_cells = defined(number), defined(number, as_student=True)
    examined = 0
    for name, text in checks(number).items():
        answer = value_of(text, solved)
        if answer is not None:
            outcome = examine(name, answer)
            assert outcome.state == "solved", outcome
            examined += 1
        unsolved = examine(name, eval(text, open_cells))
        assert unsolved.state != "solved" and unsolved.hint != "unusable", unsolved
    assert examined >= 4


@pytest.mark.parametrize("name", EXERCISES)
def test_another_right_answer_is_right(name):
    outcome = examine(name, ALSO_RIGHT[name])
    assert outcome.state == "solved", outcome


CASES = [(name, number) for name in WRONG for number in range(len(WRONG[name]))]


@pytest.mark.parametrize(("name", "number"), CASES, ids=[f"{name}-{list(WRONG[name])[i]}" for name, i in CASES])
def test_a_wrong_answer_gets_the_hint_of_its_mistake(name, number):
    hint, answer = list(WRONG[name].items())[number]
    outcome = examine(name, answer)
    assert outcome.hint == hint, outcome
    assert "tensor(" not in outcome.text and "{" not in outcome.text


@pytest.mark.parametrize("name", EXERCISES)
def test_three_mistakes_are_named_by_hints_of_their_own(name):
    assert len(WRONG[name]) >= 3
    assert set(WRONG[name]) <= set(EXERCISES[name].hints) | set(COMMON_HINTS)


def fails(*arguments, **settings):
    raise ValueError("no")


def leaves(*arguments, **settings):
    sys.exit(3)


def prints(*arguments, **settings):
    for _ in range(1000):
        print("x" * 1000)
    return "text"


class Odd:
    """An object whose every use fails."""

    def __getattr__(self, name):
        raise RuntimeError("odd")

    def __eq__(self, other):
        raise RuntimeError("odd")

    __hash__ = None


NEVER_RIGHT = [
    None,
    ...,
    3,
    "text",
    fails,
    leaves,
    prints,
    Odd(),
    Odd,
    [..., 1],
    object,
    torch.ones(2, 2),
    torch.nn.ReLU,
]


@pytest.mark.parametrize("name", EXERCISES)
def test_no_answer_raises_or_prints(name, capsys):
    for answer in NEVER_RIGHT:
        outcome = examine(name, answer)
        assert outcome.state in ("wrong", "open"), (answer, outcome)
        assert outcome.text and len(outcome.text) < 300
    assert capsys.readouterr().out == ""


def loops(*arguments, **settings):
    while True:
        pass


def test_an_endless_answer_is_stopped_by_every_check():
    hints = [examine(name, loops, seconds=0.05).hint for name in EXERCISES]
    assert None not in hints and hints.count("endless") > 40
