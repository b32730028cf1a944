"""The learning-rate range test: which rates it finds, what it is told, and that it leaves everything as it was."""

import pytest
import torch
from torch import nn

from utils.data.augment import Crop, Flip
from utils.data.cifar10 import Split
from utils.data.loader import BatchLoader
from utils.errors import CourseworkError
from utils.my_utils import train_ch3
from utils.optim.optimizers import make_optimizer
from utils.optim.range_test import find_lr, read_range
from utils.optim.schedules import make_schedule
from utils.training.step import Step


class Bowl(nn.Module):
    """A network whose loss is a bowl, ten times as steep one way: SGD comes down only with lr < 2 / curvature."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0, -2.0]))

    def forward(self, X):
        return self.weight + X


def bowl_batches(count=7):
    """Return batches that each shake the bowl a little."""
    generator = torch.Generator().manual_seed(0)
    return [(0.1 * torch.randn(4, 2, generator=generator), torch.zeros(4, dtype=torch.int64)) for _ in range(count)]


def bowl(curvature):
    return lambda y_hat, y: curvature / 2 * (y_hat.square() @ torch.tensor([1.0, 0.1])).mean()


def small_net(dropout=0.2):
    torch.manual_seed(0)
    body = nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(dropout), nn.Flatten()
    return nn.Sequential(*body, nn.Linear(8 * 64, 10))


def small_loader(count=30, batch_size=8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.arange(count) % 10)
    return BatchLoader(split, batch_size, augment=(Flip(), Crop(4)), shuffle=True)


def plain(value):
    """Return a copy in which tensors are lists, to be compared exactly."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize(
    "name, step, trained",
    [("sgd", None, False), ("adam", None, True), ("muon", Step(clip_norm=1.0), True), ("sgd", Step("bf16"), True)],
)
def test_the_search_leaves_everything_bit_by_bit_as_it_was(name, step, trained):
    net, train_iter = small_net(), small_loader()
    optimizer = make_optimizer(name, net, 0.02, **({"momentum": 0.9} if name == "sgd" else {}))
    options = {"step": step} if step else {}
    if trained:
        schedule = make_schedule("cosine", optimizer, num_epochs=4, batches=4)  # it wraps optimizer.step
        settings = {"callbacks": (schedule,), "curves": False, **options}
        train_ch3(net, train_iter, None, nn.CrossEntropyLoss(), 1, optimizer, **settings)
    net[1].eval()

    def everything():
        gradients = [p.grad for p in net.parameters()]
        modes, ids = [m.training for m in net.modules()], [id(p) for p in net.parameters()]
        tensors = [net.state_dict(), optimizer.state_dict(), gradients, torch.get_rng_state()]
        return plain([*tensors, modes, ids, train_iter.epoch, step and step.state_dict()])

    before = everything()
    found = find_lr(net, train_iter, nn.CrossEntropyLoss(), optimizer, steps=20, **options)
    assert len(found.losses) >= 10 and everything() == before


def test_an_error_on_the_way_leaves_everything_as_it_was_too():
    net, train_iter = small_net(), small_loader()
    optimizer = make_optimizer("sgd", net, 0.02)
    before, rng = plain([net.state_dict(), optimizer.state_dict()]), torch.get_rng_state()
    calls = []

    def loss(y_hat, y):
        calls.append(torch.rand(()))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(y_hat, y)

    with pytest.raises(KeyboardInterrupt):
        find_lr(net, train_iter, loss, optimizer)
    assert plain([net.state_dict(), optimizer.state_dict()]) == before
    assert torch.equal(torch.get_rng_state(), rng) and train_iter.epoch == 0 and net.training


