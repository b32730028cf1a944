"""The gated block equals one that is written out by hand, takes any parts, and starts as it is told."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from utils.errors import CourseworkError
from utils.models import Branches, ConstantGate, GatedBlock, GatedConv, initialise, make_gate
from utils.models.blocks import conv, identity_kernel_


class BlockByHand(nn.Module):
    """The formula of the assignment, line by line: three convolutions, the gate, a shortcut, and what follows."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 6, 1)
        self.conv3 = nn.Conv2d(3, 6, 5, padding=2)
        self.shortcut = nn.Conv2d(3, 6, 1)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, X):
        a = torch.softmax(self.linear(X.mean(dim=(2, 3))), dim=1).view(-1, 3, 1, 1, 1)
        total = a[:, 0] * self.conv1(X) + a[:, 1] * self.conv2(X) + a[:, 2] * self.conv3(X) + self.shortcut(X)
        return torch.relu(self.norm(total))


def images(channels=3, size=8, count=4):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1)).double()


def test_a_block_is_the_block_by_hand():
    torch.manual_seed(0)
    hand = BlockByHand().double()
    after = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU())
    block = GatedBlock(3, 6, kernel_sizes=(3, 1, 5), shortcut=nn.Conv2d(3, 6, 1), after=after).double()
    block.gate[2].load_state_dict(hand.linear.state_dict())
    block.shortcut.load_state_dict(hand.shortcut.state_dict())
    convs = (hand.conv1, hand.conv2, hand.conv3)
    for (weight, bias), by_hand in zip(block.branches.kernels(), convs, strict=True):
        weight.copy_(by_hand.weight.detach())
        bias.copy_(by_hand.bias.detach())
    for mode in (True, False):
        X, X_hand = (images().requires_grad_() for _ in range(2))
        O, expected = block.train(mode)(X), hand.train(mode)(X_hand)  # noqa: E741
        torch.testing.assert_close(O, expected)
        for result in (O, expected):
            (result * torch.linspace(-1, 2, result.numel()).view_as(result)).sum().backward()
        torch.testing.assert_close(X.grad, X_hand.grad)
    torch.testing.assert_close(block.gate[2].weight.grad, hand.linear.weight.grad)
    torch.testing.assert_close(block.branches.weights[1].grad[0], hand.conv2.weight.grad)


@pytest.mark.parametrize(
    ("activation", "formula"),
    [(None, lambda z: z.exp() / z.exp().sum(1, keepdim=True)), (nn.Sigmoid(), lambda z: 1 / (1 + (-z).exp()))],
)
def test_a_gate_is_a_function_of_the_mean_of_each_channel(activation, formula):
    gate, X = make_gate(3, 4, activation).double(), images()
    linear = gate[2]
    torch.testing.assert_close(gate(X), formula(X.sum((2, 3)) / 64 @ linear.weight.T + linear.bias))


class Half(nn.Module):
    """Branches of one module: called with the image and the weights."""

    def forward(self, X, a):
        return X * a[:, 0].view(-1, 1, 1, 1) / 2


