"""Muon: against torch's own, against its definition and against SGD."""

import pytest
import torch
from optimizer_parts import Gated, random_matrices, step_alike
from torch import nn

from utils.optim.muon import Muon, as_matrices, orthogonalise, split_parameters


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


def test_matrices_are_told_from_norms_biases_and_the_last_layer():
    net = Gated()
    names = {parameter: name for name, parameter in net.named_parameters()}
    matrices, others = ([names[p] for p in part] for part in split_parameters(net))
    assert set(matrices) == {"gate.weight", "conv.weights.0", "conv.weights.1", "hidden.weight"}
    assert sorted(matrices + others) == sorted(names.values())
    assert "conv.bias" in others and names[net.conv.bias] == "conv.bias" and net.conv.bias.ndim == 2


def test_bare_parameters_are_split_by_their_dimensions():
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in [(), (3,), (3, 2), (3, 2, 1, 1), (2, 3, 2, 1, 1)]]
    matrices, others = split_parameters(iter(parameters))
    assert [p.ndim for p in matrices] == [2, 4, 5] and [p.ndim for p in others] == [0, 1]


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
@pytest.mark.parametrize("shape", [(12, 40), (40, 12)], ids=str)
def test_a_matrix_moves_as_under_torchs_muon(shape):
    ours, theirs = (nn.Parameter(random_matrices(*shape)) for _ in range(2))
    settings = {"lr": 0.02, "momentum": 0.9}
    optimizers = Muon([ours], **settings), torch.optim.Muon([theirs], nesterov=True, weight_decay=0.0, **settings)
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
    with pytest.raises(ValueError, match="norm_lr"):
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


def test_a_kernel_of_fixed_norm_may_start_at_zero():
    kernels = nn.Parameter(torch.zeros(8, 4, 3, 3))
    kernels.grad = random_matrices(8, 4, 3, 3)
    Muon([kernels], 0.1, fixed_norm=True).step()
    assert kernels.isfinite().all() and kernels.any()


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


def test_norms_of_rate_0_stand_still():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = Muon(net, 0.1, norm_lr=0.0, sgd_weight_decay=0.1)
    net(torch.randn(2, 3, 5, 5)).square().sum().backward()
    before = net[1].bias.detach().clone()
    optimizer.step()
    assert torch.equal(net[1].bias, before)


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
def test_a_norm_over_several_dimensions_is_no_matrix(kind):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), kind((4, 5, 5)))
    matrices, others = split_parameters(net)
    assert [matrix.shape for matrix in matrices] == [net[0].weight.shape]
    assert len(others) == 1 + len(list(net[1].parameters()))
