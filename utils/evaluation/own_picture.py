"""Owns a reader's own picture: opened safely, made as small as the network's images, and classified. Keeps no file."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from utils.data.cifar10 import CLASSES, Split
from utils.data.loader import BatchLoader, to_device
from utils.errors import DataError
from utils.evaluation.metrics import probabilities, scores

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # none of them can start another program, as EPS does
LARGEST = 50_000_000  # pixels, some 150 MB in memory; and as many bytes of a file
# What pillow raises for files that are no pictures, or damaged ones, as some thousands have shown.
UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, struct.error)
_LARGE = "This picture is too large."
ADVICE = f"Give a picture as {', '.join(FORMATS)}; any picture program saves PNG or JPEG."
SMALLER = f"Make it smaller: at most {LARGEST // 10**6} million pixels, and as many bytes."


def classify(trained, source, classes=CLASSES):
    """Return (picture, {class: probability}, the best first); the picture, uint8, is what the network saw.

    source: the path of a picture, or the bytes of its file.
    """
    images = trained.test_iter.split.images
    picture = read_picture(source, images.shape[-1])
    split = to_device(Split(picture[None], torch.zeros(1, dtype=torch.int64)), images.device)
    data_iter = BatchLoader(split, 1, mean=trained.recipe.mean, std=trained.recipe.std)
    p = probabilities(trained.net, scores(trained.net, data_iter, trained.step.predict)[0])[0]
    return picture, {classes[i]: float(p[i]) for i in p.argsort(descending=True, stable=True).tolist()}


def read_picture(source, size=32):
    """Return the middle square of a picture as uint8 (3, size, size); what is transparent becomes white.

    source: its path, or the bytes of its file.
    """
    content, where = _content(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd in a file, but does not keep it from being read
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                width, height = picture.size
                _check(width * height <= LARGEST, _LARGE, f"{where}: {width} x {height} pixels")
                # A phone notes how it was held and leaves the pixels as they came.
                square = _to_rgb(_middle(ImageOps.exif_transpose(picture)), where)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(_LARGE, where=where, next_step=SMALLER) from error
    except UNREADABLE as error:
        what = "No picture can be read from this file." if content else "This file is empty."
        raise DataError(what, where=where, next_step=ADVICE) from error
    small = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))  # averages what it shrinks
    return torch.from_numpy(small.transpose(2, 0, 1).copy())


def _content(source):
    """Return (bytes, where they are from), of no file that is too large."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        content, where = bytes(source), "the uploaded file"
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise DataError("There is no such file.", where=path, next_step="Check the path and its spelling.")
        _check(path.stat().st_size <= LARGEST, _LARGE, f"{path}: {path.stat().st_size:,} bytes")
        content, where = path.read_bytes(), path
    _check(len(content) <= LARGEST, _LARGE, f"{where}: {len(content):,} bytes")
    return content, where


def _middle(picture):
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def _to_rgb(picture, where):
    """Return a picture as RGB of 8 bits, whatever its mode was."""
    what = "Its grey values are no whole numbers: nothing says which is black and which is white."
    _check(picture.mode != "F", what, where, ADVICE)
    if picture.mode.startswith("I"):  # 16 bits: pillow's own conversion would cut them off at 255
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def _check(holds, what, where, next_step=SMALLER):
    if not holds:
        raise DataError(what, where=where, next_step=next_step)
