"""The networks: words become layers, blocks are their formula, the five reported systems are what their reports say."""

import dataclasses
import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from utils.counting import describe
from utils.errors import CourseworkError
from utils.gated import FORMS, GatedConv
from utils.nets import INITS, Block, Plan, build, build_block, build_layers, plan_from
from utils.plans import ASSUMPTIONS, NETWORKS

# The later edition of the assignment, an MLP gate, and rows of report D's appendix with the map sizes it gives.
VALID = {"branch": ("conv pad 0",), "after": ()}
VARIANTS = {
    "branches of different sizes, no activation": (Block((3, 8), (1, 3, 5), "none"), (8, 32)),
    "an MLP gate": (Block((3, 8), hidden=(16, 4)), (8, 32)),
    "Xavier Init": ([Block(pair, (5,) * 4, **VALID) for pair in [(3, 16), (16, 32), (32, 64), (64, 128)]], (128, 16)),
    "Linear channels": ([Block(pair, (7,) * 5, **VALID) for pair in [(3, 5), (5, 7), (7, 9), (9, 11)]], (11, 8)),
    "Conv + ReLU + MaxPool": (
        [
            Block(pair, branch=("conv pad 0", "relu", "pool 2 stride 1"), after=())
            for pair in [(3, 32), (32, 64), (64, 128), (128, 256), (256, 512)]
        ],
        (512, 17),
    ),
    "Deeper ConvBlock II": (
        [Block(w, gate="sigmoid", branch=("conv pad 0", "relu", "pool 2")) for w in [(3, 64), (64, 128, 512)]],
        (512, 2),
    ),
    "Deeper ConvBlock IV": (
        [Block(w, (2, 2, 2), branch=("conv", "relu", "pool 2")) for w in [(3, 128, 256), (256, 512, 1028)]],
        (1028, 2),
    ),
}


def filled(module, seed=0):
    """Give every parameter and running statistic a random value, so that no term of a formula is missed."""
    generator = torch.Generator().manual_seed(seed)
    for value in [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]:
        value.data = torch.rand(value.shape, generator=generator) * 0.5 + 0.1
    return module.eval()


def images(channels=3, size=8, count=4):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "word, shape, after",
    [
        ("conv 64", (3, 32, 32), (64, 32, 32)),
        ("conv", (3, 32, 32), (3, 32, 32)),
        ("conv 64 5x5", (3, 32, 32), (64, 32, 32)),
        ("conv 64 2x2", (3, 32, 32), (64, 33, 33)),
        ("conv 1x1", (3, 32, 32), (3, 32, 32)),
        ("conv 64 stride 2", (3, 32, 32), (64, 16, 16)),
        ("conv 64 7x7 stride 3 pad 1", (3, 32, 32), (64, 10, 10)),
        ("conv pad 0", (3, 32, 32), (3, 30, 30)),
        ("norm", (3, 32, 32), (3, 32, 32)),
        ("norm", (3,), (3,)),
        ("relu", (3, 4, 4), (3, 4, 4)),
        ("leaky_relu", (3,), (3,)),
        ("gelu", (3,), (3,)),
        ("sigmoid", (3,), (3,)),
        ("softmax", (3,), (3,)),
        ("pool 2", (3, 9, 9), (3, 4, 4)),
        ("pool 2 stride 1", (3, 9, 9), (3, 8, 8)),
        ("pool 3 stride 2", (3, 16, 16), (3, 7, 7)),
        ("average 2", (3, 7, 7), (3, 2, 2)),
        ("mean", (3, 7, 7), (3,)),
        ("max", (3, 7, 7), (3,)),
        ("flatten", (3, 2, 2), (12,)),
        ("linear 10", (12,), (10,)),
        ("dropout 0.35", (3, 4, 4), (3, 4, 4)),
        ("dropout2d 0.48", (3, 4, 4), (3, 4, 4)),
    ],
)
def test_the_shape_that_is_reckoned_is_the_shape_that_comes_out(word, shape, after):
    (layer,), found = build_layers((word,), shape)
    assert found == after == tuple(layer.eval()(torch.randn(2, *shape)).shape[1:])


def test_words_carry_their_numbers_into_the_layers():
    words = ("conv", "conv 8 5x5", "conv 1x1", "dropout 0.35", "dropout2d 0.48")
    (a, b, c, d, e), _ = build_layers(words, (3, 8, 8), width=6, kernel=7)
    assert (a.in_channels, a.out_channels, a.kernel_size, a.padding) == (3, 6, (7, 7), (3, 3))
    assert (b.out_channels, b.kernel_size, b.padding) == (8, (5, 5), (2, 2))
    assert (c.out_channels, c.kernel_size, c.padding) == (6, (1, 1), (0, 0))
    assert (type(d), d.p, type(e), e.p) == (nn.Dropout, 0.35, nn.Dropout2d, 0.48)


