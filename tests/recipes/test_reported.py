"""The recipes: each reported system trains and learns, the tables stand as data, runs go on as they were."""

import json
import random

import numpy as np
import pytest
import torch
from networks import small_cnn
from torch import nn
from training_parts import same

from utils.data.augment import Shrink
from utils.errors import CheckpointError, CourseworkError
from utils.evaluation.evaluate import measure_test_accuracy
from utils.models import NETWORKS, GatedBlock, summarise
from utils.models.basic_layers import GlobalMaxPool, Whiten
from utils.my_utils import evaluate_accuracy, train_epoch_ch3
from utils.optim.losses import make_loss
from utils.optim.optimizers import make_optimizer
from utils.optim.schedules import lr_curve
from utils.recipes import (
    ABLATIONS,
    GATED,
    OURS,
    SYSTEMS,
    WITHOUT_GATE,
    Recipe,
    find_system,
    load_run,
)
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.recipes.train import laid_out
from utils.runs.run import Run
from utils.training.effort import EFFORTS, Effort, choose_effort

ROWS = (*C_ROWS, *D_ROWS)


@pytest.fixture
def tiny(data, tmp_path, monkeypatch):
    """Return a recipe that trains in a second, with trainings kept in a folder of the test."""
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))
    return Recipe("tiny", with_dropout, batch_size=48, num_epochs=2, lr=0.01)


def with_dropout():
    return nn.Sequential(nn.Dropout(0.1), small_cnn())


def whitened():
    return nn.Sequential(Whiten(3, 2), nn.GELU(), nn.MaxPool2d(4), GlobalMaxPool(), nn.Linear(24, 10))


SMALL = {"effort": "check", "curves": False, "precision": "fp32", "device": "cpu"}


@pytest.mark.parametrize("name", [*SYSTEMS, *OURS, *ABLATIONS])
def test_each_system_trains_an_epoch_by_its_own_recipe(name, data, tmp_path):
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


@pytest.mark.parametrize("row", [C_ROWS[2], C_ROWS[9], D_ROWS[0], D_ROWS[4], D_ROWS[7], D_ROWS[10], D_ROWS[13]])
def test_rows_of_the_tables_train(row, data, tmp_path):
    images, _ = Effort("some", images=64).cut(data, 1, 1)
    trained = row.recipe.change(num_epochs=1).train(images, folder=None, curves=False, device="cpu")
    assert len(trained.history) == 1


@pytest.mark.faults
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.recipe.name)
def test_every_row_of_the_tables_trains(row, data):
    test_rows_of_the_tables_train(row, data, None)


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


def test_protocols_watch_other_images(tiny, data):
    validation = tiny.train(data, protocol="validation", **SMALL)
    watch_test = tiny.train(data, protocol="watch_test", **SMALL)
    assert "val_acc" in validation.history.rows[0]
    assert "test_acc" not in validation.history.rows[0]
    assert "test_acc" in watch_test.history.rows[0]
    train_on_all = tiny.train(data, protocol="train_on_all", **SMALL)
    assert (
        not {"val_acc", "test_acc"} & set(train_on_all.history.rows[0])
        and measure_test_accuracy(train_on_all)["accuracy"] > 0
    )
    images = [trained.run.record["images"] for trained in (train_on_all, watch_test, validation)]
    assert images[0] == images[1] > images[2]
    assert len({validation.folder, watch_test.folder, train_on_all.folder}) == 3
    with pytest.raises(CourseworkError, match="no protocol"):
        tiny.train(data, protocol="best", **SMALL)


def test_report_ds_polynomial_and_cyclic_rates_follow_each_other():
    row = next(row for row in D_ROWS if "v0.5.9" in row.label)
    settings = row.recipe.schedule_settings
    assert (row.recipe.schedule, settings["first"], settings["then"]) == ("sequential", "polynomial", "cyclic")
    _, rates = lr_curve("sequential", 1.0, num_epochs=52, batches=4, **settings)
    half = len(rates) // 2
    assert rates[0] == 1.0 and rates[half - 2] < 0.01 and max(rates[half:]) > 0.9


