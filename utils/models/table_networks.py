"""Variants of two reported networks, which reports C and D compare in their tables of runs."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from utils.models.blocks import GatedBlock, conv, initialise, make_gate

CHANNELS_OF_C = (32, 64, 128, 256, 512)  # outputs of the five convolutions in report C's code


def plain_cnn_variant(
    convolutions: int = 5,
    linear_layers: int = 3,
    batch_norm: bool = True,
    dropout: bool = True,
    num_classes: int = 10,
) -> nn.Module:
    """Return report C's network with other numbers of layers; its channels are spread over the convolutions."""
    channels = [CHANNELS_OF_C[i * len(CHANNELS_OF_C) // convolutions] for i in range(convolutions)]
    layers = []
    for number, (c, d) in enumerate(pairwise([3, *channels]), start=1):
        stride = 2 if (c, d) == (32, 64) else 1
        layers += [conv(c, d, stride=stride), nn.ReLU()]
        if batch_norm:
            layers.append(nn.BatchNorm2d(d))
        if dropout and number == convolutions - 1:
            layers.append(nn.Dropout(0.2))
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    widths = [4 * channels[-1], *(512, 256, 128)[: linear_layers - 1]]
    for c, d in pairwise(widths):
        layers += [nn.Linear(c, d), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))


def sigmoid_gated_variant(
    blocks: tuple = ((3, 128, 256), (256, 512, 1028)),
    k: int = 3,
    kernel_size: int = 3,
    padded: bool = True,
    batch_norm: bool = True,
    relu: bool = True,
    pool: str = "half",
    dropout: float = 0.2,
    hidden: tuple = (),
    residual: bool = False,
    num_classes: int = 10,
) -> nn.Module:
    """Return one of the versions of report D's network.

    blocks: for each block, the channels of a branch, layer by layer. pool: after each convolution, "half" halves the
    map, "overlap" makes it one pixel smaller, "none" does not change it. hidden: the widths of the linear layers before
    the last one.
    """

    def step(c, d):
        layers = [nn.Conv2d(c, d, kernel_size, padding=kernel_size // 2 if padded else 0)]
        if batch_norm:
            layers.append(nn.BatchNorm2d(d))
        if relu:
            layers.append(nn.ReLU())
        if pool != "none":
            layers.append(nn.MaxPool2d(2, stride=2 if pool == "half" else 1))
        if dropout:
            layers.append(nn.Dropout(dropout))
        return layers

    net, size = nn.Sequential(), 32
    for number, channels in enumerate(blocks, start=1):
        c, d = channels[0], channels[-1]
        gate = make_gate(c, k, activation=nn.Sigmoid())
        branches = [nn.Sequential(*(layer for pair in pairwise(channels) for layer in step(*pair))) for _ in range(k)]
        shortcut = None
        if residual:  # the map of a branch is smaller than X
            size = size // 2 ** (len(channels) - 1)
            shortcut = nn.Sequential(conv(c, d, 1), nn.BatchNorm2d(d), nn.AdaptiveAvgPool2d(size))
        after = nn.BatchNorm2d(d) if batch_norm else None
        block = GatedBlock(c, d, gate=gate, branches=branches, shortcut=shortcut, after=after)
        net.add_module(f"block{number}", block)
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])
    widths = [blocks[-1][-1], *hidden]
    for c, d in pairwise(widths):
        net.extend([nn.Linear(c, d), nn.ReLU()])
    net.append(nn.Linear(widths[-1], num_classes))
    return initialise(net, nn.init.xavier_uniform_)


TABLE_NETWORKS = {"plain_cnn_variant": plain_cnn_variant, "sigmoid_gated_variant": sigmoid_gated_variant}
