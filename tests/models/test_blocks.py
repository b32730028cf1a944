"""The networks: a block is its formula, what does not fit is refused; stem, names and forms."""

import pytest
import torch
import torch.nn.functional as F
from net_parts import images
from utils.models.networks import NETWORKS

from utils.errors import CourseworkError
from utils.models.blocks import Block, Plan, build, build_block, plan_from
from utils.models.count import describe
from utils.models.gated import FORMS, GatedConv


def filled(module, seed=0):
    """Give every parameter and running statistic a random value, so that no term of a formula is missed."""
    generator = torch.Generator().manual_seed(seed)
    for value in [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]:
        value.data = torch.rand(value.shape, generator=generator) * 0.5 + 0.1
    return module.eval()


@pytest.mark.parametrize("gate", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("form", FORMS)
def test_a_plain_block_is_its_formula(gate, form):
    block, shape = build_block(Block((3, 6), (3, 1, 5), gate, after=("norm", "leaky_relu", "pool 2")), (3, 8, 8), form)
    X = images()
    linear, norm = filled(block).gate[1], block.after[0]
    scores = X.mean((2, 3)) @ linear.weight.T + linear.bias
    a = {"softmax": scores.softmax(1), "sigmoid": 1 / (1 + (-scores).exp()), "none": scores}[gate]
    total = 0
    for j, (weight, bias) in enumerate(block.branches.branches()):
        total = total + a[:, j].view(-1, 1, 1, 1) * F.conv2d(X, weight, bias, padding=weight.shape[-1] // 2)
    expected = F.max_pool2d(F.leaky_relu(norm(total), 0.01), 2)
    assert isinstance(block.branches, GatedConv) and shape == (6, 4, 4)
    torch.testing.assert_close(block.weights(X), a)
    torch.testing.assert_close(block(X), expected, rtol=1e-4, atol=1e-5)


def test_a_constant_gate_weighs_all_branches_alike_and_learns_nothing():
    block = build_block(Block((3, 6), (3, 1), "constant", after=()), (3, 8, 8))[0]
    X = images()
    assert torch.equal(block.weights(X), torch.full((len(X), 2), 0.5)) and not list(block.gate.parameters())
    parts = [F.conv2d(X, weight, bias, padding=weight.shape[-1] // 2) for weight, bias in block.branches.branches()]
    torch.testing.assert_close(block(X), sum(parts) / 2, rtol=1e-4, atol=1e-5)
    assert describe(block.plan)["gate"] == "1/2 for every image" and repr(block.gate[0]) == "Constant(2)"


@pytest.mark.parametrize("branch", [("conv", "relu"), ("conv", "gelu", "leaky_relu")])
@pytest.mark.parametrize("channels_last", [False, True])
def test_branches_at_once_are_the_branches_one_by_one(branch, channels_last):
    branches = build_block(Block((3, 5), (3, 3, 3), branch=branch), (3, 8, 8))[0].branches
    assert branches.joinable
    X, a = images().requires_grad_(), torch.rand(len(images()), 3, requires_grad=True)
    if channels_last:
        branches.to(memory_format=torch.channels_last)
    ways = [branches(X, a), branches.at_once(X, a)]
    weighting = torch.linspace(-1, 2, ways[0].numel()).sin().view_as(ways[0])
    given = [X, a, *branches.parameters()]
    one_by_one, at_once = ([Y, *torch.autograd.grad((Y * weighting).sum(), given)] for Y in ways)
    for expected, found in zip(one_by_one, at_once, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "block",
    [
        Block((3, 5), (3, 3), branch=("conv", "norm", "relu")),  # a norm's numbers depend on each other
        Block((3, 5), (3, 3), branch=("conv", "relu", "dropout 0.2")),
        Block((3, 5), (3, 5), branch=("conv", "relu")),
        Block((3, 5), (2, 2), branch=("conv", "relu")),  # padded by one on both sides, and larger than before
        Block((3, 5, 7), (3, 3), branch=("conv", "relu")),
        Block((3, 5), (3, 3), branch=("conv stride 2", "relu")),
    ],
)
def test_only_branches_of_one_convolution_and_activations_are_joined(block):
    assert not build_block(block, (3, 8, 8))[0].branches.joinable


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_joins_branches_and_gives_the_same():
    branches = build_block(Block((3, 5), (3, 3, 3), branch=("conv", "relu")), (3, 8, 8))[0].branches
    X, a = images(), torch.rand(len(images()), 3)
    expected, calls = branches(X, a), []
    branches.cuda()[1][0].register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(branches(X.cuda(), a.cuda()).cpu(), expected, rtol=1e-3, atol=1e-3)
    assert not calls  # a branch's own convolution is not asked


@pytest.mark.parametrize("shortcut", [None, (), ("conv", "relu", "norm"), ("conv 1x1", "norm")])
def test_a_block_of_stacks_is_its_formula_with_every_kind_of_shortcut(shortcut):
    words = ("conv", "norm", "relu", "dropout 0.2")
    plan = Block((3, 5, 3), (3, 3), "sigmoid", hidden=(7,), branch=words, shortcut=shortcut, after=("leaky_relu",))
    block = filled(build_block(plan, (3, 8, 8))[0])
    X = images()
    first, second = block.gate[1], block.gate[3]
    a = torch.sigmoid(second(torch.relu(first(X.mean((2, 3))))))
    total = 0
    for j, branch in enumerate(block.branches):
        conv1, norm1, _, _, conv2, norm2, _, _ = branch
        total = total + a[:, j, None, None, None] * norm2(conv2(norm1(conv1(X)).relu())).relu()
    if shortcut == ():
        total = total + X
    elif shortcut is not None:
        conv, norm = block.shortcut[0], block.shortcut[-1]
        total = total + (norm(conv(X).relu()) if "relu" in shortcut else norm(conv(X)))
        assert conv.kernel_size == ((3, 3) if "relu" in shortcut else (1, 1))
    torch.testing.assert_close(block(X), F.leaky_relu(total, 0.01))


def test_branches_of_bare_convolutions_may_have_several_steps():
    block, shape = build_block(Block((3, 5, 7), (3, 1), "none", after=()), (3, 8, 8))
    X = images()
    first, second = (branch[1](branch[0](X)) for branch in block.branches)
    a = block.weights(X)[:, :, None, None, None]
    assert shape == (7, 8, 8)
    torch.testing.assert_close(block(X), a[:, 0] * first + a[:, 1] * second)


@pytest.mark.parametrize(
    "block, shape",
    [
        (Block((3, 8), (2, 3)), (3, 8, 8)),
        (Block((3, 8), (3, 5), branch=("conv pad 0",)), (3, 8, 8)),
        (Block((3, 8), branch=("conv 7",)), (3, 8, 8)),
        (Block((3, 8), branch=("mean",)), (3, 8, 8)),
        (Block((3, 8), shortcut=()), (3, 8, 8)),
        (Block((3, 8), shortcut=("conv", "pool 2")), (3, 8, 8)),
        (Block((3, 8)), (4, 8, 8)),
    ],
)
def test_parts_that_do_not_fit_together_are_refused_with_both_shapes(block, shape):
    with pytest.raises(CourseworkError, match=r"shape is \(.*has to be \("):
        build_block(block, shape)


@pytest.mark.parametrize(
    "plan, place",
    [
        (Plan(stem=("conv 8", "cnov 8")), "stem, word 2 of 2"),
        (Plan(layers=("mean", "linaer 10")), "layers, word 2 of 2"),
        (Plan((Block((3, 8)), Block((9, 8)))), "block 2, what comes in"),
        (Plan((Block((3, 8)), Block((8, 8), branch=("conv", "rulu")))), "block 2, branch 1, word 2 of 2"),
        (Plan((Block((3, 8), shortcut=("conv 1x1", "nrom")),)), "block 1, shortcut, word 2 of 2"),
        (Plan((Block((3, 8), after=("pool 64",)),)), "block 1, after, word 1 of 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_in_the_network(plan, place):
    with pytest.raises(CourseworkError) as caught:
        build(plan)
    assert str(caught.value.where).startswith(place)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Block((3,)),
        lambda: Block((3, 8), ()),
        lambda: Block((3, 8), (3.0,)),
        lambda: Block((3, 0)),
        lambda: Block((3, 8), hidden=(0,)),
        lambda: Block((3, 8), gate="relu"),
        lambda: Block((3, 8), after="norm"),
        lambda: Block((3, 8), shortcut="conv"),
        lambda: Plan(layers="linear 10"),
        lambda: Plan(init="xavier"),
        lambda: Plan(init_of="conv"),
        lambda: build(NETWORKS["plain_cnn"], form="fast"),
        lambda: plan_from({"layer": ["mean"]}),
        lambda: plan_from({"blocks": [{"width": [3, 8]}]}),
    ],
)
def test_data_that_describe_no_network_are_refused(wrong):
    with pytest.raises(CourseworkError) as caught:
        wrong()
    assert caught.value.next_step and str(caught.value).count("\n") < 9


def test_layers_are_named_by_kind_and_number_and_the_plan_is_kept():
    plan = Plan([Block((3, 4))], ("conv 8", "relu", "conv 8", "mean", "linear 10"))
    net = build(plan, size=8)
    assert [name for name, _ in net.named_children()] == ["block1", "conv1", "relu1", "conv2", "mean1", "linear1"]
    assert net.block1.branches.form == "auto"
    assert net.plan is plan and net.in_shape == (3, 8, 8) and len(net[1:3]) == 2


def test_a_stem_comes_before_the_blocks_and_its_layers_are_numbered_with_the_others():
    block = Block((24, 16), after=("norm fixed", "gelu", "pool 2"))
    net = build(Plan((block,), ("conv 20", "mean", "linear 10", "scale 0.125"), stem=("whiten 2", "conv 24", "gelu")))
    names = ["whiten1", "conv1", "gelu1", "block1", "conv2", "mean1", "linear1", "scale1"]
    assert [name for name, _ in net.named_children()] == names
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises(CourseworkError, match="has to be"):
        build(Plan((Block((8, 16)),), stem=("conv 24",)))


def test_a_network_trained_in_one_form_loads_into_any_other():
    torch.manual_seed(0)
    plan = Plan([Block((3, 8), (3, 3, 1), after=("norm", "relu", "pool 2")), Block((8, 6))])
    net = build(plan, form="loop", size=8).eval()
    for form in ("auto", *FORMS):
        other = build(plan, form=form, size=8).eval()
        other.load_state_dict(net.state_dict())
        assert all(block.branches.form == form for block in other[:2])
        torch.testing.assert_close(other(images()), net(images()), rtol=1e-5, atol=1e-5)
