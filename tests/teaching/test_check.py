"""Tests of check, predict and progress: what an answer can't do to a notebook, and what is printed and kept."""

import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from tools.student import stub
from utils.errors import CourseworkError
from utils.teaching import check, examine, my_prediction, predict, progress
from utils.teaching.exercises import COMMON_HINTS, EXERCISES, exercise
from utils.teaching.expect import call, compare, ensure, number_of, tensor_of
from utils.teaching.guard import TimeUp, time_limit

NETWORK = nn.Sequential(nn.Linear(2, 2), nn.Dropout())


@pytest.fixture
def asked():
    """Register an exercise whose right answer adds one to each number of a tensor."""

    @exercise("02.asked", "add one", added_two="You add two. How many do you want to add?")
    def examine_sum(answer):
        X = torch.zeros(3)
        compare(tensor_of(call(answer, X), (3,)), X + 1, {"added_two": X + 2})

    yield "02.asked"
    del EXERCISES["02.asked"]


def loops(X):
    while True:
        pass


def loops_and_catches(X):
    while True:
        try:  # noqa: SIM105
            time.sleep(0.01)
        except:  # noqa: E722
            pass


def catches(X):
    while True:
        try:  # noqa: SIM105
            X.sum()
        except:  # noqa: E722
            pass


def sleeps(X):
    time.sleep(60)


def recurses(X):
    return recurses(X)


def changes(X):
    X += 1
    return X


