"""Image folders: every usable picture comes out as it is, every other is named with its reason, counts add up."""

import io
import os
import pathlib
import re
import shutil
import struct
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from utils.data.sources import CLASSES
from utils.data.sources.pictures import _decode, read_image_folder
from utils.errors import DataError


def read_as_cifar10(path):
    """Return (Images, set aside) of a folder of CIFAR-10's ten classes."""
    return read_image_folder(path, CLASSES)[:2]


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_come_out_as_they_are_by_split_and_class(tmp_path, write_files, image_files, kind):
    files = image_files(train=3, test=2, kind=kind)
    images, set_aside = read_as_cifar10(write_files(tmp_path, files))
    assert images.train_images.shape == (30, 3, 32, 32) and images.test_images.shape == (20, 3, 32, 32)
    assert images.train_labels.tolist() == [label for label in range(10) for _ in range(3)]
    names = [f"train/{CLASSES[label]}/{i}" for label in range(10) for i in range(3)]
    expected = {name.rsplit(".", 1)[0]: pixels(content) for name, content in files.items()}
    assert all(np.array_equal(image, expected[name]) for image, name in zip(images.train_images, names, strict=True))
    assert set_aside == []


@pytest.mark.parametrize("packed", ["x.tar", "x.tar.gz", "x.tar.xz", "x.zip"])
@pytest.mark.parametrize("prefix", ["", "./", "some folder/cifar-ü/"])
def test_an_archive_of_a_folder_reads_like_the_folder(tmp_path, write_files, image_files, packed, prefix):
    files = image_files(1, 1)
    folder = write_files(tmp_path / "folder", files)
    extra = {"README.md": b"hello", "train/cat/.DS_Store": b"junk", "__MACOSX/train/cat/._0.png": b"junk"}
    archive = tmp_path / packed
    if packed.endswith("zip"):
        with zipfile.ZipFile(archive, "w") as out:
            for name, content in (extra | files).items():
                out.writestr(prefix + name, content)
    else:
        with tarfile.open(archive, "w:" + packed[6:]) as out:
            for name, content in (extra | files).items():
                info = tarfile.TarInfo(prefix + name)
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
    (plain, _), (unpacked, set_aside) = read_as_cifar10(folder), read_as_cifar10(archive)
    assert all(np.array_equal(a, b) for a, b in zip(plain, unpacked, strict=True)) and set_aside == []


