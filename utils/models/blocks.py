"""Owns what a network is made of: gated blocks, a plan of blocks and layers, its building. Knows no system's plan."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

import torch
from torch import nn

from utils.errors import CourseworkError
from utils.models.convolution import torchs_own
from utils.models.gated import FORMS, GatedConv, weighted_sum
from utils.models.layers import ACTIVATIONS, Whiten, build_layers

GATES = ("softmax", "sigmoid", "none", "constant")  # constant: 1/k for every branch and image, to compare with
# default: as torch itself starts a layer; dirac: a convolution begins as the identity on as many channels as it can
INITS = ("default", "xavier_normal", "xavier_uniform", "kaiming_normal", "dirac")


@dataclasses.dataclass(frozen=True)
class Block:
    """A gated block as data: O = after(a_1 branch_1(X) + ... + a_k branch_k(X) + shortcut(X)), a = gate(mean of X).

    Each kernel size makes a branch. A branch says its words once for every step from one width to the next; a bare
    "conv" takes that width and the branch's kernel. The shortcut None adds nothing, () adds X itself.
    """

    widths: tuple = (3, 64)
    kernels: tuple = (3, 3, 3)
    gate: str = "softmax"
    hidden: tuple = ()  # widths of the gate's hidden layers, a ReLU after each
    branch: tuple = ("conv",)
    shortcut: tuple | None = None
    after: tuple = ("norm", "leaky_relu")

    def __post_init__(self):
        _make_tuples(self, "widths", "kernels", "hidden", "branch", "after")
        if self.shortcut is not None:
            _make_tuples(self, "shortcut")
        _check_choice("gate", self.gate, GATES)
        numbers = (*self.widths, *self.kernels, *self.hidden)
        if len(self.widths) < 2 or not self.kernels or any(type(n) is not int or n < 1 for n in numbers):
            where = f"widths={self.widths}, kernels={self.kernels}, hidden={self.hidden}"
            advice = "Give widths=(in, out) and a kernel size for each branch, such as (3, 3, 3): whole numbers from 1."
            raise CourseworkError("These are no widths and kernels of a block.", where=where, next_step=advice)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A network as data: a stem, gated blocks, then layers (a head or a whole plain network), and how weights start."""

    blocks: tuple = ()
    layers: tuple = ("mean", "linear 10")
    init: str = "default"
    init_of: str = "all"  # "all": convolutions and linear layers, "linear": only these; biases stay torch's
    stem: tuple = ()  # layers before the blocks

    def __post_init__(self):
        _make_tuples(self, "blocks", "layers", "stem")
        _check_choice("init", self.init, INITS)
        _check_choice("init_of", self.init_of, ("all", "linear"))


def plan_from(record):
    """Return the Plan of which dataclasses.asdict, or JSON after it, made this record."""
    try:
        return Plan(**{**record, "blocks": tuple(Block(**block) for block in record.get("blocks", ()))})
    except TypeError as error:
        plan, block = (", ".join(field.name for field in dataclasses.fields(kind)) for kind in (Plan, Block))
        known = f"A plan has {plan}; a block has {block}."
        raise CourseworkError(f"This is no record of a network: {error}.", next_step=known) from error


class Constant(nn.Module):
    """A gate that looks at nothing: each of k branches counts for 1/k, for every image."""

    def __init__(self, branches):
        super().__init__()
        self.branches = branches

    def forward(self, X):
        return X.new_full((len(X), self.branches), 1 / self.branches)

    def extra_repr(self):
        return f"{self.branches}"


class Branches(nn.ModuleList):
    """Return a_1 branch_1(X) + ... + a_k branch_k(X), as a GatedConv does, for branches of more than a convolution.

    joinable: each is a convolution to as many channels, then activations, which treat every number by itself. On a GPU
    one convolution then does the work of all, and a hook on one of them sees nothing.
    """

    def __init__(self, branches, joinable=False):
        super().__init__(branches)
        self.joinable = joinable

    def forward(self, X, a):
        if X.is_cuda and self.joinable:
            return self.at_once(X, a)
        return weighted_sum((a_j, branch(X)) for a_j, branch in zip(a.unbind(1), self, strict=True))

    def at_once(self, X, a):
        """Convolve once to the channels of all branches: a GPU does one large step sooner than k small ones."""
        weight, bias = (torch.cat([getattr(branch[0], name) for branch in self]) for name in ("weight", "bias"))
        Y = self[0][1:](torchs_own(X, weight, bias))
        pixels = Y.permute(0, 2, 3, 1).unflatten(3, (len(self), -1))
        return (a[:, None, None, :, None].to(Y.dtype) * pixels).sum(3).permute(0, 3, 1, 2)


class GatedBlock(nn.Module):
    """Run the parts of a Block. `gate` gives a (B, k), so a forward hook on it sees every image's weights."""

    def __init__(self, plan, gate, branches, shortcut, after):
        super().__init__()
        self.plan, self.gate, self.branches, self.shortcut, self.after = plan, gate, branches, shortcut, after

    def weights(self, X):
        """Return a (B, k): how much each branch counts for each image."""
        return self.gate(X)

    def forward(self, X):
        total = self.branches(X, self.weights(X))
        return self.after(total if self.shortcut is None else total + self.shortcut(X))


