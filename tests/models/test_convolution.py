"""The fast convolution: over the smallest maps it is one matrix product with the same outputs and gradients."""

import copy

import pytest
import torch
from networks import small_cnn
from torch import nn

from utils.models import convolution
from utils.models.convolution import MIN_IMAGES, FastConv2d, as_matrix, use_fast_convolutions


def make(side=2, size=3, in_channels=4, out_channels=6, count=MIN_IMAGES, bias=True, dtype=torch.float64):
    torch.manual_seed(0)
    layer = FastConv2d(in_channels, out_channels, size, padding=size // 2, bias=bias)
    layer.to(dtype=dtype, memory_format=torch.channels_last)
    X = torch.randn(count, in_channels, side, side, dtype=dtype).to(memory_format=torch.channels_last)
    return layer, X.requires_grad_()


@pytest.fixture
def products(monkeypatch):
    """List the shapes of the images that were convolved by a matrix product."""
    shapes = []

    def watched(X, *parameters):
        shapes.append(tuple(X.shape))
        return as_matrix(X, *parameters)

    monkeypatch.setattr(convolution, "as_matrix", watched)
    return shapes


def results(layer, X, Y):
    weighting = torch.linspace(-1, 2, Y.numel(), dtype=Y.dtype).sin().view_as(Y)
    return [Y, *torch.autograd.grad((Y * weighting).sum(), [X, *layer.parameters()])]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("side", "size"), [(1, 1), (1, 3), (2, 3), (1, 5), (2, 5), (3, 5), (4, 7)])
def test_a_matrix_product_gives_torchs_outputs_and_gradients(side, size, bias, products):
    layer, X = make(side, size, bias=bias)
    values, expected = (results(layer, X, Y) for Y in (layer(X), nn.Conv2d.forward(layer, X)))
    for value, right in zip(values, expected, strict=True):
        torch.testing.assert_close(value, right)
    assert products == [tuple(X.shape)]


def test_maps_need_not_be_square_but_small_in_both_directions(products):
    layer, X = make()
    torch.testing.assert_close(layer(X[:, :, :1]), nn.Conv2d.forward(layer, X[:, :, :1]))
    assert products == [(MIN_IMAGES, 4, 1, 2)]
    layer, X = make(side=4)
    for strip in (X[:, :, :1], X[:, :, :, :1]):
        torch.testing.assert_close(layer(strip), nn.Conv2d.forward(layer, strip))
    assert len(products) == 1


def test_in_half_precision_it_is_torchs_convolution_to_rounding(products):
    layer, X = make(in_channels=64, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        Y, expected = layer(X), nn.Conv2d.forward(layer, X)
    assert Y.dtype == expected.dtype == torch.bfloat16 and len(products) == 1
    torch.testing.assert_close(Y, expected, rtol=0.02, atol=0.02)
    Y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_large_maps_few_images_and_other_layouts_are_left_to_torch(products):
    layer, X = make(side=3)
    layer(X)
    layer, X = make()
    layer(X[:-1])
    FastConv2d(4, 6, 3, padding=1).double()(X)  # not in the channels-last layout
    assert products == []
    layer(X)
    assert len(products) == 1


def test_a_network_gives_the_same_and_keeps_its_names():
    torch.manual_seed(0)
    net = nn.Sequential(small_cnn()[:4], nn.AdaptiveAvgPool2d(2), nn.Conv2d(8, 8, 3, padding=1)).double()
    net.to(memory_format=torch.channels_last)
    fast = use_fast_convolutions(copy.deepcopy(net))
    assert (type(net[2]), type(fast[2])) == (nn.Conv2d, FastConv2d)
    assert repr(fast) == repr(net) and list(fast.state_dict()) == list(net.state_dict())
    X = torch.randn(MIN_IMAGES, 3, 8, 8, dtype=torch.double)
    gradients = []
    for model in (net, fast, copy.deepcopy(fast)):
        Y = model(X)
        gradients.append([Y, *torch.autograd.grad((Y**2).sum(), list(model.parameters()))])
    for expected, value, of_copy in zip(*gradients, strict=True):
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(of_copy, expected)
    net.load_state_dict(fast.state_dict())


class OwnConv(nn.Conv2d):
    """A convolution that somebody changed: it has to stay what it is."""


@pytest.mark.parametrize(
    ("layer", "is_fast"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), True),
        (nn.Conv2d(3, 8, 1), True),
        (nn.Conv2d(3, 8, 5, padding=2, bias=False), True),
        (nn.Conv2d(3, 8, 4, padding=2), False),
        (nn.Conv2d(3, 8, 3), False),
        (nn.Conv2d(3, 8, 5, padding=1), False),
        (nn.Conv2d(3, 8, 3, padding=1, stride=2), False),
        (nn.Conv2d(3, 8, 3, padding=1, dilation=2), False),
        (nn.Conv2d(3, 9, 3, padding=1, groups=3), False),
        (nn.Conv2d(3, 8, (3, 1), padding=(1, 0)), False),
        (nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), False),
        (OwnConv(3, 8, 3, padding=1), False),
    ],
)
def test_only_ordinary_convolutions_that_keep_the_size_change_their_class(layer, is_fast):
    kind = type(layer)
    use_fast_convolutions(nn.Sequential(layer))
    assert type(layer) is (FastConv2d if is_fast else kind)
