"""Notebook 02: other right answers, and wrong ones with the hint that each should get."""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn


def convolve_by_loops(X, K, *, turn=False, scale=1.0, pad=0, across=False):
    K = K.flip(0, 1) if turn else K.T if across else K
    X = F.pad(X, (pad, pad, pad, pad))
    h, w = K.shape
    output = torch.zeros(X.shape[0] - h + 1, X.shape[1] - w + 1)
    for i in range(output.shape[0]):
        for j in range(output.shape[1]):
            output[i, j] = scale * (X[i : i + h, j : j + w] * K).sum()
    return output


def field(layers, *, own=False, strides=True, first=1, less=1, combine=math.prod):
    size = first
    for number, (h, _) in enumerate(layers):
        before = layers[: number + own] if strides else []
        size += (h - less) * combine([s for _, s in before])
    return size


def norm_over(*dims, correction=0, root=True, scaled=True):
    def batch_norm(X, gamma, beta, eps=1e-5):
        v = X.var(dims, correction=correction, keepdim=True) + eps
        Y = (X - X.mean(dims, keepdim=True)) / (v.sqrt() if root else v)
        return gamma[:, None, None] * Y + beta[:, None, None] if scaled else Y

    return batch_norm


class OneKernel(nn.Module):
    """The gated convolution with one mixed kernel per image, and switches for its mistakes."""

    weights = staticmethod(lambda a: a)
    size, padding, plain_list, factor, named = 3, 1, False, 1.0, True

    def __init__(self, in_channels, out_channels, k=4):
        super().__init__()
        convs = [nn.Conv2d(in_channels, out_channels, self.size, padding=self.padding) for _ in range(k)]
        self.convs = convs if self.plain_list else nn.ModuleList(convs)
        if self.named:
            self.branches = self.convs

    def forward(self, X, a):
        a = self.weights(a)
        kernels = torch.stack([conv.weight for conv in self.convs])
        biases = torch.stack([conv.bias for conv in self.convs])
        images = []
        for x, weights in zip(X, a, strict=True):
            kernel, bias = torch.einsum("j,jdcuv->dcuv", weights, kernels), weights @ biases
            images.append(F.conv2d(x[None], kernel, bias, padding=self.padding))
        return self.factor * torch.cat(images)


def changed(cls, **attributes):
    return type("Changed", (cls,), {n: staticmethod(v) if callable(v) else v for n, v in attributes.items()})


class OnCPU(OneKernel):
    def forward(self, X, a):
        return torch.zeros(len(X), 1, 1, 1) + super().forward(X, a)


class Block(nn.Module):
    """The gated block with F.conv2d in groups, and switches for its mistakes."""

    dim, average, shortcut, relu_last, normed, order = 1, (2, 3), True, True, True, "sum"
    always_shortcut, detached, uniform, sigmoid, named = False, False, False, False, True

    def __init__(self, in_channels, out_channels, k=4):
        super().__init__()
        last = nn.Sigmoid() if self.sigmoid else nn.Softmax(dim=self.dim)
        self.gate = nn.Sequential(nn.Linear(in_channels, k), last)
        self.convs = nn.ModuleList([nn.Conv2d(in_channels, out_channels, 3, padding=1) for _ in range(k)])
        if self.named:
            self.conv = nn.Module()
            self.conv.branches = self.convs
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, X):
        a = self.gate(X.mean(self.average))
        a = a.detach() if self.detached else a
        a = torch.full_like(a, 1 / a.shape[1]) + 0 * a if self.uniform else a
        output = sum(a[..., j].view(-1, 1, 1, 1) * conv(X) for j, conv in enumerate(self.convs))
        add = X if self.shortcut and (output.shape == X.shape or self.always_shortcut) else 0
        if self.order == "late":
            return self.norm(output).relu() + add
        output = output + add
        if self.order == "relu":
            return self.norm(output.relu())
        output = self.norm(output) if self.normed else output + 0 * self.norm(output)
        return output.relu() if self.relu_last else output


class MixesInEval(Block):
    def forward(self, X):
        Y = super().forward(X)
        return Y if self.training else Y + X.mean()


class Net(nn.Module):
    """A network of the blocks above, and switches for its mistakes."""

    last, hidden, pooled, flat, fixed, ten, same_k = nn.Identity(), False, True, False, False, False, False
    always_pooled, named = False, True

    def __init__(self, channels=(16, 32, 32, 64), k=4, num_classes=10):
        super().__init__()
        channels = (16, 16) if self.fixed else channels
        sizes = list(zip((3, *channels), channels, strict=False))
        blocks = [Block(c, d, 4 if self.same_k else k) for c, d in sizes]
        names = [f"block{i}" if self.named else str(i) for i in range(1, len(blocks) + 1)]
        self.blocks = blocks if self.hidden else nn.Sequential(OrderedDict(zip(names, blocks, strict=True)))
        pixels = (32 >> sum(c != d for c, d in sizes)) ** 2
        width = channels[-1] * (pixels if self.flat else 1)
        self.head = nn.Linear(width, 10 if self.ten else num_classes)

    def forward(self, X):
        for block in self.blocks:
            before, X = X.shape[1], block(X)
            X = F.avg_pool2d(X, 2) if self.always_pooled or (self.pooled and X.shape[1] != before) else X
        X = X.flatten(1) if self.flat else X.amax((2, 3))
        return self.last(self.head(X))


