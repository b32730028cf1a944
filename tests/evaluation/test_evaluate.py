"""Tests of evaluate.py: the record agrees with a plain evaluation, and the test images are touched once."""

import dataclasses
import json

import pytest
import torch
from training_parts import images

from utils.data.cifar10 import CLASSES, Cifar10
from utils.errors import CourseworkError, LedgerWarning
from utils.evaluation import evaluate as evaluation
from utils.evaluation.evaluate import evaluate_run, weights_hash
from utils.evaluation.metrics import wilson_interval
from utils.evaluation.robustness import STRENGTHS, VIEWS
from utils.models.blocks import Block, Plan
from utils.models.count import flops
from utils.recipes import Recipe, load_run
from utils.runs.run import EVALUATION
from utils.training.budget import Budget

pytestmark = pytest.mark.usefixtures("one_thread")
ORIGIN = {"name": "drawn images", "source": "drawn", "fingerprint": "0123456789abcdef"}
SMALL = Budget("small", images=40)
GATED = Plan((Block((3, 6), (3, 3), after=("norm", "relu", "pool 4")),), ("mean", "linear 10"))
PLAIN = Plan((), ("conv 6", "relu", "pool 4", "mean", "linear 10"))


@pytest.fixture
def data():
    train, test = images(300, 32), images(110, 32, seed=1)
    train, test = (dataclasses.replace(split, origin=ORIGIN) for split in (train, test))
    return Cifar10(train, test, **ORIGIN)


@pytest.fixture
def train(data, tmp_path):
    """Return a function that trains a small recipe in a folder of the test's."""

    def make(network=GATED, folder=tmp_path / "run", watchers=(), **changes):
        recipe = Recipe("small", network, mean=(0.5,) * 3, std=(0.25,) * 3, lr=0.01, num_epochs=2, **changes)
        how = {"budget": Budget("all"), "device": "cpu", "precision": "fp32", "curves": False, "watchers": watchers}
        return recipe.train(data, folder=folder, **how)

    return make


def test_the_record_agrees_with_a_plain_evaluation(train, data):
    trained = train()
    loss, accuracy = trained.test()
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
        assert y == mistake["label"] != mistake["said"] == p.argmax()
        assert float(p.max()) == pytest.approx(mistake["confidence"], abs=1e-4)


def test_gates_are_there_for_gated_networks_and_none_for_plain_ones(train, tmp_path):
    gates = evaluate_run(train(), SMALL)["gates"]
    assert list(gates) == ["block1"] and torch.tensor(gates["block1"]).shape == (10, 2)
    assert evaluate_run(train(PLAIN, folder=tmp_path / "plain"), SMALL)["gates"] is None


def test_a_second_call_reads_the_record_and_leaves_the_test_images_alone(train, monkeypatch, capsys):
    trained = train()
    first = evaluate_run(trained, SMALL)
    assert json.loads((trained.folder / EVALUATION).read_text()) == first
    assert first["checkpoint"] in {path.name for path in trained.folder.glob("*.pt")}
    capsys.readouterr()
    monkeypatch.setattr(evaluation, "scores", lambda *_, **__: pytest.fail("the test images were touched again"))
    assert evaluate_run(trained, SMALL) == first
    assert "Measured before" in capsys.readouterr().out
    assert evaluate_run(train(), SMALL) == first  # the training as it is found again in its folder


def test_other_weights_are_measured_anew_and_the_second_look_is_counted(train, capsys):
    trained = train()
    first = evaluate_run(trained, SMALL)
    with torch.no_grad():
        trained.net.linear1.bias[3] += 5
    second = evaluate_run(trained, SMALL)
    assert "before this one: 1." in capsys.readouterr().out
    assert second["confusion"] != first["confusion"]
    assert [test["accuracy"] for test in trained.run.record["tests"]] == [first["accuracy"], second["accuracy"]]


def test_a_run_that_is_loaded_from_the_ledger_has_the_same_record(train, data, capsys):
    trained = train(average=0.9)
    first = evaluate_run(trained, SMALL)
    loaded = load_run(trained.run, data, "cpu")
    assert evaluate_run(loaded, SMALL) == first and "Measured before" in capsys.readouterr().out
    assert trained.run.evaluation == first
    (trained.folder / EVALUATION).unlink()
    again = evaluate_run(loaded, SMALL)
    assert {**again, "when": first["when"]} == first