def test_an_mlp_gate_is_two_linear_layers_with_a_relu_between_them():
    gate, X = make_gate(3, 4, hidden=5).double(), images()
    first, last = gate[2], gate[4]
    hidden = (X.mean((2, 3)) @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(gate(X), (hidden @ last.weight.T + last.bias).softmax(1))
    assert (first.out_features, last.in_features) == (5, 5)


@pytest.mark.parametrize(
    ("parts", "formula"),
    [
        ({"gate": ConstantGate(1), "branches": [nn.ReLU()]}, lambda X: X.relu()),
        ({"gate": ConstantGate(2), "branches": [nn.Identity(), nn.ReLU()]}, lambda X: (X + X.relu()) / 2),
        ({"gate": ConstantGate(1), "branches": (nn.Tanh() for _ in range(1))}, lambda X: X.tanh()),
        ({"gate": ConstantGate(1), "branches": Half()}, lambda X: X / 2),
        ({"branches": [nn.Tanh(), nn.Tanh()]}, lambda X: X.tanh()),  # the weights of a softmax add up to 1
        ({"branches": nn.ModuleList([nn.Tanh(), nn.Tanh()]), "shortcut": nn.Identity()}, lambda X: X.tanh() + X),
        ({"branches": [nn.Tanh()], "shortcut": nn.ReLU(), "after": nn.AvgPool2d(2)}, None),
    ],
)
def test_every_part_can_be_replaced(parts, formula):
    X = images()
    expected = F.avg_pool2d(X.tanh() + X.relu(), 2) if formula is None else formula(X)
    torch.testing.assert_close(GatedBlock(3, 3, **parts).double()(X), expected)


@pytest.mark.parametrize(
    ("settings", "k"),
    [
        ({}, 3),
        ({"kernel_sizes": (3, 5)}, 2),
        ({"branches": [nn.Conv2d(3, 6, 1) for _ in range(5)]}, 5),
        ({"branches": nn.ModuleList(nn.Conv2d(3, 6, 1) for _ in range(4))}, 4),
        ({"branches": GatedConv(3, 6, (3, 3))}, 2),
    ],
)
def test_the_gate_gives_one_weight_for_each_branch(settings, k):
    block, X = GatedBlock(3, 6, **settings).double(), images()
    assert block.gate(X).shape == (4, k) and block(X).shape == (4, 6, 8, 8)


def test_as_many_weights_as_branches_are_asked_for():
    with pytest.raises(CourseworkError, match="at least one branch"):
        GatedBlock(3, 6, branches=[])
    with pytest.raises(ValueError):
        GatedBlock(3, 3, gate=ConstantGate(3), branches=[nn.Tanh(), nn.Tanh()])(images())


def test_kernel_sizes_are_not_ignored_if_branches_are_given():
    with pytest.raises(CourseworkError, match="not both"):
        GatedBlock(3, 3, (3, 3), branches=[nn.Tanh(), nn.Tanh()])


def test_a_constant_gate_weighs_all_branches_alike_and_learns_nothing():
    gate, X = ConstantGate(4), images()
    assert torch.equal(gate(X), torch.full((4, 4), 0.25, dtype=X.dtype)) and not list(gate.parameters())
    block = GatedBlock(3, 6, (3, 3, 3, 3), gate=gate).double()
    kernels, biases = zip(*block.branches.kernels(), strict=True)
    torch.testing.assert_close(block(X), F.conv2d(X, sum(kernels) / 4, sum(biases) / 4, padding=1))


class Residual(nn.Sequential):
    def forward(self, X):
        return X + super().forward(X)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_modules_of_ones_own_are_called_as_they_are(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    branches = Branches(Residual(conv(3, 3), nn.ReLU()) for _ in range(2)).to(device)
    X, a, calls = images().float().to(device), torch.rand(4, 2, device=device), []
    for branch in branches:
        branch[0].register_forward_hook(lambda *_: calls.append(1))
        prune.random_unstructured(branch[0], "weight", 0.5)
    expected = sum(a[:, j, None, None, None] * (X + branch[1](branch[0](X))) for j, branch in enumerate(branches))
    calls.clear()
    torch.testing.assert_close(branches(X, a), expected, rtol=1e-3, atol=1e-3)
    assert len(calls) == 2


DRAWS = {  # the standard deviation that each is defined by, for a fan in and a fan out
    nn.init.xavier_normal_: lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    nn.init.xavier_uniform_: lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    nn.init.kaiming_normal_: lambda fan_in, fan_out: math.sqrt(2 / fan_in),
}


@pytest.mark.parametrize("draw", DRAWS, ids=lambda draw: draw.__name__)
def test_each_branch_starts_with_the_spread_of_its_own_fan(draw):
    torch.manual_seed(0)
    net = nn.Sequential(GatedConv(64, 128, (1, 3, 5)), nn.Conv2d(64, 96, 3), nn.Linear(256, 300))
    assert initialise(net, draw) is net
    for weight in [*(kernel for kernel, _ in net[0].kernels()), net[1].weight, net[2].weight]:
        pixels = weight[0, 0].numel()
        expected = DRAWS[draw](weight.shape[1] * pixels, weight.shape[0] * pixels)
        assert weight.std().item() == pytest.approx(expected, rel=0.05)
        largest = (weight.abs().max() / weight.std()).item()
        assert largest < math.sqrt(3) * 1.05 if draw is nn.init.xavier_uniform_ else largest > 2.5


def test_biases_frozen_weights_and_other_kinds_stay():
    net = nn.Sequential(GatedConv(3, 4, (3, 3, 1)), GatedConv(3, 4, (1,)), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3))
    net.extend([nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4)])
    for parameter in (net[0].weights[1], net[1].bias, net[2].weight, net[3].bias):
        parameter.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    initialise(net, nn.init.zeros_, kinds=(nn.Conv2d, GatedConv))
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"0.weights.0", "1.weights.0", "3.weight", "4.weight"}
    assert not any(net.state_dict()[name].any() for name in changed)


@pytest.mark.parametrize("out_channels", [2, 3, 8])
def test_an_identity_kernel_passes_on_as_many_channels_as_it_can(out_channels):
    X, layer = images(), nn.Conv2d(3, out_channels, 3, padding=1, bias=False).double()
    before = layer.weight.detach().clone()
    assert identity_kernel_(layer.weight) is layer.weight
    torch.testing.assert_close(layer(X)[:, :3], X[:, :out_channels])
    assert torch.equal(layer.weight[3:], before[3:]) and layer.weight.requires_grad
