"""The systems: each trains and learns, reported ones have their report's numbers, ablations change only the gate."""

import json

import pytest
import torch
from torch import nn

from utils.errors import CourseworkError
from utils.evaluation.evaluate import measure_test_accuracy
from utils.models import NETWORKS, summarise
from utils.my_utils import evaluate_accuracy, train_epoch_ch3
from utils.optim.losses import make_loss
from utils.optim.optimizers import make_optimizer
from utils.optim.schedules import lr_curve
from utils.recipes import ABLATIONS, GATED, OURS, SYSTEMS, WITHOUT_GATE, find_system
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.training.effort import Effort

ROWS = (*C_ROWS, *D_ROWS)


@pytest.mark.parametrize("name", [*SYSTEMS, *OURS, *ABLATIONS])
def test_each_system_trains_an_epoch_by_its_own_recipe(name, data):
    images, _ = Effort("some", images=96).cut(data, 1, 1)
    recipe = find_system(name).change(num_epochs=1)
    trained = recipe.train(images, protocol="watch_test", folder=None, curves=False, device="cpu")
    row = trained.history.rows[0]
    assert row["epoch"] == 1
    assert 0 < row["train_loss"] < 10
    assert 0 <= row["test_acc"] <= 1
    assert all(parameter.isfinite().all() for parameter in trained.net.parameters())
    assert measure_test_accuracy(trained)["accuracy"] == row["test_acc"]


@pytest.mark.parametrize("name", [*SYSTEMS, *OURS])
def test_each_system_memorises_one_batch(name, data):
    torch.manual_seed(0)
    recipe = find_system(name)
    rows = torch.arange(10) * len(data.train) // 10
    X = (data.train.images[rows].float() / 255 - 0.5) / 0.25
    batch = [(X, data.train.labels[rows])]
    net = recipe.make_network()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.5  # few steps are taken: what is measured in eval mode has to follow them
    # Softmaxed scores have no gradient left where a large step made the network sure and wrong.
    optimizer = make_optimizer("adam", net, 3e-4 if isinstance(net[-1], nn.Softmax) else 1e-3)
    loss = make_loss(recipe.loss, **recipe.loss_settings)
    for _ in range(25):
        train_epoch_ch3(net, batch * 4, loss, optimizer)
        if evaluate_accuracy(net, batch) > 0.99:
            return
    pytest.fail(f"{evaluate_accuracy(net, batch):.0%} after 100 steps on 10 images")


def test_the_recipes_hold_the_reports_numbers():
    settings = {
        name: (r.batch_size, r.optimizer, r.lr, r.optimizer_settings.get("weight_decay"), r.schedule, r.num_epochs)
        for name, r in SYSTEMS.items()
    }
    assert settings["softmax_gated"][:3] == (150, "adam", 1e-3)
    assert settings["softmax_gated"][4:] == ("constant", 40)
    assert settings["shortcut_gated"] == (256, "adam", 1e-3, 5e-4, "constant", 25)
    assert settings["plain_cnn"] == (60, "adam", 5e-4, None, "constant", 30)
    assert settings["sigmoid_gated"] == (512, "adamw", 1e-3, 1e-4, "plateau", 90)
    assert settings["dropout_cnn"][:3] == (64, "sgd", 0.01)
    assert SYSTEMS["sigmoid_gated"].clip_value == 0.1
    assert SYSTEMS["dropout_cnn"].schedule_settings == {"factor": 0.1, "patience": 10}
    assert SYSTEMS["plain_cnn"].mean == SYSTEMS["plain_cnn"].std == (0.5, 0.5, 0.5)
    assert [r.reported["test_acc"] for r in SYSTEMS.values()] == [0.8885, 0.8367, 0.84, 0.9051, 0.8565]


REPORTED = (*SYSTEMS.values(), *(row.recipe for row in ROWS))


