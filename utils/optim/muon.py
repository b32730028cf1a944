"""Muon, an optimizer that orthogonalises the momentum of every weight matrix, for networks with convolutions.

optimizer = Muon(net, lr=0.02)
"""

from __future__ import annotations

import math

import torch
from torch import nn

from utils.devices import best_precision

# The coefficients a, b, c of the Newton-Schulz step X <- a X + b (X X') X + c (X X')^2 X. K. Jordan (2024) chose them
# so that small singular values grow fast; the singular values therefore end near 1 and not exactly at 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Step each matrix along its orthogonalised momentum, and all other parameters by SGD; both use Nesterov momentum.

    An orthogonalised step changes a matrix by the same amount in all directions, even if the gradient is small in some.
    The kernel of a convolution is used as the matrix (out, in * height * width), and the k stacked kernels of a
    GatedConv as k matrices. SGD trains all other parameters: norms, biases and the last linear layer.

    fixed_norm: before its step, rescale each convolution's kernel to the norm of a matrix with orthogonal rows, so that
        the same lr has the same effect throughout the training; only for convolutions followed by a norm.
    linear_lr: a learning rate for the matrices of linear layers, such as a gate's, whose norm is not fixed.
    norm_lr: a learning rate for the biases of batch norms, which need a large one in a short training.
    sgd_lr, sgd_momentum, sgd_weight_decay: for the parameters that SGD trains; sgd_lr=None means lr.
    """

    recordable = True  # its step can be captured in a CUDA graph: lr may be a tensor, and no step waits for the GPU

    def __init__(
        self,
        net_or_parameters,
        lr=0.02,
        *,
        momentum=0.95,
        ns_steps=5,
        fixed_norm=False,
        linear_lr=None,
        norm_lr=None,
        sgd_lr=None,
        sgd_momentum=0.9,
        sgd_weight_decay=0.0,
    ):
        sgd_lr = lr if sgd_lr is None else sgd_lr
        matrices, others = split_parameters(net_or_parameters)
        muon = {"orthogonal": True, "lr": lr, "momentum": momentum, "weight_decay": 0.0}
        sgd = {"orthogonal": False, "lr": sgd_lr, "momentum": sgd_momentum, "weight_decay": sgd_weight_decay}

        linear = []
        if linear_lr is not None:
            linear = [matrix for matrix in matrices if matrix.ndim == 2]
            matrices = [matrix for matrix in matrices if matrix.ndim > 2]
        norms, norm_decay = [], 0.0
        if norm_lr is not None:
            norms = norm_biases(net_or_parameters)
            others = [parameter for parameter in others if all(parameter is not norm for norm in norms)]
        if norm_lr:  # so that they decay by the same factor in each step as the other parameters
            norm_decay = sgd_weight_decay * sgd_lr / norm_lr

        groups = [
            {"params": matrices, **muon},
            {"params": others, **sgd},
            {"params": linear, **muon, "lr": lr if linear_lr is None else linear_lr},
            {"params": norms, **sgd, "lr": sgd_lr if norm_lr is None else norm_lr, "weight_decay": norm_decay},
        ]
        for group in groups:
            _check(group)
        shared = {"ns_steps": ns_steps, "fixed_norm": fixed_norm}
        super().__init__([group for group in groups if group["params"]], shared | muon)

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step; return the closure's result, or None without a closure. A step never waits for a GPU."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            if group["orthogonal"]:
                self._step_matrices(parameters, group)
            else:
                self._step_others(parameters, group)
        return loss

    def _step_matrices(self, parameters, group):
        updates = self._updates(parameters, [parameter.grad for parameter in parameters], group)
        lr = _lr(group, parameters[0].device)
        for parameter, update in zip(parameters, updates, strict=True):
            update = orthogonalise(as_matrices(update), group["ns_steps"])
            # In a tall matrix the update is spread over more rows: without this factor its outputs would change less.
            scale = math.sqrt(max(1, update.shape[-2] / update.shape[-1]))
            if group["fixed_norm"] and parameter.ndim >= 4:
                norms = as_matrices(parameter).norm(dim=(1, 2)).clamp(min=1e-7) / math.sqrt(update.shape[-2])
                parameter.div_(norms.view(-1, *[1] * (parameter.ndim - 1)))
            _descend(parameter, update.reshape(parameter.shape), lr * scale)

    def _step_others(self, parameters, group):
        gradients = [parameter.grad for parameter in parameters]
        if group["weight_decay"]:
            gradients = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
        updates = self._updates(parameters, gradients, group) if group["momentum"] else gradients
        lr = _lr(group, parameters[0].device)
        for parameter, update in zip(parameters, updates, strict=True):
            _descend(parameter, update, lr)

    def _updates(self, parameters, gradients, group):
        """Add the gradients to the momenta, and return the directions of the steps."""
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        # One call for all tensors: on a GPU, launching many small kernels takes longer than running them.
        momenta = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        return torch._foreach_add(gradients, momenta, alpha=group["momentum"])


def split_parameters(net_or_parameters):
    """Return (matrices, others): the parameters that Muon orthogonalises, and those that SGD trains.

    Biases, norms and the last linear layer are never among the matrices, whatever their shape: a GatedConv's bias is
    (k, out). If parameters are given in place of a network, those of two or more dimensions are the matrices.
    """
    if not isinstance(net_or_parameters, nn.Module):
        parameters = list(net_or_parameters)
        if any(isinstance(parameter, dict) for parameter in parameters):
            raise ValueError("Muon makes its groups itself: give the network, or parameters without groups.")
        return [p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]
    modules = list(net_or_parameters.modules())
    excluded = [module.weight for module in modules if isinstance(module, nn.Linear)][-1:]
    excluded += [module.weight for module in modules if isinstance(module, (nn.LayerNorm, nn.RMSNorm))]
    excluded = {id(weight) for weight in excluded}
    matrices, others = [], []
    for name, parameter in net_or_parameters.named_parameters():
        is_bias = name.rpartition(".")[2] == "bias"
        if parameter.ndim >= 2 and not is_bias and id(parameter) not in excluded:
            matrices.append(parameter)
        else:
            others.append(parameter)
    return matrices, others


def norm_biases(net):
    """Return the biases of a network's batch norms."""
    if not isinstance(net, nn.Module):
        raise ValueError("norm_lr needs the network: without it, the biases of batch norms can't be recognised.")
    norms = [module for module in net.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    return [norm.bias for norm in norms if norm.bias is not None]


def as_matrices(values):
    """View a weight (out, ...), or stacked kernels (k, out, in, height, width), as matrices (count, out, rest)."""
    return values.flatten(2) if values.ndim == 5 else values.flatten(1).unsqueeze(0)


def orthogonalise(matrices, steps=5, dtype=None):
    """Return matrices (count, rows, columns) with the same singular vectors, and with singular values near 1.

    dtype is the type to compute in; by default the one in which the device multiplies fastest.
    """
    dtype = dtype or _fast_dtype(matrices.device)
    X = matrices.float()
    X = (X / X.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)).to(dtype)  # no singular value above 1
    is_tall = X.shape[1] > X.shape[2]
    X = X.mT if is_tall else X  # so that X X' is the smaller one of the products X X' and X' X
    a, b, c = NEWTON_SCHULZ
    for _ in range(steps):
        A = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return (X.mT if is_tall else X).to(matrices.dtype)


def _fast_dtype(device):
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[best_precision(device)]


def _lr(group, device):
    """Return a group's learning rate; on a GPU as a tensor, since a number in a CUDA graph can't be changed later."""
    lr = group["lr"]
    if device.type == "cpu" or isinstance(lr, torch.Tensor):
        return lr
    return torch.full((), lr, device=device)


def _descend(parameter, update, lr):
    if isinstance(lr, torch.Tensor):
        parameter.addcmul_(update, lr, value=-1)
    else:
        parameter.add_(update, alpha=-lr)


def _check(group):
    for name, limit in (("lr", math.inf), ("weight_decay", math.inf), ("momentum", 1)):
        if not 0 <= group[name] < limit:
            raise ValueError(f"{name} must be at least 0 and below {limit}, but is {group[name]!r}.")
