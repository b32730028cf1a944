"""Tests utils.training.cuda_graph: what is recorded and when, on a GPU that a replay is the step itself."""

import contextlib
import warnings

import pytest
import torch
from torch import nn

from utils.data.cifar10 import Cifar10, Split
from utils.errors import DivergedError
from utils.my_utils import train_batch
from utils.optim.optimizers import make_optimizer
from utils.recipes import OURS, SYSTEMS
from utils.training import cuda_graph as cuda_graph
from utils.training.cuda_graph import FIRST, MOST, CudaGraphs
from utils.training.effort import Effort
from utils.training.step import Step

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
on_gpu = pytest.mark.parametrize("device", [pytest.param("cuda", marks=GPU)])
NAN = float("nan")


@pytest.fixture
def recorder(monkeypatch):
    """Stand in for the GPU: a graph that does the recorded work once more. Returns the list of graphs made."""
    graphs = []

    class Graph:
        def __init__(self):
            graphs.append(self)

        replays = 0

        def replay(self):
            self.replays += 1
            if hasattr(self, "work"):
                for old, new in zip(self.results, self.work(self.X, self.y), strict=True):
                    old.copy_(new)

    @contextlib.contextmanager
    def graph(made, **_):
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    return graphs


class Work:
    """Leaves the gradient of a sum and returns the scores; counts how often Python does it."""

    def __init__(self, net, graphs):
        self.net, self.graphs, self.calls = net, graphs, 0

    def __call__(self, X, y):
        self.calls += 1
        self.net.zero_grad()
        scores = self.net(X)
        scores.sum().backward()
        results = (scores.detach(),)
        if self.graphs and not hasattr(self.graphs[-1], "work"):  # it is being recorded
            graph = self.graphs[-1]
            graph.work, graph.X, graph.y, graph.results = self.again, X, y, results
            self.gradients = [parameter.grad for parameter in self.net.parameters()]
        return results

    def again(self, X, y):
        scores = self.net(X)
        found = torch.autograd.grad(scores.sum(), [*self.net.parameters()])
        for old, new in zip(self.gradients, found, strict=True):
            old.copy_(new)
        return (scores.detach(),)


def batch(count=3):
    return torch.randn(count, 2), torch.zeros(count, dtype=torch.int64)


def test_a_shape_is_recorded_after_some_batches_and_then_replayed(recorder):
    net, replayed = nn.Linear(2, 2), CudaGraphs()
    work = Work(net, recorder)
    for i in range(FIRST + 4):
        X, y = batch()
        (scores,) = replayed.passes(work, X, y, (net,))
        assert torch.equal(scores, net(X).detach()) and torch.equal(net.bias.grad, torch.full((2,), 3.0))
        assert len(recorder) == (i >= FIRST)
        net.zero_grad()  # from outside: the next replay puts its own gradient back
    assert work.calls == FIRST + 1


def test_each_shape_has_a_recording_of_its_own_up_to_a_limit(recorder):
    net, replayed = nn.Linear(2, 2), CudaGraphs()
    work = Work(net, recorder)
    for _ in range(FIRST + 2):
        for count in range(1, MOST + 3):
            X, y = batch(count)
            assert torch.equal(replayed.passes(work, X, y, (net,))[0], net(X).detach())
    assert len(recorder) == MOST


@pytest.mark.parametrize("change", ["network", "loss", "moved", "frozen", "mode", "hook"])
def test_a_recording_does_not_serve_another_training(recorder, change):
    net, loss, replayed = nn.Linear(2, 2), object(), CudaGraphs()
    for _ in range(FIRST + 2):
        replayed.passes(Work(net, recorder), *batch(), (net, loss))
    assert len(recorder) == 1
    if change == "network":
        net = nn.Linear(2, 2)
    elif change == "loss":
        loss = object()
    elif change == "moved":
        net.weight.data = net.weight.data.clone()
    elif change == "frozen":
        net.weight.requires_grad_(False)
    elif change == "mode":
        net.eval()
    else:
        net.register_forward_hook(lambda *_: None)
    work = Work(net, recorder)
    replayed.passes(work, *batch(), (net, loss))
    assert work.calls == 1


class Counting:
    """An optimizer that takes no step, but notes the rate of each that Python takes."""

    recordable = True

    def __init__(self, net):
        self.param_groups = [{"params": [net.weight], "lr": 0.5, "momentum": 0.9}]
        self.state, self.rates = {net.weight: {"momentum_buffer": torch.zeros(2)}}, []

    def step(self):
        self.rates.append(self.param_groups[0]["lr"])


