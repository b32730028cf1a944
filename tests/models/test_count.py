"""Counting: exact numbers that a formula on paper gives, and a network that is left as it was."""

import pytest
import torch
from torch import nn
from utils.models.networks import NETWORKS

from utils.models.blocks import Block, Plan, build
from utils.models.count import depth, flops, layer_table, network_table, parameters
from utils.models.gated import FORMS, GatedConv


def conv(inside, out, size, kernel=3):
    """Return (parameters, multiply-adds) of a convolution whose output map is size x size."""
    return inside * out * kernel**2 + out, inside * out * kernel**2 * size**2


def linear(inside, out):
    return inside * out + out, inside * out


def norm(channels):
    return 2 * channels, 0


def add(*parts):
    return tuple(map(sum, zip(*parts, strict=True)))


def expected_softmax_gated():
    widths, parts = (3, 32, 64, 64, 128, 128, 256, 256, 512, 512, 1024), []
    for i, (c, d) in enumerate(zip(widths, widths[1:], strict=False)):
        size = 32 >> i // 2  # before the pooling at a block's end
        parts += [linear(c, 5), *[conv(c, d, size)] * 5, norm(d)]
        parts += [conv(c, d, size), norm(d)] * (i % 2)
    return add(*parts, linear(1024, 512), linear(512, 10))


def expected_shortcut_gated():
    widths, parts = (3, 32, 64, 64, 128, 128, 256, 256, 512, 512, 512, 512), []
    for i, (c, d) in enumerate(zip(widths, widths[1:], strict=False)):
        size = 32 >> min(i // 2, 4)
        parts += [linear(c, 4), *[conv(c, d, size)] * 4, norm(d)]
        parts += [conv(c, d, size, 1), norm(d)] * (c != d)
    return add(*parts, linear(512, 10))


def expected_plain_cnn():
    convs = [conv(3, 32, 32), conv(32, 64, 16), conv(64, 128, 16), conv(128, 256, 16), conv(256, 512, 16)]
    norms = [norm(channels) for channels in (32, 64, 128, 256, 512)]
    return add(*convs, *norms, linear(2048, 512), linear(512, 256), linear(256, 10))


def expected_sigmoid_gated():
    first = [conv(3, 128, 32), norm(128), conv(128, 256, 16), norm(256)] * 3
    second = [conv(256, 512, 8), norm(512), conv(512, 1028, 4), norm(1028)] * 3
    gates = [linear(3, 3), linear(256, 3), norm(256), norm(1028)]
    return add(*first, *second, *gates, linear(1028, 10))


def expected_dropout_cnn():
    at_32 = [conv(3, 32, 32), conv(32, 32, 32), conv(32, 64, 32), conv(64, 64, 32)]
    at_16 = [conv(64, 128, 16), conv(128, 128, 16), conv(128, 128, 16)]
    norms = [norm(channels) for channels in (32, 32, 64, 64, 128, 128)]
    return add(*at_32, *at_16, *norms, linear(128 * 7 * 7, 256), linear(256, 128), linear(128, 10))


COUNTS = {  # parameters, multiply-adds, depth
    "softmax_gated": (53_949_931, 759_937_583, 12),
    "shortcut_gated": (37_888_514, 540_523_148, 12),
    "plain_cnn": (2_753_546, 403_147_264, 8),
    "sigmoid_gated": (18_676_077, 690_989_873, 5),
    "dropout_cnn": (2_075_562, 162_956_544, 10),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_networks_counts_are_those_of_the_formula(name):
    assert globals()[f"expected_{name}"]() == COUNTS[name][:2]
    (row,) = network_table({name: NETWORKS[name]})
    k = {"softmax_gated": (5,), "shortcut_gated": (4,), "sigmoid_gated": (3,)}.get(name, ())
    assert row == dict(zip(("name", "parameters", "macs", "depth", "k"), (name, *COUNTS[name], k), strict=True))


@pytest.mark.parametrize("form", ["auto", *FORMS])
def test_a_gated_network_counts_as_a_loop_in_every_form(form):
    net = build(Plan([Block((3, 8), (3, 3, 1))]), form=form, size=8)
    gate, convs, head = 3 * 3, (9 + 9 + 1) * 3 * 8 * 64, 8 * 10
    assert flops(net) == gate + convs + head
    assert net.block1.branches.form == form


def test_the_table_adds_up_and_has_the_shapes():
    net = build(NETWORKS["plain_cnn"])
    rows = layer_table(net)
    assert [row["name"] for row in rows] == [name for name, _ in net.named_children()]
    assert [row["what"] for row in rows] == list(NETWORKS["plain_cnn"].layers)
    assert sum(row["parameters"] for row in rows) == parameters(net) and sum(row["macs"] for row in rows) == flops(net)
    shapes = {row["name"]: row["shape"] for row in rows}
    assert (shapes["conv2"], shapes["average1"], shapes["flatten1"]) == ((64, 16, 16), (512, 2, 2), (2048,))
    assert {row["name"]: row["macs"] for row in rows}["conv1"] == 27 * 32 * 1024


def test_a_gated_blocks_row_says_what_it_is_made_of():
    plan = Plan([Block((3, 5, 8), (3, 1), "none", (7,), ("conv", "relu"), ("conv 1x1",), ())])
    row = layer_table(build(plan, size=8))[0]
    assert row["what"] == (
        "branches: 2 of (conv, relu) in 2 steps, kernels 3x3, 1x1; gate: mean, linear 7, relu, linear 2; "
        "shortcut: conv 1x1; after: nothing"
    )
    gate, steps, shortcut = 3 * 7 + 7 * 2, (3 * 5 + 5 * 8) * (9 + 1) * 64, 3 * 8 * 64
    assert (row["shape"], row["macs"]) == ((8, 8, 8), gate + steps + shortcut)


def test_each_layer_of_a_network_with_a_stem_is_called_by_its_own_word():
    stem, layers = ("whiten 2", "conv 6 1x1", "gelu"), ("mean", "linear 10")
    plan = Plan([Block((6, 8))], layers, stem=stem)
    what = {row["name"]: row["what"] for row in layer_table(build(plan, size=8))}
    assert what.pop("block1").startswith("branches: 3 of (conv), kernels 3x3; gate: ")
    assert list(what.values()) == [*stem, *layers]
    assert depth(plan) == 4  # whiten, conv, the block, linear


def test_a_network_in_double_precision_counts_the_same():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 10))
    assert flops(net) == flops(net.double())


