"""The cache of decoded pictures: used when it is intact, made again when it is not, and never in the way."""

import concurrent.futures
import multiprocessing
import shutil

import numpy as np
import pytest
import torch

from utils.data.cifar10 import load_cifar10, load_images
from utils.data.sources import archives, cache, pictures

pytestmark = pytest.mark.usefixtures("alone")


def test_pictures_are_decoded_once_and_found_again_wherever_they_lie(folder, tmp_path, monkeypatch, capsys):
    first = load_cifar10(folder)
    assert "once" in capsys.readouterr().out
    monkeypatch.setattr(pictures, "read_image_folder", lambda *_: pytest.fail("decoded again"))
    moved = folder.rename(tmp_path / "another place")
    again = load_cifar10(moved)
    assert again.checksum == first.checksum and torch.equal(again.train.images, first.train.images)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("asked", ["in the folder", "default"])
def test_a_cache_inside_the_folder_of_the_pictures_is_no_part_of_it(folder, tmp_path, monkeypatch, asked):
    shutil.copytree(folder, tmp_path / "data")
    if asked == "default":
        monkeypatch.delenv("CIFAR10_CACHE")
        monkeypatch.setattr(cache, "__file__", str(tmp_path / "utils" / "data" / "sources" / "cache.py"))
    else:
        monkeypatch.setenv("CIFAR10_CACHE", str(tmp_path / "data" / "cache"))
    first = load_cifar10()
    (kept,) = (tmp_path / "data" / "cache").glob("*.npz")
    assert cache.folder() == kept.parent
    monkeypatch.setattr(archives, "FILE_LIMIT", kept.stat().st_size - 1)  # all of CIFAR-10's is larger than that
    monkeypatch.setattr(pictures, "read_image_folder", lambda *_: pytest.fail("decoded again"))
    assert load_cifar10().checksum == first.checksum


def test_the_cache_is_never_in_a_folder_that_all_users_share(tmp_path, monkeypatch):
    monkeypatch.delenv("CIFAR10_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # Windows
    monkeypatch.setattr(cache.os, "access", lambda *_: False)  # the suite's own folder is read-only
    assert tmp_path in cache.folder().parents


def test_a_changed_picture_is_not_served_from_the_cache(folder, picture):
    first = load_cifar10(folder)
    (folder / "train/cat/0.png").write_bytes(picture())
    assert load_cifar10(folder).checksum != first.checksum


@pytest.mark.parametrize("count", [25, pytest.param(1000, marks=pytest.mark.faults)])
def test_a_damaged_cache_is_found_and_made_again(folder, rng, capsys, count):
    first = load_cifar10(folder)
    (kept,) = cache.folder().glob("*.npz")
    whole = kept.read_bytes()
    for bit, cut in zip(rng.integers(0, len(whole) * 8, count), rng.integers(0, len(whole), count), strict=True):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << (bit % 8)
        for content in (bytes(changed), whole[:cut]):
            kept.write_bytes(content)
            again = load_cifar10(folder)
            assert again.checksum == first.checksum and torch.equal(again.test.images, first.test.images)
    assert "damaged; decoding them again" in capsys.readouterr().out


def in_directory(content, place, value):
    """Change a byte of each entry in a zip's directory."""
    head, *entries = content.split(b"PK\x01\x02")
    return b"PK\x01\x02".join([head, *(entry[: place - 4] + value + entry[place - 3 :] for entry in entries)])


DAMAGES = {
    "a password": lambda content: in_directory(content, 8, b"\x01"),
    "an unknown way of packing": lambda content: in_directory(content, 10, b"\x63"),
    "a header that is no Python": lambda content: content.replace(b"{'descr'", b"{'desc\n("),
    "a header of fewer images": lambda content: content.replace(b"'shape': (60, 3", b"'shape': (30, 3"),
    "a header of another type": lambda content: content.replace(b"'<i8'", b"'<u4'"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_cache_damaged_where_a_reader_might_not_look_is_made_again(folder, capsys, damage):
    first = load_cifar10(folder)
    (kept,) = cache.folder().glob("*.npz")
    whole = kept.read_bytes()
    changed = DAMAGES[damage](whole)
    assert changed != whole and len(changed) == len(whole)
    kept.write_bytes(changed)
    again = load_cifar10(folder)
    assert again.checksum == first.checksum and len(again.train) == 60
    assert "damaged; decoding them again" in capsys.readouterr().out
    assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_only(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CIFAR10_CACHE", str(tmp_path / "file" / "cache"))
    assert load_cifar10(folder).source == "image folder"


def test_a_full_disk_costs_time_only(folder, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert load_cifar10(folder).source == "image folder"
    assert "No space left" in capsys.readouterr().out
    assert [file.suffix for file in cache.folder().iterdir()] == [".lock"]


def _load_and_count(root):
    calls = []
    decode = pictures.read_image_folder
    pictures.read_image_folder = lambda *settings: (calls.append(1), decode(*settings))[1]
    return load_cifar10(root).checksum, len(calls)


def test_notebooks_that_open_at_once_decode_once(folder):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as pool:
        results = list(pool.map(_load_and_count, [folder] * 3))
    assert len({found for found, _ in results}) == 1
    assert sum(count for _, count in results) == 1


def test_pictures_set_aside_are_told_and_kept_in_mind(folder, capsys):
    (folder / "train/cat/bad.png").write_bytes(b"bad")
    for _ in range(2):  # decoded, then from the cache
        data = load_cifar10(folder)
        assert data.set_aside == (("train/cat/bad.png", "not a PNG or JPEG picture"),)
        assert "1 picture was left out" in capsys.readouterr().out


def test_the_same_folder_read_in_both_ways_is_kept_apart(folder, picture):
    (folder / "train/cat/large.png").write_bytes(picture(size=(64, 64)))
    assert len(load_cifar10(folder).set_aside) == 1 and load_images(folder).set_aside == ()
    assert len(load_cifar10(folder).train) + 1 == len(load_images(folder).train)
