"""Classify your own picture: open it safely, shrink it to the size of the network's images, and predict its class.

picture, p = classify(trained, "ship.png")
picture, p = classify(load_pretrained("quick"), "ship.png")  # or any network for CIFAR-10
"""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from utils.data.cifar10 import Split
from utils.data.loader import MEAN, STD, BatchLoader, to_device
from utils.data.sources.pictures import middle_square
from utils.errors import CourseworkError, DataError, require
from utils.evaluation.metrics import class_names, names_of_outputs, probabilities, scores
from utils.evaluation.robustness import normalisation
from utils.training.checks import name_of_type

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # without EPS, for which pillow starts another program
NET_SIZE = 32  # pixels; the size of the images if only a network is given, which does not know it
LARGEST = 50_000_000  # the largest number of pixels, some 150 MB in memory, and the largest number of bytes of a file
# The exceptions that pillow raises for damaged files and other files, collected by opening thousands of them.
UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, struct.error)
_LARGE = "This picture is too large."
ADVICE = f"Give a picture as {', '.join(FORMATS)}; any picture program can save PNG or JPEG."
SAVE = "Save a PIL image, an array or a tensor as a file first, and give its path. Of a BytesIO, give getvalue()."
SMALLER = f"Make the picture smaller: at most {LARGEST // 10**6} million pixels, and as many bytes."


def classify(
    net_or_trained, source, classes: Iterable | None = None, *, mean=MEAN, std=STD
) -> tuple[torch.Tensor, dict]:
    """Return (picture, {class: probability}), the most probable class first; picture is the network's input as uint8.

    net_or_trained: a Trained, or any network that takes images of 32x32 pixels, normalised by mean and std. source: the
    path of a picture, or the bytes of its file. classes: names that replace those of the data; for a network with ten
    outputs the data are CIFAR-10.
    """
    if isinstance(net_or_trained, nn.Module):
        net, predict, device, size = net_or_trained, None, None, NET_SIZE
        settings = {"mean": mean, "std": std}
    else:
        what = f"The first argument must be a network or a training, but is {name_of_type(net_or_trained)}."
        require(hasattr(net_or_trained, "test_iter"), what, "classify", "Write classify(net, source).")
        net, predict = net_or_trained.net, net_or_trained.step.predict
        images = net_or_trained.test_iter.split.images
        device, size = images.device, images.shape[-1]
        settings = normalisation(net_or_trained.test_iter)
    picture = read_picture(source, size)
    split = to_device(Split(picture[None], torch.zeros(1, dtype=torch.int64)), device)
    data_iter = BatchLoader(split, 1, **settings)
    try:
        y_hat, _ = scores(net, data_iter, predict)
    except RuntimeError as error:
        if not re.search("shapes cannot be multiplied|channels", str(error)):
            raise
        what = f"The network can't take a colour picture of {size}x{size} pixels: {str(error).splitlines()[0]}"
        next_step = "Give a network for such images. For other sizes, give what Recipe.train or load_run returns."
        raise CourseworkError(what, where=type(net).__name__, next_step=next_step) from error
    p = probabilities(y_hat)[0]
    test_iter = getattr(net_or_trained, "test_iter", None)
    names = names_of_outputs(len(p), classes) if test_iter is None else class_names(len(p), test_iter, classes)
    return picture, {names[i]: float(p[i]) for i in p.argsort(descending=True, stable=True).tolist()}


def read_picture(source, size: int = 32) -> torch.Tensor:
    """Return the middle square of a picture as uint8 (3, size, size); transparent pixels become white.

    source: its path, or the bytes of its file.
    """
    content, where = _content(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about small defects in a file that can be read
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                width, height = picture.size
                _check(width * height <= LARGEST, _LARGE, f"{where}: {width} x {height} pixels")
                # A phone records how it was held in the EXIF data, and does not rotate the pixels.
                square = _to_rgb(middle_square(ImageOps.exif_transpose(picture)), where)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(_LARGE, where=where, next_step=SMALLER) from error
    except UNREADABLE as error:
        what = "No picture can be read from this file." if content else "This file is empty."
        raise DataError(what, where=where, next_step=ADVICE) from error
    small = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))  # averages the pixels that it merges
    return torch.from_numpy(small.transpose(2, 0, 1).copy())


def _content(source):
    """Return (bytes, path or description of the source); raise an error if the file is too large."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
        where = "the uploaded file"
    else:
        what = f"A picture must be a path or the bytes of a file, but is {name_of_type(source)}."
        _check(isinstance(source, (str, os.PathLike)), what, "source", SAVE)
        is_url = re.match("[a-z]+://", str(source)) is not None
        _check(not is_url, "A picture can't be read from a URL.", source, "Download it first, and give the path.")
        path = Path(source).expanduser()
        _check(not path.is_dir(), "This is a folder, not a file.", path, "Give the path of one picture in it.")
        _check(path.is_file(), "This file does not exist.", path, "Check the path and its spelling.")
        _check(path.stat().st_size <= LARGEST, _LARGE, f"{path}: {path.stat().st_size:,} bytes")
        content = path.read_bytes()
        where = path
    _check(len(content) <= LARGEST, _LARGE, f"{where}: {len(content):,} bytes")
    return content, where


def _to_rgb(picture, where):
    """Return a picture of any mode as RGB with 8 bits per channel."""
    what = "The grey values of this picture are floating-point numbers, so it is unknown which are black and white."
    _check(picture.mode != "F", what, where, ADVICE)
    if picture.mode.startswith("I"):  # 16 bits, which pillow's own conversion would clip at 255
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _check(condition, what, where, next_step=SMALLER):
    if not condition:
        raise DataError(what, where=where, next_step=next_step)
