"""A record of a finished training says what was reached, with single predictions and with test-time augmentation."""

import importlib
import json

import pytest
import torch
from torch import nn

from utils import runs
from utils.errors import CourseworkError
from utils.experiments.records import (
    beside_reported,
    gate_differences,
    group_records,
    make_record,
    read_records,
    record_path,
    save_record,
)
from utils.files import plain, write_json
from utils.recipes import SYSTEMS, WITHOUT_SOFTMAX
from utils.runs.run import Run
from utils.runs.run_table import tta_accuracy
from utils.training.effort import Effort

CPU = torch.device("cpu")
FEW = Effort("few", images=200, epochs=2)


@pytest.fixture
def tiny(tiny, ledger_folder):
    """Return a recipe with test-time augmentation that trains in a second."""
    return tiny.change(views="flip")


def train(recipe, data, protocol="train_on_all", **options):
    return recipe.train(data, protocol=protocol, effort=FEW, device="cpu", curves=False, **options)


@pytest.fixture
def record(tiny, data):
    return json.loads(json.dumps(make_record(train(tiny, data), 12.5)))


def test_a_record_says_what_was_reached_on_what_and_in_what_time(tiny, data, record):
    assert record["system"] == "tiny" and record["protocol"] == "train_on_all" and record["seed"] == 0
    assert record["data"]["checksum"] == data.checksum and record["images"] == 200
    assert record["test_images"] == 100 and record["epochs"] == 2 and record["seconds"]["training"] == 12.5
    assert record["views"] == "flip" and {record["accuracy"], record["plain_accuracy"]} <= {i / 100 for i in range(101)}
    low, high = record["interval"]
    assert low < record["accuracy"] < high
    assert "torch" in record["device"] and len(record["history"]["train_loss"]) == 2
    assert record["recipe"] == plain(tiny.describe())


def test_single_predictions_and_test_time_augmentation_are_two_columns_of_the_table(tiny, data, monkeypatch):
    evaluation = importlib.import_module("utils.evaluation.evaluate")  # the room exports a function of this name
    monkeypatch.setattr(evaluation, "accuracy_of_views", lambda net, split, names, **how: dict.fromkeys(names, 0.875))
    trained = train(tiny, data)
    found = make_record(trained, 1.0)
    assert found["accuracy"] == 0.875 != found["plain_accuracy"]
    noted = [(test["accuracy"], test["views"], test["loss"]) for test in trained.run.record["tests"]]
    assert noted == [(0.875, "flip", None), (found["plain_accuracy"], "plain", found["loss"])]
    line = runs.table().loc[trained.run.name]
    assert line["test_acc"] == found["plain_accuracy"] == runs.tested_accuracy(trained.run)
    assert line["test_acc_tta"] == 0.875 and line["error_rate"] == pytest.approx(1 - found["plain_accuracy"])