@pytest.mark.parametrize("curvature", [0.5, 5.0, 50.0])
def test_in_a_bowl_the_search_finds_rates_that_converge_and_stops_where_none_does(curvature):
    net = Bowl()
    batches = bowl_batches()
    optimizer = make_optimizer("sgd", net, 1.0)
    found = find_lr(net, batches, bowl(curvature), optimizer, low=1e-4 / curvature, high=100 / curvature)
    limit = 2 / curvature
    assert 0.001 * limit < found.suggestion < 0.5 * limit
    assert found.tenth < 0.5 * limit
    assert found.tenth == found.lrs[found.smoothed.index(min(found.smoothed))] / 10
    assert len(found.losses) < 100 and found.lrs[-1] > 0.2 * limit
    means = [sum(found.losses[max(0, i - 4) : i + 1]) / min(i + 1, 5) for i in range(len(found.losses))]
    exploded = [value > 4 * min(means[: i + 1]) for i, value in enumerate(found.losses)]
    assert exploded == [False] * (len(found.losses) - 1) + [True]
    assert found.lrs[0] == pytest.approx(1e-4 / curvature) and found.lrs == sorted(set(found.lrs))
    assert found.losses[0] == pytest.approx(bowl(curvature)(net(batches[0][0]), None).item())
    steepest = found.lrs.index(found.suggestion)
    drops = [a - b for a, b in zip(found.smoothed, found.smoothed[2:], strict=False)]
    assert drops[steepest - 1] == pytest.approx(max(drops[: found.smoothed.index(min(found.smoothed)) - 1]))


def test_the_smoothed_loss_does_not_rise_before_the_loss_does():
    losses = [3.0, 2.5, 2.0, 1.0, *[2.0] * 7, 50.0]
    test = read_range([0.1 * 2**i for i in range(12)], losses, reach=2)
    assert test.smoothed[:2] == [2.5, 2.25] and max(test.smoothed[2:]) == 2.0


def test_the_search_goes_through_several_epochs_if_it_must_and_all_the_way_if_nothing_explodes():
    net, train_iter = small_net(), small_loader()
    epochs = []

    def loss(y_hat, y):
        epochs.append(train_iter.epoch)
        return nn.functional.cross_entropy(y_hat, y)

    found = find_lr(net, train_iter, loss, make_optimizer("sgd", net, 0.1), high=1e-3, steps=14)
    assert len(found.lrs) == len(found.losses) == len(found.smoothed) == 14
    assert epochs == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 2
    assert found.lrs[0] == pytest.approx(1e-6) and found.lrs[-1] == pytest.approx(1e-3)


def test_all_groups_rise_together_and_each_batch_has_its_own_rate():
    net, seen = Bowl(), []
    other = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [net.weight], "lr": 0.1}, {"params": [other], "lr": 0.4}])

    def step(net, X, y, loss, optimizer):
        seen.append([group["lr"] for group in optimizer.param_groups])
        return loss(net(X), y).detach(), net(X).detach()

    batches = bowl_batches(1)
    found = find_lr(net, batches, bowl(1.0), optimizer, steps=10, step=step)
    assert [one for one, _ in seen] == pytest.approx(found.lrs)
    assert [other for _, other in seen] == pytest.approx([4 * lr for lr in found.lrs])


@pytest.mark.parametrize("step", [None, Step()], ids=["plain", "guarded"])
def test_a_loss_that_is_no_number_any_more_ends_the_search(step):
    calls = []

    def loss(y_hat, y):
        calls.append(1)
        value = y_hat.square().mean()
        return value * float("nan") if len(calls) > 8 else value

    net = Bowl()
    batches = bowl_batches(1)
    options = {"step": step} if step else {}
    found = find_lr(net, batches, loss, make_optimizer("sgd", net, 0.1), high=1e-3, **options)
    assert len(found.losses) == 8 and len(calls) == 9


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"low": 0}, "low to high"),
        ({"low": 1.0, "high": 0.1}, "low to high"),
        ({"steps": 2}, "10 or more"),
        ({"train_iter": []}, "no batch"),
        ({"loss": lambda y_hat, y: y_hat.sum() * float("nan")}, "not finite after 0 batches"),
    ],
)
def test_a_search_that_can_find_nothing_is_refused(settings, told):
    net = Bowl()
    batches = bowl_batches(1)
    given = {"train_iter": batches, "loss": bowl(1.0), "optimizer": make_optimizer("sgd", net, 0.1), **settings}
    with pytest.raises(CourseworkError, match=told):
        find_lr(net, **given)
