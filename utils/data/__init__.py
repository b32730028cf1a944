"""From image files to batches (notebook 01): load, split, show, augment and batch images.

For example:

    from utils.data import BatchLoader, Crop, Flip, load_cifar10

    data = load_cifar10()
    X, y = BatchLoader(data.train, 128, augment=(Flip(), Crop(4)), shuffle=True).batch(epoch=0, i=3)
"""

import importlib

_NAMES = {  # by module; a module is imported when a name is used, since some need matplotlib
    "augment": (
        *("Affine", "AlternatingFlip", "ColorJitter", "Crop", "CutMix"),
        *("Cutout", "Flip", "Mixup", "RandAugment", "Shrink"),
    ),
    "browse": ("browse_images",),
    "cifar10": ("Split", "class_rows", "load_cifar10", "load_images", "stratified_split"),
    "loader": ("MEAN", "STD", "BatchLoader", "augmented", "make_iters"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
__all__ = list(_MODULE_OF)


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'utils.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"utils.data.{_MODULE_OF[name]}"), name)


def __dir__():
    return sorted({*globals(), *__all__})
