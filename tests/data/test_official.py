"""CIFAR-10's official files: read right, and refused when a single bit of them is not the published one."""

import hashlib
import os
import pickle
import tarfile
import warnings

import numpy as np
import pytest
import torch

from utils.data.sources import download, official
from utils.errors import DataError

PY, BIN = official.BATCHES


def as_bin(batch):
    """Write the same images and labels as the binary edition does."""
    images, labels = official.read_pickle(batch)
    return np.concatenate([labels.astype(np.uint8)[:, None], images.reshape(len(labels), -1)], axis=1).tobytes()


@pytest.fixture
def edition(tmp_path, python2_batch, write_files):
    """Return a function that writes a tiny edition (folder, its md5 table) in either format, of the same images."""
    batches = {name: python2_batch() for name in official.BATCHES[PY]}

    def make(name):
        endings = {PY: lambda b: b, BIN: as_bin}
        files = {f: endings[name](b) for f, b in zip(official.BATCHES[name], batches.values(), strict=True)}
        folder = write_files(tmp_path / name, files)
        return folder, {name: {f: hashlib.md5(content).hexdigest() for f, content in files.items()}}

    return make


def pack(folder, tmp_path):
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    return archive


def test_published_md5s_are_those_of_torchvision():
    from torchvision.datasets import CIFAR10

    lists = dict(CIFAR10.train_list + CIFAR10.test_list)
    assert lists == official.BATCHES[PY]
    assert CIFAR10.tgz_md5 == download.MD5


def test_a_batch_comes_out_as_images_and_labels_without_a_warning(python2_batch, rng):
    data = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images, labels = official.read_pickle(python2_batch(4, data=data, labels=[3, 1, 4, 9]))
    # The first 1,024 bytes of a row are the red channel, row by row.
    assert images.shape == (4, 3, 32, 32) and images.dtype == np.uint8
    assert images[2, 1, 5, 7] == data[2, 1024 + 5 * 32 + 7]
    assert labels.tolist() == [3, 1, 4, 9] and labels.dtype == np.int64


def test_both_editions_and_the_archive_hold_the_same_data(edition, tmp_path):
    py_folder, py_table = edition(PY)
    bin_folder, bin_table = edition(BIN)
    archive = pack(py_folder, tmp_path)
    read = [
        official.read_batches(py_folder, py_table),
        official.read_batches(bin_folder, bin_table),
        official.read_archive(archive, py_table),
    ]
    assert read[0].train_images.shape == (60, 3, 32, 32) and len(read[0].test_labels) == 12
    for other in read[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(read[0], other, strict=True))


@pytest.mark.parametrize("name", [PY, BIN])
def test_torch_takes_the_arrays_without_a_warning(edition, name):
    images = official.read_batches(*edition(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for array in images:
            torch.from_numpy(array)
    # torch warns once in a process only, so its reason is checked too.
    assert all(array.flags.writeable and array.flags.c_contiguous for array in images)


@pytest.mark.parametrize("name", [PY, BIN])
def test_a_missing_batch_is_named(edition, name):
    folder, table = edition(name)
    missing = list(table[name])[2]
    (folder / missing).unlink()
    with pytest.raises(DataError, match=f"{missing} is missing"):
        official.read_batches(folder, table)


def damage(content, cuts, flips, rng):
    yield from (content[:k] for k in rng.choice(len(content), cuts, replace=False))
    for bit in rng.choice(len(content) * 8, flips, replace=False):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << (bit % 8)
        yield bytes(changed)


@pytest.mark.parametrize("name", [PY, BIN])
@pytest.mark.parametrize(("cuts", "flips"), [(60, 80), pytest.param(3000, 4000, marks=pytest.mark.faults)])
def test_cuts_and_one_bit_flips_are_all_found(edition, name, cuts, flips, rng):
    folder, table = edition(name)
    file = folder / list(table[name])[1]
    whole = file.read_bytes()
    for damaged in damage(whole, cuts, flips, rng):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="md5"):
            official.read_batches(folder, table)


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.makedirs, (str(tmp_path / "marker"),)

    with pytest.raises(KeyError, match="makedirs"):
        official.read_pickle(pickle.dumps({"data": Hostile(), "labels": []}))
    assert not (tmp_path / "marker").exists()
