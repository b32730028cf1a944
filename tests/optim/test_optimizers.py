"""The optimizers: torch's own by name, and Muon against torch, against its definition and against an interruption."""

import copy
import io
import json

import pytest
import torch
from torch import nn

from utils.errors import CourseworkError
from utils.models.gated import GatedConv
from utils.my_utils import train_batch
from utils.optim.optimizers import (
    OPTIMIZERS,
    Muon,
    as_matrices,
    describe,
    make_optimizer,
    orthogonalise,
    split_parameters,
)


class Gated(nn.Module):
    """A gated convolution with its gate, a norm and two linear layers."""

    def __init__(self):
        super().__init__()
        self.gate, self.conv = nn.Linear(3, 4), GatedConv(3, 8, (3, 3, 1, 1))
        self.norm, self.hidden, self.last = nn.BatchNorm2d(8), nn.Linear(8, 8), nn.Linear(8, 10)

    def forward(self, X):
        X = self.norm(self.conv(X, self.gate(X.mean((2, 3))).softmax(1))).relu()
        return self.last(self.hidden(X.mean((2, 3))).relu())


def plain_net():
    conv = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(4)
    return nn.Sequential(*conv, nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4))


def seeded(make):
    torch.manual_seed(0)
    return make()


def toy(count=64):
    """Return images of four classes, told apart by a pattern under noise."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(count) % 4
    patterns = torch.randn(4, 3, 12, 12, generator=generator)
    return patterns[y] + torch.randn(count, 3, 12, 12, generator=generator), y


def train(net, optimizer, steps):
    X, y = toy()
    return [float(train_batch(net, X, y, nn.CrossEntropyLoss(), optimizer)[0]) for _ in range(steps)]


def random_matrices(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def step_alike(optimizers, parameters, steps):
    """Let several optimizers step their own parameters along the same random gradients."""
    copies = list(zip(*parameters, strict=True))
    for seed in range(steps):
        generator = torch.Generator().manual_seed(seed)
        for alike in copies:
            gradient = torch.randn(alike[0].shape, generator=generator)
            for parameter in alike:
                parameter.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()


TORCH = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.mark.parametrize("name", TORCH)
def test_a_named_optimizer_steps_as_torchs_own_unfused(name):
    settings = {"weight_decay": 0.05} | ({"momentum": 0.9} if name == "sgd" else {})
    net, other = seeded(plain_net), seeded(plain_net)
    theirs = TORCH[name](other.parameters(), lr=0.01, foreach=False, fused=False, **settings)
    step_alike([make_optimizer(name, net, 0.01, **settings), theirs], [net.parameters(), other.parameters()], 5)
    for parameter, right in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter, right, rtol=1e-5, atol=1e-6)


def test_weight_decay_enters_adams_gradient_and_stays_out_of_adamws():
    moved = {}
    for name in ("adam", "adamw"):
        parameter = nn.Parameter(torch.tensor([10.0]))
        parameter.grad = torch.zeros(1)
        make_optimizer(name, [parameter], 0.1, weight_decay=0.01).step()
        moved[name] = 10 - parameter.item()
    # Adam divides the term by its own size, and moves by lr whatever the decay; AdamW by lr * weight_decay * weight.
    assert moved["adam"] == pytest.approx(0.1, rel=1e-4)
    assert moved["adamw"] == pytest.approx(0.01, rel=1e-4)


def test_the_fused_form_is_taken_where_it_is_safe_and_can_be_declined():
    net = plain_net()
    assert make_optimizer("adam", net, 0.1).defaults["fused"] and make_optimizer("adamw", net, 0.1).defaults["fused"]
    assert not make_optimizer("sgd", net, 0.1).defaults["fused"]
    assert not make_optimizer("adam", net, 0.1, fused=False).defaults["fused"]
    assert not make_optimizer("adam", net, 0.1, foreach=True).defaults["fused"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_first_step_left_out_by_a_grad_scaler_leaves_no_trace(name):
    parameters = [nn.Parameter(torch.ones(1000)), nn.Parameter(torch.ones(4, 4))]
    optimizer = make_optimizer(name, parameters, 0.1, momentum=0.9) if name == "sgd" else None
    optimizer = optimizer or make_optimizer(name, parameters, 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor in (float("inf"), 1.0, 1.0):
        optimizer.zero_grad()
        scaler.scale(sum((factor * parameter).sum() for parameter in parameters)).backward()
        scaler.step(optimizer)
        scaler.update()
        if factor != 1:
            assert all((parameter == 1).all() for parameter in parameters)
    assert all(0 < float(parameter.detach().min()) < 1 for parameter in parameters)


@pytest.mark.parametrize("shape", [(1, 64, 576), (1, 576, 64), (3, 16, 27), (1, 10, 128)], ids=str)
@pytest.mark.parametrize("dtype, slack", [(torch.float32, 0.0), (torch.bfloat16, 0.02), (torch.float16, 0.01)])
def test_an_orthogonalised_matrix_has_singular_values_near_1(shape, dtype, slack):
    for scale in (1e-6, 1.0, 1e6):
        values = torch.linalg.svdvals(orthogonalise(scale * random_matrices(*shape), dtype=dtype))
        assert values.shape == (shape[0], min(shape[1:]))
        assert values.min() > 0.67 - slack and values.max() < 1.21 + slack


def test_orthogonalising_keeps_the_singular_vectors():
    matrix = random_matrices(1, 8, 30)
    U, S, V = torch.linalg.svd(matrix[0], full_matrices=False)
    rotated = U.T @ orthogonalise(matrix, dtype=torch.float32)[0] @ V.T  # diagonal if the singular vectors are the same
    torch.testing.assert_close(rotated, torch.diag(rotated.diagonal()), rtol=0, atol=1e-4)
    assert S.max() / S.min() > 2 > rotated.diagonal().max() / rotated.diagonal().min()


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 30), (1, 40, 6)], ids=str)
def test_orthogonalising_does_not_care_which_side_is_the_longer(shape):
    matrices = random_matrices(*shape)
    wide, tall = (orthogonalise(some, dtype=torch.float32) for some in (matrices, matrices.mT))
    torch.testing.assert_close(tall, wide.mT, rtol=1e-4, atol=1e-5)


def test_each_of_several_matrices_is_orthogonalised_as_if_alone_and_none_gives_nan():
    matrices = random_matrices(3, 6, 20) * torch.tensor([1.0, 1000.0, 0.0]).view(3, 1, 1)
    together = orthogonalise(matrices)
    alone = torch.cat([orthogonalise(matrix.unsqueeze(0)) for matrix in matrices])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert not together[2].any()


def test_weights_become_matrices_of_one_row_for_each_output():
    assert as_matrices(torch.empty(10, 20)).shape == (1, 10, 20)
    assert as_matrices(torch.empty(16, 3, 5, 5)).shape == (1, 16, 75)
    stacked = random_matrices(4, 16, 3, 5, 5)
    assert torch.equal(as_matrices(stacked)[2], stacked[2].reshape(16, 75))


@pytest.mark.parametrize("last_linear", ["sgd", "muon"])
def test_matrices_are_told_from_norms_biases_and_the_last_layer(last_linear):
    net = Gated()
    names = {parameter: name for name, parameter in net.named_parameters()}
    matrices, others = ([names[p] for p in part] for part in split_parameters(net, last_linear))
    expected = {"gate.weight", "conv.weights.0", "conv.weights.1", "hidden.weight"}
    assert set(matrices) == expected | ({"last.weight"} if last_linear == "muon" else set())
    assert sorted(matrices + others) == sorted(names.values())
    assert "conv.bias" in others and names[net.conv.bias] == "conv.bias" and net.conv.bias.ndim == 2


def test_bare_parameters_are_split_by_their_dimensions():
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in [(), (3,), (3, 2), (3, 2, 1, 1), (2, 3, 2, 1, 1)]]
    matrices, others = split_parameters(iter(parameters))
    assert [p.ndim for p in matrices] == [2, 4, 5] and [p.ndim for p in others] == [0, 1]


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(12, 40), (40, 12)], ids=str)
def test_a_matrix_moves_as_under_torchs_muon(shape, nesterov):
    ours, theirs = (nn.Parameter(random_matrices(*shape)) for _ in range(2))
    settings = {"lr": 0.02, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.1}
    optimizers = Muon([ours], **settings), torch.optim.Muon([theirs], **settings)
    step_alike(optimizers, [[ours], [theirs]], 5)
    # Theirs computes in bfloat16, which has 8 bits.
    moved = float((ours - random_matrices(*shape)).detach().norm())
    assert float((ours - theirs).detach().norm()) < 0.02 * moved


def test_each_stacked_kernel_moves_as_a_convolution_of_its_own():
    start, gradient = random_matrices(3, 8, 4, 3, 3), random_matrices(3, 8, 4, 3, 3).sin()
    stacked, alone = nn.Parameter(start.clone()), [nn.Parameter(kernel.clone()) for kernel in start]
    optimizers = [Muon([parameter], 0.1) for parameter in (stacked, *alone)]
    for _ in range(3):
        stacked.grad = gradient.clone()
        for parameter, part in zip(alone, gradient, strict=True):
            parameter.grad = part.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(stacked, torch.stack(list(alone)), rtol=1e-4, atol=1e-5)


def test_what_is_no_matrix_moves_exactly_as_under_sgd():
    ours, theirs = ([nn.Parameter(random_matrices(n)) for n in (5, 9)] for _ in range(2))
    settings = {"sgd_momentum": 0.8, "sgd_lr": 0.3, "sgd_weight_decay": 0.01}
    optimizers = [Muon(ours, 0.02, **settings)]
    optimizers += [torch.optim.SGD(theirs, lr=0.3, momentum=0.8, weight_decay=0.01, nesterov=True)]
    step_alike(optimizers, [ours, theirs], 4)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_the_biases_of_norms_have_a_rate_of_their_own_and_decay_as_much_as_the_others():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 10))
    optimizer = Muon(net, 0.02, sgd_lr=0.5, norm_lr=10.0, sgd_weight_decay=0.1)
    others, norms = optimizer.param_groups[1:]
    assert norms["params"] == [net[1].bias] and norms["lr"] == 10.0
    assert norms["lr"] * norms["weight_decay"] == pytest.approx(others["lr"] * others["weight_decay"])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters()))
    with pytest.raises(ValueError, match="norm_lr wants the network"):
        Muon(list(net.parameters()), norm_lr=10.0)


def test_linear_layers_have_a_rate_of_their_own_and_the_last_stays_with_sgd():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 10))
    optimizer = Muon(net, 0.2, linear_lr=0.01, momentum=0.6)
    kernels, others, linear = optimizer.param_groups
    assert kernels["params"] == [net[0].weight] and kernels["lr"] == 0.2
    assert linear["params"] == [net[2].weight] and linear["lr"] == 0.01 and linear["orthogonal"]
    assert any(parameter is net[3].weight for parameter in others["params"])
    assert {**linear, "params": 0, "lr": 0} == {**kernels, "params": 0, "lr": 0}
    assert len(Muon(net, 0.2).param_groups) == 2


def test_a_kernel_of_fixed_norm_is_as_large_as_one_with_orthogonal_rows():
    kernels = nn.Parameter(random_matrices(3, 8, 4, 3, 3) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1, 1, 1))
    matrix = nn.Parameter(torch.full((5, 6), 3.0))
    kernels.grad, matrix.grad = torch.zeros_like(kernels), torch.zeros_like(matrix)
    Muon([kernels, matrix], 0.1, fixed_norm=True).step()
    torch.testing.assert_close(kernels.flatten(1).norm(dim=1), torch.full((3,), 8**0.5))
    assert (matrix == 3).all()


@pytest.mark.parametrize("make, left", [(plain_net, 0.1), (Gated, 0.4)])
def test_muon_learns_a_small_task(make, left):
    net = seeded(make)
    losses = train(net, make_optimizer("muon", net, 0.05), 40)
    assert losses[0] > 1.2 and losses[-1] < left * losses[0]


def test_parameters_without_a_gradient_stay_and_the_closures_loss_is_returned():
    used, unused, bias = (nn.Parameter(torch.ones(shape)) for shape in [(3, 3), (3, 3), (3,)])
    optimizer = Muon([used, unused, bias], 0.1)

    def closure():
        value = (used.sum() * 2).square()
        value.backward()
        return value

    assert optimizer.step(closure).item() == 18**2
    assert (unused == 1).all() and (bias == 1).all() and not (used == 1).any()
    assert set(optimizer.state) == {used}


@pytest.mark.parametrize("done", [0, 1, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_goes_on_bit_by_bit_from_a_saved_state(name, done):
    settings = {"weight_decay": 0.01} | ({"momentum": 0.9} if name == "sgd" else {})
    net = seeded(Gated)
    optimizer = make_optimizer(name, net, 0.02, **settings)
    train(net, optimizer, done)
    file = io.BytesIO()
    torch.save([net.state_dict(), optimizer.state_dict()], file)
    expected = train(net, optimizer, 4)

    other = Gated()
    again = make_optimizer(name, other, 0.5, **settings)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    other.load_state_dict(weights)
    again.load_state_dict(state)
    assert train(other, again, 4) == expected
    assert all(torch.equal(one, right) for one, right in zip(other.parameters(), net.parameters(), strict=True))


def test_a_training_without_its_saved_momentum_goes_another_way():
    net = seeded(Gated)
    optimizer = make_optimizer("muon", net, 0.02)
    train(net, optimizer, 3)
    other = copy.deepcopy(net)
    assert train(net, optimizer, 4) != train(other, make_optimizer("muon", other, 0.02), 4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_description_is_settings_and_counts_and_survives_json(name):
    net = Gated()
    described = describe(make_optimizer(name, net, 0.02, weight_decay=0.01))
    assert json.loads(json.dumps(described)) == described
    groups = described["groups"]
    assert sum(group["numbers"] for group in groups) == sum(p.numel() for p in net.parameters())
    assert sum(group["tensors"] for group in groups) == len(list(net.parameters()))
    assert groups[0]["lr"] == 0.02 and groups[0]["weight_decay"] == 0.01
    assert described["name"].lower() == name and len(groups) == (2 if name == "muon" else 1)


def test_a_learning_rate_that_is_a_tensor_is_described_as_a_number():
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.5), betas=(0.8, 0.9))
    group = describe(optimizer)["groups"][0]
    assert group["lr"] == 0.5 and group["betas"] == [0.8, 0.9] and "params" not in group


@pytest.mark.parametrize(
    "name, lr, settings, told",
    [
        ("lion", 0.1, {}, "sgd, adam, adamw, muon"),
        ("adam", 0.1, {"momentum": 0.9}, "betas=(0.9, 0.999)"),
        ("sgd", -0.1, {}, "Cannot make the optimizer 'sgd'"),
        ("muon", -0.1, {}, "lr lies from 0"),
        ("muon", float("nan"), {}, "lr lies from 0"),
        ("muon", 0.1, {"momentum": 1.0}, "momentum lies from 0 to below 1"),
        ("muon", 0.1, {"sgd_momentum": -1}, "momentum lies from 0"),
        ("muon", 0.1, {"last_linear": True}, "sgd or muon"),
        ("muon", 0.1, {"betas": (0.9, 0.99)}, "ns_steps=5"),
    ],
)
def test_what_cannot_be_made_is_refused_with_what_can(name, lr, settings, told):
    with pytest.raises(CourseworkError) as caught:
        make_optimizer(name, plain_net(), lr, **settings)
    assert told in str(caught.value) and len(str(caught.value).splitlines()) < 10


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_network_without_parameters_is_refused(name):
    with pytest.raises(CourseworkError, match="Cannot make the optimizer"):
        make_optimizer(name, nn.ReLU(), 0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gpu_takes_the_steps_of_the_cpu(name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # Adam's step turns where a gradient near 0 does
    nets = [seeded(Gated), seeded(Gated).cuda()]
    X, y = toy()
    for net, device in zip(nets, ("cpu", "cuda"), strict=True):
        optimizer = make_optimizer(name, net, 0.01)
        for _ in range(3):
            train_batch(net, X.to(device), y.to(device), nn.CrossEntropyLoss(), optimizer)
    for right, found in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(found.cpu(), right, rtol=0.05, atol=0.01)  # Muon: bfloat16 against float32


def test_norms_of_rate_0_stand_still():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = Muon(net, 0.1, norm_lr=0.0, sgd_weight_decay=0.1)
    net(torch.randn(2, 3, 5, 5)).square().sum().backward()
    before = net[1].bias.detach().clone()
    optimizer.step()
    assert torch.equal(net[1].bias, before)


def test_groups_of_parameters_are_taken_as_torch_takes_them():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    groups = [{"params": net[0].parameters(), "lr": 0.5}, {"params": net[1].parameters()}]
    optimizer = make_optimizer("adam", groups, 0.1)
    assert [(group["lr"], len(group["params"])) for group in optimizer.param_groups] == [(0.5, 2), (0.1, 2)]
    with pytest.raises(CourseworkError, match="makes its groups itself"):
        make_optimizer("muon", [{"params": [net[0].weight]}], 0.1)


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
def test_a_norm_over_several_dimensions_is_no_matrix(kind):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), kind((4, 5, 5)))
    matrices, others = split_parameters(net)
    assert [matrix.shape for matrix in matrices] == [net[0].weight.shape]
    assert len(others) == 1 + len(list(net[1].parameters()))
