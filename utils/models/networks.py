"""Owns the plans of the five reported networks, as data, and what had to be assumed for them. Builds nothing."""

from __future__ import annotations

from utils.models.blocks import Block, Plan


def _blocks(widths, shortcut, **settings):
    """List blocks from one width to the next, with max-pooling at the end of the 2nd, 4th, 6th and 8th."""
    pairs, after = enumerate(zip(widths, widths[1:], strict=False), 1), ("norm", "leaky_relu")
    ends = dict.fromkeys((2, 4, 6, 8), (*after, "pool 2"))
    return tuple(Block(pair, shortcut=shortcut(i, *pair), after=ends.get(i, after), **settings) for i, pair in pairs)


_WIDTHS = (3, 32, 64, 64, 128, 128, 256, 256, 512, 512)
_RESIDUAL = (("conv", "relu", "norm"), None)  # of even and of odd blocks
_STACK = {"gate": "sigmoid", "branch": ("conv", "norm", "relu", "pool 2", "dropout 0.2"), "after": ("norm",)}
SOFTMAX_GATED = Plan(  # report A
    _blocks((*_WIDTHS, 1024), lambda i, *_: _RESIDUAL[i % 2], kernels=(3,) * 5, branch=("conv", "relu")),
    ("mean", "linear 512", "relu", "linear 10"),
    "xavier_normal",
)
SHORTCUT_GATED = Plan(  # report B
    _blocks((*_WIDTHS, 512, 512), lambda _, c, d: () if c == d else ("conv 1x1", "norm"), kernels=(3,) * 4),
    ("mean", "linear 10", "softmax"),
    "kaiming_normal",
    "linear",
)
PLAIN_CNN = Plan(  # report C, layer by layer as in its code
    layers=(
        *("conv 32", "relu", "norm", "conv 64 stride 2", "relu", "norm", "conv 128", "relu", "norm"),
        *("conv 256", "relu", "norm", "dropout 0.2", "conv 512", "relu", "norm", "average 2", "flatten"),
        *("linear 512", "relu", "linear 256", "relu", "linear 10"),
    ),
)
SIGMOID_GATED = Plan(  # report D
    (Block((3, 128, 256), **_STACK), Block((256, 512, 1028), **_STACK)), ("mean", "linear 10"), "xavier_uniform"
)
DROPOUT_CNN = Plan(  # report E
    layers=(
        *("conv 32", "leaky_relu", "norm", "conv 32", "leaky_relu", "norm"),
        *("conv 64", "leaky_relu", "norm", "dropout 0.35", "conv 64", "leaky_relu", "norm", "pool 2", "dropout2d 0.48"),
        *("conv 128", "leaky_relu", "norm", "conv 128", "leaky_relu", "norm"),
        *("conv 128", "leaky_relu", "pool 3 stride 2", "dropout2d 0.48", "flatten"),
        *("linear 256", "leaky_relu", "dropout 0.4", "linear 128", "leaky_relu", "linear 10"),
    ),
)
NETWORKS = {
    "softmax_gated": SOFTMAX_GATED,
    "shortcut_gated": SHORTCUT_GATED,
    "plain_cnn": PLAIN_CNN,
    "sigmoid_gated": SIGMOID_GATED,
    "dropout_cnn": DROPOUT_CNN,
}
ASSUMPTIONS = {  # what the reports do not state and the plans had to choose
    "softmax_gated": (
        "The widths between 3 and 1024, and max-pooling after blocks 2, 4, 6 and 8: nothing that halves maps is named.",
        "Shortcuts: even blocks, 3x3 kernels, added before norm and leaky_relu; the head: a ReLU, xavier_normal too.",
    ),
    "shortcut_gated": (
        "The widths, four branches, 3x3 kernels, max-pooling after blocks 2, 4, 6 and 8; a linear gate with softmax.",
        "Where the widths agree X itself is the shortcut; every shortcut is added before the norm.",
    ),
    "plain_cnn": (),
    "sigmoid_gated": ("Convolutions keep their map's size, as the appendix's sizes ask; dropout is elementwise.",),
    "dropout_cnn": (
        "All widths, and 3x3 kernels padded to keep the map's size; the convolution without a norm is the last.",
        'Dropout and pooling follow the norm; the last pooling, "(3x2)", is a 3x3 window that moves by 2.',
    ),
}
