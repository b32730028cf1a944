"""Tests checkpoints: when it saves, how many it keeps, and what it says. The faults' own tests are in faults/."""

import collections
import random
import types

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from utils.data.cifar10 import Split
from utils.data.loader import BatchLoader
from utils.errors import CheckpointError, CheckpointWarning
from utils.my_utils import train_ch3
from utils.optim.losses import make_loss
from utils.runs import checkpoints
from utils.runs.checkpoint_files import listed, newest, write
from utils.runs.checkpoints import Checkpoints, random_state, set_random_state
from utils.training.average import Average
from utils.training.history import History


@pytest.fixture
def clock(monkeypatch):
    """Stand in for the time that checkpoints go by; tests move it on."""
    clock = types.SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(checkpoints, "time", clock)
    return clock


class Pass:
    """A callback that lets so many seconds pass in each batch."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def after_batch(self, training):
        self.clock.now += self.seconds


def train(folder, *callbacks, epochs=2, **how):
    """Train a linear network for epochs of 10 batches; return the places (epoch, batch) at which it saved."""
    torch.manual_seed(0)
    net, places = nn.Sequential(nn.Flatten(), nn.Linear(12, 10)), []
    data = Split(torch.randint(0, 256, (40, 3, 2, 2), dtype=torch.uint8), torch.arange(40) % 10)
    optimizer, callback = torch.optim.SGD(net.parameters(), 0.1), Checkpoints(folder, **how)
    save = callback.save
    callback.save = lambda training: places.append((training.epoch, training.batch)) or save(training)
    callbacks, loss = [callback, *callbacks], make_loss("cross_entropy")
    options = {"callbacks": callbacks, "curves": False, "record": False}
    train_ch3(net, BatchLoader(data, 4), None, loss, epochs, optimizer, **options)
    return places


def test_it_saves_every_so_many_seconds_and_at_the_end(tmp_path, clock):
    assert train(tmp_path, Pass(clock, 1.0), every=6.0) == [(0, 6), (1, 2), (1, 8), (2, 0)]


def test_a_short_training_is_saved_at_its_end_only(tmp_path, clock):
    assert train(tmp_path, Pass(clock, 1.0)) == [(2, 0)]


def test_it_saves_more_rarely_where_saving_takes_long(tmp_path, clock, monkeypatch):
    def slow(*args):
        clock.now += 0.5
        return write(*args)

    monkeypatch.setattr(checkpoints, "write", slow)
    monkeypatch.setattr(checkpoints, "SHARE", 0.1)
    assert train(tmp_path, Pass(clock, 1.0), every=1.0) == [(0, 1), (0, 6), (1, 1), (1, 6), (2, 0)]


def test_it_keeps_the_newest_two(tmp_path, clock):
    train(tmp_path, Pass(clock, 1.0), every=6.0)
    assert [path.name[11:24] for path in listed(tmp_path)] == ["00002-0000000", "00001-0000008"]
    assert len([*tmp_path.iterdir()]) == 2


def test_of_places_the_later_one_is_newer_also_past_five_digits(tmp_path):
    for place in ((99999, 3), (100000, 0), (99999, 20)):
        write(tmp_path, {"position": {"epoch": place[0], "batch": place[1]}, "about": {}})
    assert newest(tmp_path)[1]["position"]["epoch"] == 100000
    assert [path.name[11:].rsplit("-", 1)[0] for path in listed(tmp_path)][1:] == ["99999-0000020", "99999-0000003"]


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    others = [tmp_path / name for name in ("notes.txt", "checkpoint-1.pt", "history.json")]
    for path in others:
        path.write_text("mine")
    train(tmp_path)
    assert all(path.read_text() == "mine" for path in others)


def draw():
    """Draw from all three generators, and from what two of them keep of a pair of Gaussians."""
    return np.random.randn(), random.gauss(0, 1), torch.randn(3).tolist(), random.random(), np.random.rand()


def test_random_states_are_put_back():
    np.random.randn()  # leaves half of a pair of Gaussians behind
    random.gauss(0, 1)
    state = random_state(torch.device("cpu"))
    first = draw()
    set_random_state(state, torch.device("cpu"))
    assert draw() == first


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_random_state_of_a_gpu_is_put_back():
    device = torch.device("cuda")
    state = random_state(device)
    first = torch.rand(3, device=device)
    set_random_state(state, device)
    assert torch.equal(first, torch.rand(3, device=device))


def test_a_declared_key_names_a_callbacks_state_whatever_its_class_is_called(tmp_path):
    class Renamed(Average):
        pass

    train(tmp_path, Average(0.5), epochs=1)
    train(tmp_path, Renamed(0.5))
    assert newest(tmp_path)[1]["callbacks"].keys() == {"Average"}


class Late:
    """A callback whose state is a number at first, and something else after each epoch."""

    def __init__(self, make):
        self.make, self.state, self.before = make, 0, None

    def after_epoch(self, training):
        self.before, self.state = self.state, self.make()
        training.history.rows[-1]["late"] = np.ones(2)

    def state_dict(self):
        return {"value": self.state}

    def load_state_dict(self, state):
        self.state = state["value"]


PLAIN = {
    "an array": (lambda: np.arange(3.0)[::-1], torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)),
    "texts": (lambda: np.array(["a", "b"]), ["a", "b"]),
    "a deque": (lambda: collections.deque([np.int64(1)], maxlen=3), [1]),
    "a defaultdict": (lambda: collections.defaultdict(int, {np.int64(2): np.float32(0.5)}), {2: 0.5}),
    "a counter": (lambda: collections.Counter(np.array([3, 3])), collections.Counter({3: 2})),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_a_state_of_numpys_or_pythons_containers_is_read_again(kind, tmp_path):
    make, expected = PLAIN[kind]
    train(tmp_path, Late(make), epochs=1)
    resumed = Late(make)
    train(tmp_path, resumed)
    assert type(resumed.before) is type(expected) and resumed.before.__repr__() == repr(expected)
    history = History()
    history.load_state_dict(newest(tmp_path)[1]["history"])
    assert "late" in repr(history)


@pytest.mark.parametrize("make", [lambda: {"a": 1, "b": types.SimpleNamespace()}, lambda: [lambda: 1]])
def test_what_a_checkpoint_cannot_hold_is_named_and_costs_no_weights(make, tmp_path):
    with pytest.warns(CheckpointWarning, match="written without callbacks.Late.value[.]") as caught:
        train(tmp_path, Late(make), every=0)
    assert len(caught) == 1
    state = newest(tmp_path)[1]
    assert state["net"].keys() == {"1.weight", "1.bias"} and state["position"]["epoch"] == 2
    with pytest.raises(CheckpointError, match="lacks callbacks.Late.value[.]"):
        train(tmp_path, Late(make), epochs=3)
    with pytest.raises(CheckpointError, match="can't hold callbacks.Late"):
        train(tmp_path / "other", late := Late(make), setattr(late, "state", make()) or late)


def test_the_same_warning_is_shown_once(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("The disk is full.")

    monkeypatch.setattr(checkpoints, "write", fail)
    with pytest.warns(CheckpointWarning, match="The disk is full") as caught:
        train(tmp_path, every=0)
    assert len(caught) == 1


class Adding:
    """A step that adds up the gradients of three batches."""

    def __init__(self):
        self.count = 0

    def __call__(self, net, X, y, loss, optimizer):
        y_hat = net(X)
        value = loss(y_hat, y)
        value.backward()
        self.count += 1
        if self.count % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return value.detach(), y_hat.detach()

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def batches_of(kind):
    """Return a loader of four batches that has a random generator."""
    data = TensorDataset(torch.rand(16, 3, 2, 2, generator=seeded(1)), torch.arange(16) % 10)
    if kind == "sampler":
        return DataLoader(data, 4, sampler=WeightedRandomSampler([1.0] * 16, 16, generator=seeded(2)))
    return DataLoader(data, 4, shuffle=True, generator=seeded(2) if kind == "loader" else None)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def trained(kind, folder=None, epochs=3, seed=0):
    """Train a linear network on these batches; return its weights."""
    torch.manual_seed(seed)
    net, loss = nn.Sequential(nn.Flatten(), nn.Linear(12, 10)), make_loss("cross_entropy")
    step = {"step": Adding()} if kind == "gradients" else {}
    callbacks = [Checkpoints(folder)] if folder else []
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    train_ch3(
        net, batches_of(kind), None, loss, epochs, optimizer, callbacks=callbacks, curves=False, record=False, **step
    )
    return net[1].weight.detach()


@pytest.mark.parametrize("kind", ["loader", "sampler", "gradients"])
def test_generators_and_waiting_gradients_are_put_back(kind, tmp_path):
    trained(kind, tmp_path, epochs=1)
    state = newest(tmp_path)[1]
    assert len(state["random"]["generators"]) == (kind != "gradients")
    assert ("gradients" in state) == (kind == "gradients")
    assert torch.equal(trained(kind), trained(kind, tmp_path, seed=9))


def test_checkpoints_of_earlier_versions_lack_generators_and_gradients(tmp_path):
    trained("gradients", tmp_path, epochs=1)
    path, state = newest(tmp_path)
    path.unlink()
    del state["gradients"], state["random"]["generators"]
    write(tmp_path, state)
    trained("gradients", tmp_path)
    assert newest(tmp_path)[1]["position"]["epoch"] == 3


class Unfreeze:
    """A callback that adds a group to the optimizer after the first epoch."""

    def after_epoch(self, training):
        if training.epoch == 1:
            training.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})


def test_a_group_that_was_added_in_the_training_is_named(tmp_path):
    train(tmp_path, Unfreeze(), epochs=1)
    with pytest.raises(CheckpointError, match=r"groups of \[2, 1\] tensors in the checkpoint, but has \[2\] now"):
        train(tmp_path, Unfreeze())