@pytest.mark.parametrize("recipe", [*REPORTED, *OURS.values()], ids=lambda recipe: recipe.name)
def test_a_recipe_is_plain_data_and_a_reported_one_names_its_report(recipe):
    facts = json.loads(json.dumps(recipe.describe()))
    assert facts == recipe.describe() and facts["network"] in NETWORKS
    is_reported = recipe in REPORTED
    assert bool(recipe.report) == bool(recipe.reported) == bool(recipe.not_stated) == is_reported


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.recipe.name)
def test_each_row_of_the_tables_builds_its_network_optimizer_and_loss(row):
    with torch.device("meta"):
        net = row.recipe.make_network()
        scores = net(torch.empty(2, 3, 32, 32))
    assert scores.shape == (2, 10)
    make_optimizer(row.recipe.optimizer, net, row.recipe.lr, **row.recipe.optimizer_settings)
    assert 0.4 < row.reported["test_acc"] < 0.95


TRAINED = (C_ROWS[2], C_ROWS[9], D_ROWS[0], D_ROWS[4], D_ROWS[7], D_ROWS[10], D_ROWS[13])  # the others: make faults


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=[] if row in TRAINED else pytest.mark.faults, id=row.recipe.name) for row in ROWS]
)
def test_rows_of_the_tables_train(row, data):
    images, _ = Effort("some", images=64).cut(data, 1, 1)
    trained = row.recipe.change(num_epochs=1).train(images, folder=None, curves=False, device="cpu")
    assert len(trained.history) == 1


def test_the_tables_have_all_rows():
    assert [row.number for row in C_ROWS] == list(range(1, 16))
    assert [round(100 * row.reported["test_acc"]) for row in C_ROWS] == [
        69, 73, 67, 73, 74, 79, 80, 66, 69, 66, 80, 81, 81, 83, 84,
    ]  # fmt: skip
    assert [row.number for row in D_ROWS] == list(range(1, 20))
    assert [row.reported["test_acc"] for row in D_ROWS][-3:] == [0.9035, 0.9138, 0.9051]


def test_the_first_row_of_report_c_has_twelve_convolutions_one_of_them_with_stride_2():
    net = C_ROWS[0].recipe.make_network()
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 12 and sum(isinstance(layer, nn.Linear) for layer in net) == 4
    assert sum(layer.stride == (2, 2) for layer in convolutions) == 1
    assert list(dict.fromkeys(layer.out_channels for layer in convolutions)) == [32, 64, 128, 256, 512]


def test_the_appendix_of_report_d_has_the_maps_that_it_prints():
    sizes = {0: 16, 2: 8, 3: 17, 4: 20, 6: 2, 8: 1, 13: 2, 14: 2, 15: 2, 17: 2}
    for number, size in sizes.items():
        with torch.device("meta"):
            net = D_ROWS[number].recipe.make_network()
            X = torch.empty(2, 3, 32, 32)
            for name, layer in net.named_children():
                X = layer(X) if name.startswith("block") else X
        assert X.shape[2:] == (size, size), D_ROWS[number].label


def test_report_ds_polynomial_and_cyclic_rates_follow_each_other():
    row = next(row for row in D_ROWS if "v0.5.9" in row.label)
    settings = row.recipe.schedule_settings
    assert (row.recipe.schedule, settings["first"], settings["then"]) == ("sequential", "polynomial", "cyclic")
    _, rates = lr_curve("sequential", 1.0, num_epochs=52, batches=4, **settings)
    half = len(rates) // 2
    assert rates[0] == 1.0 and rates[half - 2] < 0.01 and max(rates[half:]) > 0.9


def test_the_ablations_change_nothing_but_the_gate():
    for base in GATED:
        for recipe in (recipe for pair in WITHOUT_GATE[base.name] for recipe in pair):
            assert recipe.change(name=base.name, network_settings=base.network_settings) == base
            layers = zip(layers_of(recipe), layers_of(base), strict=True)
            for without, gated in layers:
                assert (without["shape"], without["kind"]) == (gated["shape"], gated["kind"])
                changed = {name for name in gated["gated"] or {} if without["gated"][name] != gated["gated"][name]}
                assert changed <= {"k", "gate", "branches", "branch_steps", "kernel_sizes"}
        assert all(layer["gated"]["k"] >= 3 for layer in layers_of(base) if layer["gated"])


def layers_of(recipe):
    with torch.device("meta"):
        return summarise(recipe.make_network())["layers"]


def test_an_unknown_system_is_refused_with_the_names_of_all():
    with pytest.raises(CourseworkError) as error:
        find_system("resnet")
    assert all(name in str(error.value) for name in SYSTEMS)
    assert find_system("plain_cnn") is SYSTEMS["plain_cnn"]
