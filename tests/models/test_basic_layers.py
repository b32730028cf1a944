"""The layers that torch does not have, against their formulas."""

import pytest
import torch
from torch import nn

from utils.errors import CourseworkError
from utils.models.basic_layers import GlobalMaxPool, Scale, TemperatureSoftmax, Whiten, unscaled_batch_norm


def test_the_largest_value_of_a_map_of_any_size_is_kept():
    X = torch.randn(4, 3, 8, 8)
    assert GlobalMaxPool()(X).tolist() == X.flatten(2).max(2).values.tolist()
    assert GlobalMaxPool()(X[..., :5, :3]).shape == (4, 3)


def test_scale_multiplies_and_prints_its_factor():
    X = torch.randn(4, 3)
    assert torch.equal(Scale(0.25)(X), X / 4) and repr(Scale(0.125)) == "Scale(0.125)"


@pytest.mark.parametrize("temperature", [0.1, 1.0, 30.0])
def test_the_scores_are_divided_by_the_temperature(temperature):
    scores = torch.randn(5, 3)
    e = (scores / temperature).exp()
    torch.testing.assert_close(TemperatureSoftmax(temperature)(scores), e / e.sum(1, keepdim=True))


def test_a_temperature_cools_on_a_line_to_1_in_its_share_of_the_training():
    layer = TemperatureSoftmax(30.0, cooling=0.25)
    temperatures = []
    for done in (0.0, 0.125, 0.25, 0.9):
        layer.cool(done)
        temperatures.append(float(layer.temperature))
    assert temperatures == [30.0, 15.5, 1.0, 1.0]
    fixed = TemperatureSoftmax(7.0)
    fixed.cool(0.5)
    assert float(fixed.temperature) == 7.0


@pytest.mark.parametrize("settings", [(0.0,), (-1.0,), (30.0, -0.1), (30.0, 1.1)])
def test_a_temperature_that_makes_no_sense_is_refused(settings):
    with pytest.raises(CourseworkError, match="must be"):
        TemperatureSoftmax(*settings)


def test_a_batch_norm_without_scale_trains_its_bias_only():
    torch.manual_seed(0)
    layer, X = unscaled_batch_norm(3), 5 * torch.randn(64, 3, 8, 8) + 2
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["bias"]
    Y = layer(X)
    torch.testing.assert_close(Y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(Y.var((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(layer.running_mean, 0.4 * X.mean((0, 2, 3)))  # adapts four times as fast as torch's


def test_whitened_patches_are_uncorrelated_and_of_equal_variance():
    torch.manual_seed(0)
    X = nn.functional.interpolate(torch.randn(600, 3, 6, 6), 12, mode="bilinear")  # neighbours are alike
    X[500:] = 3 * X[500:] + 2  # the last images, which are read in a chunk of their own, are unlike the first
    layer = Whiten(3, 2)
    layer.learn(X, epsilon=0.0)
    Y = layer(X).detach().double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(Y[:12]), torch.eye(12, dtype=torch.double), rtol=1e-3, atol=1e-3)
    assert torch.equal(layer.weight[12:], -layer.weight[:12])  # each direction in both signs


def test_a_whitening_layer_learns_from_images_on_a_device_without_float64():
    class OnMps(torch.Tensor):
        def double(self):
            raise TypeError("the MPS framework doesn't support float64")

        def cpu(self):
            return self.as_subclass(torch.Tensor)

    X, layers = torch.randn(8, 3, 8, 8), [Whiten(3, 2), Whiten(3, 2)]
    layers[0].learn(X)
    layers[1].learn(X.as_subclass(OnMps))
    assert torch.equal(layers[0].weight, layers[1].weight)


def test_only_the_bias_of_a_whitening_layer_is_trained():
    layer = Whiten(3, 2)
    layer.learn(torch.randn(8, 3, 8, 8))
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["bias"]
    assert layer(torch.randn(2, 3, 8, 8)).shape == (2, 24, 7, 7)


def test_directions_in_which_patches_hardly_vary_are_not_blown_up():
    layer = Whiten(3, 2)
    layer.learn(torch.full((2, 3, 8, 8), 0.5))  # no variance at all: only epsilon remains
    lengths = layer.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((24,), 5e-4**-0.5), rtol=1e-3, atol=0.0)
