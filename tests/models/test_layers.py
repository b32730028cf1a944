"""Layers as words: each makes its layer and the right shape, and one that cannot be built is named with its place."""

import math

import pytest
import torch
from net_parts import images
from torch import nn
from utils.models.layers import build_layers

from utils.errors import CourseworkError
from utils.models.blocks import Plan, build


@pytest.mark.parametrize(
    "word, shape, after",
    [
        ("conv 64", (3, 32, 32), (64, 32, 32)),
        ("conv", (3, 32, 32), (3, 32, 32)),
        ("conv 64 5x5", (3, 32, 32), (64, 32, 32)),
        ("conv 64 2x2", (3, 32, 32), (64, 33, 33)),
        ("conv 1x1", (3, 32, 32), (3, 32, 32)),
        ("conv 64 stride 2", (3, 32, 32), (64, 16, 16)),
        ("conv 64 7x7 stride 3 pad 1", (3, 32, 32), (64, 10, 10)),
        ("conv pad 0", (3, 32, 32), (3, 30, 30)),
        ("norm", (3, 32, 32), (3, 32, 32)),
        ("norm", (3,), (3,)),
        ("relu", (3, 4, 4), (3, 4, 4)),
        ("leaky_relu", (3,), (3,)),
        ("gelu", (3,), (3,)),
        ("sigmoid", (3,), (3,)),
        ("softmax", (3,), (3,)),
        ("pool 2", (3, 9, 9), (3, 4, 4)),
        ("pool 2 stride 1", (3, 9, 9), (3, 8, 8)),
        ("pool 3 stride 2", (3, 16, 16), (3, 7, 7)),
        ("average 2", (3, 7, 7), (3, 2, 2)),
        ("mean", (3, 7, 7), (3,)),
        ("max", (3, 7, 7), (3,)),
        ("flatten", (3, 2, 2), (12,)),
        ("linear 10", (12,), (10,)),
        ("dropout 0.35", (3, 4, 4), (3, 4, 4)),
        ("dropout2d 0.48", (3, 4, 4), (3, 4, 4)),
    ],
)
def test_the_shape_that_is_reckoned_is_the_shape_that_comes_out(word, shape, after):
    (layer,), found = build_layers((word,), shape)
    assert found == after == tuple(layer.eval()(torch.randn(2, *shape)).shape[1:])


def test_words_carry_their_numbers_into_the_layers():
    words = ("conv", "conv 8 5x5", "conv 1x1", "dropout 0.35", "dropout2d 0.48")
    (a, b, c, d, e), _ = build_layers(words, (3, 8, 8), width=6, kernel=7)
    assert (a.in_channels, a.out_channels, a.kernel_size, a.padding) == (3, 6, (7, 7), (3, 3))
    assert (b.out_channels, b.kernel_size, b.padding) == (8, (5, 5), (2, 2))
    assert (c.out_channels, c.kernel_size, c.padding) == (6, (1, 1), (0, 0))
    assert (type(d), d.p, type(e), e.p) == (nn.Dropout, 0.35, nn.Dropout2d, 0.48)


def test_softmax_is_over_the_classes_and_mean_over_the_map():
    X = images()
    (mean, softmax), _ = build_layers(("mean", "softmax"), (3, 8, 8))
    torch.testing.assert_close(mean(X), X.flatten(2).sum(2) / 64)
    torch.testing.assert_close(softmax(mean(X)).sum(1), torch.ones(4))


def test_max_keeps_the_largest_value_of_a_map_of_any_size():
    (largest,), _ = build_layers(("max",), (3, 8, 8))
    X = images()
    assert largest(X).tolist() == X.flatten(2).max(2).values.tolist()
    assert largest(X[..., :5, :3]).shape == (4, 3)


def test_scale_multiplies_and_a_fixed_norm_trains_no_scale():
    net = build(Plan(layers=("norm fixed", "mean", "scale 0.25")))
    X = torch.randn(4, 3, 32, 32)
    net.eval()
    torch.testing.assert_close(net(X), 0.25 * X.mean((2, 3)), rtol=1e-4, atol=1e-4)
    norm = net.norm1
    assert not norm.weight.requires_grad and norm.bias.requires_grad and norm.momentum == 0.4
    plain = build(Plan(layers=("norm", "mean"))).norm1
    assert plain.weight.requires_grad and plain.momentum == 0.1


