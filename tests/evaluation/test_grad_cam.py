"""Tests of grad_cam.py: Grad-CAM against the class activation map, on every network, leaving all as it was."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from utils.models.networks import NETWORKS

from utils.errors import CourseworkError
from utils.evaluation.grad_cam import class_map
from utils.models.blocks import Block, Plan, build

pytestmark = pytest.mark.usefixtures("one_thread")


def net_of(plan, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(plan)


@pytest.fixture
def X():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "plan",
    [
        Plan((), ("conv 6", "norm", "relu", "pool 2", "conv 8 5x5", "relu", "mean", "linear 10")),
        Plan((Block((3, 6), (3, 3), after=("norm", "relu", "pool 4")), Block((6, 8), (3,) * 3)), ("mean", "linear 10")),
        Plan((), ("conv 8", "relu", "mean", "linear 10", "softmax")),
    ],
    ids=["plain", "gated", "softmax at the end"],
)
def test_with_a_mean_and_a_linear_layer_it_is_the_class_activation_map(plan, X):
    net = net_of(plan).eval()
    maps = []
    last = [layer for name, layer in net.named_children() if name.startswith(("block", "relu"))][-1]
    hook = last.register_forward_hook(lambda _, __, Y: maps.append(Y.detach()))
    label = torch.tensor([3, 1, 4, 1])
    with torch.no_grad():
        net(X)
    hook.remove()
    by_hand = (net.linear1.weight.detach()[label][:, :, None, None] * maps[0]).sum(1, keepdim=True).relu()
    by_hand = F.interpolate(by_hand, (32, 32), mode="bilinear")[:, 0]
    by_hand /= by_hand.amax((1, 2), keepdim=True)
    assert torch.allclose(class_map(net, X, label), by_hand, atol=1e-4)
    assert torch.equal(class_map(net, X, 3)[0], class_map(net, X, label)[0])


STACKED = Block((4, 6), (3, 3), branch=("conv", "relu"), shortcut=None, after=("pool 4",))


@pytest.mark.parametrize(
    ("plan", "layers"),
    [
        (Plan((), ("conv 4", "relu", "pool 4", "flatten", "linear 10")), 3),
        (Plan((), ("conv 4", "relu", "pool 4", "conv 6", "pool 4", "flatten", "linear 10")), 4),  # 2x2 is too small
        (Plan((), ("conv 4", "relu", "pool 8", "flatten", "linear 10")), 3),
        (Plan((), ("conv 4", "relu", "pool 8", "conv 6 2x2 pad 0", "flatten", "linear 10")), 3),
        (Plan((Block((3, 4), (3, 3), after=("relu", "pool 4")), STACKED)), 1),  # 8x8 maps are inside of block 2 only
    ],
    ids=["flattened", "small maps", "4x4 maps", "3x3 maps", "inside a block"],
)
def test_each_channel_counts_by_the_mean_of_its_gradient(plan, layers, X):
    net = net_of(plan).eval()
    maps = net[:layers](X).detach().requires_grad_()
    rest = torch.nn.Sequential(*list(net)[layers:])
    gradient = torch.autograd.grad(rest(maps)[:, 6].sum(), maps)[0]
    by_hand = torch.einsum("bc,bchw->bhw", gradient.flatten(2).mean(2), maps)
    by_hand = F.interpolate(by_hand.detach().relu()[:, None], (32, 32), mode="bilinear")[:, 0]
    found = class_map(net, X, 6)
    assert found.max() == 1 and torch.allclose(
        found, by_hand / by_hand.amax((1, 2), keepdim=True).clamp(1e-12), atol=1e-4
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_every_reported_network_has_one_and_is_left_as_it_was(name, X):
    net = net_of(NETWORKS[name])
    next(net.parameters()).grad = torch.ones_like(next(net.parameters()))
    next(net.children()).eval()
    before = [module.training for module in net.modules()]
    state = {key: value.clone() for key, value in net.state_dict().items()}
    seen = class_map(net, X[:1].repeat(10, 1, 1, 1), torch.arange(10))
    assert seen.shape == (10, 32, 32) and seen.dtype == torch.float32 and not seen.requires_grad
    assert seen.min() >= 0 and set(seen.amax((1, 2)).tolist()) <= {0.0, 1.0}
    assert seen.std((1, 2)).max() > 0.01  # it has places
    assert [module.training for module in net.modules()] == before
    grads = [parameter.grad for parameter in net.parameters()]
    assert torch.equal(grads[0], torch.ones_like(grads[0])) and grads[1:] == [None] * (len(grads) - 1)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_it_points_at_what_the_class_depends_on():
    net = net_of(Plan((), ("conv 2 5x5", "relu", "mean", "linear 10")))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.conv1.weight[0] = 1.0  # bright places
        net.linear1.weight[7, 0] = 1.0
    X = torch.zeros(1, 3, 32, 32)
    X[:, :, 4:8, 20:26] = 1.0
    seen = class_map(net, X, 7)[0]
    down, right = divmod(int(seen.argmax()), 32)
    assert 4 <= down < 8 and 20 <= right < 26 and seen[16:, :16].max() == 0
    assert class_map(net, X, 2).max() == 0  # a class that nothing speaks for has an empty map, and no NaN


def test_frozen_weights_and_callers_without_gradients_do_not_matter(X):
    net = net_of(Plan((), ("conv 4", "relu", "mean", "linear 10")))
    expected = class_map(net, X, 1)
    net.requires_grad_(False)
    with torch.no_grad():
        assert torch.allclose(class_map(net, X, 1), expected)
    with torch.inference_mode():
        assert torch.allclose(class_map(net, X + 0, 1), expected)


def test_a_students_own_nested_network_works_too(X):
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), nn.Dropout(), nn.Flatten(), nn.Linear(3600, 10)
    )
    assert class_map(net, X, 1).shape == (4, 32, 32)


def test_a_map_is_as_large_as_the_images_whatever_their_size_and_type(X):
    net = net_of(Plan((), ("conv 4", "relu", "pool 2", "mean", "linear 10")))
    images = X[:, :, :24, :16]
    assert class_map(net, images, 1).shape == (4, 24, 16)
    assert torch.equal(class_map(net, images.double(), 1), class_map(net, images, 1))


def test_a_map_that_is_too_narrow_is_too_small(X):
    narrow = nn.Conv2d(4, 4, (1, 30))  # 32x3
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), narrow, nn.Flatten(), nn.Linear(384, 10))
    found = class_map(net, X, 1)
    narrow.register_forward_hook(lambda _, __, Y: Y.flatten(2))  # is no map at all
    assert torch.equal(class_map(net, X, 1), found)


def test_a_network_without_maps_is_an_error(X):
    with pytest.raises(CourseworkError, match="no map"):
        class_map(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), X, 1)
