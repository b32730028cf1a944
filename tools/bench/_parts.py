"""Assign each profiled operation to a part of the training step: data, convolution, norms, gate, optimizer, ..."""

from __future__ import annotations

import torch
from torch import nn
from torch.profiler import record_function

from utils.models.blocks import GatedBlock
from utils.models.convolution import FastConv2d
from utils.models.gated import GatedConv

CONVOLUTION, BACKWARD, GATE, OPTIMIZER, REST = (
    "convolution forward",
    "convolution backward",
    "gate and combination",
    "optimizer",
    "rest",
)
BRANCHES = "branches"  # of a GatedConv: its products are convolutions, everything else is combination
PRODUCTS = ("aten::baddbmm", "aten::linear")  # by which it convolves where it does not call a convolution
KINDS = {  # layers whose forward and backward, but for what lies within another label, count as one part
    CONVOLUTION: (FastConv2d,),
    "norms": (nn.modules.batchnorm._BatchNorm,),
    "pooling": (nn.MaxPool2d, nn.AdaptiveAvgPool2d),
    "activations": (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.Sigmoid),
    GATE: (GatedBlock,),
    BRANCHES: (GatedConv,),
    REST: (nn.Dropout, nn.Dropout2d),
}
PARTS = ("data", CONVOLUTION, BACKWARD, "norms", "pooling", "activations", GATE, OPTIMIZER, REST)
LABEL = "part: "
EVALUATE = "autograd::engine::evaluate_function"  # the engine, around each backward operation


def label(net, train_iter):
    """Let each layer of KINDS, and what makes the batches, name its part to the profiler from now on."""
    train_iter.batch = record_function(LABEL + "data")(train_iter.batch)
    for layer in net.modules():
        part = next((part for part, kinds in KINDS.items() if isinstance(layer, kinds)), None)
        if part:
            layer.forward = record_function(LABEL + part)(layer.forward)


def shares(events, device, seconds):
    """Return {"shares": {part: fraction}}, and for a GPU {"launches", "idle"} of a step that takes these seconds."""
    operations = [event for event in events if event.device_type == torch.autograd.DeviceType.CPU]
    forward = _forward_parts(operations)
    sums, launches = dict.fromkeys(PARTS, 0.0), 0
    for event in operations:
        part = part_of(event, forward)
        if device.type == "cuda":
            own = [] if event.name.startswith(LABEL) else event.kernels
            launches += len(own)
            sums[part] += sum(kernel.duration for kernel in own)
        else:
            sums[part] += event.self_cpu_time_total
    total = sum(sums.values())
    found = {"shares": {part: value / total for part, value in sums.items()}}
    return found | ({"launches": launches, "idle": 1 - total / 1e6 / seconds} if device.type == "cuda" else {})


def part_of(event, forward):
    """Return an operation's part, by the innermost thing around it that has one."""
    product = False
    for outer in _outward(event):
        product = product or outer.name in PRODUCTS
        if outer.name.startswith(EVALUATE):
            part = forward.get(outer.sequence_nr, REST) if outer.sequence_nr >= 0 else REST
            return BACKWARD if part == CONVOLUTION else part
        if (part := _named(outer)) is not None:
            return part if part != BRANCHES else CONVOLUTION if product else GATE
    return REST


def _named(event):
    """Return the part that an operation's own name tells, or None."""
    if event.name.startswith(LABEL):
        return event.name[len(LABEL) :]
    if event.name.startswith("Optimizer."):
        return OPTIMIZER
    return CONVOLUTION if event.name in ("aten::conv2d", "aten::convolution") else None


def _forward_parts(operations):
    """Return {sequence number: part}: a backward operation carries the number of the forward one it belongs to."""
    parts = {}
    for event in sorted(operations, key=lambda event: event.time_range.start):
        if event.sequence_nr >= 0 and event.scope == 0 and not event.name.startswith(EVALUATE):
            parts[event.sequence_nr] = part_of(event, {})
    return parts


def _outward(event):
    while event is not None:
        yield event
        event = event.cpu_parent
