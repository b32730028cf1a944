"""Tests of grad_cam.py: Grad-CAM against the class activation map, on every network, leaving all as it was."""

import pytest
import torch
import torch.nn.functional as F
from networks_by_hand import Gated
from torch import nn

from utils.errors import CourseworkError
from utils.evaluation.grad_cam import grad_cam_maps, scores_and_maps
from utils.models import REPORTED_NETWORKS

pytestmark = pytest.mark.usefixtures("one_thread")


def mean():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def seeded(make, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


@pytest.fixture
def X():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 5), nn.ReLU()],
        lambda: [Gated(3, 6, (3, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(4)), Gated(6, 8, (3,) * 3, nn.ReLU())],
        lambda: [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()],
    ],
    ids=["plain", "gated", "one layer"],
)
@pytest.mark.parametrize("softmax", [[], [nn.Softmax(1)]], ids=["scores", "softmax at the end"])
def test_with_a_mean_and_a_linear_layer_it_is_the_class_activation_map(layers, softmax, X):
    features = seeded(lambda: nn.Sequential(*layers())).eval()
    linear = seeded(lambda: nn.Linear(8, 10))
    net = nn.Sequential(*features, mean(), linear, *softmax).eval()
    label = torch.tensor([3, 1, 4, 1])
    with torch.no_grad():
        maps = features(X)
    by_hand = (linear.weight.detach()[label][:, :, None, None] * maps).sum(1, keepdim=True).relu()
    by_hand = F.interpolate(by_hand, (32, 32), mode="bilinear")[:, 0]
    by_hand /= by_hand.amax((1, 2), keepdim=True).clamp(1e-12)
    assert torch.allclose(grad_cam_maps(net, X, label), by_hand, atol=1e-4)
    assert torch.equal(grad_cam_maps(net, X, 3)[0], grad_cam_maps(net, X, label)[0])


def flat(channels, *layers):
    return [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *layers, nn.Flatten(), nn.Linear(channels, 10)]


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (lambda: flat(256, nn.MaxPool2d(4)), 3),
        (lambda: flat(24, nn.MaxPool2d(4), nn.Conv2d(4, 6, 3, padding=1), nn.MaxPool2d(4)), 4),  # 2x2 is too small
        (lambda: flat(64, nn.MaxPool2d(8)), 3),
        (lambda: flat(54, nn.MaxPool2d(8), nn.Conv2d(4, 6, 2)), 3),
        (
            lambda: [  # 8x8 maps are inside the second block only
                *(Gated(3, 4, (3, 3), nn.ReLU(), nn.MaxPool2d(4)), Gated(4, 6, (3, 3), nn.ReLU(), nn.MaxPool2d(4))),
                *(nn.Flatten(), nn.Linear(24, 10)),
            ],
            1,
        ),
    ],
    ids=["flattened", "small maps", "4x4 maps", "3x3 maps", "inside a block"],
)
def test_each_channel_counts_by_the_mean_of_its_gradient(make, layers, X):
    net = seeded(lambda: nn.Sequential(*make())).eval()
    maps = net[:layers](X).detach().requires_grad_()
    gradient = torch.autograd.grad(net[layers:](maps)[:, 6].sum(), maps)[0]
    by_hand = torch.einsum("bc,bchw->bhw", gradient.flatten(2).mean(2), maps)
    by_hand = F.interpolate(by_hand.detach().relu()[:, None], (32, 32), mode="bilinear")[:, 0]
    expected = by_hand / by_hand.amax((1, 2), keepdim=True).clamp(1e-12)
    measured = grad_cam_maps(net, X, 6)
    assert measured.max() == 1 and torch.allclose(measured, expected, atol=1e-4)


@pytest.mark.parametrize("name", REPORTED_NETWORKS)
def test_every_reported_network_has_one_and_is_left_as_it_was(name, X):
    net = seeded(REPORTED_NETWORKS[name])
    next(net.parameters()).grad = torch.ones_like(next(net.parameters()))
    next(net.children()).eval()
    before = [module.training for module in net.modules()]
    state = {key: value.clone() for key, value in net.state_dict().items()}
    seen = grad_cam_maps(net, X[:1].repeat(10, 1, 1, 1), torch.arange(10))
    assert seen.shape == (10, 32, 32) and seen.dtype == torch.float32 and not seen.requires_grad
    assert seen.min() >= 0 and set(seen.amax((1, 2)).tolist()) <= {0.0, 1.0}
    assert seen.std((1, 2)).max() > 0.01  # it has places
    assert [module.training for module in net.modules()] == before
    grads = [parameter.grad for parameter in net.parameters()]
    assert torch.equal(grads[0], torch.ones_like(grads[0])) and grads[1:] == [None] * (len(grads) - 1)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_it_points_at_what_the_class_depends_on():
    net = nn.Sequential(nn.Conv2d(3, 2, 5, padding=2), nn.ReLU(), mean(), nn.Linear(2, 10))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net[0].weight[0] = 1.0  # bright regions
        net[3].weight[7, 0] = 1.0
    X = torch.zeros(1, 3, 32, 32)
    X[:, :, 4:8, 20:26] = 1.0
    seen = grad_cam_maps(net, X, 7)[0]
    down, right = divmod(int(seen.argmax()), 32)
    assert 4 <= down < 8 and 20 <= right < 26 and seen[16:, :16].max() == 0
    assert grad_cam_maps(net, X, 2).max() == 0  # a class that nothing speaks for has an empty map, and no NaN


