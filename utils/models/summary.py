"""Summarise a network as plain data: its layers, their shapes and sizes. Drawings and reports are made from it.

summary = summarise(net)
summary["parameters"], summary["layers"][0]["text"]
"""

from __future__ import annotations

import contextlib

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from utils.models.basic_layers import GlobalMaxPool, Scale, Whiten
from utils.models.count import (
    counted_flops,
    example_image,
    find_branches,
    find_gates,
    gate_outputs,
    macs,
    measured,
    parameters,
    weighs_branches,
)
from utils.models.gated import GatedConv
from utils.models.source import unwrapped

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.ELU, nn.PReLU, nn.Softmax, nn.ReLU6)
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)
POOLS = (_MaxPoolNd, _AvgPoolNd, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, GlobalMaxPool)
DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.AlphaDropout)
NAMES = {
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "TemperatureSoftmax": "softmax with a temperature",
    "Tanh": "tanh",
    "Flatten": "flatten",
    "Identity": "X itself",
}
MEAN = "mean over the map"


def summarise(net: nn.Module, image: torch.Tensor | None = None) -> dict:
    """Return the class, printed form, input shape, parameters, multiply-adds and layers of a network, as plain data.

    image: an example (1, C, H, W). Default: zeros of 32x32 pixels.
    """
    net = unwrapped(net)
    image = example_image(net) if image is None else image
    return {
        "class": type(net).__name__,
        "printed": str(net),
        "input": list(image.shape[1:]),
        "parameters": parameters(net),
        "macs": macs(net, image=image),
        "gates": {name: a.shape[1] for name, a in gate_outputs(net, image).items()},
        "layers": list_layers(net, image),
    }


def list_layers(net: nn.Module, image: torch.Tensor) -> list[dict]:
    """List the layers in the order in which they are computed: name, kind, text, shape, parameters, macs, gated."""
    rows = []
    started = []  # (FLOPs so far, input) of the layer that is being computed
    weights = {}  # the number of weights from each gate in the layer that is being computed
    gates = find_gates(net)
    blocks = dict(net.named_modules())
    with measured(net), counted_flops() as counter, contextlib.ExitStack() as hooks:

        def before(layer, inputs):
            started.append((counter.get_total_flops(), inputs[0] if inputs else None))

        def note_gate(name):
            def hook(gate, inputs, a):
                if weighs_branches(blocks.get(name, net), a):
                    weights[name] = a.shape[1]

            return hook

        def after(name):
            def hook(layer, inputs, Y):
                flops, X = started.pop()
                row = {
                    "name": name,
                    "kind": kind_of(layer),
                    "text": text_of(layer),
                    "shape": shape_of(Y),
                    "parameters": parameters(layer),
                    "macs": (counter.get_total_flops() - flops) // 2 // len(image),
                    "gated": None,
                }
                inside = [block for block in weights if block == name or block.startswith(f"{name}.")]
                if inside:
                    block = net.get_submodule(inside[0])
                    row["kind"] = "gated"
                    row["gated"] = gated_facts(block, weights[inside[0]], shape_of(X), row["shape"])
                for block in inside:
                    del weights[block]
                rows.append(row)

            return hook

        for name, gate in gates.items():
            hooks.callback(gate.register_forward_hook(note_gate(name)).remove)
        for name, layer in outer_layers(net):
            hooks.callback(layer.register_forward_pre_hook(before).remove)
            hooks.callback(layer.register_forward_hook(after(name)).remove)
        net(image)
    return joined_means(rows)