def test_other_images_are_measured_anew(train):
    trained = train()
    first = evaluate_run(trained, SMALL)
    other = dataclasses.replace(images(110, 32, seed=2), origin=ORIGIN | {"fingerprint": "f" * 16})
    trained.test_iter.split = other
    assert evaluate_run(trained, SMALL)["data"]["fingerprint"] == "f" * 16 != first["data"]["fingerprint"]


@pytest.mark.parametrize("damage", [b"", b"[1]", b"{}", b'{"accuracy": 1.0}'])
def test_a_record_that_is_none_is_replaced(train, damage):
    trained = train()
    (trained.folder / EVALUATION).write_bytes(damage)
    record = evaluate_run(trained, SMALL)
    assert json.loads((trained.folder / EVALUATION).read_text()) == record and record["images"] == 110
    assert not list(trained.folder.glob("*.partial"))


def test_a_record_that_cannot_be_written_is_returned_all_the_same(train, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    trained = train()
    monkeypatch.setattr(evaluation, "write_json", full)
    with pytest.warns(LedgerWarning, match="no space left"):
        assert evaluate_run(trained, SMALL)["images"] == 110


def test_without_a_folder_the_record_is_only_returned(train):
    trained = train(folder=None)
    assert evaluate_run(trained, SMALL)["checkpoint"] is None


class StopAtOnce:
    """A watcher that stops a training after its first batch."""

    def after_batch(self, training):
        training.stop = True


@pytest.mark.parametrize("kept", [True, False], ids=["in a folder", "nowhere"])
def test_a_training_that_was_interrupted_is_refused_until_it_is_finished(train, data, tmp_path, monkeypatch, kept):
    folder = tmp_path / "run" if kept else None
    stopped = train(folder=folder, watchers=[StopAtOnce()])
    loaded = [load_run(stopped.run, data, "cpu")] if kept else []
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "scores", lambda *_, **__: pytest.fail("the test images were touched"))
        for one in [stopped, *loaded]:
            with pytest.raises(CourseworkError, match="this one is stopped: 0 of 2 epochs are done") as caught:
                evaluate_run(one, SMALL)
            assert "Train on" in caught.value.next_step and caught.value.where == folder
    assert evaluate_run(train(folder=folder), SMALL)["images"] == 110


def test_a_finished_training_whose_record_is_lost_is_measured_all_the_same(train):
    trained = train()
    (trained.folder / "run.json").unlink()
    assert evaluate_run(trained, SMALL)["images"] == 110


def test_views_and_robustness_take_as_many_images_as_the_budget_allows_and_say_so(train, monkeypatch):
    trained = train(folder=None)
    few = evaluate_run(trained, SMALL)
    assert few["views_images"] == few["robustness"]["images"] == 40 and few["images"] == 110
    assert list(few["views"]) == list(VIEWS) and few["views"]["plain"] == few["robustness"]["noise"]["accuracy"][0]
    assert all(few["robustness"][name]["strengths"] == list(strengths) for name, strengths in STRENGTHS.items())
    every = evaluate_run(trained, Budget("all"))
    assert every["views_images"] == 110 and every["views"]["plain"] == pytest.approx(every["accuracy"])
    monkeypatch.setattr(evaluation, "LEAST_IMAGES", 60)
    assert evaluate_run(trained, Budget("slow", macs=1.0))["views_images"] == 60
    work = evaluation.VIEW_PASSES * 100 * flops(trained.net) / evaluation.SHARE  # enough for 100 images' views
    record = evaluate_run(trained, Budget("middling", macs=work))
    assert record["views_images"] == 100 > record["robustness"]["images"] >= 60


def test_a_network_that_is_no_number_leaves_no_record(train):
    trained = train()
    trained.net.linear1.bias.data[0] = float("inf")
    with pytest.raises(CourseworkError, match="NaN or Inf"):
        evaluate_run(trained, SMALL)
    assert not (trained.folder / EVALUATION).exists()


def test_the_same_weights_have_the_same_hash_and_others_another(train):
    trained = train(folder=None)
    first = weights_hash(trained.net)
    assert first == weights_hash(train(folder=None).net) and len(first) == 16
    trained.net.block1.after[0].running_mean[0] += 1e-3  # batch norm's statistics count, too
    assert weights_hash(trained.net) != first
