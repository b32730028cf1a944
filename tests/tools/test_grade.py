"""Tests of `make grade`: a whole rehearsal with honest and hostile submissions, and what each judgement rejects."""

import contextlib
import csv
import json
import pickle
import re
import socket
import sys
from pathlib import Path

import hand_ins
import pytest

from tools import grade
from tools.grading import mark_run
from tools.grading.mark import Marking
from tools.grading.session import Limits, Nursery, missing_confinement
from utils.errors import CourseworkError
from utils.report.marking import TASKS
from utils.runs.checkpoint_files import NAME, _hash, listed, load, position, write
from utils.runs.run import Run

LIMITS = Limits(seconds=120, cell_seconds=6, memory=3 * 2**30, disk=2**26, processes=24)
HALF = """\
from utils.models import GatedBlock


def accuracy(y_hat, y):
    return (y_hat.argmax(1) == y).float().mean()


def train_epoch(net, train_iter, loss, optimizer):
    for X, y in train_iter:
        loss(net(X), y).backward()
        optimizer.step()


def evaluate(net, data_iter):
    net.eval()
    parts = [accuracy(net(X), y) for X, y in data_iter]
    return sum(parts) / len(parts)


undefined_name
hand_in = {}
"""
HALF_END = 'hand_in = {"network": GatedBlock, "accuracy": accuracy, "train_epoch": train_epoch, "evaluate": evaluate}'
HOSTILE = (
    "open({secret!r}).read()",
    "open({outside!r}, 'w').write('here')",
    "open({library!r}, 'w').write('here')",
    "open('/proc/sys/kernel/domainname', 'w').write('here')",
    "import socket; socket.create_connection(('127.0.0.1', {port}), timeout=1)",
    "while True:\n    try:\n        while True:\n            pass\n    except Exception:\n        pass",
    "x = bytearray(10**11)",
    "open('large', 'wb').write(b'x' * 10**8)",
    "import os; os._exit(0)",
)
BOMB = "import os\nwhile True:\n    os.fork()"
FORGER = (
    hand_ins.NETWORK,
    "from tools.grading import child_code, judge\n\njudge.ensure = lambda *args: None",
    "judge.gate = child_code.make_network = lambda *args, **settings: {'points': 100}",
    "def accuracy(y_hat, y):\n    return 1.0\n\n\ndef evaluate(net, data_iter):\n    return 1.0",
    "hand_in = {'accuracy': accuracy, 'evaluate': evaluate, 'network': Net}",
)


class Nasty:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture(scope="module")
def data():
    return hand_ins.easy_images()


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Return the folder of a trained and measured run of the network that PERFECT hands in."""
    return hand_ins.record_run(data, tmp_path_factory.mktemp("runs") / "mine")


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    """Return a nursery that all tests share, on a machine that can confine its children."""
    if sys.platform != "linux":
        pytest.skip("student code is confined on Linux only")
    with Nursery(tmp_path_factory.mktemp("nursery"), LIMITS) as nursery:
        if why := missing_confinement(nursery):
            pytest.skip(f"namespaces are needed: {why}")
        yield nursery


@pytest.fixture
def easy(data, nursery, monkeypatch):
    """Let the grader use the nursery, and the easy images as test images."""
    monkeypatch.setattr(mark_run, "load_cifar10", lambda: data)
    monkeypatch.setattr(grade, "Nursery", lambda folder, limits: contextlib.nullcontext(nursery))


def with_nasty_checkpoint(run, path):
    """Replace a run's newest checkpoint by a pickle that writes a file; its name has the right hash."""
    newest = listed(run)[0]
    content = pickle.dumps(Nasty(path))
    epoch, batch = position(newest)
    newest.unlink()
    (run / NAME.format(epoch=epoch, batch=batch, hash=_hash(content))).write_bytes(content)


