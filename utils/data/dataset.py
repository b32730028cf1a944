"""The usual way in PyTorch: a Dataset of pictures, torchvision's transforms and a DataLoader.

For example:

    train_iter = torch_loader(data.train, 128, augment=(Flip(), Crop(4)), shuffle=True, num_workers=2)
"""

from __future__ import annotations

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from utils.data.augment import Affine, ColorJitter, Crop, Cutout, Flip, RandAugment
from utils.data.order import MEAN, STD, check_split, checked_augment, checked_normalisation
from utils.errors import require


def torch_loader(split, batch_size, *, augment=(), mean=MEAN, std=STD, num_workers=2, **options) -> DataLoader:
    """Return a DataLoader of a split; options are passed to DataLoader. The order comes from torch's generator."""
    dataset = ImageDataset(split, v2_transform(augment, mean, std))
    return DataLoader(dataset, batch_size, num_workers=num_workers, **options)


class ImageDataset(Dataset):
    """A Dataset of a split, like torchvision.datasets.CIFAR10: item i is (transformed PIL image, label)."""

    def __init__(self, split, transform=None):
        check_split(split)
        self.classes = list(split.classes)
        self.origin = split.origin
        self.data = split.images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        self.targets = split.labels.tolist()
        self.transform = transform

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        image = Image.fromarray(self.data[index])
        if self.transform is not None:
            image = self.transform(image)
        return image, self.targets[index]


def v2_transform(augment=(), mean=MEAN, std=STD) -> v2.Compose:
    """Return the torchvision.transforms.v2 pipeline for these augmentations, from a PIL image to a normalised tensor.

    In contrast to BatchLoader, it rounds to whole levels after each step, ColorJitter makes its four changes in a
    random order, and RandAugment has torchvision's own list of operations.
    """
    mean, std = checked_normalisation(mean, std)
    on_picture, on_tensor = [], []
    for op in checked_augment(augment):
        advice = "Leave it out, or use BatchLoader (make_iters without workers)."
        require(type(op) in TRANSFORMS, f"A DataLoader's dataset has no transform for {op}.", "augment", advice)
        # RandomErasing takes tensors only; everything before it is faster on a PIL image.
        steps = on_tensor if on_tensor or isinstance(op, Cutout) else on_picture
        steps.append(TRANSFORMS[type(op)](op))
    last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    return v2.Compose([*on_picture, v2.ToImage(), *on_tensor, *last])


def _affine(op):
    return v2.RandomAffine(op.degrees, op.translate, op.scale, op.shear, interpolation=InterpolationMode.BILINEAR)


def _erasing(op):
    require(op.size < 32, "torchvision can't cover a whole image.", repr(op), "Choose a size below 32.")
    area = (op.size / 32) ** 2  # as a fraction of the image's
    return v2.RandomErasing(p=1, scale=(area, area), ratio=(1, 1), value=op.fill)


PADDING_MODES = {"zero": "constant", "reflect": "reflect"}
TRANSFORMS = {
    Flip: lambda op: v2.RandomHorizontalFlip(op.p),
    Crop: lambda op: v2.RandomCrop(32, padding=op.padding, padding_mode=PADDING_MODES[op.mode]),
    Affine: _affine,
    ColorJitter: lambda op: v2.ColorJitter(op.brightness, op.contrast, op.saturation, op.hue),
    RandAugment: lambda op: v2.RandAugment(op.count, op.magnitude, interpolation=InterpolationMode.BILINEAR),
    Cutout: _erasing,
}