def test_any_network_of_torchs_own_can_be_counted():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 10))
    assert flops(net) == 27 * 4 * 900 + 36_000
    assert [row["what"] for row in layer_table(net)] == ["Conv2d", "Flatten", "Linear"]
    assert flops(nn.Sequential(nn.Conv2d(3, 4, 3)), 8) == 27 * 4 * 36


def test_frozen_parameters_are_not_counted():
    net = nn.Linear(3, 4)
    net.bias.requires_grad_(False)
    assert parameters(net) == 12


@pytest.mark.parametrize("look", [flops, layer_table])
def test_counting_leaves_modes_statistics_gradients_random_state_and_hooks_as_they_were(look):
    net = build(Plan([Block((3, 4), after=("norm", "dropout 0.2"))]), form="scaled", size=8).train()
    net.block1.after.eval()
    modes = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    look(net)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random) and torch.is_grad_enabled()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert [m.form for m in net.modules() if isinstance(m, GatedConv)] == ["scaled"]


@pytest.mark.parametrize("look", [flops, layer_table])
def test_a_network_that_fails_is_left_as_it_was_too(look):
    net = build(NETWORKS["plain_cnn"]).train()
    net.conv3 = nn.Linear(7, 7)
    with pytest.raises(RuntimeError):
        look(net)
    assert all(m.training and not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())


def test_making_the_table_uses_no_random_numbers():
    random = torch.get_rng_state()
    network_table({"plain_cnn": NETWORKS["plain_cnn"]})
    assert torch.equal(torch.get_rng_state(), random)


def test_depth_takes_the_longest_way():
    block = Block((3, 4, 5), branch=("conv", "relu", "conv"), shortcut=("conv",), after=("conv", "norm"))
    assert depth(Plan([block, Block((5, 5), branch=("conv",), shortcut=("conv", "conv"))], ("mean", "linear 10"))) == 8
