"""Owns which images make which batch of which epoch, and the checks of what a loader is given. Touches no pixel."""

from __future__ import annotations

import dataclasses
import numbers
import zlib

import torch

from utils.data.augment import Shrink
from utils.data.counter_rng import epoch_order
from utils.errors import CourseworkError, DataError

# Of CIFAR-10's training images, per channel, on a scale from 0 to 1.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


class Batches:
    """Know an epoch's order, its batches, and where the next pass begins; serve as a DataLoader's batch sampler too."""

    def __init__(self, split, batch_size, shuffle, drop_last, seed):
        check_split(split)
        check_count("batch_size", batch_size, 1)
        self.n, self.batch_size, self.shuffle, self.drop_last = len(split), batch_size, shuffle, drop_last
        self.seed, self.epoch, self.first = seed, 0, 0
        what = f"drop_last drops all {self.n} images: they do not fill a batch."
        require(len(self), what, f"batch_size={batch_size}", "Choose a smaller batch_size, or drop_last=False.")

    def __len__(self):
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def __iter__(self):
        """Yield the rest of the epoch as lists of (epoch, index): a worker process knows nothing else of the epoch."""
        epoch, order = self.epoch, self.order(self.epoch).tolist()
        for i in range(self.first, len(self)):
            yield [(epoch, index) for index in order[self.rows(epoch, i)]]

    def order(self, epoch, device=None):
        """Return the image indices in the order in which an epoch shows them."""
        return epoch_order(self.seed, epoch, self.n, device) if self.shuffle else torch.arange(self.n, device=device)

    def indices(self, epoch, i):
        """Return which images, by their place in the split, make batch i of an epoch."""
        return self.order(epoch)[self.rows(epoch, i)]

    def describe(self):
        """Return what decides which images make which batch."""
        names = ("n", "batch_size", "shuffle", "drop_last", "seed")
        return {name: getattr(self, name) for name in names}

    def rows(self, epoch, i):
        """Return the slice of an epoch's order that is batch i."""
        check_count("epoch", epoch, 0)
        check_count("batch", i, 0, len(self) - 1)
        return slice(i * self.batch_size, min((i + 1) * self.batch_size, self.n))

    def move_to(self, epoch, batch):
        """Let the next pass make this epoch, from this batch on."""
        check_count("epoch", epoch, 0)
        check_count("batch", batch, 0, len(self))
        # The place after the last batch is the start of the next epoch: no pass is empty, and none is made twice.
        self.epoch, self.first = (epoch, batch) if batch < len(self) else (epoch + 1, 0)


def require(holds, what, where, next_step):
    if not holds:
        raise CourseworkError(what, where=where, next_step=next_step)


def check_count(name, value, least, most=None):
    """Require a whole number between these limits; True and 2.0 are none."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    fits = whole and least <= value and (most is None or value <= most)
    limits = f"{least} or more" if most is None else f"from {least} to {most}"
    require(fits, f"{name} is a whole number, {limits}.", f"{name}={value!r}", f"Choose {limits}.")


def check_split(split):
    """Require what Split promises, before anything is sent to a device."""
    images, labels = split.images, split.labels
    found = "; ".join(f"{kind} {x.dtype} {tuple(x.shape)}" for kind, x in (("images", images), ("labels", labels)))
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        problem = "The images are not uint8 of shape (n, 3, size, size)."
    elif labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        problem = "The labels are not int64, one for each image."
    elif labels.device != images.device:
        problem, found = "Images and labels are on different devices.", f"{images.device} and {labels.device}"
    elif 0 in images.shape:
        problem = "There are no images."
    else:
        return
    raise DataError(problem, where=found, next_step="Take a Split from utils.data.cifar10, or one of its subsets.")


def checked_augment(augment):
    """Return the augmentations as a tuple, whatever sequence they came in; Shrink is the last of them."""
    usable = isinstance(augment, (tuple, list)) and all(
        dataclasses.is_dataclass(op) and not isinstance(op, type) for op in augment
    )
    example = "Write augment=(Flip(), Crop(4)), for example, with a comma even where there is only one."
    require(usable, "augment is a tuple of augmentations.", f"augment={augment!r}", example)
    early = any(isinstance(op, Shrink) for op in augment[:-1])
    what = "After Shrink an augmentation would take small images for whole ones."
    require(not early, what, f"augment={augment!r}", "Move Shrink to the end, and keep one of them.")
    return tuple(augment)


def checksum(split):
    """Return a number that tells a split from others: of all its labels, and of some images from first to last."""
    some = torch.linspace(0, len(split) - 1, min(64, len(split))).long()
    images = split.images[some.to(split.images.device)].cpu().numpy().tobytes()
    return zlib.crc32(split.labels.cpu().numpy().tobytes(), zlib.crc32(images))


def checked_normalisation(mean, std):
    """Return both as lists of three numbers."""
    fits = len(mean) == len(std) == 3 and all(deviation > 0 for deviation in std)
    what = "mean and std are three numbers each, and each std is above 0."
    require(fits, what, f"mean={mean}, std={std}", "Leave them out for CIFAR-10's own.")
    return [float(value) for value in mean], [float(value) for value in std]
