"""Make batches of images on their device; a batch depends only on the seed, the epoch and its number.

For example:

    loader = BatchLoader(data.train, 128, augment=(Flip(), Crop(4)), shuffle=True)
    X, y = loader.batch(epoch=0, i=3)
"""

from __future__ import annotations

import dataclasses
import functools
import zlib

import torch
import torch.nn.functional as F

from utils.data.cifar10 import stratified_split
from utils.data.counter_rng import Draws, epoch_order
from utils.data.loader_checks import check_split, checked_augment, checked_normalisation, split_mixing
from utils.errors import check_count, require

# Mean and standard deviation of CIFAR-10's training images, per channel, on a scale from 0 to 1.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
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
    ):
        check_split(split)
        check_count("batch_size", batch_size, 1)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.epoch = 0
        self._first = 0  # the batch of this epoch with which the next pass starts
        self.augment = checked_augment(augment)
        self._changing, self._mixing = split_mixing(self.augment)
        mean, std = checked_normalisation(mean, std)
        self.split = to_device(split, device)
        self._mean = torch.tensor(mean, device=self.split.images.device).view(3, 1, 1)
        self._std = torch.tensor(std, device=self.split.images.device).view(3, 1, 1)
        self._drawn_epoch = None
        self._order_and_params = None
        what = f"drop_last=True leaves no batch, because all {len(split)} images do not fill one."
        require(len(self), what, f"batch_size={batch_size}", "Choose a smaller batch_size, or drop_last=False.")

    def __len__(self):
        count = len(self.split)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def set_position(self, epoch, batch=0):
        """Start the next pass with this batch of this epoch."""
        check_count("epoch", epoch, 0)
        check_count("batch", batch, 0, len(self))
        if batch == len(self):  # the position after the last batch is the start of the next epoch
            epoch, batch = epoch + 1, 0
        self.epoch, self._first = epoch, batch

    def indices(self, epoch, i):
        """Return the indices, in the split, of the images in batch i of an epoch."""
        return self._order(epoch)[self._rows(epoch, i)]

    def describe(self):
        """Return everything that the batches depend on, as a dict."""
        return {
            "n": len(self.split),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "seed": self.seed,
            "augment": self.augment,
            "mean": self._mean.flatten().tolist(),
            "std": self._std.flatten().tolist(),
            "dtype": torch.float32,
            "images": self._checksum,
        }

    @functools.cached_property
    def _checksum(self):
        """Return a checksum of all labels and of up to 64 images, evenly spread over the split."""
        rows = torch.linspace(0, len(self.split) - 1, min(64, len(self.split))).long()
        images = self.split.images[rows.to(self.split.images.device)].cpu().numpy().tobytes()
        return zlib.crc32(self.split.labels.cpu().numpy().tobytes(), zlib.crc32(images))

    def __iter__(self):
        epoch = self.epoch
        for i in range(self._first, len(self)):
            yield self.batch(epoch, i)
        self.set_position(epoch + 1)

    def batch(self, epoch, i):
        """Return batch i of an epoch, the same (X, y) as in a pass over the loader."""
        rows = self._rows(epoch, i)
        order, params = self._draw(epoch)
        count = rows.stop - rows.start
        chunk = _CPU_CHUNK if order.device.type == "cpu" else count
        X = None
        for start in range(0, count, chunk):
            chunk_rows = slice(rows.start + start, min(rows.start + start + chunk, rows.stop))
            images = self._make(order[chunk_rows], _of_rows(chunk_rows, params[: len(self._changing)]))
            if X is None:  # an augmentation may change the size, so it is known only now
                X = images.new_empty((count, *images.shape[1:]))
            X[start : start + chunk].copy_(images)
        y = self.split.labels.index_select(0, order[rows])
        if self._mixing:
            y = F.one_hot(y, len(self.split.classes)).to(torch.float32)
            for op, values in zip(self._mixing, _of_rows(rows, params[len(self._changing) :]), strict=True):
                X, y = op.mix(X, y, values)
        return X, y

    def _rows(self, epoch, i):
        """Return the slice of an epoch's order that is batch i."""
        check_count("epoch", epoch, 0)
        check_count("batch", i, 0, len(self) - 1)
        return slice(i * self.batch_size, min((i + 1) * self.batch_size, len(self.split)))

    def _order(self, epoch, device=None):
        """Return the indices of all images in the order of an epoch."""
        count = len(self.split)
        return epoch_order(self.seed, epoch, count, device) if self.shuffle else torch.arange(count, device=device)

    def _draw(self, epoch):
        """Return an epoch's order and, in that order, the parameters of each augmentation.

        They are drawn for all images at once and cached until another epoch is needed, so that a batch needs no draws.
        """
        if self._drawn_epoch != epoch:
            order = self._order(epoch, self.split.images.device)
            size = self.split.images.shape[-1]
            pairs = _draws(self.augment, self.seed, epoch, order)
            self._order_and_params = order, [op.draw(draws, size) for op, draws in pairs]
            self._drawn_epoch = epoch
        return self._order_and_params

    def _make(self, indices, params):
        """Return the augmented and normalised images of these indices, float32."""
        images = self.split.images.index_select(0, indices)
        for op, values in zip(self._changing, params, strict=True):
            images = op.apply(images, values)
        return images.to(torch.float32).mul_(1 / 255).sub_(self._mean).div_(self._std)