def test_an_optimizers_step_is_recorded_once_and_given_each_batchs_rate(recorder):
    net, replayed = nn.Linear(2, 2), CudaGraphs()
    optimizer = Counting(net)
    work = Work(net, recorder)

    def train(lr):
        optimizer.param_groups[0]["lr"] = lr
        replayed.passes(work, *batch(), (net,))
        replayed.step(optimizer)
        assert optimizer.param_groups[0]["lr"] == lr
        return [float(rate) for rate in replayed._current.rates] if replayed._current else None

    assert [train(0.5), train(0.25)] == [None] * FIRST and optimizer.rates == [0.5, 0.25]
    for lr in (2.0, 4.0, 8.0):
        assert train(lr) == [lr]
    assert len(optimizer.rates) == FIRST + 1 and isinstance(optimizer.rates[-1], torch.Tensor)
    assert len(recorder) == 2 and recorder[1].replays == 3
    optimizer.param_groups[0]["momentum"] = 0.8  # what is no tensor is part of the recording
    train(1.0)
    assert optimizer.rates[-1] == 1.0 and recorder[1].replays == 3
    optimizer.param_groups[0]["momentum"] = 0.9
    train(1.0)
    assert len(optimizer.rates) == FIRST + 2 and recorder[1].replays == 4
    optimizer.state[net.weight]["momentum_buffer"] = torch.zeros(2)  # as load_state_dict does
    train(1.0)
    assert len(recorder) == 3 and recorder[1].replays == 4 and recorder[2].replays == 1


def test_a_batch_in_parts_between_replays_gets_a_step_of_its_own(recorder):
    net, replayed = nn.Linear(2, 2), CudaGraphs()
    optimizer, work = Counting(net), Work(net, recorder)
    for _ in range(FIRST + 1):
        replayed.passes(work, *batch(), (net,))
        replayed.step(optimizer)
    (X, y), steps = batch(), len(optimizer.rates)
    assert torch.equal(replayed.passes(work, X, y, (net,), capturable=False)[0], net(X).detach())
    replayed.step(optimizer)
    assert len(optimizer.rates) == steps + 1 and recorder[1].replays == 1


def test_an_optimizer_that_may_wait_takes_its_own_steps(recorder):
    net, replayed = nn.Linear(2, 2), CudaGraphs()
    optimizer = Counting(net)
    optimizer.recordable = False
    for _ in range(FIRST + 3):
        replayed.passes(Work(net, recorder), *batch(), (net,))
        replayed.step(optimizer)
    assert len(recorder) == 1 and optimizer.rates == [0.5] * (FIRST + 3)


def test_on_a_cpu_nothing_is_replayed(recorder):
    net, X, y = nn.Linear(2, 2), *batch()
    step, optimizer = Step(cuda_graph=True), torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(FIRST + 3):
        step(net, X, y, nn.CrossEntropyLoss(), optimizer)
    assert not recorder


def test_where_memory_runs_out_captures_go_before_the_batch_is_divided():
    class Full(nn.Module):
        sizes = []

        def forward(self, X):
            self.sizes.append(len(X))
            if len(self.sizes) in failing:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return X

    net, (X, y) = nn.Sequential(Full(), nn.Linear(2, 2)), batch(8)
    step, optimizer, failing = Step(cuda_graph=True), torch.optim.SGD(net.parameters(), 0.1), (1, 2)
    step._graphs._captures = {"some": "memory"}
    with pytest.warns(UserWarning) as caught:
        step(net, X, y, nn.CrossEntropyLoss(), optimizer)
    assert Full.sizes == [8, 8, 4, 4] and step.micro_batch == 4
    assert ["CUDA graphs" in str(w.message) for w in caught] == [True, False] and not step._graphs._captures


def make(device, dropout=False):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), *[nn.Dropout(0.5)] * dropout, nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(8 * 64, 10)).to(device)
    return net, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)


def images(i, count=16):
    generator = torch.Generator().manual_seed(i)
    return torch.randn(count, 3, 8, 8, generator=generator).cuda(), torch.arange(count).cuda() % 10


class Counted(nn.Module):
    """Counts how often Python passes through it."""

    calls = 0

    def forward(self, X):
        self.calls += 1
        return X


@pytest.fixture
def in_order(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)  # a sum in any order is another sum