class Forgetful(nn.Module):
    """A network whose dropout leaves nothing: in training mode all images get the scores of the last biases."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(1.0), nn.Linear(48, num_classes))

    def forward(self, X):
        return self.layers(X)


def test_report_c_is_also_measured_in_training_mode(tiny, data):
    recipe = tiny.change(network=Forgetful, network_settings={}, reported={"test_acc": 0.84, "in_training_mode": True})
    trained = train(recipe, data)
    with torch.no_grad():
        trained.net.layers[3].weight[0] = 100.0  # class 0, but only where the features are not dropped
        trained.net.layers[3].bias[:] = torch.eye(10)[7]
    found = make_record(trained, 1.0)
    of_class_7 = (trained.test_iter.split.labels == 7).float().mean().item()
    assert found["training_mode_accuracy"] == pytest.approx(of_class_7) != found["plain_accuracy"]
    assert "training_mode_accuracy" not in make_record(train(tiny, data), 1.0)


@pytest.mark.parametrize(
    ("tests", "single", "averaged"),
    [
        ([{"accuracy": 0.5, "views": "plain"}, {"accuracy": 0.75, "views": "flip"}], 0.5, 0.75),
        ([{"accuracy": 0.75, "views": "flip"}], None, 0.75),
        ([], None, None),
    ],
)
def test_an_accuracy_of_views_never_counts_as_one_of_single_predictions(tmp_path, tests, single, averaged):
    write_json(tmp_path / "run.json", {"state": "finished", "tests": tests})
    assert (runs.tested_accuracy(Run(tmp_path)), tta_accuracy(Run(tmp_path))) == (single, averaged)


def test_under_the_reports_protocol_the_last_epoch_counts_and_the_best_is_named(tiny, data):
    trained = train(tiny.change(views="plain"), data, "watch_test")
    found = make_record(trained, 1.0)
    assert found["accuracy"] == found["plain_accuracy"] == trained.history["test_acc"][-1]
    assert found["best_epoch"]["accuracy"] == max(trained.history["test_acc"])


def test_an_unfinished_training_gives_no_record(tiny, data):
    trained = train(tiny, data, folder=None)
    trained.history.stopped = True
    with pytest.raises(CourseworkError, match="stopped"):
        make_record(trained, 1.0)


def test_each_recipe_seed_protocol_device_and_kind_of_images_has_a_file_of_its_own(tiny, data):
    how = {"seed": 0, "protocol": "train_on_all", "device": CPU}
    changes = [{"seed": 1}, {"protocol": "watch_test"}, {"device": torch.device("cuda", 0)}]
    paths = {record_path(tiny, data, **(how | change)) for change in [{}, *changes]} | {
        record_path(tiny.change(lr=1), data, **how)
    }
    assert len(paths) == 5 and record_path(tiny, data, **how) == record_path(tiny, data, **how)


def test_what_is_kept_is_read_again_and_damage_is_said(tmp_path, record):
    save_record(record, tmp_path / "results" / "one.json")
    assert list(read_records(tmp_path / "results").values()) == [record]
    (tmp_path / "results" / "two.json").write_text('{"half')
    with pytest.raises(CourseworkError, match="record"):
        read_records(tmp_path / "results")


def test_beside_the_reported_accuracies_stand_our_records_of_the_original_images():
    recipe = SYSTEMS["plain_cnn"]
    facts = {"system": recipe.name, "recipe": plain(recipe.describe()), "epochs": 30}

    def record(accuracy, images="CIFAR-10", protocol="watch_test", **changes):
        return facts | {"accuracy": accuracy, "data": {"name": images}, "protocol": protocol} | changes

    copies, other = record(0.9, "JPEG copies of CIFAR-10"), record(0.9, recipe={})
    watched = [record(0.5, best_epoch={"accuracy": 0.75}), record(0.75, best_epoch={"accuracy": 0.875})]
    (row,) = beside_reported([copies, record(0.9, protocol="validation"), *watched, other])
    assert (row["report"], row["reported"], row["seeds"], row["mean"], row["best"]) == ("C", 0.84, 2, 0.625, 0.8125)
    (row,) = beside_reported([record(0.9, protocol="validation")])
    assert (row["mean"], row["best"], row["protocol"]) == (0.9, None, "validation")
    assert beside_reported([copies]) == []


def test_report_b_has_a_row_for_each_of_its_two_forms():
    recipes = [WITHOUT_SOFTMAX, SYSTEMS["sigmoid_gated"], SYSTEMS["shortcut_gated"]]
    facts = {"data": {"name": "CIFAR-10"}, "protocol": "watch_test", "accuracy": 0.5, "epochs": 1}
    rows = beside_reported([facts | {"system": r.name, "recipe": plain(r.describe())} for r in recipes])
    assert [row["report"] for row in rows] == ["B", "B", "D"]
    assert [row["system"] for row in rows[:2]] == ["shortcut_gated", "shortcut_gated_logits"]


def test_an_apple_gpu_does_not_count_as_a_cpu(record):
    devices = ["Apple M4 GPU (10 cores), torch 2.11", "Apple M4 (10 cores), torch 2.11"]
    assert len(group_records([record | {"device": device} for device in devices])) == 2


def test_a_blind_gate_is_compared_with_a_gate_whose_branches_start_as_differently():
    facts = {"protocol": "train_on_all", "device": "AMD EPYC (2 cores)", "data": {"name": "CIFAR-10"}}
    accuracies = {"narrow": (1.0, 1.0), "narrow_different_start": (0.75, 0.5), "narrow_blind_gate": (0.5, 0.375)}
    records = [
        facts | {"system": system, "seed": seed, "plain_accuracy": accuracy}
        for system, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    (row,) = gate_differences(records).to_dict("records")
    assert (row["network"], row["against"], row["differences"]) == ("narrow", "blind gate", [25.0, 12.5])


def test_the_gate_is_compared_seed_by_seed_on_the_original_images():
    def record(system, seed, accuracy, images="CIFAR-10", device="AMD EPYC (2 cores)"):
        facts = {"system": system, "seed": seed, "protocol": "train_on_all", "device": device}
        return facts | {"plain_accuracy": accuracy, "data": {"name": images}}

    records = [record("quick", 0, 0.875), record("quick", 1, 0.75), record("quick", 2, 0.5)]
    records += [record("quick_one_branch", 1, 0.5), record("quick_one_branch", 0, 0.75)]
    records += [record("quick_one_branch", 2, 0.25, device="NVIDIA H200")]  # another device: no pair
    records += [record("quick_constant_gate", 0, 0.25)]  # a single pair is not compared
    records += [record(name, seed, 0.5, "copies") for name in ("quick", "quick_one_branch") for seed in (0, 1)]
    table = gate_differences(records)
    assert table.to_dict("records") == [{"network": "quick", "against": "one branch", "differences": [12.5, 25.0]}]


def test_the_committed_records_compare_the_small_gated_recipes_with_both_versions():
    table = gate_differences()
    assert {*table["network"]} >= {"narrow", "quick"} and {*table["against"]} >= {"one branch", "constant gate"}
