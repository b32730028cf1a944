"""What makes a training the same one: each change of what its result depends on is found, and no other."""

import dataclasses
import functools

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms import v2
from training_parts import images, parts

from utils.data.augment import Flip
from utils.data.cifar10 import Split
from utils.data.loader import BatchLoader
from utils.errors import CheckpointError
from utils.my_utils import train_ch3
from utils.optim.losses import make_loss
from utils.recipes import find_system
from utils.runs.checkpoint_files import newest
from utils.runs.checkpoints import Checkpoints
from utils.runs.own_code import own_code
from utils.runs.same_training import compare
from utils.training.step import Step


def train(folder, net=None, train_iter=None, loss=None):
    """Train for an epoch, by default a small network in the usual way, with checkpoints in this folder."""
    own, its_iter, _, _ = parts(count=48)
    net, train_iter, loss = net or own, train_iter or its_iter, loss or nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    train_ch3(net, train_iter, None, loss, 1, optimizer, callbacks=[Checkpoints(folder)], curves=False, record=False)


def net_with(**layers):
    """Return the usual small network with other layers in some places."""
    net = parts()[0]
    for place, layer in layers.items():
        net[int(place.removeprefix("at"))] = layer
    return net


def loader_with(**settings):
    split = settings.pop("split", images(48))
    return BatchLoader(split, 24, shuffle=True, seed=0, **settings)


class Normalised(Dataset):
    """A dataset as everybody writes it: the images of a split, with a transform."""

    def __init__(self, mean):
        self.split, self.transform = images(48), v2.Normalize([mean], [0.25])

    def __len__(self):
        return len(self.split)

    def __getitem__(self, i):
        return self.transform(self.split.images[i] / 255), self.split.labels[i]


class Composed(nn.Module):
    """A loss that leaves the work to another one inside it."""

    def __init__(self, **settings):
        super().__init__()
        self.inner = nn.CrossEntropyLoss(**settings)

    def forward(self, y_hat, y):
        return self.inner(y_hat, y)


def scaled_loss(factor, y_hat, y):
    return factor * F.cross_entropy(y_hat, y)


BRIGHTER = Split(images(48).images + 1, images(48).labels)
OTHERWISE = {
    "dropout": ({"net": net_with(at3=nn.Dropout(0.5))}, "Dropout"),
    "an activation": ({"net": net_with(at2=nn.Sigmoid())}, "Sigmoid"),
    "the classes' weights": ({"loss": nn.CrossEntropyLoss(weight=torch.arange(1.0, 11.0))}, "weight"),
    "a loss in a loss": ({"loss": Composed(label_smoothing=0.1)}, "label_smoothing"),
    "an argument of a function": ({"loss": functools.partial(scaled_loss, 2.0)}, "2.0"),
    "the images": ({"train_iter": loader_with(augment=(Flip(),), split=BRIGHTER)}, "images"),
    "the mean": ({"train_iter": loader_with(augment=(Flip(),), mean=(0.5, 0.5, 0.5))}, "mean"),
    "the deviation": ({"train_iter": loader_with(augment=(Flip(),), std=(0.5, 0.5, 0.5))}, "std"),
}


class Listed(nn.Module):
    """A network with a list of settings, and one that grows in each forward pass."""

    def __init__(self, scales=(1, 2)):
        super().__init__()
        self.net, self.scales, self.named, self.seen = parts()[0], list(scales), {"b": [3, None]}, [0]

    def forward(self, X):
        self.seen.append(len(X))
        return self.net(X) * self.scales[0]


def frozen(net, count=1):
    for parameter in [*net.parameters()][:count]:
        parameter.requires_grad_(False)
    return net


def transformer(heads=2, norm_first=False, activation="relu"):
    layer = nn.TransformerEncoderLayer(36, heads, 8, 0.0, activation, batch_first=True, norm_first=norm_first)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(2), layer, nn.Flatten(), nn.Linear(6 * 36, 10))


NETWORKS = {
    "heads": (transformer, lambda: transformer(heads=4), "net.2.self_attn.num_heads: 2 in the checkpoint, now 4"),
    "the order of norms": (transformer, lambda: transformer(norm_first=True), "norm_first"),
    "its activation": (transformer, lambda: transformer(activation="gelu"), "activation"),
    "a list": (Listed, lambda: Listed((3, 4)), "net.scales"),
    "a frozen layer": (net_with, lambda: frozen(net_with()), "net.0.weight.requires_grad: True"),
    "the depth that is left out": tuple(
        lambda p=p: net_with(at3=torchvision.ops.StochasticDepth(p, "row")) for p in (0.1, 0.9)
    )
    + ("net.3.p",),
}


