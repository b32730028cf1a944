"""The padded convolution: over the smallest maps it is one matrix product with the same outputs and gradients."""

import pytest
import torch
from torch import nn
from utils.models.layers import build_layers

from utils.models import convolution as convolutions
from utils.models.convolution import MANY, PaddedConv, as_matrix


def make(side=2, size=3, inside=4, out=6, count=MANY, dtype=torch.float32):
    torch.manual_seed(0)
    layer = PaddedConv(inside, out, size).to(dtype=dtype, memory_format=torch.channels_last)
    X = torch.randn(count, inside, side, side, dtype=dtype).to(memory_format=torch.channels_last)
    return layer, X.requires_grad_()


@pytest.fixture
def products(monkeypatch):
    """List the shapes of the images that were convolved by a matrix product."""
    seen = []

    def watched(X, *parameters):
        seen.append(tuple(X.shape))
        return as_matrix(X, *parameters)

    monkeypatch.setattr(convolutions, "as_matrix", watched)
    return seen


def results(layer, X, Y):
    weighting = torch.linspace(-1, 2, Y.numel(), dtype=Y.dtype).sin().view_as(Y)
    return [Y, *torch.autograd.grad((Y * weighting).sum(), [X, *layer.parameters()])]


@pytest.mark.parametrize(("side", "size"), [(1, 1), (1, 3), (2, 3), (1, 5), (2, 5), (3, 5), (4, 7)])
def test_a_matrix_product_gives_torchs_outputs_and_gradients(side, size, products):
    layer, X = make(side, size, dtype=torch.float64)
    found, expected = (results(layer, X, Y) for Y in (layer(X), nn.Conv2d.forward(layer, X)))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert products == [tuple(X.shape)]


def test_maps_need_not_be_square(products):
    layer, X = make()
    X = X[:, :, :1].detach().requires_grad_()
    torch.testing.assert_close(layer(X), nn.Conv2d.forward(layer, X))
    assert products == [(MANY, 4, 1, 2)]


def test_a_map_that_is_small_in_one_direction_only_is_left_to_torch(products):
    layer, X = make(side=4)
    for strip in (X[:, :, :1], X[:, :, :, :1]):
        torch.testing.assert_close(layer(strip), nn.Conv2d.forward(layer, strip))
    assert products == []


def test_in_half_precision_it_is_torchs_convolution_to_rounding(products):
    layer, X = make(inside=64)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = layer(X), nn.Conv2d.forward(layer, X)
    assert found.dtype == expected.dtype == torch.bfloat16 and len(products) == 1
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    found.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_large_maps_few_images_and_other_layouts_are_left_to_torch(products):
    layer, X = make(side=3)
    layer(X)
    layer, X = make()
    layer(X[:-1])
    PaddedConv(4, 6, 3)(X)  # its channels lie apart, as torch makes it
    assert products == []
    layer(X)
    assert len(products) == 1


def test_weights_of_either_kind_of_layer_load_into_the_other():
    layer, X = make()
    own = nn.Conv2d(4, 6, 3, padding=1)
    own.load_state_dict(layer.state_dict())
    torch.testing.assert_close(own(X), layer(X))


@pytest.mark.parametrize(
    ("word", "padded"),
    [("conv 8", True), ("conv 8 5x5", True), ("conv 8 1x1", True), ("conv 8 5x5 pad 2", True)]
    + [(word, False) for word in ("conv 8 4x4", "conv 8 stride 2", "conv 8 pad 0", "conv 8 5x5 pad 1", "whiten 2")],
)
def test_words_that_keep_the_maps_size_make_it_and_others_do_not(word, padded):
    (layer,), _ = build_layers((word,), (3, 8, 8))
    assert isinstance(layer, PaddedConv) == padded
