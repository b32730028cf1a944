"""Writes the page: one HTML file with the network, its script and some pictures, which requests nothing."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from tools.demo.layers import list_steps
from utils.data.sources import CLASSES
from utils.evaluation.export import FromPixels, readable
from utils.experiments.page import offline_page

HERE = Path(__file__).parent
SAMPLES = HERE / "samples.png"  # a test image of each class of CIFAR-10, chosen because it is easy to recognise


def shipped_samples() -> tuple[torch.Tensor, list[str]]:
    """Return ten test images of CIFAR-10, uint8 (10, 3, 32, 32), and their classes."""
    strip = np.array(Image.open(SAMPLES).convert("RGB"))
    return torch.from_numpy(strip).unfold(1, 32, 32).permute(1, 2, 0, 3).contiguous(), list(CLASSES)


def samples_of(split, classes) -> tuple[torch.Tensor, list[str]]:
    """Return the first image of each of at most ten classes, and the names of these classes."""
    rows = [torch.nonzero(split.labels == label)[:1, 0] for label in range(min(10, len(classes)))]
    rows = torch.cat(rows).cpu()
    return split.images.cpu()[rows], [classes[label] for label in split.labels.cpu()[rows].tolist()]


def make_page(net: nn.Module, name: str, samples: tuple, classes, mean, std, about: dict) -> str:
    """Return the page as text. samples: images and the names of their classes; about: see about_training."""
    images, labels = samples
    pixels = images.float() / 255
    program = FromPixels(readable(net), mean, std, pixels[:2])
    with torch.no_grad():
        expected = program(pixels)
    model = list_steps(net, (pixels[:2] - program.mean) / program.std)
    model |= {"classes": list(classes), "mean": list(mean), "std": list(std), "size": images.shape[-1]}
    model["expected"] = expected.tolist()
    contents = {
        "model": json.dumps(model).replace("<", "\\u003c"),
        "samples": "\n".join(map(_sample, images, labels)),
        "name": html.escape(name),
        "about": html.escape(_about(name, len(classes), about)),
        "size": str(images.shape[-1]),
    }
    pictures = "; img-src data: blob:; worker-src blob:"  # the worker is made of the same script
    return offline_page(HERE, ["network.js", "page.js"], contents, pictures)


def _sample(image, label):
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
    source = base64.b64encode(file.getvalue()).decode()
    return f'<button type="button"><img src="data:image/png;base64,{source}" alt="{html.escape(label)}"></button>'


def _about(name, count, about):
    data = about.get("data") or {}
    kind = "drawings of simple shapes (synthetic images)" if data.get("source") == "synthetic" else "small pictures"
    images = f"{about['images']:,} {kind}" if about.get("images") else kind
    text = f"The network {name} has learned from {images} to tell {count} kinds of things apart."
    accuracy = (about.get("test") or {}).get("accuracy")
    return (
        text if accuracy is None else f"{text} It is right about {100 * accuracy:.0f} % of new pictures of this kind."
    )