@pytest.mark.parametrize("change", NETWORKS)
def test_nor_does_one_with_another_network_of_the_same_shape(change, tmp_path, capsys):
    make, other, named = NETWORKS[change]
    train(tmp_path, make())
    train(tmp_path, make())
    assert "This training is complete" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match=f"another training(.|\n)*{named}(.|\n)*network and the optimizer again"):
        train(tmp_path, other())


def test_what_a_training_changes_in_its_network_is_not_compared(tmp_path, capsys):
    net = Listed()
    train(tmp_path, net)
    about = newest(tmp_path)[1]["about"]
    assert "value.net.scales" in about and "value.net.seen" not in about
    train(tmp_path, net)
    again = frozen(Listed())
    again.seen.append(7)
    with pytest.raises(CheckpointError, match="requires_grad") as caught:
        train(tmp_path, again)
    assert "seen" not in str(caught.value)


def test_a_layer_with_another_state_than_tensors_is_described(tmp_path, capsys):
    class Extra(nn.Flatten):
        def get_extra_state(self):
            return {"calls": 3}

        def set_extra_state(self, state):
            assert state == {"calls": 3}

    for _ in range(2):
        train(tmp_path, net_with(at4=Extra()))
    assert "This training is complete" in capsys.readouterr().out


@pytest.mark.parametrize("change", OTHERWISE)
def test_a_training_with_something_else_does_not_go_on_from_a_checkpoint(change, tmp_path):
    how, named = OTHERWISE[change]
    usual = {"train_iter": loader_with(augment=(Flip(),))} if "train_iter" in how else {}
    usual |= {"loss": Composed()} if isinstance(how.get("loss"), Composed) else {}
    usual |= {"loss": functools.partial(scaled_loss, 1.0)} if isinstance(how.get("loss"), functools.partial) else {}
    train(tmp_path, **usual)
    with pytest.raises(CheckpointError, match=f"another training(.|\n)*{named}"):
        train(tmp_path, **how)


def test_nor_does_one_with_another_transform_in_its_dataset(tmp_path):
    train(tmp_path, train_iter=DataLoader(Normalised(0.5), 24, shuffle=True))
    with pytest.raises(CheckpointError, match="another training"):
        train(tmp_path, train_iter=DataLoader(Normalised(0.4), 24, shuffle=True))


def test_a_function_in_a_layers_description_may_lie_elsewhere_in_memory(tmp_path, capsys):
    class Described(nn.Module):
        def extra_repr(self):
            return f"{(lambda: None)}, {object()}"

        def forward(self, X):
            return X

    for _ in range(2):
        train(tmp_path, net=net_with(at3=Described()))
    assert "This training is complete" in capsys.readouterr().out


NET = """
SLOPE = 1.0
SEEN = []

def squash(Y):
    return torch.relu(Y) * SLOPE

class Base(nn.Module):
    def forward(self, X):
        return self.last(squash(self.first(X.flatten(1))))

class Net(Base):
    def __init__(self, scale=1.0):
        "Text."
        super().__init__()
        self.scale = scale
        self.calls = 0
        self.first, self.last = nn.Linear(192, 8), nn.Linear(8, 10)

    def seen(self, X):
        self.calls += 1
        SEEN.append(self.calls)
"""
EDITS = {
    "the forward pass": ("X.flatten(1)", "2 * X.flatten(1)"),
    "a function that the forward pass calls": ("torch.relu(", "torch.sigmoid("),
    "a number that it reads": ("SLOPE = 1.0", "SLOPE = 5.0"),
    "an attribute of the network": ("self.scale = scale", "self.scale = 10 * scale"),
}


def run_text(text):
    """Return the variables of this text, as of a module of the user's own."""
    variables = {"torch": torch, "nn": nn, "F": F, "__name__": "my_code"}
    exec(text, variables)
    return variables


def net_of(text):
    torch.manual_seed(0)
    return run_text(text)["Net"]()


