"""How networks start: each weight with the spread of its own fan or as the identity, all else as torch starts it."""

import dataclasses
import math

import pytest
import torch

from utils.models.blocks import INITS, Block, Plan, build


@pytest.mark.parametrize("init", [init for init in INITS if init not in ("default", "dirac")])
@pytest.mark.parametrize("branch", [("conv",), ("conv", "relu")])
def test_each_branch_starts_with_the_spread_of_its_own_fan(init, branch):
    torch.manual_seed(0)
    net = build(Plan([Block((64, 128), (1, 3, 5), branch=branch)], ("mean", "linear 1000"), init), in_channels=64)
    block = net.block1
    kernels = (
        [w for w, _ in block.branches.branches()] if branch == ("conv",) else [b[0].weight for b in block.branches]
    )
    for weight in [*kernels, net.linear1.weight]:
        fan_out, fan_in = (weight[0].numel() * n // weight.shape[1] for n in (weight.shape[0], weight.shape[1]))
        expected = math.sqrt(2 / fan_in) if init == "kaiming_normal" else math.sqrt(2 / (fan_in + fan_out))
        assert weight.std().item() == pytest.approx(expected, rel=0.05)
        largest = weight.abs().max() / weight.std()
        assert largest < 1.8 if init == "xavier_uniform" else largest > 2.5


def test_linear_only_leaves_convolutions_as_torch_starts_them_and_biases_are_never_touched():
    plan = Plan([Block((3, 16), branch=("conv", "relu"), shortcut=("conv",))], ("mean", "linear 10"))
    states = {}
    for init_of in ("default", "linear", "all"):
        torch.manual_seed(0)
        chosen = {} if init_of == "default" else {"init": "kaiming_normal", "init_of": init_of}
        states[init_of] = build(dataclasses.replace(plan, **chosen)).state_dict()
    for init_of in ("linear", "all"):
        changed = {name for name, value in states[init_of].items() if not torch.equal(value, states["default"][name])}
        linear = {"block1.gate.1.weight", "linear1.weight"}
        convs = {"block1.shortcut.0.weight", *(f"block1.branches.{j}.0.weight" for j in range(3))}
        assert changed == (linear if init_of == "linear" else linear | convs)


@pytest.mark.parametrize("out", [3, 8])
def test_dirac_begins_as_the_identity_on_the_first_channels(out):
    net = build(Plan((Block((3, out), after=()),), (f"conv {out}", "mean", "linear 10"), "dirac"))
    X = torch.randn(2, 3, 8, 8)
    for weight in (net.conv1.weight, *(w for w, _ in net.block1.branches.branches())):
        Y = torch.nn.functional.conv2d(X if weight.shape[1] == 3 else X.repeat(1, 3, 1, 1)[:, :out], weight, padding=1)
        torch.testing.assert_close(Y[:, :3], X)
    rest = [w[3:] for w, _ in net.block1.branches.branches()]
    assert out == 3 or not torch.equal(rest[0], rest[1])


def test_dirac_leaves_a_whitening_layer_alone():
    torch.manual_seed(0)
    plan = Plan(layers=("whiten 2", "conv 8", "mean", "linear 10"))
    states = []
    for init in ("default", "dirac"):
        torch.manual_seed(0)
        states.append(build(dataclasses.replace(plan, init=init)).whiten1.weight)
    assert torch.equal(*states)