def test_the_callers_random_numbers_are_as_they_were_after_a_training(tiny, data):
    class Draw:
        """A callback that draws, as an augmentation of a student's own might."""

        def __init__(self):
            self.numbers = []

        def after_batch(self, training):
            self.numbers += [random.random(), np.random.rand()]

    draws = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        expected = random.Random(seed).random(), np.random.RandomState(seed).rand(), torch.get_rng_state()
        draw = Draw()
        tiny.train(data, folder=None, callbacks=[draw], **SMALL)
        assert (random.random(), np.random.rand()) == expected[:2] and torch.equal(torch.get_rng_state(), expected[2])
        draws.append(draw.numbers)
    assert draws[0] and draws[0] == draws[1]  # a training's own numbers depend on its seed alone


def test_numbers_of_numpy_can_be_recorded(tiny, data):
    changed = tiny.change(
        lr=np.float32(0.25), num_epochs=np.int64(1), optimizer_settings={"betas": (np.float64(0.5), 0.9)}
    )
    trained = changed.train(data, seed=np.int64(3), **SMALL)
    assert trained.run.record["recipe"]["lr"] == 0.25 and trained.run.record["seed"] == 3
    assert type(changed.lr) is float and type(changed.num_epochs) is int
    with pytest.raises(TypeError):
        tiny.train(data, seed=0.5, **SMALL)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_arrays_and_tensors_can_be_recorded(tiny, kind):
    plainly = tiny.change(mean=(0.5, 0.25, 0.5), lr=0.25)
    given = tiny.change(mean=kind([0.5, 0.25, 0.5]), lr=kind(0.25))
    assert given.describe() == plainly.describe()
    assert type(given.mean) is tuple and type(given.lr) is float


@pytest.mark.parametrize("epochs", [0, -1])
def test_a_recipe_has_an_epoch_at_least(tiny, epochs):
    with pytest.raises(CourseworkError, match="at least one epoch"):
        tiny.change(num_epochs=epochs)


@pytest.mark.parametrize(
    ("make", "together"),
    [
        (NETWORKS["softmax_gated"], True),
        (NETWORKS["plain_backbone"], True),
        (lambda: NETWORKS["gated_backbone"]((8, 8), (3, 1, 1)), True),
        (lambda: NETWORKS["gated_backbone"]((8, 8), (3,)), True),
        (lambda: NETWORKS["gated_backbone"]((8, 8), (3, 3, 3)), False),
    ],
    ids=["branches with a ReLU", "plain", "kernels of two sizes", "one branch", "branches that are merged"],
)
def test_a_pixels_channels_lie_together_unless_gated_convolutions_merge_branches_on_a_cpu(make, together):
    net = laid_out(make(), "cpu")
    convolutions = [layer.weight for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    assert convolutions and all(w.is_contiguous() != together or w.shape[2:] == (1, 1) for w in convolutions)
    on_gpu = [layer.weight for layer in laid_out(make(), "cuda").modules() if isinstance(layer, nn.Conv2d)]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in on_gpu)
    last = [layer for layer in net if isinstance(layer, (GatedBlock, nn.Conv2d))][-1]
    maps = []
    last.register_forward_hook(lambda layer, _, Y: maps.append(Y))
    net(torch.randn(4, 3, 32, 32))
    assert maps[0].is_contiguous(memory_format=torch.channels_last) == together or maps[0].shape[2:] == (1, 1)


def test_the_ablations_change_nothing_but_the_gate():
    for base in GATED:
        for recipe in WITHOUT_GATE[base.name]:
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


@pytest.mark.parametrize("average", [None, 0.9])
def test_what_was_trained_is_what_is_tested(tiny, data, average):
    trained = tiny.change(average=average).train(data, protocol="watch_test", **SMALL)
    found = measure_test_accuracy(trained)
    assert found["accuracy"] == trained.history["test_acc"][-1]
    assert found["loss"] == pytest.approx(trained.history["test_loss"][-1], rel=1e-5)


def test_each_difference_has_a_folder_of_its_own(tiny, data):
    changes = [{}, {"lr": 0.02}, {"batch_size": 50}, {"average": 0.9}, {"num_epochs": 1}]
    folders = {tiny.change(**change).train(data, **SMALL).folder for change in changes}
    folders |= {tiny.train(data, seed=1, **SMALL).folder}
    assert len(folders) == len(changes) + 1


