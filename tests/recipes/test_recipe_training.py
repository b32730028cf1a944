"""Training by a recipe: protocols, seeds, numbers of any kind, folders, and the layout of the network in memory."""

import inspect
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
from utils.models import NETWORKS, GatedBlock
from utils.models.basic_layers import GlobalMaxPool, Whiten
from utils.recipes import Recipe, load_run
from utils.recipes.train import laid_out
from utils.runs.run import Run
from utils.training.effort import Effort


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


def test_help_shows_the_options_of_a_training(tiny):
    parameters = inspect.signature(tiny.train).parameters
    assert parameters["protocol"].default == "validation" and "save_every" in tiny.train.__doc__


def test_cuda_graphs_are_used_only_where_they_are_asked_for(data):
    recipe = Recipe("tiny", "plain_cnn", batch_size=48, num_epochs=1)
    for asked, graphs in (({}, False), ({"cuda_graph": "auto"}, True)):
        step = recipe.train(data, folder=None, **SMALL, **asked).step
        assert (step._graphs is not None) == graphs


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


def test_what_was_trained_is_what_is_tested(tiny, data):
    trained = tiny.change(average=0.9).train(data, protocol="watch_test", **SMALL)
    found = measure_test_accuracy(trained)
    assert found["accuracy"] == trained.history["test_acc"][-1]
    assert found["loss"] == pytest.approx(trained.history["test_loss"][-1], rel=1e-5)


def test_each_difference_gives_another_folder(tiny, data):
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


def test_a_whitening_layer_learns_from_the_training_images_before_the_first_batch(data, tmp_path):
    recipe = Recipe("white", whitened, num_epochs=1, optimizer="sgd", lr=0.1)
    trained = recipe.train(data, folder=tmp_path, **SMALL)
    other = recipe.train(data, folder=None, seed=1, **SMALL)
    kernels = trained.net[0].weight
    assert kernels.shape == (24, 3, 2, 2) and torch.equal(kernels[12:], -kernels[:12])
    assert not torch.equal(kernels, other.net[0].weight)  # other images are held out
    assert torch.equal(load_run(Run(tmp_path), data, "cpu", network=whitened).net[0].weight, kernels)
