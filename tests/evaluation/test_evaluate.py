"""Tests of evaluate.py: the record agrees with a plain evaluation, and the test images are touched once."""

import dataclasses
import importlib
import json
import math
import types

import pytest
import torch
from networks_by_hand import NetByHand
from torch import nn
from training_parts import StopAfter, images

from utils.data.cifar10 import CLASSES, Cifar10, Split
from utils.data.loader import BatchLoader
from utils.errors import CourseworkError, RecordWarning
from utils.evaluation.evaluate import evaluate, evaluate_run, weights_hash
from utils.evaluation.metrics import wilson_interval
from utils.evaluation.robustness import STRENGTHS, VIEWS
from utils.models import GatedBlock
from utils.models.count import macs
from utils.my_utils import loss_and_accuracy
from utils.recipes import Recipe, load_run
from utils.runs.run import EVALUATION
from utils.training.effort import Effort
from utils.training.step import Step

evaluation = importlib.import_module("utils.evaluation.evaluate")  # the room exports a function of this name
pytestmark = pytest.mark.usefixtures("one_thread")
ORIGIN = {"name": "synthetic images", "source": "synthetic", "checksum": "0123456789abcdef"}
SMALL = Effort("small", images=40)


def gated():
    net = nn.Sequential()
    after = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(4))
    net.add_module("block1", GatedBlock(3, 6, (3, 3), after=after))
    return net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)])


@pytest.fixture
def data():
    train, test = images(300, 32), images(110, 32, seed=1)
    train, test = (dataclasses.replace(split, origin=ORIGIN) for split in (train, test))
    return Cifar10(train, test, **ORIGIN)


@pytest.fixture
def train(data, tmp_path):
    """Return a function that trains a small recipe in a folder of the test's."""

    def make(network=gated, folder=tmp_path / "run", callbacks=(), **changes):
        recipe = Recipe("small", network, mean=(0.5,) * 3, std=(0.25,) * 3, lr=0.01, num_epochs=2, **changes)
        how = {"effort": Effort("all"), "device": "cpu", "precision": "fp32", "curves": False, "callbacks": callbacks}
        return recipe.train(data, folder=folder, **how)

    return make


def test_the_record_agrees_with_a_plain_evaluation(train, data):
    trained = train()
    options = {"predict": trained.step.predict}
    loss, accuracy = loss_and_accuracy(trained.net, trained.test_iter, trained.loss, **options)
    record = evaluate_run(trained, SMALL)
    assert record["accuracy"] == pytest.approx(accuracy) and record["loss"] == pytest.approx(loss, rel=1e-5)
    assert record["images"] == 110 and record["top"]["1"] == pytest.approx(accuracy)
    assert sorted(record["top"].values()) == list(record["top"].values())
    assert record["interval"] == list(wilson_interval(round(accuracy * 110), 110))
    confusion = torch.tensor(record["confusion"])
    assert torch.equal(confusion.sum(1), torch.bincount(data.test.labels, minlength=10))
    assert confusion.diagonal().sum() / 110 == pytest.approx(accuracy)
    assert record["per_class"]["recall"] == pytest.approx((confusion.diagonal() / confusion.sum(1)).tolist())
    assert sum(record["calibration"]["count"]) == 110
    assert record["classes"] == list(CLASSES)
    assert record["data"] == ORIGIN


def test_mistakes_lead_to_their_images(train):
    trained = train()
    for mistake in evaluate_run(trained, SMALL)["mistakes"]:
        X, y = trained.test_iter.split.images[[mistake["row"]]], trained.test_iter.split.labels[mistake["row"]]
        p = trained.net.eval()((X / 255 - 0.5) / 0.25).softmax(1)[0].detach()
        assert y == mistake["label"] != mistake["predicted"] == p.argmax()
        assert float(p.max()) == pytest.approx(mistake["confidence"], abs=1e-4)


