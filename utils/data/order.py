"""The order of the images and the batches in each epoch, and checks of a loader's arguments."""

from __future__ import annotations

import dataclasses
import zlib

import torch

from utils.data.counter_rng import epoch_order
from utils.data.geometry import Shrink
from utils.errors import DataError, check_count, require

# Mean and standard deviation of CIFAR-10's training images, per channel, on a scale from 0 to 1.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


class Batches:
    """The order and the batches of each epoch, and the position at which the next pass starts."""

    def __init__(self, split, batch_size, shuffle, drop_last, seed):
        check_split(split)
        check_count("batch_size", batch_size, 1)
        self.n = len(split)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.epoch = 0
        self.first = 0  # the batch of this epoch with which the next pass starts
        require(
            len(self),
            f"drop_last=True leaves no batch, because all {self.n} images do not fill one.",
            f"batch_size={batch_size}",
            "Choose a smaller batch_size, or drop_last=False.",
        )

    def __len__(self):
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def order(self, epoch, device=None):
        """Return the image indices in the order of an epoch."""
        return epoch_order(self.seed, epoch, self.n, device) if self.shuffle else torch.arange(self.n, device=device)

    def indices(self, epoch, i):
        """Return the indices, in the split, of the images in batch i of an epoch."""
        return self.order(epoch)[self.rows(epoch, i)]

    def describe(self):
        """Return the settings that the order and the batches depend on."""
        names = ("n", "batch_size", "shuffle", "drop_last", "seed")
        return {name: getattr(self, name) for name in names}

    def rows(self, epoch, i):
        """Return the slice of an epoch's order that is batch i."""
        check_count("epoch", epoch, 0)
        check_count("batch", i, 0, len(self) - 1)
        return slice(i * self.batch_size, min((i + 1) * self.batch_size, self.n))

    def move_to(self, epoch, batch):
        """Start the next pass with this batch of this epoch."""
        check_count("epoch", epoch, 0)
        check_count("batch", batch, 0, len(self))
        if batch == len(self):  # the position after the last batch is the start of the next epoch
            epoch, batch = epoch + 1, 0
        self.epoch, self.first = epoch, batch


def check_split(split):
    """Raise an error if the images or labels of a split have a wrong type or shape."""
    images, labels = split.images, split.labels
    where = f"images {images.dtype} {tuple(images.shape)}; labels {labels.dtype} {tuple(labels.shape)}"
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        problem = "The images are not uint8 of shape (n, 3, size, size)."
    elif labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        problem = "The labels are not int64, one for each image."
    elif labels.device != images.device:
        problem = "Images and labels are on different devices."
        where = f"{images.device} and {labels.device}"
    elif 0 in images.shape:
        problem = "There are no images."
    else:
        return
    raise DataError(problem, where=where, next_step="Use a Split from load_cifar10 or load_images, or a subset of one.")


def checked_augment(augment):
    """Return the augmentations as a tuple; raise an error for other objects, and if Shrink or Mixup come too early."""
    example = "Write augment=(Flip(), Crop(4)), for example, with a comma even where there is only one."
    where = f"augment={augment!r}"
    is_sequence = isinstance(augment, (tuple, list))
    require(
        is_sequence, f"augment must be a tuple of augmentations, but is a {type(augment).__name__}.", where, example
    )
    for op in augment:
        is_augmentation = dataclasses.is_dataclass(op) and not isinstance(op, type)
        require(is_augmentation, f"augment must be a tuple of augmentations, but holds {op!r}.", where, example)
    changing, mixing = split_mixing(augment)
    what = "Mixup and CutMix must come after all other augmentations, since they mix normalised images."
    require([*changing, *mixing] == [*augment], what, where, "Move them to the end.")
    shrinks_early = any(isinstance(op, Shrink) for op in changing[:-1])
    what = "Shrink must be the last augmentation, since the others expect images of the original size."
    require(not shrinks_early, what, where, "Move Shrink to the end, before Mixup and CutMix, and use it only once.")
    return tuple(augment)


def split_mixing(augment):
    """Return (augmentations that change single images, augmentations that mix the images of a batch)."""
    mixing = [op for op in augment if hasattr(op, "mix")]
    return [op for op in augment if not hasattr(op, "mix")], mixing


def checksum(split):
    """Return a checksum of all labels and of up to 64 images, evenly spread over the split."""
    rows = torch.linspace(0, len(split) - 1, min(64, len(split))).long()
    images = split.images[rows.to(split.images.device)].cpu().numpy().tobytes()
    return zlib.crc32(split.labels.cpu().numpy().tobytes(), zlib.crc32(images))


def checked_normalisation(mean, std):
    """Return mean and std as lists of three numbers; raise an error if they are something else."""
    is_right = len(mean) == len(std) == 3 and all(deviation > 0 for deviation in std)
    what = "mean and std must be three numbers each, and each std above 0."
    require(is_right, what, f"mean={mean}, std={std}", "Leave them out to use those of CIFAR-10.")
    return [float(value) for value in mean], [float(value) for value in std]