@pytest.mark.parametrize("edit", EDITS)
def test_edited_code_of_a_network_is_another_training(edit):
    before, after = EDITS[edit]
    texts = (NET, NET.replace(before, after))
    usual, edited = (own_code(net_of(text), nn.CrossEntropyLoss(), Step()) for text in texts)
    assert usual.keys() == edited.keys() and usual != edited


def test_neither_comments_nor_what_a_network_counts_make_another_training():
    net = net_of(NET)
    usual = own_code(net, nn.CrossEntropyLoss(), Step())
    net.seen(None)
    assert own_code(net, nn.CrossEntropyLoss(), Step()) == usual
    commented = NET.replace('"Text."', '"Another text."  # and a comment').replace("class", "\n\nclass")
    assert own_code(net_of(commented), nn.CrossEntropyLoss(), Step()) == usual


def smoothed(amount):
    def loss(y_hat, y):
        return F.cross_entropy(y_hat, y, label_smoothing=amount)

    return loss


class Doubled:
    def __init__(self, factor=2.0):
        self.factor = factor

    def __call__(self, y_hat, y):
        return self.factor * F.cross_entropy(y_hat, y)


@dataclasses.dataclass(slots=True)
class Slotted:
    factor: float = 2.0

    def __call__(self, y_hat, y):
        return self.factor * F.cross_entropy(y_hat, y)


def clipped_step(net, X, y, loss, optimizer, limit=1.0):
    pass


PAIRS = {
    "a closure": (smoothed(0.0), smoothed(0.9)),
    "a lambda": (lambda y_hat, y: F.cross_entropy(y_hat, y), lambda y_hat, y: 2 * F.cross_entropy(y_hat, y)),
    "a default": tuple(lambda y_hat, y, scale=scale: scale * F.cross_entropy(y_hat, y) for scale in (1, 2)),
    "an object": (Doubled(), Doubled(3.0)),
    "an object with slots": (Slotted(), Slotted(3.0)),
    "a partial of a closure": (functools.partial(smoothed(0.0)), functools.partial(smoothed(0.9))),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_a_loss_or_a_step_with_other_code_or_values_is_another_one(kind):
    one, other = PAIRS[kind]
    net = nn.Linear(2, 2)
    assert own_code(net, one, Step()) == own_code(net, one, Step()) != own_code(net, other, Step())
    assert own_code(net, None, one) == own_code(net, None, one)
    if not kind.startswith("an object"):  # a step may count in its attributes
        assert own_code(net, None, one) != own_code(net, None, other)


def test_the_code_of_libraries_is_not_compared():
    nets = (torchvision.models.resnet18(), find_system("narrow").make_network(), nn.Sequential(nn.Linear(2, 2)))
    facts = [name for net in nets for name in own_code(net, make_loss("cross_entropy"), Step("bf16"))]
    assert not [name for name in facts if not name.startswith("value.net.")]


def test_a_resumed_training_notices_edited_code_and_other_batches(tmp_path, capsys):
    batches = [(X, y) for X, y in loader_with()]
    text = NET.replace("192", "3 * 8 * 8")
    train(tmp_path, net_of(text), batches)
    train(tmp_path, net_of(f"# again\n{text}"), batches)
    assert "This training is complete" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="my_code.Base"):
        train(tmp_path, net_of(text.replace("X.flatten(1)", "2 * X.flatten(1)")), batches)
    with pytest.raises(CheckpointError, match="smoothed"):
        train(tmp_path, net_of(text), batches, smoothed(0.5))
    with pytest.raises(CheckpointError, match="loader.checksum"):
        train(tmp_path, net_of(text), [(2 * X, y) for X, y in batches])


def test_other_tensors_in_a_dataloader_are_noticed(tmp_path):
    X, y = torch.rand(48, 3, 8, 8), torch.arange(48) % 10
    train(tmp_path, train_iter=DataLoader(TensorDataset(X, y), 24))
    with pytest.raises(CheckpointError, match="loader.checksum"):
        train(tmp_path, train_iter=DataLoader(TensorDataset(X, y.flip(0)), 24))


def test_checkpoints_of_earlier_versions_do_not_say_what_the_code_was(tmp_path):
    present = own_code(net_of(NET), smoothed(0.5), Step())
    compare({"lr": 1.0}, {"lr": 1.0} | present, tmp_path)
    compare({"lr": 1.0, "code.cpython-27.my_code.Net": "00000000"}, {"lr": 1.0} | present, tmp_path)
