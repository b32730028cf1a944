"""What train_ch3 accepts as network, batches, loss, epochs and optimizer, and what it refuses before it trains."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training_parts import same

from utils.errors import CourseworkError
from utils.my_utils import train_ch3
from utils.runs.run import all_runs
from utils.training.step import Step

pytestmark = pytest.mark.usefixtures("ledger_folder")


def batches(count=3):
    """Return a list of batches of 8 examples with 4 features and 3 classes."""
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(8, 4, generator=generator), torch.arange(8) % 3) for _ in range(count)]


def generate():
    """Yield the batches, as a student's generator function would."""
    yield from batches()


def train(**changes):
    """Train a linear network on the batches, with these arguments changed; return (history, net)."""
    torch.manual_seed(0)
    net = changes.pop("net", None) or nn.Linear(4, 3)
    arguments = {
        "train_iter": batches(),
        "test_iter": None,
        "loss": F.cross_entropy,
        "num_epochs": 2,
        "optimizer": None,
        "curves": False,
        "record": False,
    } | changes
    if arguments["optimizer"] is None:
        arguments["optimizer"] = torch.optim.SGD(net.parameters(), lr=0.1)
    return train_ch3(net, **arguments), net


@pytest.mark.parametrize("name", ["train_iter", "test_iter"])
def test_a_tuple_of_batches_serves_like_a_list(name):
    expected = train(**{name: batches()})
    history, net = train(**{name: tuple(batches())})
    assert same(net.state_dict(), expected[1].state_dict())
    assert history["train_loss"] == expected[0]["train_loss"] and len(history) == 2


def test_a_generator_trains_for_one_epoch():
    assert len(train(train_iter=generate(), num_epochs=1)[0]) == 1


def dataset():
    X, y = batches()[0]
    return TensorDataset(X, y)


def lazy_network():
    return nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 3))


def optimizer_of_an_older_network():
    return torch.optim.Adam(nn.Linear(4, 3).parameters())


def frozen_body(part):
    """Return as arguments a network whose first layer is frozen, and an optimizer of one of its layers."""
    net = nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 3))
    return {"net": net, "optimizer": torch.optim.SGD(net[part].parameters(), lr=0.1)}


