"""Tests of own_picture.py: every kind of picture becomes what the network takes; what is none is a short error."""

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from utils.data.cifar10 import CLASSES, Split
from utils.data.loader import BatchLoader
from utils.errors import CourseworkError, DataError
from utils.evaluation.own_picture import LARGEST, classify, read_picture
from utils.training.step import Step

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES, LABELS = torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def content(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def halves(left=RED, right=GREEN, size=(64, 64), mode="RGB"):
    image = Image.new("RGB", size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image.convert(mode)


def corners(picture):
    """Return the colours at the middle of the left and of the right edge."""
    return picture[:, 16, 2].tolist(), picture[:, 16, -3].tolist()


def close(one, other, by=3):
    return all(abs(a - b) <= by for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("kind", "mode", "by"),
    [("PNG", "RGB", 0), ("PNG", "P", 0), ("BMP", "RGB", 0), ("GIF", "P", 0), ("TIFF", "RGB", 0), ("WEBP", "RGB", 12)]
    + [("JPEG", "RGB", 12), ("TIFF", "CMYK", 3), ("JPEG", "CMYK", 12)],
)
def test_any_kind_of_picture_keeps_its_colours(kind, mode, by):
    picture = read_picture(content(halves(mode=mode), kind))
    assert picture.shape == (3, 32, 32) and picture.dtype == torch.uint8
    left, right = corners(picture)
    assert close(left, RED, by) and close(right, GREEN, by)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode):
    image = halves(left=(90, 90, 90)).convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat(np.array([[255] * 32 + [0] * 32], np.uint8), 64, 0)))
    picture = read_picture(content(image.convert(mode)))
    assert close(corners(picture)[0], (90, 90, 90), 4) and close(corners(picture)[1], WHITE)


def test_sixteen_bits_are_scaled_and_not_cut_off():
    grey = np.full((40, 40), 128 * 256 + 3, np.uint16)
    grey[:, 20:] = 255 * 256 + 7
    for kind in ("PNG", "TIFF"):
        left, right = corners(read_picture(content(Image.fromarray(grey), kind)))
        assert left == [128] * 3 and right == [255] * 3


def test_grey_values_outside_of_sixteen_bits_are_white_and_black():
    grey = np.full((40, 40), 70_000, np.int32)
    grey[:, 20:] = -5
    left, right = corners(read_picture(content(Image.fromarray(grey), "TIFF")))
    assert left == [255] * 3 and right == [0] * 3


def test_a_note_on_how_the_phone_was_held_is_followed():
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    left, right = corners(read_picture(content(halves(), "JPEG", exif=exif)))
    assert close(left, GREEN, 12) and close(right, RED, 12)


def test_the_middle_square_is_taken_and_made_smaller_without_aliasing():
    wide = Image.new("RGB", (300, 100), GREEN)
    wide.paste(RED, (100, 0, 200, 100))
    assert close(read_picture(content(wide)).float().mean((1, 2)).tolist(), RED, 1)
    stripes = Image.fromarray(np.tile(np.array([[0, 255]], np.uint8), (256, 128)))  # to be seen as grey
    small = read_picture(content(stripes)).float()
    assert small.mean() == pytest.approx(127.5, abs=1) and small[:, 4:-4, 4:-4].std() < 2
    assert read_picture(content(Image.new("RGB", (1, 1), RED))).shape == (3, 32, 32)


def test_a_picture_of_the_networks_size_is_not_changed(rng):
    pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    picture = read_picture(content(Image.fromarray(pixels)))
    assert np.array_equal(picture.permute(1, 2, 0), pixels)