def test_a_second_call_reads_the_record_and_leaves_the_test_images_alone(train, monkeypatch, capsys):
    trained = train()
    first = evaluate_run(trained, SMALL)
    assert json.loads((trained.folder / EVALUATION).read_text()) == first
    assert first["checkpoint"] in {path.name for path in trained.folder.glob("*.pt")}
    monkeypatch.setattr(evaluation, "scores", lambda *_, **__: pytest.fail("the test images were touched again"))
    assert evaluate_run(trained, SMALL) == first
    assert first["when"] in capsys.readouterr().out
    assert evaluate_run(train(), SMALL) == first  # the training as it is found again in its folder


def test_other_weights_are_measured_anew_and_the_second_look_is_counted(train, capsys):
    trained = train()
    first = evaluate_run(trained, SMALL)
    with torch.no_grad():
        trained.net[-1].bias[3] += 5
    second = evaluate_run(trained, SMALL)
    assert ": 1." in capsys.readouterr().out
    assert second["confusion"] != first["confusion"]
    assert [test["accuracy"] for test in trained.run.record["tests"]] == [first["accuracy"], second["accuracy"]]


def test_a_run_that_is_loaded_from_the_ledger_has_the_same_record(train, data, capsys):
    trained = train(average=0.9)
    first = evaluate_run(trained, SMALL)
    loaded = load_run(trained.run, data, "cpu", network=gated)
    assert evaluate_run(loaded, SMALL) == first and first["when"] in capsys.readouterr().out
    assert trained.run.evaluation == first
    (trained.folder / EVALUATION).unlink()
    again = evaluate_run(loaded, SMALL)
    assert {**again, "when": first["when"]} == first


def test_other_images_are_measured_anew(train):
    trained = train()
    first = evaluate_run(trained, SMALL)
    other = dataclasses.replace(images(110, 32, seed=2), origin=ORIGIN | {"checksum": "f" * 16})
    trained.test_iter.split = other
    assert evaluate_run(trained, SMALL)["data"]["checksum"] == "f" * 16 != first["data"]["checksum"]


@pytest.mark.parametrize("damage", [b"[1", b'{"accuracy": 1.0}'])
def test_a_record_that_is_none_is_replaced(train, damage):
    trained = train()
    (trained.folder / EVALUATION).write_bytes(damage)
    record = evaluate_run(trained, SMALL)
    assert json.loads((trained.folder / EVALUATION).read_text()) == record and record["images"] == 110
    assert not list(trained.folder.glob("*.partial"))


@pytest.mark.parametrize("writes", ["note_test", "write_json"])
def test_a_record_that_cannot_be_written_is_returned_all_the_same(train, monkeypatch, writes):
    def full(*_):
        raise OSError("no space left")

    trained = train()
    monkeypatch.setattr(evaluation, writes, full)
    with pytest.warns(RecordWarning, match="no space left"):
        assert evaluate_run(trained, SMALL)["images"] == 110


@pytest.mark.parametrize("kept", [True, False], ids=["in a folder", "nowhere"])
def test_a_training_that_was_interrupted_is_refused_until_it_is_finished(train, data, tmp_path, monkeypatch, kept):
    folder = tmp_path / "run" if kept else None
    stopped = train(folder=folder, callbacks=[StopAfter(1)])
    loaded = [load_run(stopped.run, data, "cpu", network=gated)] if kept else []
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "scores", lambda *_, **__: pytest.fail("the test images were touched"))
        for one in [stopped, *loaded]:
            with pytest.raises(CourseworkError, match="stopped: 0 of 2 epochs") as caught:
                evaluate_run(one, SMALL)
            assert "train()" in caught.value.next_step and caught.value.where == folder
    assert evaluate_run(train(folder=folder), SMALL)["images"] == 110


def test_a_finished_training_whose_record_is_lost_is_measured_all_the_same(train):
    trained = train()
    (trained.folder / "run.json").unlink()
    assert evaluate_run(trained, SMALL)["images"] == 110