def outer_layers(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """List (name, module) of the layers to show: containers are replaced by their layers, other modules are not."""
    layers = list(_opened("", net, is_root=True))
    while len(layers) == 1 and list(layers[0][1].children()):  # a network inside a network
        layers = list(_opened(*layers[0], is_root=True))
    return layers


def _opened(name, module, is_root=False):
    children = list(module.named_children())
    has_gate = any(child_name == "gate" for child_name, _ in children)
    is_opened = is_root or (isinstance(module, CONTAINERS) and not has_gate)
    if not is_opened or not children:
        yield name, module
        return
    for child_name, child in children:
        yield from _opened(f"{name}.{child_name}" if name else child_name, child)


def joined_means(rows: list[dict]) -> list[dict]:
    """Merge an average over the whole map and the flatten layer after it into one layer."""
    joined = []
    for row in rows:
        before = joined[-1] if joined else None
        if before is not None and row["text"] == "flatten" and before["text"] == MEAN:
            before["shape"] = row["shape"]
        else:
            joined.append(row)
    return joined


def kind_of(layer: nn.Module) -> str:
    """Return conv, linear, pool, norm, activation, dropout or other."""
    kinds = {
        "conv": _ConvNd,
        "linear": nn.Linear,
        "pool": POOLS,
        "norm": NORMS,
        "activation": ACTIVATIONS,
        "dropout": DROPOUTS,
    }
    return next((kind for kind, types in kinds.items() if isinstance(layer, types)), "other")


def text_of(layer: nn.Module | None) -> str | None:
    """Describe a layer in a few words, such as "conv 3x3" or "max-pool 2x2"; a container by all of its layers."""
    if layer is None:
        return None
    if isinstance(layer, CONTAINERS):
        children = layer.values() if isinstance(layer, nn.ModuleDict) else layer
        return _in_a_row([text_of(child) for child in children])
    if isinstance(layer, GatedConv):
        return "conv " + ", ".join(f"{size}x{size}" for size in dict.fromkeys(layer.kernel_sizes))
    for types, describe in DESCRIPTIONS:
        if isinstance(layer, types):
            return describe(layer)
    name = type(layer).__name__
    return NAMES.get(name, name)


def _in_a_row(texts):
    """Join the texts of layers; a repeated sequence of layers is written once, with its number."""
    for length in range(2, len(texts) // 2 + 1):
        if len(texts) % length == 0 and texts == texts[:length] * (len(texts) // length):
            return f"{len(texts) // length} times ({', '.join(texts[:length])})"
    return ", ".join(texts).replace(f"{MEAN}, flatten", MEAN)


def _conv(layer):
    text = ("whiten " if isinstance(layer, Whiten) else "conv ") + "x".join(map(str, layer.kernel_size))
    if any(step > 1 for step in layer.stride):
        text += f", stride {layer.stride[0]}"
    if layer.groups > 1:
        text += f", {layer.groups} groups"
    return text


def _pool(layer):
    kind = "max-pool" if isinstance(layer, _MaxPoolNd) else "average-pool"
    size, stride = _number(layer.kernel_size), _number(layer.stride)
    text = f"{kind} {size}x{size}"
    return text if stride in (None, size) else f"{text}, stride {stride}"


def _adaptive_pool(layer):
    is_average = isinstance(layer, _AdaptiveAvgPoolNd)
    size = _number(layer.output_size)
    if size == 1:
        return MEAN if is_average else "maximum over the map"
    return f"{'average' if is_average else 'maximum'} to {size}x{size}"


def _norm(layer):
    names = {nn.LayerNorm: "layer norm", nn.GroupNorm: "group norm", nn.InstanceNorm2d: "instance norm"}
    return next((name for kind, name in names.items() if isinstance(layer, kind)), "batch norm")


def _dropout(layer):
    return f"{'channel dropout' if isinstance(layer, nn.Dropout2d) else 'dropout'} {layer.p:g}"


DESCRIPTIONS = (
    (_ConvNd, _conv),
    ((_AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd), _adaptive_pool),
    ((_MaxPoolNd, _AvgPoolNd), _pool),
    (GlobalMaxPool, lambda layer: "maximum over the map"),
    (nn.Linear, lambda layer: f"linear {layer.out_features}"),
    (NORMS, _norm),
    (DROPOUTS, _dropout),
    (Scale, lambda layer: f"scaled by {layer.factor:g}"),
)


def gated_facts(block: nn.Module, k: int, shape_in: list, shape_out: list) -> dict:
    """Return the parts of a block with a gate: k, gate, branches, shortcut, the layers after it, and their shapes."""
    branches = find_branches(block, k)
    widths = [shape_out[0]]
    if isinstance(branches, GatedConv):
        texts = [text_of(branches)]
    else:
        texts = [text_of(branch) for branch in branches]
        stacked = [layer.out_channels for layer in convolutions_of(branches[0])] if len(branches) else []
        if len(stacked) > 1:
            widths = stacked
    return {
        "k": k,
        "gate": text_of(getattr(block, "gate", None)),
        "branches": " or ".join(dict.fromkeys(texts)) or None,
        "shortcut": text_of(getattr(block, "shortcut", None)),
        "after": text_of(getattr(block, "after", None)) or "",
        "branch_steps": steps_of(branches, k),
        "channels": [shape_in[0] if shape_in else None, *widths],
        "steps": len(widths),
    }


def steps_of(branches, k: int) -> list[list[str]]:
    """Return the texts of each branch's steps; a step begins with a convolution."""
    if isinstance(branches, GatedConv):
        return [[f"conv {size}x{size}, {branches.out_channels}"] for size in branches.kernel_sizes]
    result = []
    for branch in branches:
        layers = list(branch) if isinstance(branch, nn.Sequential) else [branch]
        steps = []
        for layer in layers:
            text = text_of(layer)
            if isinstance(layer, _ConvNd):
                text += f", {layer.out_channels}"
            if isinstance(layer, _ConvNd) or not steps:
                steps.append(text)
            else:
                steps[-1] += f", {text}"
        result.append(steps)
    return result


def convolutions_of(module: nn.Module) -> list[nn.Module]:
    """List the convolutions in a module, in the order of definition."""
    return [layer for layer in module.modules() if isinstance(layer, _ConvNd)]


def shape_of(value) -> list[int]:
    """Return the shape of one example in a layer's output or input; if there are several tensors, of the first one."""
    while isinstance(value, (tuple, list)) and value:
        value = value[0]
    return list(value.shape[1:]) if isinstance(value, torch.Tensor) else []


def _number(value):
    return value[0] if isinstance(value, (tuple, list)) else value
