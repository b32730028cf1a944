"""Make batches of images on their device; a batch depends only on the seed, the epoch and its number.

For example:

    loader = BatchLoader(data.train, 128, augment=(Flip(), Crop(4)), shuffle=True)
    X, y = loader.batch(epoch=0, i=3)
"""

from __future__ import annotations

import dataclasses
import functools

import torch
import torch.nn.functional as F

from utils.data.cifar10 import stratified_split
from utils.data.counter_rng import Draws
from utils.data.order import MEAN, STD, Batches, checked_augment, checked_normalisation, checksum, split_mixing
from utils.errors import require

# On a CPU, a batch is made this many images at a time, so that intermediate values stay in the processor's cache.
_CPU_CHUNK = 128


def make_iters(
    data,
    batch_size,
    *,
    augment=(),
    val=5000,
    seed=0,
    device=None,
    mean=MEAN,
    std=STD,
    measured_at_a_time=None,
):
    """Return (train_iter, val_iter, test_iter) of data.train and data.test; only the first is shuffled and augmented.

    val: the number of training images that are held out for validation; with val=0, val_iter is None.
    measured_at_a_time: the batch size of val_iter and test_iter.
    """
    make = functools.partial(BatchLoader, mean=mean, std=std, seed=seed, device=device)
    measured_at_a_time = measured_at_a_time or batch_size
    train, val_iter = data.train, None
    if val:
        train, held_out = stratified_split(train, val, seed)
        val_iter = make(held_out, measured_at_a_time)
    train_iter = make(train, batch_size, augment=augment, shuffle=True)
    return train_iter, val_iter, make(data.test, measured_at_a_time)


def augmented(split, rows, augment, seed=0, epoch=0):
    """Return the images of these rows, uint8, augmented as by a BatchLoader with this seed in this epoch."""
    images = split.images[rows]
    for op, draws in _draws(checked_augment(augment), seed, epoch, rows.to(images.device)):
        params = op.draw(draws, images.shape[-1])
        if hasattr(op, "mix"):  # the labels are mixed, too, but not shown
            values, _ = op.mix(images.to(torch.float32), torch.zeros(len(images), 1, device=images.device), params)
            images = values.round_().to(torch.uint8)
        else:
            images = op.apply(images, params)
    return images


def _draws(augment, seed, epoch, indices):
    """Pair each augmentation with its Draws; their names contain the position, so that equal augmentations differ."""
    return [(op, Draws(seed, epoch, indices, f"{i} {type(op).__name__}")) for i, op in enumerate(augment)]


def _of_rows(rows, params):
    """Return the parameters of these rows, a slice, for each augmentation."""
    return [{name: values[rows] for name, values in of_op.items()} for of_op in params]


def to_device(split, device=None):
    """Return the split with its tensors on the device; tensors that are there already are not copied."""
    if device is None:
        return split
    return dataclasses.replace(split, images=split.images.to(device), labels=split.labels.to(device))


class BatchLoader:
    """Yield (X, y) made on the device: X normalised (B, 3, H, W), y int64 (B,). A yielded batch is never changed later.

    With Mixup or CutMix, y is float32 (B, classes): the share of each class in a mixed image.

    `epoch` is the epoch of the next pass. It grows by 1 after a complete pass; an interrupted pass is repeated. With
    device=None the images stay on their device. Several loaders can share the images of `split`.
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
        what = "Normalised images can't be whole numbers."
        require(dtype.is_floating_point, what, f"dtype={dtype}", "Choose float32, float16 or bfloat16.")
        self.augment = checked_augment(augment)
        self._changing, self._mixing = split_mixing(self.augment)
        self.dtype = dtype
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        mean, std = checked_normalisation(mean, std)
        self.split = to_device(split, device)
        self._mean = torch.tensor(mean, device=self.split.images.device).view(3, 1, 1)
        self._std = torch.tensor(std, device=self.split.images.device).view(3, 1, 1)
        self._drawn_epoch = None
        self._order_and_params = None

    def __len__(self):
        return len(self._batches)

    @property
    def batch_size(self):
        return self._batches.batch_size

    @property
    def epoch(self):
        return self._batches.epoch

    def set_position(self, epoch, batch=0):
        """Start the next pass with this batch of this epoch."""
        self._batches.move_to(epoch, batch)

    def indices(self, epoch, i):
        """Return the indices, in the split, of the images in batch i of an epoch."""
        return self._batches.indices(epoch, i)

    def describe(self):
        """Return everything that the batches depend on, as a dict."""
        return self._batches.describe() | {
            "augment": self.augment,
            "mean": self._mean.flatten().tolist(),
            "std": self._std.flatten().tolist(),
            "dtype": self.dtype,
            "images": self._checksum,
        }

    @functools.cached_property
    def _checksum(self):
        return checksum(self.split)

    def __iter__(self):
        epoch = self.epoch
        for i in range(self._batches.first, len(self)):
            yield self.batch(epoch, i)
        self.set_position(epoch + 1)

    def batch(self, epoch, i):
        """Return batch i of an epoch, the same (X, y) as in a pass over the loader."""
        rows = self._batches.rows(epoch, i)
        order, params = self._draw(epoch)
        count = rows.stop - rows.start
        chunk = _CPU_CHUNK if order.device.type == "cpu" else count
        X = None
        for start in range(0, count, chunk):
            chunk_rows = slice(rows.start + start, min(rows.start + start + chunk, rows.stop))
            images = self._make(order[chunk_rows], _of_rows(chunk_rows, params[: len(self._changing)]))
            if X is None:  # an augmentation may change the size, so it is known only now
                shape = (count, *images.shape[1:])
                X = torch.empty(shape, dtype=self.dtype, device=images.device, memory_format=self.memory_format)
            X[start : start + chunk].copy_(images)
        y = self.split.labels.index_select(0, order[rows])
        if self._mixing:
            y = F.one_hot(y, len(self.split.classes)).to(torch.float32)
            for op, values in zip(self._mixing, _of_rows(rows, params[len(self._changing) :]), strict=True):
                X, y = op.mix(X, y, values)
        return X, y

    def _draw(self, epoch):
        """Return an epoch's order and, in that order, the parameters of each augmentation.

        They are drawn for all images at once and cached until another epoch is needed, so that a batch needs no draws.
        """
        if self._drawn_epoch != epoch:
            order = self._batches.order(epoch, self.split.images.device)
            size = self.split.images.shape[-1]
            pairs = _draws(self.augment, self._batches.seed, epoch, order)
            self._order_and_params = order, [op.draw(draws, size) for op, draws in pairs]
            self._drawn_epoch = epoch
        return self._order_and_params

    def _make(self, indices, params):
        """Return the augmented and normalised images of these indices, float32."""
        images = self.split.images.index_select(0, indices)
        for op, values in zip(self._changing, params, strict=True):
            images = op.apply(images, values)
        return images.to(torch.float32).mul_(1 / 255).sub_(self._mean).div_(self._std)