def test_views_and_robustness_take_as_many_images_as_the_effort_allows_and_say_so(train, monkeypatch):
    trained = train(folder=None)
    few = evaluate_run(trained, SMALL)
    assert few["views_images"] == few["robustness"]["images"] == 40 and few["images"] == 110
    assert list(few["views"]) == list(VIEWS) and few["views"]["plain"] == few["robustness"]["noise"]["accuracy"][0]
    assert all(few["robustness"][name]["strengths"] == list(strengths) for name, strengths in STRENGTHS.items())
    every = evaluate_run(trained, Effort("all"))
    assert every["views_images"] == 110 and every["views"]["plain"] == pytest.approx(every["accuracy"])
    monkeypatch.setattr(evaluation, "LEAST_IMAGES", 60)
    assert evaluate_run(trained, Effort("slow", macs=1.0))["views_images"] == 60
    work = evaluation.VIEW_PASSES * 100 * macs(trained.net) / evaluation.SHARE  # enough for 100 images' views
    record = evaluate_run(trained, Effort("middling", macs=work))
    assert record["views_images"] == 100 > record["robustness"]["images"] >= 60


def test_a_network_that_is_no_number_leaves_no_record(train):
    trained = train()
    trained.net[-1].bias.data[0] = float("inf")
    with pytest.raises(CourseworkError, match="NaN or Inf"):
        evaluate_run(trained, SMALL)
    assert not (trained.folder / EVALUATION).exists()


def test_the_same_weights_have_the_same_hash_and_others_another(train):
    trained = train(folder=None)
    first = weights_hash(trained.net)
    assert first == weights_hash(train(folder=None).net) and len(first) == 16
    trained.net.block1.after[0].running_mean[0] += 1e-3  # batch norm's statistics count, too
    assert weights_hash(trained.net) != first


def foreign(classes):
    """Return a network that shares nothing with the suite's: its gate is fed by another layer's output."""
    return NetByHand(num_classes=classes)


def batches(classes, count=50, size=20):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(count, 3, 16, 16, generator=generator)
    return [*zip(X.split(size), (torch.arange(count) % classes).split(size), strict=True)]


@pytest.mark.parametrize(("classes", "kind"), [(3, list), (20, iter)], ids=["list", "one-shot generator"])
def test_any_network_is_measured_on_any_iterable_of_batches(classes, kind):
    net, data = foreign(classes).train(), batches(classes)
    record = evaluate(net, kind(data))
    assert net.training and json.loads(json.dumps(record)) == record
    X, y = (torch.cat(tensors) for tensors in zip(*data, strict=True))
    y_hat = net.eval()(X)
    assert record["accuracy"] == pytest.approx(float((y_hat.argmax(1) == y).float().mean()))
    assert record["loss"] == pytest.approx(nn.functional.cross_entropy(y_hat, y).item(), rel=1e-5)
    assert record["images"] == 50 and len(record["confusion"]) == len(record["classes"]) == classes
    assert record["classes"] == [str(c) for c in range(classes)] and set(record["top"]) <= {"1", "2", "3", "5"}
    gate = net.gate(net.stem(X).relu().mean((2, 3)))
    assert record["gates"]["network"][1] == pytest.approx(gate[y == 1].mean(0).tolist(), rel=1e-5)
    assert not {"views", "robustness", "when"} & record.keys()


def test_class_names_come_from_the_data_or_from_the_caller():
    data = batches(3)
    assert evaluate(foreign(3), data, classes=("ant", "bee", "cow"))["classes"] == ["ant", "bee", "cow"]
    dataset = torch.utils.data.TensorDataset(*(torch.cat(tensors) for tensors in zip(*data, strict=True)))
    dataset.classes = ["ant", "bee", "cow"]  # as torchvision's datasets have them
    loader = torch.utils.data.DataLoader(dataset, 25)
    assert evaluate(foreign(3), loader)["classes"] == ["ant", "bee", "cow"]
    assert evaluate(foreign(5), loader)["classes"] == ["ant", "bee", "cow", "3", "4"]
    part, _ = torch.utils.data.random_split(dataset, [30, 20])
    assert evaluate(foreign(3), torch.utils.data.DataLoader(part, 25))["classes"] == ["ant", "bee", "cow"]
    dataset.classes = ["ant", "bee"]  # not all labels have a name
    assert evaluate(foreign(3), loader)["classes"] == ["0", "1", "2"]


