"""The summary of a network: plain data with each layer's kind, text, shape and sizes, whoever wrote the network."""

import json

import pytest
import torch
import torchvision
from networks import small_cnn, small_gated
from networks_by_hand import Gated, NetByHand, Wrapper, lazy_net
from torch import nn

from utils.models import NETWORKS, TABLE_NETWORKS, GatedBlock, GatedConv, macs, parameters, summarise
from utils.models.blocks import conv
from utils.models.summary import kind_of, text_of

NETS = {
    "small_cnn": small_cnn,
    "small_gated": small_gated,
    "by hand": NetByHand,
    "wrapped": lambda: Wrapper(Wrapper(NetByHand(1, 3))),
    "lazy": lazy_net,
    "resnet18": torchvision.models.resnet18,
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=3),
    **{name: make for name, make in NETWORKS.items() if name not in TABLE_NETWORKS},
}


@pytest.mark.parametrize("name", NETS)
def test_a_summary_is_plain_data_that_adds_up(name):
    with torch.device("meta"):  # only the shapes matter here
        net = NETS[name]()
        summary = summarise(net)
        assert summary["macs"] == macs(net)
        scores = net.eval()(torch.zeros(1, *summary["input"]))
    layers = summary["layers"]
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["class"], summary["printed"]) == (type(net).__name__, str(net))
    assert summary["input"] == [1 if name == "wrapped" else 3, 32, 32]
    assert summary["parameters"] == parameters(net) == sum(layer["parameters"] for layer in layers)
    assert summary["macs"] == sum(layer["macs"] for layer in layers)
    assert layers[-1]["shape"] == list(scores.shape[1:])
    assert {layer["name"] for layer in layers} <= dict(net.named_modules()).keys()


def rows(net, *keys):
    return [tuple(layer[key] for key in keys) for layer in summarise(net)["layers"]]


def test_layers_are_listed_in_the_order_of_the_computation():
    assert rows(small_cnn(), "name", "kind", "text", "shape", "macs") == [
        ("0", "conv", "conv 3x3", [8, 32, 32], 27 * 8 * 1024),
        ("1", "norm", "batch norm", [8, 32, 32], 0),
        ("2", "activation", "ReLU", [8, 32, 32], 0),
        ("3", "pool", "max-pool 2x2", [8, 16, 16], 0),
        ("4", "pool", "mean over the map", [8], 0),  # and the flatten layer after it
        ("6", "linear", "linear 10", [10], 80),
    ]
    net = NetByHand()
    del net.stem
    net.stem = nn.Conv2d(3, 4, 3, padding=1)  # now the last one to be made, and still the first one to be computed
    names = ["stem", "gate", "branches.0", "branches.1", "dropout", "head"]
    image = torch.zeros(1, 3, 16, 16)
    assert [layer["name"] for layer in summarise(net, image)["layers"]] == names
    assert [layer["name"] for layer in summarise(Wrapper(net), image)["layers"]] == [f"net.{name}" for name in names]


def test_a_block_of_another_author_is_one_layer():
    layers = rows(torchvision.models.resnet18(), "name", "kind", "text", "shape")
    assert layers[0] == ("conv1", "conv", "conv 7x7, stride 2", [64, 16, 16])
    assert layers[4] == ("layer1.0", "other", "BasicBlock", [64, 8, 8])
    assert layers[-1] == ("fc", "linear", "linear 1000", [1000]) and len(layers) == 14


def gated():
    return Gated(3, 6, (3, 5), activation=nn.Sigmoid())


class NestedBlock(Gated):
    """The same with its branches in a module of their own, as in notebook 02."""

    def __init__(self):
        super().__init__(3, 6, (3, 5), activation=nn.Sigmoid())
        self.conv = nn.Module()
        self.conv.branches = self.branches
        del self.branches

    def forward(self, X):
        a = self.gate(X)
        return sum(a[:, j].view(-1, 1, 1, 1) * layer(X) for j, layer in enumerate(self.conv.branches))


OF_A_STUDENT = {
    "k": 2,
    "gate": "mean over the map, linear 2, sigmoid",
    "branches": "conv 3x3 or conv 5x5",
    "shortcut": None,
    "after": "",
    "branch_steps": [["conv 3x3, 6"], ["conv 5x5, 6"]],
    "channels": [3, 6],
    "steps": 1,
}
FACTS = {
    "gated convolution": (
        lambda: GatedBlock(6, 6, (3, 3, 1), shortcut=nn.Identity(), after=nn.Sequential(nn.BatchNorm2d(6), nn.ReLU())),
        {
            "k": 3,
            "gate": "mean over the map, linear 3, softmax",
            "branches": "conv 3x3, 1x1",
            "shortcut": "X itself",
            "after": "batch norm, ReLU",
            "branch_steps": [["conv 3x3, 6"], ["conv 3x3, 6"], ["conv 1x1, 6"]],
            "channels": [6, 6],
            "steps": 1,
        },
    ),
    "stacks": (
        lambda: GatedBlock(
            6,
            8,
            branches=[nn.Sequential(conv(6, 5), nn.ReLU(), conv(5, 8, 1), nn.ReLU(), nn.Dropout(0.1))] * 2,
            gate=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)),
            shortcut=nn.Sequential(conv(6, 8, 1), nn.BatchNorm2d(8)),
        ),
        {
            "k": 2,
            "gate": "mean over the map, linear 4, ReLU, linear 2",
            "branches": "conv 3x3, ReLU, conv 1x1, ReLU, dropout 0.1",
            "shortcut": "conv 1x1, batch norm",
            "after": "",
            "branch_steps": [["conv 3x3, 5, ReLU", "conv 1x1, 8, ReLU, dropout 0.1"]] * 2,
            "channels": [6, 5, 8],
            "steps": 2,
        },
    ),
    "a student's": (gated, OF_A_STUDENT),
    "a student's, nested": (NestedBlock, OF_A_STUDENT),
}