ANSWERS = {  # name: (answer, id of its hint)
    "two": (lambda X: X + 2, "added_two"),
    "none": (lambda X: None, "nothing"),
    "dots": (..., "open"),
    "called": (3.0, "not_callable"),
    "list": (lambda X: [1, 1, 1], "wrong_type"),
    "column": (lambda X: X[:, None] + 1, "wrong_shape"),
    "whole": (lambda X: X.long() + 1, "wrong_dtype"),
    "nan": (lambda X: X / X, "not_finite"),
    "arguments": (lambda: 1, "raises"),
    "deep": (recurses, "raises"),
    "exit": (lambda X: sys.exit(), "exits"),
    "quit": (lambda X: exit(), "exits"),
    "changes": (changes, "changes_inputs"),
    "endless": (loops, "endless"),
    "stubborn": (catches, "endless"),
    "stubborn in a wait": (loops_and_catches, "endless"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_mistake_has_its_hint(asked, name, capsys):
    answer, hint = ANSWERS[name]
    outcome = examine(asked, answer, seconds=0.3)
    assert outcome.hint == hint and outcome.state == ("open" if hint == "open" else "wrong")
    assert "{" not in outcome.text and not capsys.readouterr().out


def test_an_error_is_named_with_the_line_that_raised_it(asked):
    def fails(X):
        y = X.sum()
        return torch.nn.functional.softmax(y, dim=3)

    text = examine(asked, fails).text
    assert "IndexError" in text and f"line {fails.__code__.co_firstlineno + 2}, in fails" in text


def test_a_wait_is_ended_on_time(asked):
    begun = time.perf_counter()
    assert examine(asked, sleeps, seconds=0.2).hint == "endless"
    assert time.perf_counter() - begun < 20


def test_in_another_thread_the_time_is_limited_too(asked):
    hints = []
    answers = (loops, catches, ANSWERS["two"][0], lambda X: X + 1)
    thread = threading.Thread(target=lambda: hints.extend(examine(asked, answer, 0.3).hint for answer in answers))
    thread.start()
    thread.join(60)
    assert hints == ["endless", "endless", "added_two", None]


LIMITED_THEN_PROFILED = """
import sys
import threading
from utils.teaching.guard import time_limit

def limited():
    with time_limit(60):
        pass

thread = threading.Thread(target=limited)
thread.start()
thread.join()
sys.setprofile(lambda *event: None)  # Python 3.11 repeats a step for ever if it still looks for an exception to raise
print((lambda: "ended")())
"""


def test_a_time_limit_in_another_thread_leaves_no_exception_to_look_for():
    command = [sys.executable, "-c", LIMITED_THEN_PROFILED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "ended\n"


def test_a_limit_that_is_not_reached_leaves_nothing_behind():
    for _ in range(3):
        with time_limit(0.05):
            pass
    time.sleep(0.2)
    with pytest.raises(TimeUp), time_limit(0.05):
        time.sleep(60)
    time.sleep(0.2)


def test_the_readers_own_interrupt_passes(asked):
    def interrupted(X):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(asked, interrupted)


def test_random_state_gradients_and_modes_are_as_before(asked):
    def meddles(X):
        torch.manual_seed(5), np.random.seed(5), random.seed(5)
        torch.rand(1), np.random.rand(), random.random()
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        NETWORK.eval()
        print("noise", file=sys.stderr)
        return X + 1

    NETWORK.train()
    NETWORK[1].eval()
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert examine(asked, meddles).state == "solved"
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    assert [module.training for module in NETWORK.modules()] == [True, True, False]


def test_the_same_answer_gets_the_same_result_whatever_the_seed(asked):
    torch.manual_seed(1)
    first = examine(asked, lambda X: X + 1 + (torch.rand(1) > 0.5))
    torch.manual_seed(2)
    assert examine(asked, lambda X: X + 1 + (torch.rand(1) > 0.5)) == first


def test_exit_in_a_notebook_does_not_end_the_kernel(asked, monkeypatch):
    class Shell:
        def ask_exit(self):
            raise AssertionError("the kernel ends")

    shell = Shell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    assert examine(asked, lambda X: shell.ask_exit()).hint == "exits"
    with pytest.raises(AssertionError):
        shell.ask_exit()


def test_a_mistake_in_a_check_is_a_hint_and_no_error():
    @exercise("02.broken", "nothing")
    def broken(answer):
        ensure(number_of(answer) > 0, "wrong_value")
        raise ZeroDivisionError

    try:
        assert examine("02.broken", 1).hint == "unusable"
    finally:
        del EXERCISES["02.broken"]


def test_an_unknown_exercise_is_an_error_that_lists_the_known_ones():
    with pytest.raises(CourseworkError, match=r"no exercise '02.gates'[\s\S]*02\.gate,"):
        check("02.gates", 1)
    with pytest.raises(CourseworkError):
        check(7, 1)


def test_checks_are_printed_in_one_line_and_progress_remembers_them(asked, ledger_folder, capsys):
    check(asked, lambda X: X + 2)
    progress("02")
    check(asked, lambda X: X + 1)
    assert capsys.readouterr().out.count("✓") == 1
    progress("02")
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "✓" in line] == [line for line in lines if asked in line]
    assert lines[-1].startswith("1 of ")


def test_a_prediction_is_kept_and_recalled(ledger_folder, capsys):
    my_prediction("02.gain")
    predict("02.gain", ...)
    predict("02.gain", "two points, since ¼ ≠ ½")
    predict("02.gain", ...)  # the cell again, not filled in
    my_prediction("02.gain")
    lines = capsys.readouterr().out.splitlines()
    assert [("two points, since ¼ ≠ ½" in line) for line in lines] == [False, False, True, True, True]
    assert not list(ledger_folder.glob("*.partial"))


def test_where_nothing_can_be_written_the_lesson_continues(asked, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "file" / "runs"))
    check(asked, lambda X: X + 1)
    predict("02.gain", 1.5)
    my_prediction("02.gain")
    assert "✓" in capsys.readouterr().out


def test_a_damaged_file_of_notes_counts_as_empty(asked, ledger_folder, capsys):
    ledger_folder.mkdir()
    for text in ("{", "[]", '{"checks": 3, "predictions": []}'):
        (ledger_folder / "exercises.json").write_text(text)
        progress("02")
        my_prediction("02.gain")
        check(asked, lambda X: X + 1)
    assert capsys.readouterr().out.count("✓") == 3


def test_common_hints_are_complete_sentences_that_name_their_facts():
    facts = dict.fromkeys(("what", "kind", "error", "expected", "shape", "dtype"), "x") | {"seconds": 1.5}
    assert all(text.format(**facts).endswith(".") for text in COMMON_HINTS.values())


SOURCE = '''import torch

@torch.no_grad()
def f(
    x,  # a number
    y=1,
):  # (B,)
    """Return x."""
    # a comment
    if x:
        return y
    return x

class C(nn.Module):
    """A module."""

    size = 3

    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, X):  # (B, 3)
        # a comment
        return X

a, b = f(1), f(2)
c = [
    1,
]
d = e = ("ä",)[0]
g = (
    1
)
print(a)'''
STUB = '''import torch

@torch.no_grad()
def f(
    x,  # a number
    y=1,
):  # (B,)
    """Return x."""
    ...  # YOUR CODE

class C(nn.Module):
    """A module."""

    size = 3

    def __init__(self, k):
        super().__init__()
        ...  # YOUR CODE

    def forward(self, X):  # (B, 3)
        ...  # YOUR CODE

a, b = ..., ...  # YOUR CODE
c = ...  # YOUR CODE
d = e = ...  # YOUR CODE
g = ...  # YOUR CODE
print(a)'''


def test_a_stub_keeps_signatures_docstrings_and_the_lines_that_are_not_named():
    assert stub(SOURCE, ["f", "C", "a", "b", "c", "d", "e", "g"]) == STUB
    assert stub(SOURCE, ["c"]) == SOURCE.replace("c = [\n    1,\n]", "c = ...  # YOUR CODE")
    with pytest.raises(ValueError, match="x"):
        stub(SOURCE, ["c", "x"])