def test_a_large_margin_of_the_scores_has_its_whole_loss():
    batch = (torch.tensor([[200.0, 0.0], [0.0, 0.0]]), torch.tensor([1, 1]))
    assert evaluate(nn.Identity(), [batch])["loss"] == pytest.approx((200 + math.log(2)) / 2)


def test_a_loss_may_be_given_and_may_have_weights_for_the_classes():
    net, data = foreign(3).eval(), batches(3)
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.0, 0.0]))
    X, y = (torch.cat(tensors) for tensors in zip(*data, strict=True))
    assert evaluate(net, data, loss)["loss"] == pytest.approx(loss(net(X), y).item(), rel=1e-5)
    softmax = nn.Sequential(net, nn.Softmax(1))  # its scores are probabilities already
    assert evaluate(softmax, data)["loss"] == pytest.approx(evaluate(net, data)["loss"], rel=1e-5)


class SoftmaxForItsGate(nn.Module):
    def __init__(self, ends_in_softmax):
        super().__init__()
        self.gate, self.linear = nn.Linear(3, 3), nn.Linear(3, 10)
        self.ends_in_softmax = ends_in_softmax
        self.softmax = nn.Softmax(dim=1)

    def scores(self, X):
        X = X.mean((2, 3))
        return self.linear(self.softmax(self.gate(X)) * X)

    def forward(self, X):
        return self.scores(X).softmax(1) if self.ends_in_softmax else self.scores(X)


@pytest.mark.parametrize("ends_in_softmax", [False, True])
def test_a_softmax_that_is_listed_last_need_not_be_the_output(ends_in_softmax):
    torch.manual_seed(0)
    net, data = SoftmaxForItsGate(ends_in_softmax).eval(), batches(10)
    X, y = (torch.cat(tensors) for tensors in zip(*data, strict=True))
    facts = evaluate(net, data)
    assert facts["loss"] == pytest.approx(nn.functional.cross_entropy(net.scores(X), y).item(), rel=1e-5)
    assert all(mistake["confidence"] < 1 for mistake in facts["mistakes"])


def test_a_training_and_its_run_are_evaluated_through_the_same_door(train, data):
    trained = train()
    first = evaluate(trained, effort=SMALL)
    assert first == evaluate_run(trained, SMALL) == evaluate(trained.run, data, network=gated)
    assert evaluate(trained.net, trained.test_iter)["accuracy"] == first["accuracy"]
    assert evaluate(trained, effort="full") == first  # measured before; how to measure again is said


@pytest.mark.parametrize(
    "arguments, told",
    [
        ((foreign(3), None), "data must be .* is a NoneType"),
        ((foreign(3), []), "no batch"),
        ((foreign(2), batches(3)), "labels are from 0 to 2"),
        ((nn.Identity(), batches(3)), r"\(20, 3, 16, 16\)"),
        ((3,), "class int"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(arguments, told):
    with pytest.raises(CourseworkError, match=told):
        evaluate(*arguments)


def test_a_trainings_own_images_and_loss_are_not_replaced(train):
    with pytest.raises(CourseworkError, match="its own"):
        evaluate(train(folder=None), batches(10))


@pytest.mark.parametrize("count", [3, 20])
def test_a_training_on_other_classes_has_its_names(count):
    pixels = images(60, 16).images
    names = [f"class {chr(97 + i)}" for i in range(count)]
    test_iter = BatchLoader(Split(pixels, torch.arange(60) % count, ORIGIN), 25, mean=(0.5,) * 3, std=(0.25,) * 3)
    trained = types.SimpleNamespace(
        net=foreign(count), test_iter=test_iter, loss=nn.CrossEntropyLoss(), step=Step(), folder=None, run=None
    )
    trained.history = types.SimpleNamespace(stopped=False)
    record = evaluate_run(trained, SMALL, classes=names)
    assert record["classes"] == names and len(record["confusion"]) == len(record["gates"]["network"]) == count
    assert (
        record["robustness"]["images"] == 40 and record["views"]["plain"] == record["robustness"]["jpeg"]["accuracy"][0]
    )
    assert json.loads(json.dumps(record)) == record
