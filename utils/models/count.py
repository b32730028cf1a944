"""Owns the counting of parameters, multiply-adds and shapes, for any network. Leaves the network as it was."""

from __future__ import annotations

import contextlib

import torch
from torch.utils.flop_counter import FlopCounterMode

from utils.models.blocks import GatedBlock, build
from utils.models.gated import GatedConv


def parameters(net):
    """Return how many numbers training can change."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def flops(net, size=None):
    """Return the multiply-adds (MACs, half of what torch calls FLOPs) of convolutions and matrices for one image."""
    with _held_still(net), FlopCounterMode(display=False) as counter:
        net(one_image(net, size))
    return counter.get_total_flops() // 2


def layer_table(net, size=None):
    """List name, what, shape (C, H, W) or (C,), parameters and macs of each of a network's outermost layers."""
    rows, before, words = [], [], _words(net)
    with _held_still(net), FlopCounterMode(display=False) as counter, contextlib.ExitStack() as hooks:

        def note(name):
            def hook(layer, _, Y):
                macs = (counter.get_total_flops() - before.pop()) // 2
                what = words.get(name, type(layer).__name__)
                values = (name, what, tuple(Y.shape[1:]), parameters(layer), macs)
                rows.append(dict(zip(("name", "what", "shape", "parameters", "macs"), values, strict=True)))

            return hook

        for name, layer in net.named_children():
            hooks.callback(layer.register_forward_pre_hook(lambda *_: before.append(counter.get_total_flops())).remove)
            hooks.callback(layer.register_forward_hook(note(name)).remove)
        net(one_image(net, size))
    return rows


def network_table(plans):
    """List name, parameters, macs, k and depth of each plan in {name: plan}, without making its weights.

    k lists the numbers of branches, empty without gated blocks; depth counts the convolutions and linear layers on the
    longest way from image to scores, gates aside.
    """
    rows = []
    for name, plan in plans.items():
        with torch.device("meta"):  # shapes only: no memory, no random numbers
            net = build(plan)
        k = tuple(sorted({len(block.kernels) for block in plan.blocks}))
        rows.append({"name": name, "parameters": parameters(net), "macs": flops(net), "k": k, "depth": depth(plan)})
    return rows


def depth(plan):
    """Count the convolutions and linear layers on the longest way through a plan's network, gates aside."""

    def weighted(words):
        return sum(word.split()[0] in ("conv", "linear", "whiten") for word in words)

    ways = [max((len(b.widths) - 1) * weighted(b.branch), weighted(b.shortcut or ())) for b in plan.blocks]
    return weighted(plan.stem) + sum(ways) + sum(weighted(block.after) for block in plan.blocks) + weighted(plan.layers)


def one_image(net, size=None):
    """Return zeros (1, C, H, W) on the network's device, of the size it was built for unless told another."""
    channels, built_for, _ = getattr(net, "in_shape", None) or (3, 32, 32)
    some = next(net.parameters(), torch.empty(0))
    return torch.zeros(1, channels, size or built_for, size or built_for, device=some.device, dtype=some.dtype)


def describe(block):
    """Say in words what a gated block consists of: {"branches", "gate", "shortcut", "after": words}."""
    sizes = ", ".join(f"{size}x{size}" for size in dict.fromkeys(block.kernels))
    steps, words = len(block.widths) - 1, ", ".join(block.branch)
    hidden = "".join(f"linear {width}, relu, " for width in block.hidden)
    gate = f"mean, {hidden}linear {len(block.kernels)}" + (f", {block.gate}" if block.gate != "none" else "")
    return {
        "branches": f"{len(block.kernels)} of ({words}){f' in {steps} steps' * (steps > 1)}, kernels {sizes}",
        "gate": gate if block.gate != "constant" else f"1/{len(block.kernels)} for every image",
        "shortcut": "none" if block.shortcut is None else ", ".join(block.shortcut) or "X itself",
        "after": ", ".join(block.after) or "nothing",
    }


def _words(net):
    """Return {name of an outermost layer: what it is in the plan's words}, without a plan only of gated blocks."""
    layers = dict(net.named_children())
    blocks = {name: describe(layer.plan) for name, layer in layers.items() if isinstance(layer, GatedBlock)}
    said = {name: "; ".join(f"{part}: {text}" for part, text in parts.items()) for name, parts in blocks.items()}
    plan = getattr(net, "plan", None)
    words = (*plan.stem, *plan.layers) if plan else ()
    return {**dict(zip([name for name in layers if name not in said], words, strict=False)), **said}


@contextlib.contextmanager
def _held_still(net):
    """Hold each layer in eval mode, without gradients and gated convolutions as loops; put all back afterwards."""
    modes = {module: module.training for module in net.modules()}
    forms = {module: module.form for module in modes if isinstance(module, GatedConv)}
    try:
        net.eval()
        for module in forms:
            module.form = "loop"  # the reports' way: other forms do the same with fewer multiply-adds, or more
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for module, form in forms.items():
            module.form = form
