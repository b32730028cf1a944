"""Owns the optimizers by name, and Muon for networks with convolutions. Changes parameters only in a step."""

from __future__ import annotations

import math

import torch
from torch import nn

from utils.devices import best_precision
from utils.optim.losses import make

# Of Newton and Schulz's step, X <- a X + b (X X') X + c (X X')^2 X. Chosen by K. Jordan (2024) to lift small singular
# values fast, at the price that they end near 1 and not at it.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Step each matrix along its orthogonalised momentum, and all other parameters by SGD, in a group of their own.

    Orthogonalised, a step moves all directions of a matrix alike, also those in which the gradient is small. A
    convolution's kernel is the matrix (out, in * height * width); the k stacked kernels of a GatedConv are k matrices.
    SGD takes what is no matrix: norms and biases, and by choice the last linear layer (last_linear="sgd" or "muon").
    Weight decay is decoupled for the matrices, as in AdamW; sgd_weight_decay is SGD's own. sgd_lr=None means lr, and
    nesterov is for both. norm_lr: a rate apart for the biases of batch norms, which in a short training want a large
    one. linear_lr: a rate apart for linear layers' matrices, such as a gate's, whose norm nothing fixes.
    fixed_norm: keep each kernel at the norm of one with orthogonal rows, so that lr means the same throughout;
    of convolutions only, whose outputs are normalised.
    """

    recordable = (
        True  # for utils/training/cuda_graph.py: a rate may be a tensor, and nothing in a step waits for the GPU
    )

    def __init__(
        self,
        net_or_parameters,
        lr=0.02,
        *,
        momentum=0.95,
        nesterov=True,
        weight_decay=0.0,
        ns_steps=5,
        last_linear="sgd",
        sgd_lr=None,
        sgd_momentum=0.9,
        sgd_weight_decay=0.0,
        norm_lr=None,
        linear_lr=None,
        fixed_norm=False,
    ):
        sgd_lr = lr if sgd_lr is None else sgd_lr
        matrices, others = split_parameters(net_or_parameters, last_linear)
        norms = [] if norm_lr is None else norm_biases(net_or_parameters)
        others = [parameter for parameter in others if all(parameter is not norm for norm in norms)]
        shared = {"nesterov": nesterov, "ns_steps": ns_steps, "fixed_norm": fixed_norm}
        muon = {"orthogonal": True, "lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        plain = {"orthogonal": False, "lr": sgd_lr, "momentum": sgd_momentum, "weight_decay": sgd_weight_decay}
        linear = [] if linear_lr is None else [matrix for matrix in matrices if matrix.ndim == 2]
        matrices = [matrix for matrix in matrices if linear_lr is None or matrix.ndim > 2]
        groups = [{"params": matrices, **muon}, {"params": others, **plain}]
        if linear:
            groups.append({"params": linear, **muon, "lr": linear_lr})
        if norms:  # they decay by as much in a step as the others
            decay = sgd_weight_decay * sgd_lr / norm_lr if norm_lr else 0.0  # those that stand still do not decay
            groups.append({"params": norms, **plain, "lr": norm_lr, "weight_decay": decay})
        for group in groups:
            _check(group)
        super().__init__([group for group in groups if group["params"]], shared | muon)

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step; return what closure, if there is one, returns. It never waits for a GPU."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                (self._step_matrices if group["orthogonal"] else self._step_others)(parameters, group)
        return loss

    def _step_matrices(self, parameters, group):
        updates = self._updates(parameters, [parameter.grad for parameter in parameters], group)
        rate = _rate(group, parameters[0].device)
        for parameter, update in zip(parameters, updates, strict=True):
            update = orthogonalise(as_matrices(update), group["ns_steps"])
            # A tall matrix has more rows to share its singular values among: without this its outputs would move less.
            scale = math.sqrt(max(1, update.shape[-2] / update.shape[-1]))
            if group["weight_decay"]:
                parameter.mul_(1 - rate * group["weight_decay"])
            if group["fixed_norm"] and parameter.ndim >= 4:
                norms = as_matrices(parameter).norm(dim=(1, 2)) / math.sqrt(update.shape[-2])
                parameter.div_(norms.view(-1, *[1] * (parameter.ndim - 1)))
            _descend(parameter, update.reshape(parameter.shape), rate * scale)

    def _step_others(self, parameters, group):
        gradients = [parameter.grad for parameter in parameters]
        if group["weight_decay"]:
            gradients = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
        updates = self._updates(parameters, gradients, group) if group["momentum"] else gradients
        rate = _rate(group, parameters[0].device)
        for parameter, update in zip(parameters, updates, strict=True):
            _descend(parameter, update, rate)

    def _updates(self, parameters, gradients, group):
        """Add the gradients to the momenta; return the directions to step in."""
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        # All of them in one call each: on a GPU many small calls take longer than what they do.
        momenta = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        return torch._foreach_add(gradients, momenta, alpha=group["momentum"]) if group["nesterov"] else momenta


def _rate(group, device):
    """Return a group's rate: on a GPU as a tensor, as a number would be part of what a recording repeats."""
    rate = group["lr"]
    return rate if device.type == "cpu" or isinstance(rate, torch.Tensor) else torch.full((), rate, device=device)