ALSO_RIGHT = {
    "02.convolve": convolve_by_loops,
    "02.output-size": lambda n, h, p=0, s=1: len(range(-p, n + p - h + 1, s)),
    "02.receptive-field": field,
    "02.batch-norm": lambda X, gamma, beta: nn.functional.batch_norm(X, None, None, gamma, beta, True),
    "02.gated-conv": OneKernel,
    "02.gate": Block,
    "02.net": Net,
    "02.parameters": (18692, 256 * 18432 + 64),
    "02.kernels": (torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16, torch.eye(3)[1].outer(torch.eye(3)[1])),
}
WRONG = {
    "02.convolve": {
        "flipped": lambda X, K: convolve_by_loops(X, K, turn=True),
        "padded": lambda X, K: convolve_by_loops(X, K, pad=1),
        "transposed": lambda X, K: convolve_by_loops(X, K, across=True),
        "averaged": lambda X, K: convolve_by_loops(X, K, scale=1 / 9),
        "matrix_product": lambda X, K: convolve_by_loops(X, K.sum(1, keepdim=True).T.repeat(3, 1)),
        "not_square": lambda X, K: convolve_by_loops(X[:, : X.shape[0]], K),
        "changes_inputs": lambda X, K: convolve_by_loops(X, K).add_(0 * K.zero_().sum()),
    },
    "02.output-size": {
        "one_side": lambda n, h, p, s: (n + p - h) // s + 1,
        "off_by_one": lambda n, h, p, s: (n + 2 * p - h) // s,
        "rounded_up": lambda n, h, p, s: math.ceil((n + 2 * p - h) / s) + 1,
        "not_whole": lambda n, h, p, s: (n + 2 * p - h) / s + 1,
        "no_stride": lambda n, h, p, s: n + 2 * p - h + 1,
        "brackets": lambda n, h, p, s: (n + 2 * p - h + 1) // s,
        "wrong_type": lambda n, h, p, s: [n],
    },
    "02.receptive-field": {
        "own_stride": lambda layers: field(layers, own=True),
        "no_strides": lambda layers: field(layers, strides=False),
        "from_zero": lambda layers: field(layers, first=0),
        "whole_kernels": lambda layers: field(layers, less=0),
        "one_stride": lambda layers: 1 + sum(s * (h - 1) for h, s in layers),
        "summed": lambda layers: field(layers, combine=lambda strides: sum(strides) or 1),
    },
    "02.batch-norm": {
        "sample_variance": norm_over(0, 2, 3, correction=1),
        "per_image": norm_over(1, 2, 3),
        "per_position": norm_over(0),
        "all_channels": norm_over(0, 1, 2, 3),
        "no_root": norm_over(0, 2, 3, root=False),
        "no_scale": norm_over(0, 2, 3, scaled=False),
    },
    "02.gated-conv": {
        "no_branches": changed(OneKernel, plain_list=True),
        "shrinks": changed(OneKernel, padding=0),
        "other_kernels": changed(OneKernel, size=5),
        "same_weights": changed(OneKernel, weights=lambda a: a[:1].expand_as(a)),
        "averaged": changed(OneKernel, factor=1 / 3),
        "no_weights": changed(OneKernel, weights=torch.ones_like),
        "wrong_branch": changed(OneKernel, weights=lambda a: a.flip(1)),
        "no_gradient": changed(OneKernel, weights=lambda a: a.detach()),
        "wrong_device": OnCPU,
        "names": changed(OneKernel, named=False),
    },
    "02.gate": {
        "softmax_dimension": changed(Block, dim=0),
        "not_a_softmax": changed(Block, sigmoid=True),
        "same_weights": changed(Block, average=(0, 2, 3), dim=-1),
        "gate_unused": changed(Block, uniform=True),
        "no_shortcut": changed(Block, shortcut=False),
        "late_shortcut": changed(Block, order="late"),
        "no_norm": changed(Block, normed=False),
        "no_relu": changed(Block, relu_last=False),
        "relu_first": changed(Block, order="relu"),
        "width_changes": changed(Block, always_shortcut=True),
        "no_gradient": changed(Block, detached=True),
        "eval_mode": MixesInEval,
        "no_gate": OneKernel,
        "names": changed(Block, named=False),
    },
    "02.net": {
        "softmax_at_end": changed(Net, last=nn.Softmax(1)),
        "hidden_blocks": changed(Net, hidden=True),
        "channels_ignored": changed(Net, fixed=True),
        "classes_ignored": changed(Net, ten=True),
        "k_ignored": changed(Net, same_k=True),
        "big_maps": changed(Net, pooled=False),
        "fixed_size": changed(Net, flat=True),
        "small_maps": changed(Net, always_pooled=True),
        "names": changed(Net, named=False),
    },
    "02.parameters": {
        "two_numbers": 18692,
        "no_biases": (18564, 4718656),
        "no_gate": (18624, 4718656),
        "one_branch": (4772, 4718656),
        "no_norm": (18628, 4718656),
        "once": (18692, 18432 + 64),
        "gate_macs": (18692, 256 * 18432),
        "biases_counted": (18692, 256 * (18432 + 128) + 68),
        "wrong_macs": (18692, 9 * 18432 + 64),
    },
    "02.kernels": {
        "two_kernels": torch.ones(3, 3),
        "too_bright": [torch.ones(3, 3), torch.ones(3, 3)],
        "no_blur": [torch.eye(3)[1].outer(torch.eye(3)[1])] * 2,
        "not_the_same": [torch.full((3, 3), 1 / 9)] * 2,
    },
}