MUON = {"norm_lr": 1.0, "linear_lr": 0.01, "sgd_weight_decay": 0.01, "fixed_norm": True}


def test_the_settings_of_muon_are_right_also_where_no_gpu_uses_them():
    net = make("cpu")[0].append(nn.Linear(10, 10))
    groups = make_optimizer("muon", net, 0.1, **MUON).param_groups
    assert {group["lr"] for group in groups} == {0.1, MUON["norm_lr"], MUON["linear_lr"]}


@pytest.mark.parametrize("how", [{}, {"clip_norm": 0.1}, {"clip_value": 0.01}, {"guard": False}], ids=str)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
@on_gpu
def test_a_replayed_training_is_the_same_to_the_bit(in_order, monkeypatch, device, optimizer, precision, how):
    nets = []
    for first in (100, FIRST):  # batches that are done step by step
        monkeypatch.setattr(cuda_graph, "FIRST", first)
        net, loss, _ = make(device)
        settings = {"sgd": {"momentum": 0.9}, "adam": {}, "muon": MUON}[optimizer]
        descent = make_optimizer(optimizer, net, 0.1, **settings)
        net.append(Counted())
        step, averages = Step(precision, cuda_graph=True, **how), []
        for i in range(14):
            X, y = images(i, 16 if i % 4 else 10)  # an epoch's last batch is a smaller one
            descent.param_groups[0]["lr"] = 0.1 / (1 + i)
            average, y_hat = step(net, X, y, loss, descent)
            averages.append(float(average) + float(y_hat.sum()))
        nets.append(([*net.state_dict().values()], averages, net[-1].calls))
    (plain, losses, calls), (replayed, found, some) = nets
    assert losses == found and all(torch.equal(a, b) for a, b in zip(plain, replayed, strict=True))
    assert calls == 14 and some == 2 * (FIRST + 1)


@on_gpu
def test_a_replay_draws_new_dropout_for_each_batch(device):
    net, loss, optimizer = make(device, dropout=True)
    optimizer.param_groups[0]["lr"] = 0.0
    step, (X, y) = Step(cuda_graph=True), images(0)
    found = [float(step(net, X, y, loss, optimizer)[0]) for _ in range(8)]
    assert len({*found}) == 8
    state = torch.cuda.get_rng_state()
    first = float(step(net, X, y, loss, optimizer)[0])
    torch.cuda.set_rng_state(state)
    assert float(step(net, X, y, loss, optimizer)[0]) == first


@on_gpu
def test_a_replayed_batch_that_is_not_finite_stops_before_the_step(device):
    net, loss, optimizer = make(device)
    step = Step(cuda_graph=True)
    for i in range(5):
        step(net, *images(i), loss, optimizer)
    before = [parameter.clone() for parameter in net.parameters()]
    X, y = images(9)
    with pytest.raises(DivergedError, match="images of this batch"):
        step(net, X * NAN, y, loss, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@on_gpu
def test_what_cannot_be_recorded_is_done_step_by_step(in_order, device):
    class Reads(nn.Module):
        def forward(self, X):
            return X if float(X.sum()) > -1e9 else -X

    (net, loss, optimizer), (plain, _, other) = make(device, dropout=True), make(device, dropout=True)
    net.insert(1, Reads())
    step, stream = Step(cuda_graph=True), torch.cuda.current_stream()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(6):
            torch.manual_seed(i)  # after the failure dropout must draw as before
            step(net, *images(i), loss, optimizer)
            torch.manual_seed(i)
            train_batch(plain, *images(i), loss, other)
    assert sum("can't be captured" in str(warning.message) for warning in caught) == 1
    assert torch.cuda.current_stream() == stream
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), net.parameters(), strict=True))


@on_gpu
@pytest.mark.parametrize("name", [*SYSTEMS, *OURS])
def test_each_recipe_is_recorded(device, name):
    recipe = (SYSTEMS | OURS)[name]
    images = torch.randint(0, 256, (256, 3, 32, 32), dtype=torch.uint8)
    split = Split(images, torch.arange(256) % 10)
    data, kept = Cifar10(split, split, "noise", "noise", "none"), []

    class Look:
        def after_epoch(self, training):
            kept.append(len(training.step._graphs._captures))

    how = {
        "effort": Effort("full", epochs=2),
        "device": device,
        "folder": None,
        "curves": False,
        "protocol": "watch_test",
        "cuda_graph": "auto",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recipe.change(batch_size=32, augment=()).train(data, callbacks=[Look()], **how)
    assert kept[-1] == 1