def _descend(parameter, update, rate):
    if isinstance(rate, torch.Tensor):
        parameter.addcmul_(update, rate, value=-1)
    else:
        parameter.add_(update, alpha=-rate)


# Adam's and AdamW's steps are taken in their fused form: on a CPU it was by far the fastest for 20 and 60 small tensors
# and for 60 million numbers. SGD's is not: its momentum would be uninitialised memory where a GradScaler leaves out the
# first step.
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "muon": Muon}
FUSED = {"adam": ("cpu", "cuda"), "adamw": ("cpu", "cuda")}


def make_optimizer(name, net_or_parameters, lr, **settings):
    """Make an optimizer of OPTIMIZERS; settings are those of its class.

    weight_decay is torch's: an L2 term of the gradient for sgd and adam, decoupled from it for adamw and muon.
    """
    parameters = net_or_parameters
    if name != "muon":  # which wants to know which layer is the last
        parameters = list(parameters.parameters() if isinstance(parameters, nn.Module) else parameters)
        bare = all(isinstance(parameter, torch.Tensor) for parameter in parameters)  # and no groups of them
        if bare and "foreach" not in settings and all(p.device.type in FUSED.get(name, ()) for p in parameters):
            settings = {"fused": True, **settings}
    return make("optimizer", OPTIMIZERS, name, parameters, lr=lr, **settings)


def describe(optimizer):
    """Return an optimizer's class, and of each group its settings and how many tensors and numbers it holds."""
    groups = []
    for group in optimizer.param_groups:
        settings = {name: _plain(value) for name, value in group.items() if name not in ("params", "param_names")}
        numbers = sum(parameter.numel() for parameter in group["params"])
        groups.append({**settings, "tensors": len(group["params"]), "numbers": numbers})
    return {"name": type(optimizer).__name__, "groups": groups}


def split_parameters(net_or_parameters, last_linear="sgd"):
    """Return (matrices, others). Biases are others whatever their shape: a GatedConv's is (k, out)."""
    if last_linear not in ("sgd", "muon"):
        raise ValueError(f"last_linear is sgd or muon, not {last_linear!r}.")
    if isinstance(net_or_parameters, nn.Module):
        named = list(net_or_parameters.named_parameters())
        modules = list(net_or_parameters.modules())
        linear = [module.weight for module in modules if isinstance(module, nn.Linear)]
        norms = [id(module.weight) for module in modules if isinstance(module, (nn.LayerNorm, nn.RMSNorm))]
    else:
        named, linear, norms = [("", parameter) for parameter in net_or_parameters], [], []
        if any(isinstance(parameter, dict) for _, parameter in named):
            raise ValueError("Muon makes its groups itself: give it the network, or bare parameters.")
    apart = linear[-1] if linear and last_linear == "sgd" else None
    matrices, others = [], []
    for name, parameter in named:
        is_matrix = parameter.ndim >= 2 and name.rpartition(".")[2] != "bias"
        is_matrix = is_matrix and parameter is not apart and id(parameter) not in norms
        (matrices if is_matrix else others).append(parameter)
    return matrices, others


def norm_biases(net):
    """Return the biases of a network's batch norms."""
    if not isinstance(net, nn.Module):
        raise ValueError("norm_lr wants the network: of bare parameters nobody knows which are a norm's.")
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    found = [module.bias for module in net.modules() if isinstance(module, kinds)]
    return [bias for bias in found if bias is not None]


def as_matrices(values):
    """View a weight (out, ...), or stacked kernels (k, out, in, height, width), as matrices (count, out, rest)."""
    return values.flatten(2) if values.ndim == 5 else values.flatten(1).unsqueeze(0)


def orthogonalise(matrices, steps=5, dtype=None):
    """Return for each matrix of (count, rows, columns) one with its singular vectors, and singular values near 1.

    dtype is the type to compute in, by default the one that the device multiplies fastest.
    """
    dtype = dtype or _fast_dtype(matrices.device)
    X = matrices.float()
    X = (X / X.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)).to(dtype)  # no singular value above 1
    tall = X.shape[1] > X.shape[2]
    X = X.mT if tall else X  # the smaller of the two products X X' and X' X
    a, b, c = NEWTON_SCHULZ
    for _ in range(steps):
        A = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return (X.mT if tall else X).to(matrices.dtype)


def _fast_dtype(device):
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[best_precision(device)]


def _check(group):
    """Refuse what no training could want."""
    for name, limit in (("lr", math.inf), ("weight_decay", math.inf), ("momentum", 1)):
        if not 0 <= group[name] < limit:
            raise ValueError(f"{name} lies from 0 to below {limit}, and {group[name]!r} does not.")


def _plain(value):
    """Return a setting as something JSON knows."""
    value = value.tolist() if isinstance(value, torch.Tensor) else value
    return list(value) if isinstance(value, tuple) else value
