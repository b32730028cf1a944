"""What is taken from an earlier run: a parent's weights and moments for a new training, or the network as trained."""

import copy
import dataclasses
import functools
import warnings

import pytest
import torch
from ledger_parts import SMALL, train
from networks import small_cnn

from utils import runs
from utils.data import BatchLoader
from utils.data.loader import make_iters
from utils.errors import CheckpointWarning, CourseworkError
from utils.evaluation.evaluate import measure_test_accuracy
from utils.my_utils import train_ch3
from utils.recipes import load_run

pytestmark = pytest.mark.usefixtures("ledger_folder")


def test_a_child_begins_with_its_parents_weights_and_the_ledger_knows_both(data, tiny):
    parent = tiny.train(data, **SMALL)
    child = tiny.change(lr=1e-9).train(data, parent=parent.run.name, **SMALL)
    for mine, theirs in zip(child.net.parameters(), parent.net.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    assert child.run.record["parent"] == parent.run.name and child.run.name != parent.run.name
    assert runs.table().loc[child.run.name, "parent"] == parent.run.name
    again = tiny.change(lr=1e-9).train(data, parent=parent.run, **SMALL)
    assert again.run.name == child.run.name


def test_a_child_takes_the_moments_and_not_the_rates(data, tiny):
    seen = []

    class Look:
        def on_start(self, training):
            group, state = training.optimizer.param_groups[0], training.optimizer.state
            seen.append((group["lr"], len(state)))

    parent = tiny.train(data, **SMALL)
    tiny.change(lr=0.001).train(data, parent=parent.run, callbacks=[Look()], **SMALL)
    tiny.change(optimizer="sgd", lr=0.1).train(data, parent=parent.run, callbacks=[Look()], **SMALL)
    assert seen[0][0] == 0.001 and seen[0][1] > 0 and seen[1] == (0.1, 0)


def test_a_parent_of_another_network_or_without_checkpoint_is_refused(data, tiny, tmp_path):
    parent = tiny.train(data, **SMALL).run
    other = tiny.change(network_settings={"channels": 4})
    with pytest.raises(CourseworkError, match="has a different network"):
        other.train(data, parent=parent, **SMALL)
    train()
    with pytest.raises(CourseworkError, match="no checkpoint"):
        tiny.train(data, parent="training-", **SMALL)


def test_moments_for_other_groups_of_weights_are_refused(data, tiny):
    muon = tiny.change(optimizer="muon", lr=0.01)
    parent = muon.train(data, **SMALL).run
    with pytest.raises(CourseworkError, match=f"optimizer of {parent.name} has its state for other groups"):
        muon.change(optimizer_settings={"norm_lr": 0.1}).train(data, parent=parent, **SMALL)
    parent = tiny.train(data, **SMALL).run
    with pytest.raises(CourseworkError, match="state for other groups"):
        tiny.change(optimizer_settings={"amsgrad": True}).train(data, parent=parent, **SMALL)


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_run_is_loaded_as_it_was_trained(data, tiny, average):
    trained = tiny.change(average=average).train(data, **SMALL)
    loaded = load_run(trained.run.name, data, "cpu", network=small_cnn)
    again = load_run(trained.run, data, "cpu", network=small_cnn)
    assert measure_test_accuracy(loaded) == measure_test_accuracy(trained) == measure_test_accuracy(again)
    assert loaded.history.rows == trained.history.rows and loaded.recipe.network == tiny.network
    assert len(loaded.run.record["tests"]) == 3


def test_a_run_of_other_images_or_by_hand_is_not_loaded(data, tiny):
    run = tiny.train(data, **SMALL).run
    with pytest.raises(CourseworkError, match="was trained on synthetic images"):
        load_run(run, dataclasses.replace(data, checksum="other", name="other images"))
    train(record="by hand")
    with pytest.raises(CourseworkError, match="cannot be found:"):
        load_run("by_hand", data)


def my_loss(y_hat, y):
    return 2 * torch.nn.functional.cross_entropy(y_hat, y)


def test_a_loss_of_ones_own_is_asked_for_and_never_replaced(data, tiny):
    trained = tiny.change(loss=my_loss).train(data, **SMALL)
    with pytest.raises(CourseworkError, match="loss of .* cannot be found again"):
        load_run(trained.run, data, "cpu", network=small_cnn)
    loaded = load_run(trained.run, data, "cpu", network=small_cnn, loss=my_loss)
    assert measure_test_accuracy(loaded)["loss"] == measure_test_accuracy(trained)["loss"]
    torchs = tiny.change(loss=torch.nn.CrossEntropyLoss, loss_settings={"label_smoothing": 0.1}).train(data, **SMALL)
    loaded = load_run(torchs.run, data, "cpu", network=small_cnn)
    assert measure_test_accuracy(loaded) == measure_test_accuracy(torchs)


def test_a_run_on_somebodys_own_loader_is_not_measured_on_other_images():
    X, y = torch.randn(20, 3, 8, 8), torch.arange(20) % 10
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), 10)
    net = small_cnn()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train_ch3(net, loader, None, torch.nn.CrossEntropyLoss(), 1, optimizer, record="my loader", curves=False)
    with pytest.raises(CourseworkError, match="images of your own loader"):
        load_run("my_loader", network=small_cnn)


