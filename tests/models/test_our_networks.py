"""Our networks start as the identity with small scores, and take any numbers of channels, kernels and gates."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from utils.errors import CourseworkError
from utils.models import NETWORKS, ConstantGate, TemperatureSoftmax, parameters
from utils.models.basic_layers import Whiten
from utils.optim import Muon

gated_backbone = NETWORKS["gated_backbone"]
plain_backbone = NETWORKS["plain_backbone"]


def test_kernels_start_as_the_identity_and_whitening_stays():
    torch.manual_seed(0)
    gated, plain = gated_backbone(), plain_backbone()
    X = torch.randn(2, 144, 8, 8)
    torch.testing.assert_close(gated.block4.branches(X, torch.ones(2, 3) / 3), X, rtol=0, atol=0.1)  # up to the biases
    for weight in [kernel for kernel, _ in gated.block2.branches.kernels()] + [plain[6].weight]:
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


def test_an_mlp_gate_has_a_quarter_of_the_channels_in_its_hidden_layer():
    net = gated_backbone(channels=(16,), gate="mlp")
    assert [(block.gate[2].in_features, block.gate[2].out_features) for block in (net.block1, net.block2)] == [
        (24, 6),
        (16, 4),
    ]
    assert isinstance(net.block1.gate[-1], nn.Softmax) and net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("gate", ["softmax", "mlp"])
def test_a_gate_takes_a_temperature(gate):
    net = gated_backbone(channels=(4,), gate=gate, temperature=30.0, cooling=0.3)
    softmax = net.block2.gate[-1]
    assert isinstance(softmax, TemperatureSoftmax) and (softmax.start, softmax.cooling) == (30.0, 0.3)
    plain = gated_backbone(channels=(4,), gate=gate)
    assert plain.state_dict().keys() == {name for name in net.state_dict() if not name.endswith("temperature")}
    assert type(plain.block2.gate[-1]) is nn.Softmax


@pytest.mark.parametrize("gate", ["sigmoid", "constant", "blind"])
def test_a_gate_without_a_softmax_has_no_temperature(gate):
    with pytest.raises(CourseworkError, match="no softmax"):
        gated_backbone(gate=gate, temperature=2.0)


def test_a_constant_gate_has_no_weights():
    constant, trained = (gated_backbone(channels=(4,), gate=gate) for gate in ("constant", "softmax"))
    assert isinstance(constant.block1.gate, ConstantGate)
    assert parameters(trained) - parameters(constant) == (24 + 1) * 3 + (4 + 1) * 3


def test_an_unknown_gate_is_refused_with_the_known_ones():
    with pytest.raises(CourseworkError, match="softmax, mlp, sigmoid, constant, blind"):
        gated_backbone(gate="relu")
    with pytest.raises(CourseworkError, match="alike, different"):
        gated_backbone(starts="random")


def test_a_blind_gate_has_the_weights_of_a_gate_and_gives_every_image_the_same():
    blind, trained = (gated_backbone(channels=(4,), gate=gate) for gate in ("blind", "softmax"))
    assert parameters(blind) == parameters(trained)
    a = blind.block1.gate(torch.randn(5, 24, 8, 8))
    assert a.shape == (5, 3) and (a == a[0]).all() and len(set(a[0].tolist())) == 3


@pytest.mark.parametrize(
    ("gate", "starts", "stay_alike"),
    [("constant", "alike", True), ("softmax", "alike", False), ("blind", "different", False)],
)
def test_branches_that_start_alike_differ_only_if_the_gate_sees_the_image(gate, starts, stay_alike):
    torch.manual_seed(0)
    net = gated_backbone(channels=(24,), kernel_sizes=(3, 3, 3), gate=gate, starts=starts)
    optimizer = Muon(net, lr=0.1, fixed_norm=True, linear_lr=0.1)
    for _ in range(3):
        F.cross_entropy(net(torch.randn(16, 3, 16, 16)), torch.arange(16) % 10).backward()
        optimizer.step()
        optimizer.zero_grad()
    first, second, _ = (weight for weight, _ in net.block2.branches.kernels())
    assert torch.allclose(first, second, atol=1e-5) == stay_alike
