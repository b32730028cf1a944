"""Our own networks: the assigned backbone, and a network of the same shape with plain convolutions.

Both begin with patch whitening and can be trained in few, large steps: kernels are initialised as the identity, batch
norms have no trained scale, and the scores are small at the start.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from utils.errors import require
from utils.models.basic_layers import GlobalMaxPool, Scale, TemperatureSoftmax, Whiten, unscaled_batch_norm
from utils.models.blocks import BlindGate, ConstantGate, GatedBlock, conv, identity_kernel_, initialise, make_gate
from utils.models.gated import GatedConv

STEM_CHANNELS = 24  # outputs of Whiten(3, 2): two for each of the 12 numbers of a 2x2 patch
SCORE_SCALE = 0.111
GATES = ("softmax", "mlp", "sigmoid", "constant", "blind")
STARTS = ("alike", "different")


def gated_backbone(
    channels: Sequence[int] = (48, 144, 144),
    kernel_sizes: Sequence[int] = (3, 1, 1),
    gate: str = "softmax",
    num_classes: int = 10,
    temperature: float = 1.0,
    cooling: float = 0.0,
    starts: str = "alike",
) -> nn.Module:
    """Return the assigned backbone: two gated blocks for each number of channels; the first of the two halves the map.

    Branches of 3x3, 1x1 and 1x1 need little more time than a single one of 3x3, so the network can have more channels.
    gate: one of GATES. temperature, cooling: those of the gates' softmax, see TemperatureSoftmax.
    starts: "alike" if every branch starts as the identity, "different" if only the first one does. With a constant
        gate, branches of one size that start alike get the same gradients, so they stay alike for ever.
    """
    require(starts in STARTS, f"Branches can't start {starts!r}.", "starts", "Choose one of " + ", ".join(STARTS) + ".")

    def add_block(c, d, *after):
        block_gate = gate_by_name(gate, c, len(kernel_sizes), temperature, cooling)
        block = GatedBlock(c, d, kernel_sizes, gate=block_gate, after=nn.Sequential(*after))
        net.add_module(f"block{len(net) - 1}", block)

    net = nn.Sequential(Whiten(3, 2), nn.GELU())
    c = STEM_CHANNELS
    for d in channels:
        add_block(c, d, nn.MaxPool2d(2), unscaled_batch_norm(d), nn.GELU())
        add_block(d, d, unscaled_batch_norm(d), nn.GELU())
        c = d
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, num_classes), Scale(SCORE_SCALE)])
    if starts == "alike":
        return initialise(net, identity_kernel_, kinds=(nn.Conv2d, GatedConv))
    for layer in net.modules():
        if isinstance(layer, GatedConv):
            identity_kernel_(layer.kernels()[0][0])
    return net


def plain_backbone(channels: Sequence[int] = (64, 256, 256), num_classes: int = 10) -> nn.Module:
    """Return a network like gated_backbone, with one plain convolution in place of each gated block."""
    layers, c = [Whiten(3, 2), nn.GELU()], STEM_CHANNELS
    for d in channels:
        layers += [conv(c, d), nn.MaxPool2d(2), unscaled_batch_norm(d), nn.GELU()]
        layers += [conv(d, d), unscaled_batch_norm(d), nn.GELU()]
        c = d
    layers += [GlobalMaxPool(), nn.Linear(c, num_classes), Scale(SCORE_SCALE)]
    return initialise(nn.Sequential(*layers), identity_kernel_, kinds=(nn.Conv2d,))


def gate_by_name(name: str, in_channels: int, k: int, temperature: float = 1.0, cooling: float = 0.0) -> nn.Module:
    """Return a gate: "softmax", "sigmoid", "mlp", "constant" or "blind".

    "mlp" has a hidden layer with a quarter of the channels, as in dynamic convolution (https://arxiv.org/abs/1912.03458),
    and a softmax. "constant" gives all branches the same weight, and "blind" learns weights that are the same for all
    images.
    """
    require(name in GATES, f"There is no gate {name!r}.", "gate", "Choose one of " + ", ".join(GATES) + ".")
    has_temperature = temperature != 1 or cooling != 0
    what = f"The gate {name!r} has no temperature, because it has no softmax."
    where = f"temperature={temperature}, cooling={cooling}"
    require(name in ("softmax", "mlp") or not has_temperature, what, where, "Leave temperature and cooling out.")
    if name == "constant":
        return ConstantGate(k)
    if name == "blind":
        return BlindGate(in_channels, k)
    if name == "sigmoid":
        return make_gate(in_channels, k, nn.Sigmoid())
    softmax = TemperatureSoftmax(temperature, cooling) if has_temperature else nn.Softmax(dim=1)
    return make_gate(in_channels, k, softmax, hidden=max(1, in_channels // 4) if name == "mlp" else None)


OUR_NETWORKS = {"gated_backbone": gated_backbone, "plain_backbone": plain_backbone}