def deep_png():
    """Write a PNG of 16 bits a channel, which Pillow reads but cannot write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(range(192)) for _ in range(32)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def huge_png():
    """Write the header of a PNG of 20,000 x 20,000 pixels, as a decompression bomb begins."""
    return deep_png().replace(struct.pack(">II", 32, 32), struct.pack(">II", 20_000, 20_000))


def animation(picture):
    frames = [Image.open(io.BytesIO(picture())) for _ in range(2)]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    return out.getvalue()


BAD = {
    "empty.png": (lambda make: b"", "empty file"),
    "text.png": (lambda make: b"not a picture, only text", "not a PNG or JPEG"),
    "notes.txt": (lambda make: make(), "by its name"),
    "cut.jpg": (lambda make: make("JPEG")[:-200], "damaged"),
    "cut.png": (lambda make: make("PNG")[:-200], "damaged"),
    "gif.png": (lambda make: make("GIF", mode="P"), "not a PNG or JPEG"),
    "cmyk.jpg": (lambda make: make("JPEG", mode="CMYK"), "stored as CMYK"),
    "alpha.png": (lambda make: make(mode="RGBA"), "transparent"),
    "keyed.png": (lambda make: make(mode="P", transparency=0), "transparent"),
    "deep grey.png": (lambda make: make(mode="I;16"), "16 bits"),
    "deep.png": (lambda make: deep_png(), "16 bits"),
    "moving.png": (animation, "animation"),
    "dot.png": (lambda make: make(size=(1, 1)), "1 x 1"),
    "wide.png": (lambda make: make(size=(33, 32)), "33 x 32"),
    "bömbe.png": (lambda make: huge_png(), "20000 x 20000|not a PNG"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_picture_that_cannot_be_used_is_set_aside_with_its_reason(tmp_path, write_files, image_files, picture, name):
    make, reason = BAD[name]
    files = image_files(2, 1) | {f"train/cat/{name}": make(picture)}
    images, set_aside = read_as_cifar10(write_files(tmp_path, files))
    assert [file for file, _ in set_aside] == [f"train/cat/{name}"]
    assert re.search(reason, set_aside[0][1])
    assert len(images.train_labels) + len(images.test_labels) + len(set_aside) == len(files)


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_and_palette_pictures_become_rgb(tmp_path, write_files, image_files, picture, mode):
    content = picture(mode=mode)
    images, set_aside = read_as_cifar10(write_files(tmp_path, image_files(2, 1) | {"train/airplane/a.png": content}))
    assert (set_aside == []) == (mode != "1")
    if mode != "1":
        assert np.array_equal(images.train_images[2], pixels(content))


@pytest.mark.parametrize("count", [150, pytest.param(3000, marks=pytest.mark.faults)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_one_changed_bit_or_a_cut_is_set_aside_or_decodes_as_pillow_shows_it(picture, rng, kind, count):
    whole = picture(kind)
    for bit, cut in zip(rng.integers(0, len(whole) * 8, count), rng.integers(0, len(whole), count), strict=True):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << (bit % 8)
        for content in (bytes(changed), whole[:cut]):
            decoded, reason = _decode(f"a.{kind.lower()}", content)
            if decoded is None:
                assert isinstance(reason, str) and reason
            else:
                assert np.array_equal(decoded.transpose(2, 0, 1), pixels(content))


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize("place", ["train", "test", "train/cat/more", "train/cat/a/b", "test/mine/more"])
def test_a_picture_too_high_or_too_deep_is_set_aside_and_does_not_vanish(
    tmp_path, write_files, image_files, picture, place, packed
):
    files = image_files(2, 1)
    more = {f"{place}/new.png": picture(), f"{place}/README.md": b"hello", f"{place}/.hidden.png": b"junk"}
    path = write_files(tmp_path / "folder", files | more | {"sheet.png": picture(), "docs/sheet.png": picture()})
    if packed:
        path = pathlib.Path(shutil.make_archive(tmp_path / "packed", "zip", path))
    images, set_aside = read_as_cifar10(path)
    reason = "beside the classes' folders" if "/" not in place else "deeper than in its class's folder"
    assert set_aside == [(f"{place}/new.png", reason)]
    assert len(images.train_labels) + len(images.test_labels) == len(files)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere every name is Unicode")
def test_names_in_another_encoding_are_read_and_can_be_shown(tmp_path, write_files, image_files, picture):
    odd = os.fsdecode(b"caf\xe9")
    files = image_files(2, 1) | {f"train/cat/{odd}.png": picture(), f"train/dog/{odd}.png": b"bad"}
    folder = write_files(tmp_path, files)
    images, set_aside = read_as_cifar10(folder)
    assert set_aside == [("train/dog/caf?.png", "not a PNG or JPEG picture")] and len(images.train_labels) == 21


def test_many_bad_pictures_are_an_error_that_shows_some(tmp_path, write_files, image_files):
    files = image_files(2, 1) | {f"train/cat/bad{i}.png": b"bad" for i in range(4)}
    with pytest.raises(DataError, match=r"4 of 34 pictures cannot be used \(train/cat/bad0.png"):
        read_as_cifar10(write_files(tmp_path, files))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_without_pictures_is_named(tmp_path, write_files, image_files, split):
    files = {name: content for name, content in image_files(1, 1).items() if not name.startswith(f"{split}/frog")}
    with pytest.raises(DataError, match=f"Class 'frog' has no picture in {split}/"):
        read_as_cifar10(write_files(tmp_path, files))


def test_a_class_whose_only_picture_is_damaged_does_not_vanish(tmp_path, write_files, picture):
    files = {f"{split}/{name}/1.png": picture() for split in ("train", "test") for name in ("cat", "dog", "hen")}
    with pytest.raises(DataError, match="'hen' has no picture in train"):
        read_image_folder(write_files(tmp_path, files | {"train/hen/1.png": b"bad"}))


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (16, 16), (33, 32), (1, 1)])
def test_of_a_picture_of_another_size_the_middle_square_is_made_32_x_32(tmp_path, write_files, picture, size):
    content = picture(size=size)
    files = {f"{split}/{name}/1.png": picture() for split in ("train", "test") for name in ("cat", "dog")}
    images, set_aside, _ = read_image_folder(write_files(tmp_path, files | {"train/cat/0.png": content}))
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    square = Image.open(io.BytesIO(content)).crop((left, top, left + side, top + side))
    expected = np.asarray(square.resize((32, 32), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    assert set_aside == [] and np.array_equal(images.train_images[0], expected)


def test_a_picture_of_20000_x_20000_pixels_is_never_decoded():
    for resize in (False, True):
        assert _decode("a.png", huge_png(), resize)[0] is None


def test_a_folder_without_pictures_says_what_was_expected(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no picture") as caught:
        read_as_cifar10(tmp_path)
    assert "train/<class>/*" in str(caught.value)


def test_two_image_folders_in_one_are_refused(tmp_path, write_files, image_files):
    files = image_files(1, 1)
    both = {f"{copy}/{name}": content for copy in ("a", "b") for name, content in files.items()}
    packed = shutil.make_archive(tmp_path / "both", "tar", write_files(tmp_path / "folder", both))
    with pytest.raises(DataError, match="more than one"):
        read_as_cifar10(packed)
