"""Batch norm over a batch that several processes share: `with SharedNorms(images): net(own_images)`.

Each process holds a part of the batch, and mean and variance are those of the whole batch. torch's nn.SyncBatchNorm
does the same, but only on GPUs.
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode


class SharedNorms(TorchFunctionMode):
    """A context in which F.batch_norm, and so every batch norm of any network, computes with all processes' images.

    images: the number of images in the whole batch.
    """

    def __init__(self, images):
        super().__init__()
        self.images = images

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _batch_norm(self, X, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
        if not training:
            return F.batch_norm(X, mean, var, weight, bias, training, momentum, eps)
        if self.images * math.prod(X.shape[2:]) == 1:  # torch's own error, which CheckedBatches explains
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {X.shape}")
        Y, *statistics = _SharedNorm.apply(X, weight, bias, eps)
        if mean is not None:
            for running, current in zip((mean, var), statistics, strict=True):
                running.mul_(1 - momentum).add_(current, alpha=momentum)
        return Y


class _SharedNorm(torch.autograd.Function):
    """Return (normalised X, mean, unbiased variance); the gradients of weight and bias are those of this part."""

    @staticmethod
    def forward(ctx, X, weight, bias, eps):
        x = X if X.dtype == torch.float64 else X.float()  # as torch does in mixed precision
        ctx.dims = [0, *range(2, X.ndim)]
        ctx.shape = [1, -1, *[1] * (X.ndim - 2)]
        own_count = x.new_full((1,), X.numel() / X.shape[1])
        sums = torch.cat([x.sum(ctx.dims), own_count])
        dist.all_reduce(sums)
        count = sums[-1]
        mean = sums[:-1] / count
        normal = x - mean.view(ctx.shape)
        squares = normal.square().sum(ctx.dims)  # after the mean is subtracted, because that loses no digits
        dist.all_reduce(squares)
        inverse = (squares / count + eps).rsqrt()
        normal = normal * inverse.view(ctx.shape)
        ctx.save_for_backward(normal, weight, inverse, count)
        Y = normal if weight is None else normal * weight.view(ctx.shape)
        Y = Y if bias is None else Y + bias.view(ctx.shape)
        unbiased = squares / (count - 1)
        ctx.mark_non_differentiable(mean, unbiased)
        return Y.to(X.dtype), mean, unbiased

    @staticmethod
    @once_differentiable
    def backward(ctx, dY, *_):
        normal, weight, inverse, count = ctx.saved_tensors
        dy = dY.to(normal.dtype)
        own = torch.stack([dy.sum(ctx.dims), (dy * normal).sum(ctx.dims)])
        sums = own.clone()
        dist.all_reduce(sums)
        mean_dy, mean_product = (row.view(ctx.shape) for row in sums / count)
        scale = inverse if weight is None else inverse * weight
        dX = (dy - mean_dy - normal * mean_product) * scale.view(ctx.shape)
        d_weight = own[1] if ctx.needs_input_grad[1] else None
        d_bias = own[0] if ctx.needs_input_grad[2] else None
        return dX.to(dY.dtype), d_weight, d_bias, None