def test_a_whitening_layer_makes_patches_independent_and_is_not_trained():
    torch.manual_seed(0)
    X = torch.nn.functional.interpolate(torch.randn(600, 3, 6, 6), 12, mode="bilinear")  # neighbours are alike
    X[500:] = 3 * X[500:] + 2  # and the last images unlike the first
    net = build(Plan(layers=("whiten 2", "gelu", "mean", "linear 10")), size=12)
    layer = net.whiten1
    layer.learn(X, least=0.0)
    Y = (layer(X) - layer.bias.view(1, -1, 1, 1)).double().transpose(0, 1).flatten(1)
    half = torch.cov(Y[:12])
    torch.testing.assert_close(half, torch.eye(12, dtype=torch.double), rtol=1e-3, atol=1e-3)
    assert torch.equal(layer.weight[12:], -layer.weight[:12])
    assert not layer.weight.requires_grad and layer.bias.requires_grad


def test_whitening_does_not_blow_up_directions_in_which_patches_hardly_vary():
    (layer,), _ = build_layers(("whiten 2",), (3, 8, 8))
    layer.learn(torch.full((2, 3, 8, 8), 0.5))
    lengths = layer.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((24,), 5e-4**-0.5), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize(
    ("word", "formula"),
    [
        ("relu", lambda x: max(x, 0.0)),
        ("leaky_relu", lambda x: max(x, 0.01 * x)),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("gelu", lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2),
    ],
)
def test_an_activation_is_its_formula(word, formula):
    (layer,), _ = build_layers((word,), (5,))
    X = torch.tensor([[-3.0, -0.5, 0.0, 0.5, 3.0]])
    torch.testing.assert_close(layer(X), torch.tensor([[formula(x) for x in X[0].tolist()]]))


@pytest.mark.parametrize(
    ("word", "after"),
    [
        ("pool 2", [[5, 7], [13, 15]]),
        ("pool 3 stride 1", [[10, 11], [14, 15]]),
        ("average 2", [[2.5, 4.5], [10.5, 12.5]]),
    ],
)
def test_pooling_keeps_the_largest_of_each_window_and_averaging_their_mean(word, after):
    (layer,), _ = build_layers((word,), (1, 4, 4))
    assert layer(torch.arange(16.0).view(1, 1, 4, 4))[0, 0].tolist() == after


def test_a_printed_layer_tells_its_factor():
    assert repr(build_layers(("scale 0.125",), (3,))[0][0]) == "Scale(0.125)"


@pytest.mark.parametrize(
    "words, place, message",
    [
        (("conv 64", "convv 64"), "layers, word 2 of 2: 'convv 64'", "no such layer"),
        (("conv 64 5x3",), "word 1", "no such layer"),
        (("conv 0",), "word 1", "no such layer"),
        (("pool",), "word 1", "no such layer"),
        (("pool  2",), "word 1", "no such layer"),
        (("linear",), "word 1", "no such layer"),
        (("dropout 1.5",), "word 1", "no such layer"),
        (("Relu",), "word 1", "no such layer"),
        ((64,), "word 1", "no such layer"),
        (("",), "word 1", "no such layer"),
        (("linear 10",), "word 1", "takes a vector"),
        (("mean", "conv 3"), "word 2 of 2", "takes a map"),
        (("flatten", "dropout2d 0.1"), "word 2", "takes a map"),
        (("softmax",), "word 1", "takes a vector"),
        (("pool 2",) * 5, "word 4 of 5", "too small"),
        (("conv 3 9x9 pad 0",), "word 1", "too small"),
    ],
)
def test_a_word_that_cannot_be_built_is_named_with_its_place(words, place, message):
    with pytest.raises(CourseworkError, match=message) as caught:
        build_layers(words, (3, 8, 8))
    assert place in str(caught.value) and str(caught.value).count("\n") < 9
    if message == "no such layer":
        assert "conv 64 5x5 stride 2 pad 0; norm; norm fixed; whiten 2; scale 0.1; relu" in caught.value.next_step