def test_softmax_is_over_the_classes_and_mean_over_the_map():
    X = images()
    (mean, softmax), _ = build_layers(("mean", "softmax"), (3, 8, 8))
    torch.testing.assert_close(mean(X), X.flatten(2).sum(2) / 64)
    torch.testing.assert_close(softmax(mean(X)).sum(1), torch.ones(4))


def test_max_keeps_the_largest_value_of_a_map_of_any_size():
    (largest,), _ = build_layers(("max",), (3, 8, 8))
    X = images()
    assert largest(X).tolist() == X.flatten(2).max(2).values.tolist()
    assert largest(X[..., :5, :3]).shape == (4, 3)


@pytest.mark.parametrize(
    "words, place, message",
    [
        (("conv 64", "convv 64"), "layers, word 2 of 2: 'convv 64'", "no such layer"),
        (("conv 64 5x3",), "word 1", "no such layer"),
        (("conv 0",), "word 1", "no such layer"),
        (("pool",), "word 1", "no such layer"),
        (("pool  2",), "word 1", "no such layer"),
        (("linear",), "word 1", "no such layer"),
        (("dropout 1.5",), "word 1", "no such layer"),
        (("Relu",), "word 1", "no such layer"),
        ((64,), "word 1", "no such layer"),
        (("",), "word 1", "no such layer"),
        (("linear 10",), "word 1", "takes a vector"),
        (("mean", "conv 3"), "word 2 of 2", "takes a map"),
        (("flatten", "dropout2d 0.1"), "word 2", "takes a map"),
        (("softmax",), "word 1", "takes a vector"),
        (("pool 2",) * 5, "word 4 of 5", "too small"),
        (("conv 3 9x9 pad 0",), "word 1", "too small"),
    ],
)
def test_a_word_that_cannot_be_built_is_named_with_its_place(words, place, message):
    with pytest.raises(CourseworkError, match=message) as caught:
        build_layers(words, (3, 8, 8))
    assert place in str(caught.value) and str(caught.value).count("\n") < 9
    if message == "no such layer":
        assert "conv 64 5x5 stride 2 pad 0; norm; norm fixed; whiten 2; scale 0.1; relu" in caught.value.next_step


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
    assert describe(block.plan)["gate"] == "1/2 for every image"


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