def test_frozen_weights_and_callers_without_gradients_do_not_matter(X):
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), mean(), nn.Linear(4, 10)))
    expected = grad_cam_maps(net, X, 1)
    net.requires_grad_(False)
    with torch.no_grad():
        assert torch.allclose(grad_cam_maps(net, X, 1), expected)
    with torch.inference_mode():
        assert torch.allclose(grad_cam_maps(net, X + 0, 1), expected)


def test_a_map_is_as_large_as_the_images_whatever_their_size_and_type(X):
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), mean(), nn.Linear(4, 10)))
    images = X[:, :, :24, :16]
    assert grad_cam_maps(net, images, 1).shape == (4, 24, 16)
    assert torch.equal(grad_cam_maps(net, images.double(), 1), grad_cam_maps(net, images, 1))


def test_a_map_that_is_too_narrow_is_too_small(X):
    narrow = nn.Conv2d(4, 4, (1, 30))  # 32x3
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), narrow, nn.Flatten(), nn.Linear(384, 10))
    found = grad_cam_maps(net, X, 1)
    narrow.register_forward_hook(lambda _, __, Y: Y.flatten(2))  # is no map at all
    assert torch.equal(grad_cam_maps(net, X, 1), found)


def test_a_network_without_maps_is_an_error(X):
    with pytest.raises(CourseworkError, match="too small for Grad-CAM"):
        grad_cam_maps(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), X, 1)


class Attention(nn.Module):
    """Attention whose weights (B, heads, tokens, tokens) are the output of a layer."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv, self.drop = heads, nn.Linear(width, 3 * width), nn.Dropout(0.0)

    def forward(self, X):
        q, k, v = self.qkv(X).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return (self.drop((q @ k.transpose(-2, -1)).softmax(-1)) @ v).transpose(1, 2).flatten(2)


class Transformer(nn.Module):
    """Patches of 8x8 pixels, attention between them (and a class token), and a linear layer."""

    def __init__(self):
        super().__init__()
        self.patch, self.attention, self.head = nn.Conv2d(3, 8, 8, 8), Attention(8, 2), nn.Linear(8, 10)

    def forward(self, X):
        X = self.patch(X).flatten(2).transpose(1, 2)
        X = torch.cat([torch.zeros(len(X), 1, 8), X], 1)
        return self.head((X + self.attention(X))[:, 0])


class ChannelsLast(nn.Module):
    """Maps (B, H, W, C) for a layer norm and a linear layer, as in Swin and ConvNeXt."""

    def __init__(self):
        super().__init__()
        self.patch, self.norm, self.linear = nn.Conv2d(3, 6, 4, 4), nn.LayerNorm(6), nn.Linear(6, 12)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(12, 10)

    def forward(self, X):
        X = self.linear(self.norm(self.patch(X).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        self.seen = X
        return self.head(self.pool(X).flatten(1))


class Auxiliary(nn.Module):
    """A second head on the same maps, as GoogLeNet has, whose scores are for training only."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.auxiliary = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 10), nn.Conv2d(6, 4, 1)

    def forward(self, X):
        maps = self.body(X)
        self.auxiliary(maps)
        return self.head(maps.mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "maps_of"),
    [
        (Transformer, lambda net, X: net.patch(X)),
        (ChannelsLast, lambda net, X: net.seen),
        (Auxiliary, lambda net, X: net.body(X)),
    ],
)
def test_attention_weights_channels_last_and_auxiliary_heads_are_not_the_maps(make, maps_of, X):
    net = seeded(make)
    found = grad_cam_maps(net, X, 3)
    inputs = X.clone().requires_grad_()
    y_hat, maps = scores_and_maps(net, inputs)
    maps = [Y for Y in maps if Y.shape == maps_of(net, inputs).shape][-1]
    gradient = torch.autograd.grad(y_hat[:, 3].sum(), maps)[0]
    by_hand = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    by_hand = F.interpolate(by_hand, (32, 32), mode="bilinear")[:, 0].detach()
    assert torch.allclose(found, by_hand / by_hand.amax((1, 2), keepdim=True).clamp(1e-12), atol=1e-4)


def test_maps_of_a_network_in_double_precision_and_a_label_that_is_no_class(X):
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), mean(), nn.Linear(4, 10)))
    expected = grad_cam_maps(net, X, 1)
    assert torch.allclose(grad_cam_maps(net.double(), X, 1), expected, atol=1e-5)
    for label in (10, -1, torch.tensor([0, 3, 12, 1])):
        with pytest.raises(CourseworkError, match="classes 0 to 9"):
            grad_cam_maps(net, X, label)


def test_a_gate_beside_all_other_layers_leaves_their_maps_in_sight(X):
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate, self.linear = nn.Conv2d(3, 6, 3), nn.Linear(6, 6), nn.Linear(6, 10)

        def forward(self, X):
            maps = self.conv(X)
            return self.linear(maps.mean((2, 3)) * self.gate(maps.mean((2, 3))))

    assert grad_cam_maps(Beside(), X, 1).amax((1, 2)).max() == 1
