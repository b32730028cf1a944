"""Tests of what marking is made of: judgements of code, the search of sources, unpacking, messages, tables."""

import csv
import pickle
import shutil
import types
import zipfile
from pathlib import Path

import hand_ins
import pytest
import torch

from tools.grading import child_code, judge, mark_run, messages, scheme, source_checks, submissions, tables
from utils.errors import CourseworkError
from utils.files import read_json
from utils.report.marking import TASKS


class Here:
    """Stands in for a session: asks the functions of child_code in this process, through real messages."""

    def ask(self, do, **arguments):
        arguments = pickle.loads(pickle.dumps(arguments))
        try:
            result = getattr(child_code, do)(**arguments)
            return messages.decode(messages.encode({"result": result}))["result"]
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


@pytest.fixture
def hand_in(monkeypatch):
    """Return a function that defines the code of a notebook, and hands in its names as parts."""
    torch.manual_seed(0)

    def define(source):
        names = {"__name__": "handed_in"}
        exec(f"{hand_ins.NETWORK}\n{hand_ins.FUNCTIONS}\n{source}", names)
        entries = {"network": names["Net"]} | {name: names[name] for name in ("accuracy", "train_epoch", "evaluate")}
        monkeypatch.setattr(child_code, "shell", types.SimpleNamespace(user_ns={"hand_in": entries}))
        return Here()

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
        getattr(judge, name)(hand_in(code))


def test_an_accuracy_may_be_a_fraction(hand_in):
    judge.accuracy(hand_in("def accuracy(y_hat, y):\n    return float((y_hat.max(1).indices == y).double().mean())"))


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
        getattr(judge, name)(session)


def changed_network(old, new):
    assert old in hand_ins.NETWORK
    return hand_ins.NETWORK.replace(old, new)


def judged_network(session):
    """Judge a network's blocks and scores; return the name of the first part that is rejected, or None."""
    gates = session.ask("make_network")["gates"]
    for name in ("gate", "weighted_sum"):
        try:
            judge.each_block(getattr(judge, name), session, gates)
        except (judge.Mistake, ValueError):
            return name
        except judge.Unclear:
            return "unclear"
    try:
        judge.scores(session)
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
    assert judged_network(hand_in(changed_network(old, new))) == rejected


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
    "from utils.models import macs, summarise",
    "from utils.recipes import Recipe, load_run",
    "import torchvision.transforms.v2 as T",
    "class GatedBlock:\n    pass\n\nGatedBlock()",
    "%matplotlib inline\n!ls\nx = 1",
]


def trees_of(*sources):
    return list(map(source_checks.syntax_tree, sources))


@pytest.mark.parametrize("source", REFUSED)
def test_blocks_of_other_people_are_found_in_the_source(source):
    assert 2 in source_checks.forbidden_names(trees_of("x = 1", source)).values()


@pytest.mark.parametrize("source", ALLOWED)
def test_other_imports_are_allowed(source):
    assert source_checks.forbidden_names(trees_of(source)) == {}


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
    trees = trees_of(source, "hand_in = {'accuracy': f}")
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
            ".ipynb_checkpoints/handin-checkpoint.ipynb",
        ):
            archive.writestr(name, "x")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    (submission,) = submissions.find_submissions(tmp_path)
    assert submissions.unpack(submission, tmp_path / "work" / "s") == tmp_path / "work" / "s"
    assert submissions.find_notebook(tmp_path / "work" / "s").name == "handin.ipynb"
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
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
        b"3",
        b'{"float64": "AAAAAAAAAAA=", "shape": [1000000000, 1000000000]}',
        b'{"float64": "AAAAAAAAAAA=", "shape": "x"}',
        b'{"float64": "", "shape": [1]}',
        b'{"float64": 4, "shape": [1]}',
        b'{"float64": "AA=A", "shape": [1]}',
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
    rest = {"claims": ["=1+1"], "notes": [], "errors": ["<script>"], "seconds": 1.0, "is_confined": True}
    return {"key": "a-1", "student": "<i>Ada", "id": "7", "parts": entries, "weights": "w", "code": None} | rest


def test_marks_by_hand_are_added_by_the_next_call(tmp_path):
    tables.write_tables(tmp_path, [stored(gate=10)])
    path = tmp_path / tables.BY_HAND_FILE
    rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    rows[0] |= {"report": "4,5", "experiment": "99", "comment": "Good.", "gate": "7"}
    path.write_bytes(tables.as_csv(rows))
    tables.write_tables(tmp_path, [stored(gate=10)])
    (row,) = csv.DictReader((tmp_path / "grades.csv").read_text(encoding="utf-8-sig").splitlines())
    assert float(row["points so far"]) == 11.5, "the teacher's column for the gate replaces its points"
    open_marks = sum(part.marks for part in scheme.PARTS if part.is_by_hand) - 6
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


def test_the_pages_of_the_sample_are_what_marking_makes_of_its_result(tmp_path):
    sample = Path(tables.__file__).parents[2] / "docs" / "sample" / "submissions-graded"
    (result,) = (read_json(path) for path in sample.glob("students/*/result.json"))
    shutil.copy(sample / tables.BY_HAND_FILE, tmp_path)
    tables.write_tables(tmp_path, [result])
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 7
    for path in written:
        assert (tmp_path / path).read_bytes() == (sample / path).read_bytes(), path


@pytest.mark.parametrize(("tested", "is_doubted"), [(10_000, True), (1_000, False), (100_000, True)])
def test_an_accuracy_on_few_test_images_may_differ_by_luck(tested, is_doubted):
    labels = torch.arange(10_000) % 10
    predicted = torch.where(torch.arange(10_000) % 100 < 91, labels, labels + 1)
    marking = types.SimpleNamespace(
        test_set=types.SimpleNamespace(
            labels=labels.numpy(), data=types.SimpleNamespace(source="synthetic", name="easy")
        ),
        run=types.SimpleNamespace(
            record={"test_images": tested, "tests": [{"accuracy": 0.92, "views": "plain"}]}, evaluation=None
        ),
        notes=[],
        claims=[],
        give=lambda *arguments: None,
    )
    mark_run.mark_accuracy(marking, torch.cat([predicted, predicted[: mark_run.CHANGED]]))
    assert marking.measured == 0.91 and bool(marking.claims) == is_doubted
