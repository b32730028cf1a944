"""CIFAR-10's official files: read right, and refused when a single bit of them is not the published one."""

import hashlib
import os
import pickle
import subprocess
import tarfile
import warnings

import numpy as np
import pytest
import torch

from utils.data.sources import official
from utils.errors import DataError

PY, BIN = official.BATCHES


def as_bin(batch):
    """Write the same images and labels as the binary edition does."""
    images, labels = official.read_pickle(batch, "here")
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
    return archive, hashlib.md5(archive.read_bytes()).hexdigest()


def test_published_md5s_are_those_of_torchvision():
    from torchvision.datasets import CIFAR10

    lists = dict(CIFAR10.train_list + CIFAR10.test_list)
    assert lists == official.BATCHES[PY]
    assert CIFAR10.tgz_md5 == official.ARCHIVES["cifar-10-python.tar.gz"]


def test_a_batch_comes_out_as_images_and_labels_without_a_warning(python2_batch, rng):
    data = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images, labels = official.read_pickle(python2_batch(4, data=data, labels=[3, 1, 4, 9]), "here")
    # The first 1,024 bytes of a row are the red channel, row by row.
    assert images.shape == (4, 3, 32, 32) and images.dtype == np.uint8
    assert images[2, 1, 5, 7] == data[2, 1024 + 5 * 32 + 7]
    assert labels.tolist() == [3, 1, 4, 9] and labels.dtype == np.int64


def test_both_editions_and_the_archive_hold_the_same_data(edition, tmp_path):
    py_folder, py_table = edition(PY)
    bin_folder, bin_table = edition(BIN)
    archive, md5 = pack(py_folder, tmp_path)
    read = [
        official.read_batches(py_folder, py_table),
        official.read_batches(bin_folder, bin_table),
        official.read_archive(archive, md5, py_table),
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


def test_an_archive_with_another_md5_is_refused_before_it_is_opened(edition, tmp_path, monkeypatch):
    archive, _ = pack(edition(PY)[0], tmp_path)
    monkeypatch.setattr(official, "read_files", lambda path: pytest.fail("opened an unverified archive"))
    with pytest.raises(DataError, match="c58f30108f718f92721af3b95e74349a") as caught:
        official.read_archive(archive)
    assert str(archive) in str(caught.value) and len(str(caught.value).splitlines()) < 10
    assert sorted(p.name for p in tmp_path.iterdir()) == [PY, archive.name]


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


@pytest.mark.parametrize("count", [200, pytest.param(4000, marks=pytest.mark.faults)])
def test_a_damaged_pickle_gives_a_data_error_or_data_in_the_right_form(python2_batch, rng, count):
    # Without the md5 in front, the unpickler must still fail in one known way only.
    whole = python2_batch(3)
    for damaged in damage(whole, count, count, rng):
        try:
            images, labels = official.read_pickle(damaged, "here")
        except DataError as error:
            assert "here" in str(error)
        else:
            assert images.shape[1:] == (3, 32, 32) and 0 <= labels.min() <= labels.max() <= 9


@pytest.mark.parametrize("content", [b"", b"\x00" * 3072, b"\x00" * 3074])
def test_binary_rows_must_be_whole(content):
    with pytest.raises(DataError, match="whole number of rows"):
        official.read_bin(content, "here")


GADGETS = {
    "system": lambda marker: (os.system, (f"touch '{marker}'",)),
    "makedirs": lambda marker: (os.makedirs, (str(marker),)),
    "subprocess": lambda marker: (subprocess.getoutput, (f"touch '{marker}'",)),
    "eval": lambda marker: (eval, (f"open({str(marker)!r}, 'w')",)),
    "exec": lambda marker: (exec, (f"open({str(marker)!r}, 'w')",)),
    "open": lambda marker: (open, (str(marker), "w")),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("gadget", GADGETS)
def test_a_pickle_that_wants_to_run_code_is_refused_by_name(tmp_path, gadget, protocol):
    marker = tmp_path / "marker"

    class Hostile:
        def __reduce__(self):
            return GADGETS[gadget](marker)

    content = pickle.dumps({"data": Hostile(), "labels": []}, protocol)
    function, _ = GADGETS[gadget](marker)
    with pytest.raises(DataError, match=rf"imports \w+\.{function.__name__}") as caught:
        official.read_pickle(content, "data_batch_1")
    assert "data_batch_1" in str(caught.value) and not marker.exists()
    pickle.loads(content)  # the same bytes do run under the plain unpickler, so the refusal is what held
    assert marker.exists()


PIXELS = np.zeros((3, 3072), np.uint8)
WRONG = {
    "float pixels": ({"data": PIXELS.astype(np.float32)}, "'data' is float32"),
    "short rows": ({"data": PIXELS[:, :3071]}, r"'data' is uint8 \(3, 3071\)"),
    "one row too few": ({"data": PIXELS[:2]}, "3 entries for 2 images"),
    "a list for pixels": ({"data": [1, 2]}, "'data' is list"),
    "no images": ({"data": PIXELS[:0], "labels": []}, "0 entries for 0 images"),
    "no data": ({"data": None}, "no key 'data'"),
    "no labels": ({"labels": None}, "no key 'labels'"),
    **{
        f"label {bad!r}": ({"data": PIXELS, "labels": [0, 1, bad]}, "'labels', row 2")
        for bad in (-1, 10, 2.0, "3", None, True)
    },
}


@pytest.mark.parametrize("case", WRONG)
def test_a_batch_in_another_form_names_file_key_and_row(python2_batch, case):
    changes, message = WRONG[case]
    with pytest.raises(DataError, match=message) as caught:
        official.read_pickle(python2_batch(3, **changes), "folder/data_batch_2")
    assert "folder/data_batch_2" in str(caught.value)


def test_a_batch_that_is_no_dictionary_is_refused():
    with pytest.raises(DataError, match="a list instead of a dictionary"):
        official.read_pickle(pickle.dumps([1]), "here")


def test_keys_may_be_text(rng):
    data = rng.integers(0, 256, (2, 3072), dtype=np.uint8)
    images, labels = official.read_pickle(pickle.dumps({"data": data, "labels": [1, 2]}), "here")
    assert labels.tolist() == [1, 2] and np.array_equal(images.reshape(2, -1), data)
