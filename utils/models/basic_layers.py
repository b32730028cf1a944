"""Layers that torch does not have: GlobalMaxPool, Scale, TemperatureSoftmax, Whiten and an unscaled batch norm."""

from __future__ import annotations

import torch
from torch import nn

from utils.errors import require


class GlobalMaxPool(nn.Module):
    """Keep the largest value of each channel, whatever the size of the map: (B, C, H, W) to (B, C)."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return X.amax((2, 3))


class Scale(nn.Module):
    """Multiply by a constant. If the scores are small at the start, the first training steps can be large."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.factor * X

    def extra_repr(self):
        return f"{self.factor:g}"


class TemperatureSoftmax(nn.Softmax):
    """The softmax of the scores divided by a temperature T: the higher T, the more equal are the weights of a gate.

    With cooling > 0, the callback CoolGates lowers T on a straight line, from `start` to 1, in this share of a
    training's epochs. At first all branches then have nearly the same weight, so that each of them is trained.
    """

    def __init__(self, start: float = 1.0, cooling: float = 0.0):
        super().__init__(dim=1)
        where = f"start={start}, cooling={cooling}"
        require(start > 0, "A temperature must be above 0.", where, "Dynamic convolution starts with 30.")
        require(0 <= cooling <= 1, "cooling must be a share of the training, from 0 to 1.", where, "Choose 0.3.")
        self.start = start
        self.cooling = cooling
        # A buffer is saved in checkpoints, and a CUDA graph reads its new value.
        self.register_buffer("temperature", torch.tensor(float(start)))

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        return super().forward(scores / self.temperature)

    def cool(self, done: float) -> None:
        """Set the temperature for the time when this share of the training is done."""
        share = min(done / self.cooling, 1.0) if self.cooling else 0.0
        self.temperature.fill_(self.start + share * (1 - self.start))

    def extra_repr(self):
        return f"start={self.start:g}, cooling={self.cooling:g}"


class Whiten(nn.Conv2d):
    """A convolution whose outputs are uncorrelated and of equal variance: patch whitening.

    `learn` sets its kernels from images before the training starts; after that only the bias is trained. It has two
    outputs, with opposite signs, for every principal component of the patches of size x size pixels.
    """

    def __init__(self, channels: int, size: int):
        super().__init__(channels, 2 * channels * size**2, size)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def learn(self, images: torch.Tensor, epsilon: float = 5e-4) -> None:
        """Set the kernels from images (n, channels, H, W); epsilon is added to the variance of each component."""
        count, total, products = 0, 0.0, 0.0
        for chunk in images.split(500):  # all patches at once would take a gigabyte
            # On the CPU, because Apple's GPUs have no float64.
            patches = nn.functional.unfold(chunk.cpu().double(), self.kernel_size).transpose(1, 2).flatten(0, 1)
            count += len(patches)
            total = total + patches.sum(0)
            products = products + patches.T @ patches
        mean = total / count
        covariance = products / count - mean.outer(mean)
        variances, directions = torch.linalg.eigh(covariance)
        kernels = (directions / (variances + epsilon).sqrt()).T.view(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([kernels, -kernels]))


def unscaled_batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch norm without a trained scale, whose running statistics adapt fast, for short trainings."""
    layer = nn.BatchNorm2d(channels, momentum=0.4)
    layer.weight.requires_grad_(False)
    return layer
