"""Owns the front door to the images: load_cifar10 finds a source, checks it, and gives uint8 tensors. Makes no batches."""

from __future__ import annotations

import dataclasses

import torch

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclasses.dataclass(frozen=True)
class Split:
    """Images, uint8 (n, 3, 32, 32), and their labels, int64 (n,)."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    def subset(self, indices):
        """Return the split of these rows, in this order."""
        return Split(self.images[indices], self.labels[indices])