REFUSED = {
    "a generator for two epochs": ({"train_iter": generate()}, "read only once"),
    "a generator watched twice": ({"test_iter": generate()}, "test_iter can be read only once"),
    "a map": ({"train_iter": map(tuple, batches())}, "read only once"),
    "a dataset": ({"train_iter": dataset()}, "single examples"),
    "a function": ({"train_iter": generate}, "iterable of batches"),
    "nothing to train on": ({"train_iter": None}, "iterable of batches"),
    "a number": ({"test_iter": 5}, "iterable of batches"),
    "images alone": ({"train_iter": [X for X, _ in batches()]}, "pair"),
    "a dict": ({"test_iter": [{"X": X, "y": y} for X, y in batches()]}, "type dict"),
    "a loss's class": ({"loss": nn.CrossEntropyLoss}, "CrossEntropyLoss is a class"),
    "a loss's name": ({"loss": "cross_entropy"}, "type str"),
    "no loss": ({"loss": None}, "NoneType"),
    "a step's class": ({"step": Step}, "Step is a class"),
    "no epoch": ({"num_epochs": 0}, "num_epochs=0"),
    "one and a half": ({"num_epochs": 1.5}, "num_epochs=1.5"),
    "no batch between two points": ({"every": 0}, "every=0"),
    "a truth": ({"num_epochs": True}, "num_epochs=True"),
    "watched like a column": ({"watched": "train", "test_iter": batches()}, "watched must be"),
    "another network's optimizer": (
        {"optimizer": optimizer_of_an_older_network()},
        "none of this network's",
    ),
    "a frozen network": ({"net": nn.Linear(4, 3).requires_grad_(False)}, "frozen"),
    "an optimizer of the frozen part": (frozen_body(0), "frozen"),
    "an optimizer's class": ({"optimizer": torch.optim.SGD}, "class SGD"),
    "a function that updates": ({"optimizer": print}, "Optimizer"),
    "a network's class": ({"net": nn.Flatten, "optimizer": optimizer_of_an_older_network()}, "class Flatten"),
    "a function as network": ({"net": F.relu, "optimizer": optimizer_of_an_older_network()}, "nn.Module"),
    "a lazy network": ({"net": lazy_network()}, "lazy layers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(name):
    changes, reason = REFUSED[name]
    with pytest.raises(CourseworkError, match=reason) as caught:
        train(**changes, record="refused")
    assert caught.value.where and caught.value.next_step and not all_runs()


@pytest.mark.parametrize("record", [3, ("a",), object()])
def test_a_record_is_a_name_or_a_choice(record):
    with pytest.raises(CourseworkError, match="record must be"):
        train(record=record)


@pytest.mark.parametrize("part", [1, slice(None)])  # the head alone, and the whole network
def test_a_partly_frozen_network_is_trained(part):
    arguments = frozen_body(part)
    before = [parameter.detach().clone() for parameter in arguments["net"].parameters()]
    _, net = train(**arguments)
    unchanged = [torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True)]
    assert unchanged == [True, True, False, False]


def test_a_batch_in_the_middle_that_is_no_pair_is_an_error_that_names_the_loader():
    class Loader:
        def __iter__(self):
            yield from batches()
            yield torch.zeros(8, 4)

    with pytest.raises(CourseworkError, match="pair") as caught:
        train(train_iter=Loader())
    assert caught.value.where == "train_iter"


def test_a_lazy_network_is_trained_after_its_first_batch():
    net = lazy_network()
    net(batches()[0][0])
    assert len(train(net=net)[0]) == 2


def dense_optimizers():
    """List torch's optimizers, but for the one of sparse gradients."""
    kinds = [kind for kind in vars(torch.optim).values() if isinstance(kind, type)]
    return [kind for kind in kinds if kind not in (torch.optim.Optimizer, torch.optim.SparseAdam)]


@pytest.mark.parametrize("kind", dense_optimizers(), ids=lambda kind: kind.__name__)
def test_every_optimizer_of_torch_trains_or_is_refused(kind):
    net = nn.Linear(4, 3, bias=kind.__name__ != "Muon")  # torch's Muon takes matrices only
    before = net.weight.detach().clone()
    optimizer = kind(net.parameters(), lr=0.01)
    if kind is torch.optim.LBFGS:
        with pytest.raises(CourseworkError, match="LBFGS"):
            train(net=net, optimizer=optimizer)
    else:
        train(net=net, optimizer=optimizer)
    assert torch.equal(net.weight, before) == (kind is torch.optim.LBFGS)


def test_lbfgs_trains_by_a_step_of_the_callers_own():
    def step(net, X, y, loss, optimizer):
        def closure():
            optimizer.zero_grad()
            value = loss(net(X), y)
            value.backward()
            return value

        value = optimizer.step(closure)
        return value.detach(), net(X).detach()

    net = nn.Linear(4, 3)
    history = train(net=net, optimizer=torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=4), step=step)[0]
    assert history["train_loss"][1] < history["train_loss"][0]


def test_checking_a_data_loader_draws_no_random_number():
    loader = DataLoader(dataset(), 4, shuffle=True)
    torch.manual_seed(3)
    expected = [(X.clone(), y) for X, y in loader]
    seen = []

    def step(net, X, y, loss, optimizer):
        seen.append((X, y))
        return torch.tensor(0.0), torch.zeros(len(y), 3)

    net = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_ch3(net, loader, None, None, 1, optimizer, step=step, curves=False, record=False)
    assert all(
        torch.equal(a, b) for one, other in zip(seen, expected, strict=True) for a, b in zip(one, other, strict=True)
    )
