"""The five networks of reports A to E, each written as its report describes it, layer by layer.

Every function takes the number of classes and returns an nn.Module for images (B, 3, 32, 32). `ASSUMPTIONS` lists the
details that a report does not state and that were chosen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from utils.models.blocks import GatedBlock, conv, initialise, make_gate
from utils.models.gated import GatedConv

CHANNELS_OF_A = (3, 32, 64, 64, 128, 128, 256, 256, 512, 512, 1024)
CHANNELS_OF_B = (3, 32, 64, 64, 128, 128, 256, 256, 512, 512, 512, 512)
HALVING = (2, 4, 6, 8)  # the blocks of reports A and B that halve the map


def norm_and_pooling(d: int, is_halving: bool) -> nn.Module:
    """Return the layers that follow the sum in a block of reports A and B."""
    layers = [nn.BatchNorm2d(d), nn.LeakyReLU()]
    if is_halving:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def softmax_gated(
    num_classes: int = 10,
    channels: Sequence[int] = CHANNELS_OF_A,
    halving: Sequence[int] = HALVING,
) -> nn.Module:
    """Report A: ten gated blocks from 3 to 1024 channels, with five branches each."""
    net = nn.Sequential()
    for number, (c, d) in enumerate(pairwise(channels), start=1):
        gate = make_gate(c, k=5)
        branches = [nn.Sequential(conv(c, d), nn.ReLU()) for _ in range(5)]
        shortcut = None
        if number % 2 == 0:
            shortcut = nn.Sequential(conv(c, d), nn.ReLU(), nn.BatchNorm2d(d))
        after = norm_and_pooling(d, number in halving)
        block = GatedBlock(c, d, gate=gate, branches=branches, shortcut=shortcut, after=after)
        net.add_module(f"block{number}", block)
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])
    net.extend([nn.Linear(channels[-1], 512), nn.ReLU(), nn.Linear(512, num_classes)])
    return initialise(net, nn.init.xavier_normal_)


def shortcut_gated(
    num_classes: int = 10,
    last_softmax: bool = True,
    k: int = 4,
    gate: str = "softmax",
    halving: Sequence[int] = HALVING,
) -> nn.Module:
    """Report B: eleven gated blocks with shortcuts; the last layer is a softmax, although the loss also applies one.

    Without last_softmax, it is a network that the reported loss can be of (see utils/recipes/reported.py). gate:
    "softmax", "sigmoid", or "mlp" (with a hidden layer, and a softmax).
    """
    net = nn.Sequential()
    for number, (c, d) in enumerate(pairwise(CHANNELS_OF_B), start=1):
        activation = nn.Sigmoid() if gate == "sigmoid" else nn.Softmax(dim=1)
        block = GatedBlock(
            c,
            d,
            gate=make_gate(c, k, activation, hidden=max(4, c // 4) if gate == "mlp" else None),
            branches=GatedConv(c, d, kernel_sizes=(3,) * k),
            shortcut=nn.Identity() if c == d else nn.Sequential(conv(c, d, 1), nn.BatchNorm2d(d)),
            after=norm_and_pooling(d, number in halving),
        )
        net.add_module(f"block{number}", block)
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_classes)])
    if last_softmax:
        net.append(nn.Softmax(dim=1))
    return initialise(net, nn.init.kaiming_normal_, kinds=(nn.Linear,))


def plain_cnn(num_classes: int = 10) -> nn.Module:
    """Report C: five convolutions and three linear layers, with the sizes in its code."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(32)),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(), nn.BatchNorm2d(64)),
        *(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(128)),
        *(nn.Conv2d(128, 256, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(256), nn.Dropout(0.2)),
        *(nn.Conv2d(256, 512, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(512)),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        *(nn.Linear(512 * 2 * 2, 512), nn.ReLU()),
        *(nn.Linear(512, 256), nn.ReLU()),
        nn.Linear(256, num_classes),
    )


def sigmoid_gated(num_classes: int = 10) -> nn.Module:
    """Report D: two gated blocks of three branches. The versions of this network are in table_networks.py.

    Each branch is two convolutions, each followed by a max-pooling that halves height and width.
    """

    def half_size(c, d):
        return [conv(c, d), nn.BatchNorm2d(d), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2)]

    def stacked_block(c, d, e):
        return GatedBlock(
            c,
            e,
            gate=make_gate(c, k=3, activation=nn.Sigmoid()),
            branches=[nn.Sequential(*half_size(c, d), *half_size(d, e)) for _ in range(3)],
            after=nn.BatchNorm2d(e),
        )

    net = nn.Sequential()
    net.add_module("block1", stacked_block(3, 128, 256))
    net.add_module("block2", stacked_block(256, 512, 1028))
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1028, num_classes)])
    return initialise(net, nn.init.xavier_uniform_)


def dropout_cnn(num_classes: int = 10) -> nn.Module:
    """Report E: seven convolutions and three linear layers, with four dropout layers."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.LeakyReLU(), nn.BatchNorm2d(32)),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.LeakyReLU(), nn.BatchNorm2d(32)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.LeakyReLU(), nn.BatchNorm2d(64), nn.Dropout(0.35)),
        *(nn.Conv2d(64, 64, 3, padding=1), nn.LeakyReLU(), nn.BatchNorm2d(64)),
        *(nn.MaxPool2d(2), nn.Dropout2d(0.48)),
        *(nn.Conv2d(64, 128, 3, padding=1), nn.LeakyReLU(), nn.BatchNorm2d(128)),
        *(nn.Conv2d(128, 128, 3, padding=1), nn.LeakyReLU(), nn.BatchNorm2d(128)),
        *(nn.Conv2d(128, 128, 3, padding=1), nn.LeakyReLU()),
        *(nn.MaxPool2d(3, stride=2), nn.Dropout2d(0.48), nn.Flatten()),
        *(nn.Linear(128 * 7 * 7, 256), nn.LeakyReLU(), nn.Dropout(0.4)),
        *(nn.Linear(256, 128), nn.LeakyReLU()),
        nn.Linear(128, num_classes),
    )


REPORTED_NETWORKS = {
    "softmax_gated": softmax_gated,
    "shortcut_gated": shortcut_gated,
    "plain_cnn": plain_cnn,
    "sigmoid_gated": sigmoid_gated,
    "dropout_cnn": dropout_cnn,
}
ASSUMPTIONS = {
    "softmax_gated": (
        "The numbers of channels between 3 and 1024, and max-pooling after blocks 2, 4, 6 and 8: the report names"
        " no layer that makes the maps smaller.",
        "The shortcuts: in the even blocks, with 3x3 kernels, added before batch norm and LeakyReLU. In the last linear"
        " layers: a ReLU between them, and xavier_normal initialisation there too.",
    ),
    "shortcut_gated": (
        "The numbers of channels, four branches, 3x3 kernels, max-pooling after blocks 2, 4, 6 and 8, and a gate of a"
        " linear layer with softmax.",
        "If a block has as many inputs as outputs, its shortcut is X itself; every shortcut is added before the batch"
        " norm.",
    ),
    "plain_cnn": (),
    "sigmoid_gated": (
        "Convolutions keep the size of their map, as the sizes in the appendix require; dropout removes single values.",
    ),
    "dropout_cnn": (
        "All numbers of channels, and 3x3 kernels with padding that keeps the map's size. The last convolution has no"
        " batch norm.",
        'Dropout and pooling follow the batch norm. The last pooling, "(3x2)", is a 3x3 window that moves by 2.',
    ),
}