LOSSES = {
    "smoothed": lambda: torch.nn.CrossEntropyLoss(label_smoothing=0.3),
    "weighted": lambda: torch.nn.CrossEntropyLoss(weight=torch.arange(1.0, 11.0)),
    "a function": lambda: functools.partial(torch.nn.functional.cross_entropy, label_smoothing=0.3),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_cross_entropy_of_a_training_by_hand_keeps_its_settings(data, name):
    net, loss = small_cnn(), LOSSES[name]()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train_ch3(net, make_iters(data, 50)[0], None, loss, 1, optimizer, record="by hand", curves=False)
    loaded = load_run("by_hand", data, "cpu", network=small_cnn)
    y_hat, y = torch.randn(7, 10), torch.arange(7)
    assert loaded.loss(y_hat, y) == loss(y_hat, y) != torch.nn.functional.cross_entropy(y_hat, y)


def cross_entropy_of_mine(y_hat, y):
    return torch.nn.functional.cross_entropy(2 * y_hat, y)


def test_a_loss_of_ones_own_is_not_taken_for_cross_entropy(data):
    net = small_cnn()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train_iter = make_iters(data, 50)[0]
    train_ch3(net, train_iter, None, cross_entropy_of_mine, 1, optimizer, record="by hand", curves=False)
    with pytest.raises(CourseworkError, match="cross_entropy_of_mine"):
        load_run("by_hand", data, "cpu", network=small_cnn)


def test_a_network_that_is_given_keeps_its_own_weights(data, tiny):
    run = tiny.train(data, **SMALL).run
    net = small_cnn()
    before = copy.deepcopy(net.state_dict())
    assert load_run(run, data, "cpu", network=net).net is not net and net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Wide(torch.nn.Sequential):
    """A network that is made with a setting, which the record of a training by hand does not have."""

    def __init__(self, width):
        super().__init__(torch.nn.Conv2d(3, width, 32), torch.nn.Flatten(), torch.nn.Linear(width, 10))


@pytest.mark.parametrize("network", [None, Wide(5)])
def test_the_network_of_a_training_by_hand_is_asked_for_by_the_name_of_the_argument(data, network):
    net = Wide(4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = torch.nn.CrossEntropyLoss()
    train_ch3(net, BatchLoader(data.train, 50), None, loss, 1, optimizer, record="wide", curves=False)
    with pytest.raises(CourseworkError) as caught:
        load_run("wide", data, "cpu", network=network)
    assert "load_run('wide', network=" in caught.value.next_step and "evaluate" in caught.value.next_step
    assert load_run("wide", data, "cpu", network=Wide(4)).net[0].out_channels == 4


WRAPPERS = {
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "DataParallel": torch.nn.DataParallel,
    "both": lambda net: torch.nn.DataParallel(torch.compile(net, backend="eager")),
    "a compiled layer": lambda net: torch.nn.Sequential(torch.compile(net[0], backend="eager"), *net[1:]),
}


@pytest.mark.filterwarnings("ignore:Using `torch.compile:UserWarning")  # of a single compiled layer
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_network_is_recorded_and_loaded_as_the_network_inside(data, name):
    net = WRAPPERS[name](small_cnn())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = torch.nn.CrossEntropyLoss()
    train_ch3(net, BatchLoader(data.train, 50), None, loss, 1, optimizer, record="a", curves=False)
    summary = runs.find("a").network
    assert summary["class"] == "Sequential" and summary["path"].endswith("container.Sequential") and summary["layers"]
    expected = list(net.state_dict().values())
    for network in (small_cnn, small_cnn(), WRAPPERS[name](small_cnn())):
        loaded = load_run("a", data, "cpu", network=network).net
        assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), expected, strict=True))


def test_a_child_of_an_averaged_parent_starts_with_the_averaged_weights(data, tiny):
    parent = tiny.change(average=0.5).train(data, **SMALL)
    child = tiny.change(lr=0.0, optimizer="sgd").train(data, parent=parent.run, **SMALL)
    for mine, theirs in zip(child.net.parameters(), parent.net.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def with_forward(forward):
    """Return a class of networks, always of the same name, with this forward pass."""
    return type("Mine", (Linear,), {"forward": forward, "__module__": "my_code"})


class Linear(torch.nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.last = torch.nn.Linear(3 * 32 * 32, num_classes)


def test_an_edited_network_is_loaded_with_a_warning_that_names_it(data, tiny, ledger_folder):
    usual = with_forward(lambda self, X: self.last(X.flatten(1)))
    edited = with_forward(lambda self, X: -self.last(X.flatten(1)))
    run = tiny.change(network=usual).train(data, **SMALL).run
    train_iter, net = make_iters(data, 50)[0], usual()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = torch.nn.CrossEntropyLoss()
    train_ch3(net, train_iter, None, loss, 1, optimizer, record="by hand", curves=False)
    for name in (run, "by_hand"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_run(name, data, "cpu", network=usual)
        with pytest.warns(CheckpointWarning, match="my_code.Mine: its code was changed"):
            load_run(name, data, "cpu", network=edited)
