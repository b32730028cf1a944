"""Owns the batches: order, augmentation and pixels are a pure function of (seed, epoch, index). Touches no RNG.

There are two ways, with the same order, shapes, types and unaugmented pixels. BatchLoader keeps all images on the
device and works on whole batches; torch_loader is the usual Dataset, torchvision transforms and DataLoader.
"""

from __future__ import annotations

import dataclasses
import functools

import torch

from utils.data.cifar10 import stratified_split
from utils.data.counter_rng import Draws
from utils.data.order import MEAN, STD, Batches, checked_augment, checked_normalisation, checksum, require
from utils.data.torch_loader import ImageDataset, torch_loader, v2_transform

__all__ = [
    "MEAN",
    "STD",
    "BatchLoader",
    "ImageDataset",
    "augmented",
    "make_iters",
    "to_device",
    "torch_loader",
    "v2_transform",
]

# A CPU makes a batch in parts of this many images, so that what lies between two steps stays in its cache.
_CPU_PART = 128


def make_iters(
    data,
    batch_size,
    *,
    augment=(),
    val=5000,
    seed=0,
    device=None,
    workers=None,
    mean=MEAN,
    std=STD,
    measured_at_a_time=None,
):
    """Return (train_iter, val_iter, test_iter) of data.train and data.test; only the first is shuffled and augmented.

    val training images are held out for validation; with val=0 all are trained on, and val_iter is None. workers=None
    makes BatchLoaders on the device, whose batches follow from the seed; a number makes plain DataLoaders with that
    many worker processes, on the CPU. The other two, which are only measured on, may have batches of another size.
    """
    if workers is None:
        make = functools.partial(BatchLoader, mean=mean, std=std, seed=seed, device=device)
    else:
        on_cpu = device is None or torch.device(device).type == "cpu"
        advice = "Leave workers out; or leave device out, and move each batch yourself."
        require(on_cpu, "Worker processes make their batches on the CPU.", f"device={str(device)!r}", advice)
        make = functools.partial(torch_loader, mean=mean, std=std, num_workers=workers)
    measured_at_a_time = measured_at_a_time or batch_size
    train, val_iter = data.train, None
    if val:
        train, held_out = stratified_split(train, val, seed)
        val_iter = make(held_out, measured_at_a_time)
    train_iter = make(train, batch_size, augment=augment, shuffle=True)
    return train_iter, val_iter, make(data.test, measured_at_a_time)


def augmented(split, rows, augment, seed=0, epoch=0):
    """Return these rows' images, uint8, as a BatchLoader of this seed changes them in this epoch: to look at."""
    images = split.images[rows]
    for op, draws in _draws(checked_augment(augment), seed, epoch, rows.to(images.device)):
        images = op.apply(images, op.draw(draws, images.shape[-1]))
    return images


def _draws(augment, seed, epoch, indices):
    """Pair each augmentation with its draws; its place is part of the purpose, so that two equal ones draw apart."""
    return [(op, Draws(seed, epoch, indices, f"{place} {type(op).__name__}")) for place, op in enumerate(augment)]


def to_device(split, device=None):
    """Return the split with its tensors on the device; they are shared, not copied, if they are there already."""
    if device is None:
        return split
    return dataclasses.replace(split, images=split.images.to(device), labels=split.labels.to(device))


class BatchLoader:
    """Yield (X, y) made on the device: X normalised (B, 3, H, W), y int64 (B,). A yielded batch is never changed later.

    `epoch` is the epoch that the next pass makes. It goes up when a pass is exhausted; a pass broken off is made again.
    Without a device the images stay where they are; `split` is what the loader holds, for another loader to share.
    """

    def __init__(
        self,
        split,
        batch_size,
        *,
        augment=(),
        mean=MEAN,
        std=STD,
        shuffle=False,
        drop_last=False,
        seed=0,
        device=None,
        dtype=torch.float32,
        channels_last=False,
    ):
        self._batches = Batches(split, batch_size, shuffle, drop_last, seed)
        what, advice = "Normalised images are not whole numbers.", "Choose float32, float16 or bfloat16."
        require(dtype.is_floating_point, what, f"dtype={dtype}", advice)
        self.augment, self.dtype = checked_augment(augment), dtype
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        mean, std = checked_normalisation(mean, std)
        self.split = to_device(split, device)
        self._mean, self._std = (torch.tensor(v, device=self.split.images.device).view(3, 1, 1) for v in (mean, std))
        self._drawn = None, None

    def __len__(self):
        return len(self._batches)

    @property
    def batch_size(self):
        return self._batches.batch_size

    @property
    def epoch(self):
        return self._batches.epoch

    def set_position(self, epoch, batch=0):
        """Let the next pass make this epoch, from this batch on."""
        self._batches.move_to(epoch, batch)

    def indices(self, epoch, i):
        """Return which images, by their place in the split, make batch i of an epoch."""
        return self._batches.indices(epoch, i)

    def describe(self):
        """Return what its batches depend on."""
        mean, std = (values.flatten().tolist() for values in (self._mean, self._std))
        pixels = {"augment": self.augment, "mean": mean, "std": std, "dtype": self.dtype, "images": self._images}
        return self._batches.describe() | pixels

    @functools.cached_property
    def _images(self):
        """Return what tells these images from others: a checksum of all labels and of some images."""
        return checksum(self.split)

    def __iter__(self):
        epoch = self.epoch
        for i in range(self._batches.first, len(self)):
            yield self.batch(epoch, i)
        self.set_position(epoch + 1)

    def batch(self, epoch, i):
        """Make batch i of an epoch alone, the same as a pass makes it."""
        rows = self._batches.rows(epoch, i)
        order, params = self._draw(epoch)
        count, X = rows.stop - rows.start, None
        step = _CPU_PART if order.device.type == "cpu" else count
        for start in range(0, count, step):
            part = slice(rows.start + start, min(rows.start + start + step, rows.stop))
            made = self._make(order[part], [{name: values[part] for name, values in p.items()} for p in params])
            if X is None:  # only now is the size known: an augmentation may change it
                kind = {"dtype": self.dtype, "device": made.device, "memory_format": self.memory_format}
                X = torch.empty((count, *made.shape[1:]), **kind)
            X[start : start + step].copy_(made)
        return X, self.split.labels.index_select(0, order[rows])

    def _draw(self, epoch):
        """Return an epoch's order and, in that order, the parameters of each augmentation.

        Drawn for all images at once and kept until another epoch is asked for: so that a batch costs no draws.
        """
        kept, drawn = self._drawn
        if kept == epoch:
            return drawn
        order = self._batches.order(epoch, self.split.images.device)
        size = self.split.images.shape[-1]
        pairs = _draws(self.augment, self._batches.seed, epoch, order)
        drawn = order, [op.draw(draws, size) for op, draws in pairs]
        self._drawn = epoch, drawn
        return drawn

    def _make(self, indices, params):
        """Return the augmented and normalised images of these indices, float32."""
        images = self.split.images.index_select(0, indices)
        for op, values in zip(self.augment, params, strict=True):
            images = op.apply(images, values)
        return images.to(torch.float32).mul_(1 / 255).sub_(self._mean).div_(self._std)
