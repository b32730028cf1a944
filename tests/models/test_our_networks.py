"""Our networks start as the identity with small scores, and take any numbers of channels, kernels and gates."""

import pytest
import torch
from torch import nn

from utils.errors import CourseworkError
from utils.models import NETWORKS, ConstantGate, parameters
from utils.models.basic_layers import Whiten

gated_backbone = NETWORKS["gated_backbone"]
plain_backbone = NETWORKS["plain_backbone"]


def test_kernels_start_as_the_identity_and_whitening_stays():
    torch.manual_seed(0)
    gated, plain = gated_backbone(), plain_backbone()
    X = torch.randn(2, 144, 8, 8)
    torch.testing.assert_close(gated.block4.branches(X, torch.ones(2, 3) / 3), X, rtol=0, atol=0.1)  # up to the biases
    for weight in [kernel for kernel, _ in gated.block2.branches.branches()] + [plain[6].weight]:
        middle = weight.shape[-1] // 2
        assert torch.equal(weight[:, :, middle, middle], torch.eye(len(weight))) and weight.sum() == len(weight)
    for net in (gated, plain):
        assert isinstance(net[0], Whiten) and net[0].weight.unique().numel() > 100
        assert not any(layer.weight.requires_grad for layer in net.modules() if isinstance(layer, nn.BatchNorm2d))
        assert net(torch.randn(8, 3, 32, 32)).abs().max() < 1


@pytest.mark.parametrize("kernel_sizes", [(3,), (3, 1, 1), (5, 3)])
def test_the_backbone_takes_any_channels_and_kernels(kernel_sizes):
    net = gated_backbone(channels=(4, 6), kernel_sizes=kernel_sizes, num_classes=7)
    assert [name for name, _ in net.named_children() if name.startswith("block")] == [f"block{n}" for n in (1, 2, 3, 4)]
    assert net.block3.branches.kernel_sizes == kernel_sizes
    X = torch.randn(2, 3, 32, 32)
    assert net(X).shape == (2, 7) and net[:6](X).shape == (2, 6, 7, 7)
    assert plain_backbone(channels=(4, 6), num_classes=7)(X).shape == (2, 7)


@pytest.mark.parametrize(("gate", "kind"), [("softmax", nn.Softmax), ("sigmoid", nn.Sigmoid)])
def test_a_gate_is_chosen_by_its_name(gate, kind):
    assert isinstance(gated_backbone(channels=(4,), gate=gate).block1.gate[-1], kind)


def test_a_constant_gate_has_no_weights():
    constant, trained = (gated_backbone(channels=(4,), gate=gate) for gate in ("constant", "softmax"))
    assert isinstance(constant.block1.gate, ConstantGate)
    assert parameters(trained) - parameters(constant) == (24 + 1) * 3 + (4 + 1) * 3


def test_an_unknown_gate_is_refused_with_the_known_ones():
    with pytest.raises(CourseworkError, match="softmax, sigmoid, constant"):
        gated_backbone(gate="relu")