def test_a_folder_of_another_training_is_refused_and_says_what_differs(tiny, data, tmp_path):
    tiny.train(data, folder=tmp_path / "mine", **SMALL)
    with pytest.raises(CheckpointError, match=r"recipe.lr: 0.01 in the checkpoint, now 0.02"):
        tiny.change(lr=0.02).train(data, folder=tmp_path / "mine", **SMALL)


def test_seeds_decide_the_result(tiny, data):
    nets = [tiny.train(data, folder=None, seed=seed, **SMALL).net.state_dict() for seed in (0, 0, 1)]
    assert same(nets[0], nets[1])
    assert not same(nets[0], nets[2])


def test_efforts_cut_images_and_epochs_and_keep_all_classes(data):
    images, epochs = EFFORTS["check"].cut(data, 40, 1e9)
    assert (len(images.train), len(images.test), epochs) == (200, 100, 2)
    assert len(images.train.labels.unique()) == 10
    assert EFFORTS["full"].cut(data, 40, 1e9) == (data, 40)
    assert EFFORTS["check"].cut(data, 1, 1e9)[1] == 1


def test_a_training_cut_short_shrinks_its_images_for_its_share_of_the_epochs(tiny, data):
    sizes = []

    class Watch:
        def after_batch(self, training):
            sizes.append(training.train_iter.batch(training.epoch, 0)[0].shape[-1])

    recipe = tiny.change(augment=(Shrink(16, epochs=5),), num_epochs=8)
    recipe.train(data, effort=Effort("short", images=100, epochs=2), folder=None, curves=False, callbacks=[Watch()])
    assert sizes == sorted(sizes) and sizes.count(16) == sizes.count(32) > 0
    assert Shrink(16, epochs=5).for_epochs(8, 8) == Shrink(16, epochs=5)
    assert Shrink(16, epochs=5).for_epochs(1, 8).epochs == 0


@pytest.mark.parametrize(
    ("macs_per_image", "num_epochs", "expected"),
    [
        (1e4, 40, (10_000, 40)),  # a small network: all of it
        (1e6, 40, (10_000, 20)),  # fewer epochs first
        (1e7, 40, (6_666, 3)),  # then fewer images
        (1e7, 2, (10_000, 2)),
        (1e9, 40, (100, 3)),
    ],
)
def test_an_effort_in_multiply_adds_gives_up_epochs_first_and_then_images(data, macs_per_image, num_epochs, expected):
    images, epochs = Effort("some", macs=6e11).cut(data, num_epochs, macs_per_image)
    assert (len(images.train), epochs) == expected


def test_the_effort_is_named_or_follows_the_hardware(monkeypatch):
    monkeypatch.delenv("COURSEWORK_EFFORT", raising=False)
    monkeypatch.setenv("COURSEWORK_BUDGET", "smoke")  # the variable and a name of the first version
    assert choose_effort(None, "cuda").name == "check"
    monkeypatch.delenv("COURSEWORK_BUDGET")
    assert [choose_effort(None, device).name for device in ("cpu", "cuda")] == ["demo", "full"]
    monkeypatch.setenv("COURSEWORK_EFFORT", "check")
    assert choose_effort(None, "cuda").name == "check"
    assert choose_effort("full").name == "full"
    monkeypatch.setenv("COURSEWORK_EFFORT", "tiny")
    with pytest.raises(CourseworkError, match="no effort 'tiny'") as error:
        choose_effort()
    assert error.value.where == "COURSEWORK_EFFORT"


def test_an_unknown_system_is_refused_with_the_names_of_all():
    with pytest.raises(CourseworkError) as error:
        find_system("resnet")
    assert all(name in str(error.value) for name in SYSTEMS)
    assert find_system("plain_cnn") is SYSTEMS["plain_cnn"]


def test_a_whitening_layer_learns_from_the_training_images_before_the_first_batch(data, tmp_path):
    recipe = Recipe("white", whitened, num_epochs=1, optimizer="sgd", lr=0.1)
    trained = recipe.train(data, folder=tmp_path, **SMALL)
    other = recipe.train(data, folder=None, seed=1, **SMALL)
    kernels = trained.net[0].weight
    assert kernels.shape == (24, 3, 2, 2) and torch.equal(kernels[12:], -kernels[:12])
    assert not torch.equal(kernels, other.net[0].weight)  # other images are held out
    assert torch.equal(load_run(Run(tmp_path), data, "cpu", network=whitened).net[0].weight, kernels)