@pytest.mark.parametrize("name", VARIANTS)
def test_the_vocabulary_tells_the_assignments_other_editions_and_the_appendix(name):
    blocks, (channels, size) = VARIANTS[name]
    head = ("mean", "linear 64", "relu", "linear 32", "relu", "linear 10")
    net = build(Plan(blocks if isinstance(blocks, list) else [blocks], head))
    X = images(size=32, count=2)
    assert net[: -len(head)](X).shape == (2, channels, size, size)
    assert net(X).shape == (2, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_runs_forward_and_backward_and_all_of_it_learns(name):
    torch.manual_seed(0)
    net = build(NETWORKS[name])
    y_hat = net(torch.randn(2, 3, 32, 32))
    assert y_hat.shape == (2, 10)
    F.cross_entropy(y_hat, torch.tensor([3, 5])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all(p.grad.any() for p in net.parameters() if p.ndim > 1)


def test_the_reported_networks_halve_their_maps_where_they_are_said_to():
    sizes = {}
    for name, plan in NETWORKS.items():
        with torch.device("meta"):
            net = build(plan)
            X, seen = torch.zeros(1, 3, 32, 32), []
            for layer in net.eval():
                X = layer(X)
                if X.ndim == 4 and (not seen or seen[-1] != X.shape[-1]):
                    seen.append(X.shape[-1])
        sizes[name] = seen
    assert sizes == {
        "softmax_gated": [32, 16, 8, 4, 2],
        "shortcut_gated": [32, 16, 8, 4, 2],
        "plain_cnn": [32, 16, 2],
        "sigmoid_gated": [8, 2],
        "dropout_cnn": [32, 16, 7],
    }


def test_plain_cnn_is_the_code_in_the_report():
    features, size = [], 3
    for out in (32, 64, 128, 256, 512):
        features += [nn.Conv2d(size, out, 3, 2 if out == 64 else 1, 1), nn.ReLU(True), nn.BatchNorm2d(out)]
        features += [nn.Dropout(0.2)] if out == 256 else []
        size = out
    head = [nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(1), nn.Linear(2048, 512), nn.ReLU(True)]
    report = nn.Sequential(*features, *head, nn.Linear(512, 256), nn.ReLU(True), nn.Linear(256, 10))
    net = build(NETWORKS["plain_cnn"])
    assert [type(layer) for layer in net] == [type(layer) for layer in report]
    net.load_state_dict(dict(zip(net.state_dict(), report.state_dict().values(), strict=True)))
    X = images(size=32)
    for mode in (True, False):  # a seed makes the same dropout in both
        torch.manual_seed(0)
        found = net.train(mode)(X)
        torch.manual_seed(0)
        torch.testing.assert_close(found, report.train(mode)(X))


def test_the_gated_reports_blocks_are_as_stated():
    A, B, D = (NETWORKS[name].blocks for name in ("softmax_gated", "shortcut_gated", "sigmoid_gated"))
    assert (len(A), len(B), len(D)) == (10, 11, 2)
    assert (A[0].widths[0], A[-1].widths[-1], D[-1].widths) == (3, 1024, (256, 512, 1028))
    assert [len(block.kernels) for block in (A[0], D[0])] == [5, 3]
    assert [block.shortcut is not None for block in A] == [False, True] * 5
    assert all((block.widths[0] == block.widths[1]) == (block.shortcut == ()) for block in B)
    assert {block.gate for block in (*A, *B)} == {"softmax"} and {block.gate for block in D} == {"sigmoid"}
    assert set(ASSUMPTIONS) == set(NETWORKS) and not ASSUMPTIONS["plain_cnn"]


def test_a_network_trained_in_one_form_loads_into_any_other():
    torch.manual_seed(0)
    plan = Plan([Block((3, 8), (3, 3, 1), after=("norm", "relu", "pool 2")), Block((8, 6))])
    net = build(plan, form="loop", size=8).eval()
    for form in ("auto", *FORMS):
        other = build(plan, form=form, size=8).eval()
        other.load_state_dict(net.state_dict())
        assert all(block.branches.form == form for block in other[:2])
        torch.testing.assert_close(other(images()), net(images()), rtol=1e-5, atol=1e-5)


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


@pytest.mark.parametrize("name", NETWORKS)
def test_a_plan_survives_json(name):
    plan = NETWORKS[name]
    assert plan_from(json.loads(json.dumps(dataclasses.asdict(plan)))) == plan
    assert plan_from(dataclasses.asdict(plan)) == plan


def test_the_same_seed_builds_the_same_network_in_every_form():
    first, second = {}, {}
    for form, state in (("loop", first), ("aggregated", second)):
        torch.manual_seed(3)
        state.update(build(NETWORKS["sigmoid_gated"], form=form).state_dict())
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_layers_are_named_by_kind_and_number_and_the_plan_is_kept():
    plan = Plan([Block((3, 4))], ("conv 8", "relu", "conv 8", "mean", "linear 10"))
    net = build(plan, size=8)
    assert [name for name, _ in net.named_children()] == ["block1", "conv1", "relu1", "conv2", "mean1", "linear1"]
    assert net.plan is plan and net.in_shape == (3, 8, 8) and len(net[1:3]) == 2


def test_a_whitening_layer_makes_patches_independent_and_is_not_trained():
    torch.manual_seed(0)
    X = torch.nn.functional.interpolate(torch.randn(300, 3, 6, 6), 12, mode="bilinear")  # neighbours are alike
    net = build(Plan(layers=("whiten 2", "gelu", "mean", "linear 10")), size=12)
    layer = net.whiten1
    layer.learn(X, least=0.0)
    Y = (layer(X) - layer.bias.view(1, -1, 1, 1)).double().transpose(0, 1).flatten(1)
    half = torch.cov(Y[:12])
    torch.testing.assert_close(half, torch.eye(12, dtype=torch.double), rtol=1e-3, atol=1e-3)
    assert torch.equal(layer.weight[12:], -layer.weight[:12])
    assert not layer.weight.requires_grad and layer.bias.requires_grad


def test_a_stem_comes_before_the_blocks_and_its_layers_are_numbered_with_the_others():
    block = Block((24, 16), after=("norm fixed", "gelu", "pool 2"))
    net = build(Plan((block,), ("conv 20", "mean", "linear 10", "scale 0.125"), stem=("whiten 2", "conv 24", "gelu")))
    names = ["whiten1", "conv1", "gelu1", "block1", "conv2", "mean1", "linear1", "scale1"]
    assert [name for name, _ in net.named_children()] == names
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises(CourseworkError, match="has to be"):
        build(Plan((Block((8, 16)),), stem=("conv 24",)))


def test_scale_multiplies_and_a_fixed_norm_trains_no_scale():
    net = build(Plan(layers=("norm fixed", "mean", "scale 0.25")))
    X = torch.randn(4, 3, 32, 32)
    net.eval()
    torch.testing.assert_close(net(X), 0.25 * X.mean((2, 3)), rtol=1e-4, atol=1e-4)
    norm = net.norm1
    assert not norm.weight.requires_grad and norm.bias.requires_grad and norm.momentum == 0.4
    plain = build(Plan(layers=("norm", "mean"))).norm1
    assert plain.weight.requires_grad and plain.momentum == 0.1


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
