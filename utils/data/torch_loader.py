"""Owns the usual way to batches: Dataset, torchvision transforms, DataLoader, made as repeatable as BatchLoader."""

from __future__ import annotations

import contextlib

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from utils.data.augment import Affine, ColorJitter, Crop, Cutout, Flip
from utils.data.cifar10 import CLASSES
from utils.data.counter_rng import derive_seed
from utils.data.order import (
    MEAN,
    STD,
    Batches,
    check_count,
    check_split,
    checked_augment,
    checked_normalisation,
    checksum,
    require,
)


def torch_loader(
    split,
    batch_size,
    *,
    augment=(),
    mean=MEAN,
    std=STD,
    shuffle=False,
    drop_last=False,
    seed=0,
    num_workers=2,
    **options,
):
    """Return a DataLoader with BatchLoader's order, `epoch` and `set_position`; options are DataLoader's own.

    An image's augmentation depends on (seed, epoch, index) alone, whatever the number of worker processes.
    """
    check_count("num_workers", num_workers, 0)
    batches = Batches(split, batch_size, shuffle, drop_last, seed)
    images = _SeededImages(ImageDataset(split, v2_transform(augment, mean, std)), seed)
    loader = _TorchLoader(images, batch_sampler=batches, num_workers=num_workers, **options)
    mean, std = checked_normalisation(mean, std)
    loader.facts = {"augment": tuple(augment), "mean": list(mean), "std": list(std), "images": checksum(split)}
    return loader


class ImageDataset(Dataset):
    """Hold a split in the manner of torchvision.datasets.CIFAR10: item i is (transform of a PIL image, label)."""

    classes = list(CLASSES)

    def __init__(self, split, transform=None):
        check_split(split)
        self.origin = split.origin
        self.data = split.images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        self.targets = split.labels.tolist()
        self.transform = transform

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        image = Image.fromarray(self.data[index])
        return image if self.transform is None else self.transform(image), self.targets[index]


def v2_transform(augment=(), mean=MEAN, std=STD):
    """Return the torchvision.transforms.v2 pipeline with these settings, from a PIL image to a normalised tensor.

    It rounds to whole levels after each step, and ColorJitter goes through its four changes in a random order.
    """
    mean, std = checked_normalisation(mean, std)
    steps, to_tensor = [], [v2.ToImage()]
    for op in checked_augment(augment):
        advice = "Leave it out, or use BatchLoader (make_iters without workers), which has it."
        require(type(op) in _V2, f"torchvision has nothing like {op}.", "augment", advice)
        if isinstance(op, Cutout):  # v2 erases from tensors only; everything before is faster on a PIL image
            steps, to_tensor = steps + to_tensor, []
        steps.append(_V2[type(op)](op))
    return v2.Compose([*steps, *to_tensor, v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])


def _v2_crop(op):
    return v2.RandomCrop(32, padding=op.padding, padding_mode={"zero": "constant", "reflect": "reflect"}[op.mode])


def _v2_affine(op):
    return v2.RandomAffine(op.degrees, op.translate, op.scale, op.shear, interpolation=InterpolationMode.BILINEAR)


def _v2_erasing(op):
    require(op.size < 32, "torchvision cannot erase a whole image.", repr(op), "Choose a size below 32.")
    share = (op.size / 32) ** 2
    return v2.RandomErasing(p=1, scale=(share, share), ratio=(1, 1), value=op.fill)


_V2 = {
    Flip: lambda op: v2.RandomHorizontalFlip(op.p),
    Crop: _v2_crop,
    Affine: _v2_affine,
    ColorJitter: lambda op: v2.ColorJitter(op.brightness, op.contrast, op.saturation, op.hue),
    Cutout: _v2_erasing,
}


class _TorchLoader(DataLoader):
    def __init__(self, dataset, **options):
        # DataLoader draws a number at the start of every pass; from a generator of its own, not from the caller's.
        super().__init__(dataset, generator=torch.Generator(), **options)

    @property
    def epoch(self):
        return self.batch_sampler.epoch

    def set_position(self, epoch, batch=0):
        """Let the next pass make this epoch, from this batch on."""
        self.batch_sampler.move_to(epoch, batch)

    def indices(self, epoch, i):
        """Return which images, by their place in the split, make batch i of an epoch."""
        return self.batch_sampler.indices(epoch, i)

    def describe(self):
        """Return what its batches depend on."""
        return self.batch_sampler.describe() | self.facts

    def __iter__(self):
        epoch = self.epoch
        yield from super().__iter__()
        # Here and not in the sampler, which is read to its end long before the last batch is used.
        self.set_position(epoch + 1)


class _SeededImages(Dataset):
    """Give item (epoch, index) of a dataset whose transform draws as if torch had just been seeded for it."""

    def __init__(self, images, seed):
        self.images, self.seed, self.origin = images, seed, images.origin

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        epoch, index = place
        with _seeded(derive_seed(self.seed, epoch, "item", index)):
            return self.images[index]


@contextlib.contextmanager
def _seeded(seed):
    """Seed torch's CPU generator inside a with block only. (torch.manual_seed would change CUDA's for good.)"""
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(state)