def marks(result):
    return {part["name"]: part["points"] for part in result["parts"]}


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def listener():
    """Return a socket that listens on this machine, to which no submission may get."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def test_a_rehearsal(tmp_path, run, easy, listener):
    secret, outside = tmp_path / "labels.txt", tmp_path / "outside.txt"
    secret.write_text("secret")
    handed_in = tmp_path / "handed-in"
    hand_ins.as_zip(hand_ins.write(handed_in / "Ada Lovelace_17_assignsubmission_file", *hand_ins.PERFECT, run=run))
    half = hand_ins.write(handed_in / "half", HALF.partition("undefined_name")[0], "undefined_name", HALF_END, run=run)
    names = {"secret": str(secret), "outside": str(outside), "port": listener.getsockname()[1]}
    names["library"] = str(Path(grade.__file__).parents[1] / "utils" / "new.py")
    hostile = hand_ins.write(handed_in / "hostile", *(cell.format(**names) for cell in HOSTILE), run=run)
    for folder in (hostile, half):
        with_nasty_checkpoint(folder / "runs" / "mine", tmp_path / "pickle.txt")
    forger = hand_ins.write(handed_in / "forger", *FORGER, run=run)
    hand_ins.write(handed_in / "bomb", BOMB)
    hand_ins.change_record(forger / "runs" / "mine", tests=[{"accuracy": 0.42, "views": "plain"}])
    before = files_below(tmp_path)

    results = {result["student"]: result for result in grade.grade(handed_in)}

    out = tmp_path / "handed-in-graded"
    with pytest.raises(BlockingIOError):
        listener.accept()
    after = {path: content for path, content in files_below(tmp_path).items() if path.parts[0] != out.name}
    assert after == before, "a file outside the folder of the results was changed"
    assert (
        sum(part["marks"] if part["points"] is None else part["points"] for part in results["Ada Lovelace"]["parts"])
        == 100
    )
    assert results["Ada Lovelace"]["measured"] == Run(run).evaluation["accuracy"] > 0.9
    _check_others(results)
    _check_tables(out, results)


def _check_others(results):
    half = marks(results["half"])
    assert half["accuracy"] == 2 and half["train_epoch"] == half["evaluate"] == half["test_accuracy"] == 0
    assert [half[name] for name in ("gate", "weighted_sum", "structure", "scores")] == [0, 0, 0, 0]
    assert "NameError" in results["half"]["errors"][0]
    hostile = results["hostile"]
    assert {name for name, points in marks(hostile).items() if points} == {"curves"}
    assert hostile["measured"] is None and results["half"]["measured"] is None
    assert "in code cell 9" in hostile["notes"][-1] and len(hostile["errors"]) == 8, "each cell was run and refused"
    forger = results["forger"]
    assert [marks(forger)[name] for name in ("accuracy", "evaluate", "gate")] == [0, 0, 0]
    assert forger["measured"] == results["Ada Lovelace"]["measured"] and "42.00" in forger["claims"][0]
    assert "processes" in results["bomb"]["notes"][-1]


def _check_tables(out, results):
    rows = list(csv.DictReader((out / "grades.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert {row["student"] for row in rows} == set(results)
    for row in rows:
        points = [float(row[f"task {task.number} (of {task.marks})"]) for task in TASKS]
        assert (
            sum(points)
            == float(row["points so far"])
            == sum(points or 0 for points in marks(results[row["student"]]).values())
        )
    ada = next(row for row in csv.DictReader((out / "moodle.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert (ada["Identifier"], ada["Full name"]) == ("Participant 17", "Ada Lovelace")
    assert "Last modified (grade)" in ada, "Moodle refuses a worksheet without this column"
    for result in results.values():
        own = out / "students" / result["key"]
        scores = json.loads((own / "results.json").read_text())
        assert scores["score"] == sum(test["score"] for test in scores["tests"])
        assert result["student"] in (own / "feedback.html").read_text(encoding="utf-8")


def test_a_network_of_the_library_is_measured_and_its_training_replayed(tmp_path, data, easy):
    settings = {"network_settings": {"channels": (8, 8, 8)}, "save_every": 0.0}
    run = hand_ins.record_run(data, tmp_path / "mine", "gated_backbone", **settings)
    hand_ins.write(tmp_path / "handed-in" / "honest", "os = 1", run=run)
    changed = hand_ins.write(tmp_path / "handed-in" / "changed", "raise SystemExit", run=run) / "runs" / "mine"
    newest = listed(changed)[0]
    state = load(newest.read_bytes(), newest, "")
    newest.unlink()
    next(iter(state["net"].values())).mul_(1.01)
    write(changed, state)

    changed, honest = grade.grade(tmp_path / "handed-in", is_replayed=True)

    assert honest["measured"] == Run(run).evaluation["accuracy"] and marks(honest)["test_accuracy"] is not None
    assert not honest["claims"] and "bit by bit" in " ".join(honest["notes"])
    assert "replayed" in " ".join(changed["claims"])


def test_the_next_call_marks_only_what_failed_or_was_changed(tmp_path, easy, monkeypatch):
    folder = tmp_path / "handed-in"
    for name in ("a", "b"):
        hand_ins.write(folder / name, "x = 1")
    mark, marked = Marking.mark, []

    def fails_once(self, folder):
        marked.append(folder.name)
        return mark(self, folder) if len(marked) > 1 else 1 / 0

    monkeypatch.setattr(Marking, "mark", fails_once)
    first, second = grade.grade(folder)
    assert "ZeroDivisionError" in first["notes"][-1] and not second["notes"]
    assert not grade.grade(folder)[0]["notes"], "the next call tries again"
    with (folder / "b" / "handin.ipynb").open("a") as file:
        file.write("\n")
    assert len(grade.grade(folder)) == 2
    assert marked == ["a", "b", "a", "b"]


def test_without_confinement_student_code_runs_only_if_that_is_accepted(tmp_path, easy, monkeypatch):
    monkeypatch.setattr(grade, "missing_confinement", lambda nursery: "no namespaces")
    folder = tmp_path / "handed-in"
    hand_ins.write(folder / "a", *hand_ins.PERFECT)
    with pytest.raises(CourseworkError, match="no namespaces"):
        grade.grade(folder)
    (result,) = grade.grade(folder, may_be_unconfined=True)
    assert marks(result)["weighted_sum"] == 10 and not result["is_confined"]
    page = (tmp_path / "handed-in-graded" / "students" / result["key"] / "feedback.html").read_text(encoding="utf-8")
    assert "not confined" in page


def test_a_cell_that_cannot_be_searched_is_named(tmp_path, easy):
    deep = "x = " + "1 + " * 20_000 + "1"
    hidden = (
        "from importlib import import_module\nclass Block(import_module('utils' + '.models').GatedBlock):\n    pass"
    )
    network = "hand_in = {'network': lambda: torch.nn.Sequential(Block(3, 10), torch.nn.AdaptiveAvgPool2d(1))}"
    hand_ins.write(tmp_path / "handed-in" / "a", "import torch", deep, hidden, network)
    (result,) = grade.grade(tmp_path / "handed-in")
    assert re.search(r"cell (\d)", result["notes"][0])[1] == "2"
    (reason,) = {part["reason"] for part in result["parts"] if part["name"] in ("gate", "weighted_sum", "structure")}
    assert "utils.models" in reason