@pytest.mark.parametrize("name", FACTS)
def test_a_gated_block_says_what_it_consists_of(name):
    make, facts = FACTS[name]
    net = nn.Sequential(nn.Conv2d(3, facts["channels"][0], 1), make(), nn.ReLU())
    (_, block, _) = summarise(net)["layers"]
    assert block["gated"] == facts and block["kind"] == "gated" and block["name"] == "1"


@pytest.mark.parametrize(
    ("layer", "kind", "text"),
    [
        (nn.Conv2d(3, 8, (3, 5), stride=2), "conv", "conv 3x5, stride 2"),
        (nn.Conv2d(4, 8, 1, groups=4), "conv", "conv 1x1, 4 groups"),
        (nn.MaxPool2d(3, stride=2), "pool", "max-pool 3x3, stride 2"),
        (nn.AvgPool2d(2), "pool", "average-pool 2x2"),
        (nn.AdaptiveAvgPool2d((2, 2)), "pool", "average to 2x2"),
        (nn.AdaptiveMaxPool2d(1), "pool", "maximum over the map"),
        (nn.GroupNorm(2, 4), "norm", "group norm"),
        (nn.BatchNorm1d(4), "norm", "batch norm"),
        (nn.Dropout2d(0.48), "dropout", "channel dropout 0.48"),
        (nn.GELU(), "activation", "GELU"),
        (nn.Sequential(nn.Linear(3, 4), nn.Tanh()), "other", "linear 4, tanh"),
        (nn.Sequential(*[nn.Linear(4, 4), nn.ReLU()] * 3), "other", "3 times (linear 4, ReLU)"),
        (GatedConv(3, 4, (5, 5, 1)), "other", "conv 5x5, 1x1"),
        (NetByHand(), "other", "NetByHand"),
    ],
)
def test_a_layer_is_described_by_kind_and_text(layer, kind, text):
    assert (kind_of(layer), text_of(layer)) == (kind, text)


class Wrapped(nn.Module):
    """A block of a student's own that keeps the gated part inside."""

    def __init__(self):
        super().__init__()
        self.mixture = GatedBlock(3, 4, (3, 3))

    def forward(self, X):
        return self.mixture(X).relu()


def test_a_gate_inside_a_block_of_ones_own_is_seen():
    net = nn.Sequential(Wrapped(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    summary = summarise(net)
    assert summary["gates"] == {"0.mixture": 2}
    assert summary["layers"][0]["kind"] == "gated" and summary["layers"][0]["gated"]["channels"] == [3, 4]


class SqueezeAndExcitation(nn.Module):
    """Its gate weighs channels: it has one weight for each of them, and there are no branches."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8), nn.Sigmoid())

    def forward(self, X):
        Y = self.conv(X)
        return Y * self.gate(Y)[:, :, None, None]


def test_a_gate_of_channels_makes_no_gated_block():
    summary = summarise(nn.Sequential(SqueezeAndExcitation(), nn.Flatten(), nn.Linear(8 * 1024, 10)))
    assert summary["gates"] == {} and not any(layer["gated"] for layer in summary["layers"])


class NamedBranches(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2), nn.Softmax(1))
        self.small, self.large = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 3, padding=1)
        self.shortcut = nn.Conv2d(3, 6, 1)

    def forward(self, X):
        a = self.gate(X)[:, :, None, None, None]
        return a[:, 0] * self.small(X) + a[:, 1] * self.large(X) + self.shortcut(X)


class StackedKernels(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2), nn.Softmax(1))
        self.weight = nn.Parameter(torch.randn(2, 6, 3, 3, 3))

    def forward(self, X):
        Y = nn.functional.conv2d(X, self.weight.flatten(0, 1), padding=1).unflatten(1, (2, 6))
        return (self.gate(X)[:, :, None, None, None] * Y).sum(1)


@pytest.mark.parametrize(
    ("make", "branches"), [(NamedBranches, "conv 1x1 or conv 3x3"), (StackedKernels, None)], ids=["names", "stacked"]
)
def test_branches_need_no_list(make, branches):
    (block, *_) = summarise(nn.Sequential(make(), nn.ReLU()))["layers"]
    assert block["kind"] == "gated" and (block["gated"]["k"], block["gated"]["branches"]) == (2, branches)


def test_a_gate_of_the_network_itself_is_named():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2), nn.Softmax(1))
            self.paths = nn.ModuleList(nn.Conv2d(3, 4, 3) for _ in range(2))
            self.head = nn.Linear(4, 10)

        def forward(self, X):
            a = self.gate(X)
            return self.head(sum(a[:, j, None] * path(X).mean((2, 3)) for j, path in enumerate(self.paths)))

    summary = summarise(Root())
    assert summary["gates"] == {"network": 2} and not any(layer["gated"] for layer in summary["layers"])