class Net(nn.Sequential):
    """Run block1, block2, ... and then the layers; remember the plan and the shape of the images it was built for."""

    def __init__(self, children, plan=None, in_shape=None):
        super().__init__(OrderedDict(children))
        self.plan, self.in_shape = plan, in_shape


def build(plan, *, form="auto", in_channels=3, size=32):
    """Build a plan's network for images (in_channels, size, size); its weights come from torch's global generator."""
    _check_choice("form", form, ("auto", *FORMS))
    shape, children = (in_channels, size, size), []
    first, shape = build_layers(plan.stem, shape, "stem")
    for number, block in enumerate(plan.blocks, 1):
        module, shape = build_block(block, shape, form, f"block {number}")
        children.append((f"block{number}", module))
    layers, _ = build_layers(plan.layers, shape)
    kinds = [word.split()[0] for word in (*plan.stem, *plan.layers)]
    names = [f"{kind}{kinds[:i].count(kind) + 1}" for i, kind in enumerate(kinds)]  # conv1, relu1, conv2, ...
    stem, head = zip(names, first, strict=False), zip(names[len(first) :], layers, strict=True)
    net = Net([*stem, *children, *head], plan, (in_channels, size, size))
    initialise(net, plan.init, plan.init_of)
    return net


def build_block(block, shape, form="auto", where="the block"):
    """Build a gated block for maps of this shape (C, H, W); return it and the shape that comes out of it."""
    width = block.widths[-1]
    _check_shape(shape, (block.widths[0], *shape[1:]), f"{where}, what comes in")
    hidden = [word for hidden in block.hidden for word in (f"linear {hidden}", "relu")]
    words = ["mean", *hidden, f"linear {len(block.kernels)}", *([block.gate] if block.gate != "none" else [])]
    gate = [Constant(len(block.kernels))]
    if block.gate != "constant":
        gate, _ = build_layers(words, shape, f"{where}, gate")
    branches, total = _build_branches(block, shape, form, f"{where}, branch")
    shortcut = None
    if block.shortcut is not None:
        layers, found = build_layers(block.shortcut, shape, f"{where}, shortcut", width=width)
        _check_shape(found, total, f"{where}, shortcut")
        shortcut = nn.Sequential(*layers)
    after, shape = build_layers(block.after, total, f"{where}, after", width=width)
    return GatedBlock(block, nn.Sequential(*gate), branches, shortcut, nn.Sequential(*after)), shape


def _build_branches(block, shape, form, where):
    """Build one GatedConv where the branches are plain convolutions, otherwise Branches of one Sequential each."""
    if block.branch == ("conv",) and len(block.widths) == 2 and all(size % 2 for size in block.kernels):
        return GatedConv(*block.widths, block.kernels, form=form), (block.widths[1], *shape[1:])
    branches, total = [], None
    for number, kernel in enumerate(block.kernels, 1):
        steps, found = [], shape
        for width in block.widths[1:]:
            layers, found = build_layers(block.branch, found, f"{where} {number}", width=width, kernel=kernel)
            steps += layers
        total = total or (block.widths[-1], *found[1:])
        _check_shape(found, total, f"{where} {number}")
        branches.append(nn.Sequential(*steps))
    simple = len(block.widths) == 2 and block.branch[0] == "conv" and {*block.branch[1:]} <= {*ACTIVATIONS}
    alike = len({*block.kernels}) == 1 and block.kernels[0] % 2 == 1
    return Branches(branches, joinable=simple and alike), total


def initialise(net, init, init_of="all"):
    """Draw weights anew as `init` says, each branch's by its own fan; convolutions only if init_of is "all"."""
    kinds = (nn.Linear, nn.Conv2d, GatedConv) if init_of == "all" else nn.Linear
    if init == "dirac":
        kinds = (nn.Conv2d, GatedConv)
    for module in net.modules() if init != "default" else ():
        if isinstance(module, kinds) and not isinstance(module, Whiten):
            gated = isinstance(module, GatedConv)
            for weight in [weight for weight, _ in module.branches()] if gated else [module.weight]:
                getattr(nn.init, f"{init}_")(weight[: weight.shape[1]] if init == "dirac" else weight)


def _make_tuples(data, *names):
    """Let lists stand for tuples, as JSON has it; refuse a lone string, whose letters would be taken for words."""
    for name in names:
        value = getattr(data, name)
        if not isinstance(value, (tuple, list)):
            advice = f"Write {name}=({value!r},), with the comma that makes a tuple of one."
            raise CourseworkError(f"{name} has to be a tuple.", where=f"{name}={value!r}", next_step=advice)
        object.__setattr__(data, name, tuple(value))


def _check_choice(name, value, known):
    if value not in known:
        raise CourseworkError(f"There is no {name} {value!r}.", next_step="Choose one of " + ", ".join(known) + ".")


def _check_shape(found, expected, where):
    if found != expected:
        advice = "What is added must agree in channels and map size, and a block must take what comes before it."
        raise CourseworkError(f"The shape is {found}, but has to be {expected}.", where=where, next_step=advice)
