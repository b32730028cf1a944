"""Counting parameters, multiply-adds and depth of any network. The network is left as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from utils.models.gated import GatedConv

WEIGHTED = ("Convolution", "Addmm", "Mm", "Bmm", "Baddbmm")  # names of autograd nodes that multiply by weights


def parameters(net: nn.Module) -> int:
    """Return how many numbers training can change."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def flops(net: nn.Module, size: int = 32, image: torch.Tensor | None = None) -> int:
    """Return the multiply-adds (MACs, half of what torch calls FLOPs) of convolutions and matrices for one image."""
    image = example_image(net, size) if image is None else image
    with measured(net), FlopCounterMode(display=False) as counter:
        net(image)
    return counter.get_total_flops() // 2 // len(image)


def depth(net: nn.Module, size: int = 32) -> int:
    """Count the convolutions and linear layers on the longest way from the image to the scores."""
    image = example_image(net, size)
    with measured(net), torch.enable_grad():
        scores = net(image.requires_grad_())
    lengths = {None: 0}
    waiting = [scores.grad_fn]
    while waiting:
        node = waiting[-1]
        before = [parent for parent, _ in node.next_functions]
        missing = [parent for parent in before if parent not in lengths]
        if missing:
            waiting += missing
            continue
        own = int(type(node).__name__.removesuffix("0").removesuffix("Backward") in WEIGHTED)
        lengths[node] = own + max((lengths[parent] for parent in before), default=0)
        waiting.pop()
    return lengths[scores.grad_fn]


def network_table(networks: dict[str, Callable[[], nn.Module]]) -> list[dict]:
    """List name, parameters, multiply-adds, k and depth of each network in {name: function that makes it}.

    k lists the numbers of branches of its gated blocks.
    """
    rows = []
    for name, make in networks.items():
        with torch.device("meta"):  # shapes only: no memory and no random numbers
            net = make()
            branches = sorted({a.shape[1] for a in gate_outputs(net).values()})
            row = {"name": name, "parameters": parameters(net), "macs": flops(net)}
            rows.append(row | {"k": tuple(branches), "depth": depth(net)})
    return rows


def find_gates(net: nn.Module) -> dict[str, nn.Module]:
    """Return the submodules called `gate`, each under the name of the module that holds it ("network": net itself)."""
    gates = {}
    for name, module in net.named_modules():
        parent, _, own = name.rpartition(".")
        if own == "gate":
            gates[parent or "network"] = module
    return gates


def gate_outputs(net: nn.Module, image: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Return what each gate of find_gates gives for one image, if that is a weight for each of k branches: (1, k)."""
    image = example_image(net) if image is None else image
    outputs = {}
    with measured(net), contextlib.ExitStack() as hooks:
        for name, gate in find_gates(net).items():

            def note(module, inputs, a, name=name):
                if isinstance(a, torch.Tensor) and a.ndim == 2:
                    outputs[name] = a

            hooks.callback(gate.register_forward_hook(note).remove)
        net(image)
    return outputs


def example_image(net: nn.Module, size: int = 32) -> torch.Tensor:
    """Return zeros (1, C, size, size) on the network's device, with the channels that its first convolution takes."""
    convolutions = (layer for layer in net.modules() if isinstance(layer, (nn.Conv2d, GatedConv)) and layer.in_channels)
    first = next(convolutions, None)
    channels = 3 if first is None else first.in_channels
    like = next((parameter for parameter in net.parameters() if parameter.is_floating_point()), torch.empty(0))
    return torch.zeros(1, channels, size, size, device=like.device, dtype=like.dtype)


@contextlib.contextmanager
def measured(net: nn.Module):
    """Hold a network in eval mode, without gradients, with gated convolutions as loops; restore everything afterwards.

    A loop is the reports' own way; other forms do the same with fewer multiply-adds, or more.
    """
    modes = [(module, module.training) for module in net.modules()]
    compiled = net._compiled_call_impl  # compiling again for one image would take longer than anything here
    forms = [(module, module.form) for module in net.modules() if isinstance(module, GatedConv)]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            net.eval()
            net._compiled_call_impl = None
            for module, _ in forms:
                module.form = "loop"
            yield
    finally:
        net._compiled_call_impl = compiled
        for module, mode in modes:
            module.training = mode
        for module, form in forms:
            module.form = form
