"""Checks of a loader's arguments."""

from __future__ import annotations

import dataclasses

import torch

from utils.data.geometry import Shrink
from utils.errors import DataError, require


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


def checked_normalisation(mean, std):
    """Return mean and std as lists of three numbers; raise an error if they are something else."""
    is_right = len(mean) == len(std) == 3 and all(deviation > 0 for deviation in std)
    what = "mean and std must be three numbers each, and each std above 0."
    require(is_right, what, f"mean={mean}, std={std}", "Leave them out to use those of CIFAR-10.")
    return [float(value) for value in mean], [float(value) for value in std]
