"""Optimizers, chosen by name: torch's SGD, Adam and AdamW, and Muon; or any other optimizer class.

optimizer = make_optimizer("sgd", net, 0.1, momentum=0.9)
optimizer = make_optimizer(torch.optim.RMSprop, net, 1e-3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from utils.optim.make import check_made, make
from utils.optim.muon import Muon

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "muon": Muon}
EXPLANATIONS = {  # for the report, which adds the settings and the full stop
    "sgd": "Stochastic gradient descent takes a step against the gradient of each batch",
    "adam": (
        "Adam divides a running mean of the gradients by the root of a running mean of their squares, which gives every"
        " parameter its own step size"
    ),
    "adamw": (
        "AdamW takes steps like Adam's, but subtracts the weight decay from the weights themselves instead of adding it"
        " to the gradient"
    ),
    "muon": (
        "Muon orthogonalises the momentum of every weight matrix, so that a step moves all its directions by the same"
        " amount, and leaves norms and biases to SGD"
    ),
}
# The devices on which a fused step is used: on a CPU it was by far the fastest for 20 and 60 small tensors and for 60
# million numbers. SGD is left out: if a GradScaler skips the first step, its fused momentum is uninitialised memory.
FUSED = {"adam": ("cpu", "cuda"), "adamw": ("cpu", "cuda")}


def make_optimizer(
    choice: str | Callable, net_or_parameters: nn.Module | Iterable, lr: float, **settings
) -> torch.optim.Optimizer:
    """Make an optimizer: one of OPTIMIZERS by name, or a callable, called with (parameters, lr=lr, **settings).

    The settings are those of its class. weight_decay has torch's meaning: for sgd and adam an L2 term in the gradient,
    for adamw decoupled from the gradient.
    """
    parameters = net_or_parameters
    if choice not in ("muon", Muon):  # Muon needs the network to find its last layer
        parameters = list(parameters.parameters() if isinstance(parameters, nn.Module) else parameters)
        if isinstance(choice, str) and "foreach" not in settings and _can_be_fused(choice, parameters):
            settings = {"fused": True, **settings}
    optimizer = make("optimizer", OPTIMIZERS, choice, parameters, lr=lr, **settings)
    check_made("optimizer", optimizer, torch.optim.Optimizer, choice)
    return optimizer


def _can_be_fused(name, parameters):
    devices = FUSED.get(name, ())
    # Parameter groups are dicts, not tensors; fused is then not set, and torch uses its default.
    return all(isinstance(parameter, torch.Tensor) and parameter.device.type in devices for parameter in parameters)
