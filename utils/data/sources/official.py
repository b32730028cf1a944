"""Read CIFAR-10's official files without unpacking them, after a check of the published md5 of each batch."""

from __future__ import annotations

import hashlib
import io
import pathlib
import pickle
import warnings

import numpy as np

from utils.data.sources import Images
from utils.data.sources.archives import read_files
from utils.errors import DataError

ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
# The md5 of each batch, in training order, the test batch last.
BATCHES = {
    "cifar-10-batches-py": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    "cifar-10-batches-bin": {
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    },
}

# The function that numpy's pickles call; its module differs between numpy versions, so it is taken from an array.
RECONSTRUCT = np.zeros(0).__reduce__()[0]
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def read_archive(path, batches=BATCHES):
    """Read one of the official archives."""
    contents = {}
    for name, content in read_files(path):
        folder, _, file = name.rpartition("/")
        if file in batches.get(folder, ()):
            contents[folder, file] = content
    folder = next(iter(contents), ("",))[0]
    return _assemble(folder, {name: contents.get((folder, name)) for name in batches.get(folder, ())}, path, batches)


def read_batches(folder, batches=BATCHES):
    """Read an extracted archive: a folder cifar-10-batches-py/ (as from torchvision) or cifar-10-batches-bin/."""
    folder = pathlib.Path(folder)
    files = {name: folder / name for name in batches[folder.name]}
    contents = {name: file.read_bytes() if file.is_file() else None for name, file in files.items()}
    return _assemble(folder.name, contents, folder, batches)


def _assemble(folder, contents, path, batches):
    """Check the md5 of each batch before decoding it, and join the training batches in their order."""
    decoded = []
    for name, content in contents.items():
        if content is None:
            raise DataError(
                f"{name} is missing.", where=path, next_step="Download the archive again: all its files are needed."
            )
        _check_md5(content, batches[folder][name], f"{path}: {name}")
        read = read_bin if name.endswith(".bin") else read_pickle
        decoded.append(read(content))
    if not decoded:
        raise DataError("There are no CIFAR-10 batches in this archive.", where=path, next_step="Download it again.")
    images, labels = zip(*decoded, strict=True)
    return Images(np.concatenate(images[:-1]), np.concatenate(labels[:-1]), images[-1], labels[-1])


def _check_md5(content, expected, where):
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != expected:
        raise DataError(
            f"This is not the official file: its md5 is {md5}, but should be {expected}.",
            where=where,
            next_step="The file is damaged, incomplete or changed, and was not used. Delete it and download it again.",
        )


class BatchUnpickler(pickle.Unpickler):
    """An unpickler that makes numpy arrays and plain values, and nothing else."""

    def find_class(self, module, name):
        return ALLOWED[module, name]


def read_pickle(content):
    """Decode one batch of the Python edition: uint8 (n, 3, 32, 32) images and int64 (n,) labels."""
    with warnings.catch_warnings():
        # numpy >= 2.4 warns about the format in which numpy wrote a dtype in 2009.
        warnings.simplefilter("ignore")
        batch = BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
    return batch[b"data"].reshape(-1, 3, 32, 32), np.array(batch[b"labels"], dtype=np.int64)


def read_bin(content):
    """Decode one batch of the binary edition: rows of one label byte and 3,072 pixel bytes."""
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    # A copy of the pixels, because an array on a bytes object is read-only, and torch warns about such arrays.
    return rows[:, 1:].copy().reshape(-1, 3, 32, 32), rows[:, 0].astype(np.int64)
