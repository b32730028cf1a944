"""The usual way in PyTorch, for comparison: a Dataset of pictures, torchvision's transforms and a DataLoader."""

from __future__ import annotations

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from utils.data.augment import Affine, AlternatingFlip, ColorJitter, Crop, Cutout, Flip
from utils.data.loader import MEAN, STD

TRANSFORMS = {
    Flip: lambda op: v2.RandomHorizontalFlip(op.p),
    AlternatingFlip: lambda op: v2.RandomHorizontalFlip(),  # torchvision has no alternating one
    Crop: lambda op: v2.RandomCrop(32, padding=op.padding, padding_mode=PADDING_MODES[op.mode]),
    Affine: lambda op: v2.RandomAffine(op.degrees, op.translate, op.scale, op.shear, InterpolationMode.BILINEAR),
    ColorJitter: lambda op: v2.ColorJitter(op.brightness, op.contrast, op.saturation, op.hue),
}
PADDING_MODES = {"zero": "constant", "reflect": "reflect"}


def torch_loader(split, batch_size, *, augment=(), mean=MEAN, std=STD, **options):
    """Return a DataLoader of a split; options are passed to DataLoader."""
    on_picture = [TRANSFORMS[type(op)](op) for op in augment if not isinstance(op, Cutout)]
    on_tensor = [_erasing(op) for op in augment if isinstance(op, Cutout)]  # RandomErasing takes tensors only
    last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    transform = v2.Compose([*on_picture, v2.ToImage(), *on_tensor, *last])
    return DataLoader(ImageDataset(split, transform), batch_size, **options)


def _erasing(op):
    area = (op.size / 32) ** 2  # as a fraction of the image's
    return v2.RandomErasing(p=1, scale=(area, area), ratio=(1, 1), value=op.fill)


class ImageDataset(Dataset):
    """A Dataset of a split, like torchvision.datasets.CIFAR10: item i is (transformed PIL image, label)."""

    def __init__(self, split, transform):
        self.data = split.images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        self.targets = split.labels.tolist()
        self.transform = transform

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]