def bad_files():
    whole = content(halves(), "JPEG")
    large = io.BytesIO()
    Image.new("1", (10_000, 5_001)).save(large, "PNG")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    warned = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(warned, "PNG")
    return {
        "empty": (b"", "empty"),
        "text": (b"a cat, in words", "No picture"),
        "cut off": (whole[: len(whole) // 2], "No picture"),
        "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "No picture"),
        "a kind that is not on the list": (content(halves(), "PPM"), "No picture"),
        "too many pixels": (large.getvalue(), "too large"),
        "pillow warns": (warned.getvalue(), "too large"),
        "pillow refuses": (bomb.getvalue(), "too large"),
        "too many bytes": (bytes(LARGEST + 1), "too large"),
        "floats": (content(Image.new("F", (9, 9)), "TIFF"), "floating-point"),
    }


BAD = bad_files()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_or_too_large_is_an_error_with_a_next_step(name):
    with pytest.raises(DataError, match=BAD[name][1]) as caught:
        read_picture(BAD[name][0])
    assert caught.value.where and caught.value.next_step and str(caught.value).count("\n") < 9


@pytest.mark.filterwarnings("error")
def test_a_damaged_picture_is_an_error_or_a_picture_whatever_byte_is_wrong(rng):
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        whole = bytearray(content(halves(size=(20, 20)), kind))
        for _ in range(60):
            damaged = whole.copy()
            damaged[rng.integers(len(damaged))] = rng.integers(256)
            with contextlib.suppress(DataError):
                assert read_picture(damaged).shape == (3, 32, 32)


def test_a_path_that_leads_nowhere_is_said(tmp_path):
    for path, problem in ((tmp_path / "none.png", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(CourseworkError, match=problem):
            read_picture(path)
    for url in ("https://example.com/ship.png", "file:///tmp/ship.png"):
        with pytest.raises(CourseworkError, match="URL") as caught:
            read_picture(url)
        assert "Download it first" in caught.value.next_step


@pytest.mark.parametrize("source", [halves(), np.zeros((32, 32, 3)), torch.zeros(3, 32, 32), io.BytesIO(b"1"), None, 3])
def test_what_is_neither_a_path_nor_bytes_is_said(source):
    with pytest.raises(CourseworkError, match=f"type {type(source).__name__}") as caught:
        classify(nn.Flatten(), source)
    assert "Save" in caught.value.next_step


@pytest.mark.parametrize("wrong", ["ship.png", nn.Flatten, None])
def test_what_is_no_network_classifies_nothing(wrong):
    with pytest.raises(CourseworkError, match="must be a network"):
        classify(wrong, content(halves()))


@pytest.mark.parametrize("net", [nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), nn.Conv2d(1, 10, 3)])
def test_a_network_for_other_images_classifies_no_picture(net):
    with pytest.raises(CourseworkError, match="colour picture of 32x32"):
        classify(net, content(halves()))


def test_a_file_that_is_too_large_is_not_even_read(tmp_path, monkeypatch):
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(LARGEST + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(DataError, match="too large"):
        read_picture(tmp_path / "large.png")


def test_a_picture_comes_from_a_home_folder_or_from_an_upload_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # Windows
    (tmp_path / "cat.png").write_bytes(content(halves()))
    expected = read_picture(tmp_path / "cat.png")
    assert torch.equal(read_picture("~/cat.png"), expected)
    assert torch.equal(read_picture(memoryview(content(halves()))), expected)  # as an upload in a notebook comes


@pytest.fixture
def trained():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    nn.init.zeros_(net[1].bias)
    nn.init.zeros_(net[1].weight)
    with torch.no_grad():
        net[1].weight.view(10, 3, 1024)[4, 0] = 0.01  # class 4 is what is red
    half = (0.5, 0.5, 0.5)
    return SimpleNamespace(net=net, test_iter=BatchLoader(Split(IMAGES, LABELS), 2, mean=half, std=half), step=Step())


def test_the_classes_come_with_their_probabilities_the_best_first(trained, tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (50, 40), RED).save(path)
    picture, answer = classify(trained, path)
    assert torch.equal(picture, read_picture(path)) and close(picture[:, 0, 0].tolist(), RED, 0)
    assert list(answer)[0] == CLASSES[4] and set(answer) == set(CLASSES)
    assert list(answer.values()) == sorted(answer.values(), reverse=True)
    assert sum(answer.values()) == pytest.approx(1)
    X = (picture[None] / 255 - 0.5) / 0.5  # as its loader normalises
    assert answer[CLASSES[4]] == pytest.approx(float(trained.net(X).softmax(1)[0, 4].detach()), rel=1e-5)


def test_a_picture_is_made_as_small_as_the_networks_own_images(trained):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
    trained.net = net
    trained.test_iter = BatchLoader(Split(IMAGES[..., :8, :8], LABELS), 2)
    picture, answer = classify(trained, content(halves()))
    assert picture.shape == (3, 8, 8) and len(answer) == 10


def test_a_picture_is_answered_in_the_way_the_network_was_trained_to_and_in_other_classes_words(trained):
    trained.step.predict = lambda net, X: torch.tensor([[0.0, 3.0, 1.0]])
    words = ("apple", "pear", "plum")
    _, answer = classify(trained, content(halves()), words)
    assert list(answer) == ["pear", "plum", "apple"] and all(type(p) is float for p in answer.values())


def test_a_plain_network_classifies_a_picture_too(trained):
    half = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    picture, p = classify(trained.net, content(halves()), **half)
    theirs_picture, theirs = classify(trained, content(halves()))
    assert torch.equal(picture, theirs_picture) and p == theirs and set(p) == set(CLASSES)
    assert classify(trained.net, content(halves()))[1] != p  # by default, normalised as CIFAR-10
    few = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
    assert set(classify(few, content(halves()))[1]) == {"0", "1", "2"}
    many = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 12))  # ten of its classes are not CIFAR-10's
    assert set(classify(many, content(halves()))[1]) == {str(number) for number in range(12)}
    assert set(classify(few, content(halves()), ["a", "b", "c"])[1]) == {"a", "b", "c"}
