"""Tests of `make grade`: a whole rehearsal with honest and hostile submissions, and what each judgement rejects."""

import contextlib
import csv
import json
import pickle
import re
import socket
import sys
import types
import zipfile
from pathlib import Path

import hand_ins
import numpy as np
import pytest

from tools import grade
from tools.grading import child_code, images, judge, messages, scheme, source_checks, submissions, tables
from tools.grading.mark import Marking
from tools.grading.session import Limits, Nursery, missing_confinement
from utils.errors import CourseworkError
from utils.report.marking import TASKS
from utils.runs.checkpoint_files import NAME, _hash, listed, load, position, write
from utils.runs.run import Run

LIMITS = Limits(seconds=60, cell_seconds=3, memory=3 * 2**30, disk=2**26, processes=24)
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
    "from tools.grading import child_code, judge, mark\n\njudge.ensure = lambda *args: None",
    "mark.Marking.result = child_code.make_network = lambda *args, **settings: {'points': 100}",
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
    with Nursery(tmp_path_factory.mktemp("nursery"), threads=1) as nursery:
        if why := missing_confinement(nursery):
            pytest.skip(f"namespaces are needed: {why}")
        yield nursery


@pytest.fixture
def easy(data, nursery, monkeypatch):
    """Let the grader use the nursery, and the easy images, also in place of the synthetic ones."""
    monkeypatch.setattr(images, "load_cifar10", lambda source="auto": data)
    monkeypatch.setattr(grade, "Nursery", lambda folder: contextlib.nullcontext(nursery))


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
    hand_ins.write(handed_in / "half", HALF.partition("undefined_name")[0], "undefined_name", HALF_END)
    names = {"secret": str(secret), "outside": str(outside), "port": listener.getsockname()[1]}
    names["library"] = str(Path(grade.__file__).parents[1] / "utils" / "new.py")
    hostile = hand_ins.write(handed_in / "hostile", *(cell.format(**names) for cell in HOSTILE), run=run)
    with_nasty_checkpoint(hostile / "runs" / "mine", tmp_path / "pickle.txt")
    forger = hand_ins.write(handed_in / "forger", *FORGER, run=run)
    hand_ins.write(handed_in / "bomb", BOMB)
    hand_ins.change_record(forger / "runs" / "mine", tests=[{"accuracy": 0.42, "views": "plain"}])
    before = files_below(tmp_path)

    results = {result["student"]: result for result in grade.grade(handed_in, limits=LIMITS)}

    out = tmp_path / "handed-in-graded"
    with pytest.raises(BlockingIOError):
        listener.accept()
    after = {path: content for path, content in files_below(tmp_path).items() if path.parts[0] != out.name}
    assert after == before, "a file outside the folder of the results was changed"
    assert not (out / "work").exists()
    assert tables.total(results["Ada Lovelace"]) + tables.still_open(results["Ada Lovelace"]) == 100
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
    assert hostile["measured"] is None and hostile["claims"]
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
        assert sum(points) == float(row["points so far"]) == tables.total(results[row["student"]])
    ada = next(row for row in csv.DictReader((out / "moodle.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert (ada["Identifier"], ada["Full name"]) == ("Participant 17", "Ada Lovelace")
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

    changed, honest = grade.grade(tmp_path / "handed-in", limits=LIMITS, is_replayed=True)

    assert honest["measured"] == Run(run).evaluation["accuracy"] and marks(honest)["test_accuracy"] is not None
    assert not honest["claims"] and "bit by bit" in " ".join(honest["notes"])
    assert "replayed" in " ".join(changed["claims"])


def test_a_second_call_marks_only_what_is_new(tmp_path, easy, monkeypatch):
    folder = tmp_path / "handed-in"
    for name in ("a", "b"):
        hand_ins.write(folder / name, "x = 1")
    grade.grade(folder, limits=LIMITS)
    with (folder / "b" / "handin.ipynb").open("a") as file:
        file.write("\n")
    marked = []
    result = Marking.result
    monkeypatch.setattr(Marking, "result", lambda self: marked.append(self) or result(self))
    assert len(grade.grade(folder, limits=LIMITS)) == 2
    assert len(marked) == 1


def test_a_mistake_of_the_grader_stops_nobody_else(tmp_path, easy, monkeypatch):
    folder = tmp_path / "handed-in"
    for name in ("a", "b"):
        hand_ins.write(folder / name, "x = 1")
    result = Marking.result
    monkeypatch.setattr(
        Marking, "result", lambda self: 1 / 0 if not marked.append(1) and marked == [1] else result(self)
    )
    marked = []
    first, second = grade.grade(folder, limits=LIMITS)
    assert "ZeroDivisionError" in first["notes"][-1] and not second["notes"]
    assert not grade.grade(folder, limits=LIMITS)[0]["notes"], "the next call tries again"


def test_without_confinement_student_code_runs_only_if_that_is_accepted(tmp_path, easy, monkeypatch):
    monkeypatch.setattr(grade, "missing_confinement", lambda nursery: "no namespaces")
    folder = tmp_path / "handed-in"
    hand_ins.write(folder / "a", *hand_ins.PERFECT)
    with pytest.raises(CourseworkError, match="no namespaces"):
        grade.grade(folder, limits=LIMITS)
    (result,) = grade.grade(folder, limits=LIMITS, may_be_unconfined=True)
    assert marks(result)["weighted_sum"] == 10 and not result["is_confined"]
    page = (tmp_path / "handed-in-graded" / "students" / result["key"] / "feedback.html").read_text(encoding="utf-8")
    assert "not confined" in page


class Here:
    """Stands in for a session: asks the functions of child_code in this process, through real messages."""

    def ask(self, do, seconds=60, **arguments):
        sent = messages.decode(messages.encode(arguments))
        try:
            return messages.decode(messages.encode({"result": getattr(child_code, do)(**sent)}))["result"]
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


@pytest.fixture
def hand_in(monkeypatch):
    """Return a function that defines the code of a notebook, and hands in its names as parts."""

    def define(source, **parts):
        names = {"__name__": "handed_in"}
        exec(f"{hand_ins.NETWORK}\n{hand_ins.FUNCTIONS}\n{source}", names)
        entries = {"network": names["Net"]} | {name: names[name] for name in ("accuracy", "train_epoch", "evaluate")}
        monkeypatch.setattr(child_code, "shell", types.SimpleNamespace(user_ns={"hand_in": entries | parts}))
        return Here(), np.random.default_rng(0)

    return define


EPOCH = """
def train_epoch(net, train_iter, loss, optimizer):
    {start}
    for X, y in train_iter:
        {before}
        loss(net(X), y).backward()
        {after}
"""
EVALUATE = """
@torch.no_grad()
def evaluate(net, data_iter):
    {before}
    parts = [(net(X).argmax(1) == y).float() for X, y in data_iter]
    {after}
    return {result}
"""
MEAN_OF_MEANS = "sum(part.mean() for part in parts) / 3"
WHOLE = "torch.cat(parts).mean()"
WRONG = [  # the part, its code, and a word of the reason
    ("accuracy", "def accuracy(y_hat, y):\n    return (y_hat.argmax(0)[:len(y)] == y[:4]).sum()", "correct"),
    ("accuracy", "def accuracy(y_hat, y):\n    return y_hat.argmax(1) == y", "shape"),
    ("accuracy", "def accuracy(y_hat, y):\n    return 1.0", "correct"),
    ("train_epoch", EPOCH.format(start="optimizer.zero_grad()", before="", after="optimizer.step()"), "zero_grad"),
    ("train_epoch", EPOCH.format(start="", before="optimizer.zero_grad()", after=""), "did not change"),
    (
        "train_epoch",
        EPOCH.format(start="", before="optimizer.zero_grad()", after="optimizer.step(); optimizer.step()"),
        "formula",
    ),
    (
        "evaluate",
        EVALUATE.format(before="net.eval()", after="net.train()", result="sum(p.mean() for p in parts) / 3"),
        "mean",
    ),
    ("evaluate", EVALUATE.format(before="", after="", result=WHOLE), "dropout"),
    ("evaluate", EVALUATE.format(before="net.eval()", after="", result=WHOLE), "mode"),
]


@pytest.mark.parametrize(("name", "code", "word"), WRONG)
def test_a_wrong_function_is_rejected(hand_in, name, code, word):
    with pytest.raises(judge.Mistake, match=word):
        getattr(judge, name)(*hand_in(code))


def test_an_accuracy_may_be_a_fraction(hand_in):
    judge.accuracy(*hand_in("def accuracy(y_hat, y):\n    return float((y_hat.max(1).indices == y).double().mean())"))


@pytest.mark.parametrize(
    "code",
    [
        "",
        EVALUATE.format(before="net.eval()", after="net.train()", result=f"(0.5, 100 * {WHOLE})"),
        EPOCH.format(start="", before="net.zero_grad()", after="optimizer.step()"),
    ],
)
def test_right_functions_are_accepted(hand_in, code):
    session = hand_in(code)
    for name in ("accuracy", "train_epoch", "evaluate"):
        getattr(judge, name)(*session)


def changed_network(old, new):
    assert old in hand_ins.NETWORK
    return hand_ins.NETWORK.replace(old, new)


def judged_network(session, rng):
    """Judge a network's blocks and scores; return the name of the first part that is rejected, or None."""
    looks = {name: {} for name in session.ask("make_network", seed=0)["gates"]}
    for name in ("gate", "weighted_sum"):
        try:
            judge.each_block(getattr(judge, name), session, rng, looks)
        except (judge.Mistake, ValueError):
            return name
        except judge.Unclear:
            return "unclear"
    try:
        judge.scores(session, rng)
    except judge.Mistake:
        return "scores"
    return None


GATE, SUM = "self.gate(X.mean((2, 3)))", "(a[:, :, None, None, None] * maps).sum(1)"
BRANCHES = """        self.branches = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(k))
"""
INSIDE = """        self.conv = nn.Module()
        self.conv.branches = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(k))
        self.__dict__["branches"] = self.conv.branches
"""
NETWORKS = [  # a change of the network, and the part that is then rejected
    ("nn.Softmax(1)", "nn.Sigmoid()", None),
    (BRANCHES, INSIDE, None),
    ("branch(X) for", "nn.functional.conv2d(X, branch.weight, branch.bias, padding=1) for", "unclear"),
    (SUM, "torch.einsum('nk,nkchw->nchw', a, maps) + X", None),
    ("return self.after(", "return (", None),
    ("nn.Softmax(1)", "nn.Softmax(0)", "gate"),
    (GATE, "self.gate(X.amax((2, 3)))", "gate"),
    (GATE, "self.gate(X.mean((0, 2, 3))[None]).expand(len(X), -1)", "gate"),
    (GATE, "self.gate(X.mean((2, 3))) * 0 + 0.3", "weighted_sum"),
    (SUM, "maps.sum(1)", "weighted_sum"),
    (SUM, "(a.mean(0)[None, :, None, None, None] * maps).sum(1)", "weighted_sum"),
    (SUM, "(a[:, :, None, None, None] * maps.relu()).sum(1)", "weighted_sum"),
    (
        "return self.classify(self.flatten(self.mean(X)))",
        "return self.classify(self.flatten(self.mean(X))).softmax(1)",
        "scores",
    ),
]


@pytest.mark.parametrize(("old", "new", "rejected"), NETWORKS)
def test_blocks_are_judged_by_what_they_compute(hand_in, one_thread, old, new, rejected):
    assert judged_network(*hand_in(changed_network(old, new))) == rejected


REFUSED = [
    "from utils.models import GatedBlock",
    "from utils.models import *",
    "from utils.models.blocks import make_gate as g",
    "from utils import models\nnet = models.NETWORKS['quick']()",
    "import utils.models.gated",
    "import utils\nb = utils.models.GatedConv(3, 4)",
    "import utils.models as m\nm.Branches",
    "from utils.recipes import find_system",
    "import torchvision\nnet = torchvision.models.resnet18()",
    "import torch\ntorch.hub.load('a', 'b')",
    "try:\n    from timm import create_model\nexcept ImportError:\n    pass",
]
ALLOWED = [
    "from utils import models\nmodels.parameters(1), models.draw_network(2)",
    "from utils.models import flops, summarise",
    "from utils.recipes import Recipe, load_run",
    "import torchvision.transforms.v2 as T",
    "class GatedBlock:\n    pass\n\nGatedBlock()",
    "%matplotlib inline\n!ls\nx = 1",
]


@pytest.mark.parametrize("source", REFUSED)
def test_blocks_of_other_people_are_found_in_the_source(source):
    assert source_checks.forbidden_names(submissions.syntax_trees(["x = 1", source]))[0][0] == 2


@pytest.mark.parametrize("source", ALLOWED)
def test_other_imports_are_allowed(source):
    assert source_checks.forbidden_names(submissions.syntax_trees([source])) == []


@pytest.mark.parametrize(
    ("source", "is_own"),
    [
        ("def f(a, b):\n    return a", True),
        ("f = len", False),
        ("from utils.my_utils import accuracy as f", False),
        ("from utils.my_utils import accuracy\n\ndef f(a, b):\n    return accuracy(a, b)", False),
        ("from utils import my_utils\n\ndef f(a, b):\n    return my_utils.accuracy(a, b)", False),
        ("from utils.my_utils import Accumulator\n\ndef f(a, b):\n    return Accumulator(2)", True),
        ("from utils.my_utils import accuracy\n\ndef accuracy(a): ...\n\ndef f(a):\n    return accuracy(a)", True),
    ],
)
def test_a_part_must_be_written_in_the_notebook(source, is_own):
    trees = submissions.syntax_trees([source, "hand_in = {'accuracy': f}"])
    assert (source_checks.not_written_here(trees, "accuracy") is None) == is_own


def test_a_zip_file_leaves_its_folder_nowhere(tmp_path):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for name in (
            "../out.txt",
            "/abs.txt",
            "a/../../out2.txt",
            "C:/x.txt",
            "handin.ipynb",
            "__MACOSX/._handin.ipynb",
        ):
            archive.writestr(name, "x")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    (submission,) = submissions.find_submissions(tmp_path)
    submissions.unpack(submission, tmp_path / "work" / "s")
    assert [path.name for path in submissions.regular_files(tmp_path / "work")] == ["handin.ipynb"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.zip", "work"]


@pytest.mark.parametrize(
    ("name", "student", "number"),
    [
        ("Ada Lovelace_17_assignsubmission_file_", "Ada Lovelace", "17"),
        ("lovelaceada_LATE_5_8712_handin", "lovelaceada", "5"),
        ("lovelaceada_5_8712_handin", "lovelaceada", "5"),
        ("ada-2", "ada-2", None),
    ],
)
def test_names_of_submissions(tmp_path, name, student, number):
    (tmp_path / name).mkdir()
    (submission,) = submissions.find_submissions(tmp_path)
    assert (submission.student, submission.id) == (student, number)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"array": {"type": "object", "shape": [1], "data": "AAAA"}}',
        b'{"array": {"type": "float32", "shape": [1000000000, 1000000000], "data": "AAAA"}}',
        b'{"array": {"type": "float32", "shape": [-1], "data": ""}}',
        b'{"array": {"type": "uint8", "shape": [3], "data": "AA=A"}}',
        b"\xff",
    ],
)
def test_a_damaged_message_is_a_value_error(line):
    with pytest.raises(ValueError):
        messages.decode(line)


def test_the_parts_add_up_to_the_tasks():
    for task in TASKS:
        assert sum(part.marks for part in scheme.PARTS if part.task == task.number) == task.marks


def stored(**parts):
    """Return a stored result of a submission, in which some parts have points."""
    entries = [
        {"name": part.name, "task": part.task, "marks": part.marks, "title": part.title}
        | {"points": parts.get(part.name, None if part.is_by_hand else 0), "reason": "<b>&"}
        for part in scheme.PARTS
    ]
    facts = dict.fromkeys(("name", "state", "network", "data", "settings"))
    rest = {
        "claims": ["=1+1"],
        "notes": [],
        "errors": ["<script>"],
        "facts": facts,
        "seconds": 1.0,
        "is_confined": True,
    }
    return {"key": "a-1", "student": "<i>Ada", "id": "7", "parts": entries, "weights": "w", "code": None} | rest


def test_marks_by_hand_are_added_by_the_next_call(tmp_path):
    tables.write_tables(tmp_path, [stored(gate=10)])
    path = tmp_path / tables.BY_HAND_FILE
    rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    rows[0] |= {"report": "4,5", "experiment": "99", "comment": "Good.", "gate": "7"}
    path.write_bytes(tables.as_csv([list(rows[0]), list(rows[0].values())]))
    tables.write_tables(tmp_path, [stored(gate=10)])
    (row,) = csv.DictReader((tmp_path / "grades.csv").read_text(encoding="utf-8-sig").splitlines())
    assert float(row["points so far"]) == 11.5, "the teacher's column for the gate replaces its points"
    open_marks = sum(part.marks for part in scheme.BY_HAND) - 6
    assert float(row["points still open"]) == open_marks, "99 of 6 marks is a mistake, so the part stays open"
    (again,) = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
    assert (again["report"], again["comment"], again["gate"]) == ("4,5", "Good.", "7")


def test_a_table_of_marks_from_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / tables.BY_HAND_FILE
    path.write_bytes("submission;student;report;comment\na-1;Ada;4,5;ein Plus für Mühe\n".encode("cp1252"))
    assert tables.read_by_hand(tmp_path)["a-1"]["report"] == "4,5"
    path.write_text("something else\n")
    with pytest.raises(CourseworkError):
        tables.write_tables(tmp_path, [stored()])
    assert path.read_text() == "something else\n"


def test_what_students_write_is_neither_html_nor_a_formula(tmp_path):
    tables.write_tables(tmp_path, [stored()])
    for path in tmp_path.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text and "<i>Ada" not in text and "<b>&" not in text
    assert ",=1+1" not in (tmp_path / "grades.csv").read_text(encoding="utf-8-sig")


def test_shared_work_is_named():
    assert len(tables.shared_work([stored(), stored()])) == 1


def test_a_cell_that_cannot_be_searched_is_named(tmp_path, easy):
    deep = "x = " + "1 + " * 20_000 + "1"
    hidden = "from importlib import import_module\nBlock = import_module('utils' + '.models').GatedBlock"
    network = "hand_in = {'network': lambda: torch.nn.Sequential(Block(3, 10), torch.nn.AdaptiveAvgPool2d(1))}"
    hand_ins.write(tmp_path / "handed-in" / "a", "import torch", deep, hidden, network)
    (result,) = grade.grade(tmp_path / "handed-in", limits=LIMITS)
    assert [re.search(r"cell (\d)", note)[1] for note in result["notes"]] == ["2", "3"]
    (reason,) = {part["reason"] for part in result["parts"] if part["name"] in ("gate", "weighted_sum", "structure")}
    assert "utils.models" in reason
