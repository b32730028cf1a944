"""The upload: an example at first, then the reader's picture in its place; a file that is none is only a note."""

import datetime
import io
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image
from torch import nn

from utils.data.cifar10 import CLASSES, Split
from utils.data.loader import BatchLoader
from utils.evaluation.upload_widget import STATIC, upload, uploaded
from utils.training.step import Step

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def trained():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net[1].weight.view(10, 3, 1024)[3, 0] = net[1].weight.view(10, 3, 1024)[8, 2] = 0.01  # red: cat, blue: ship
    split = Split(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    return SimpleNamespace(net=net, test_iter=BatchLoader(split, 2), step=Step())


def png(colour):
    out = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, "PNG")
    return out.getvalue()


def files(content):
    """Return what an ipywidgets of 8 makes of an uploaded file."""
    about = {"name": "a", "type": "image/png", "size": len(content), "last_modified": datetime.datetime(2026, 1, 1)}
    return ({**about, "content": memoryview(content)},)


def test_an_uploaded_picture_takes_the_examples_place(trained, shown):
    figures, bundles, controls = shown
    upload(trained, png("red"))
    assert bundles[0]["text/plain"] == STATIC and CLASSES[3] in figures[0].get_suptitle()
    button, note, *_ = controls
    button.value = files(png("blue"))
    assert len(figures) == 2 and CLASSES[8] in figures[1].get_suptitle() and note.value == ""
    assert plt.get_fignums() == []  # nothing is shown a second time


def test_a_file_that_is_no_picture_is_a_note_and_the_figure_stays(trained, shown):
    figures, _, controls = shown
    upload(trained, png("red"))
    button, note, *_ = controls
    button.value = files(b"no picture")
    assert len(figures) == 1 and "No picture" in note.value and "PNG" in note.value
    button.value = files(png("blue"))
    assert len(figures) == 2 and note.value == ""


def test_the_bytes_are_found_as_both_versions_of_ipywidgets_give_them():
    assert bytes(uploaded(files(b"content"))) == b"content"
    assert uploaded({"a.png": {"metadata": {}, "content": b"content"}}) == b"content"
    assert uploaded(()) == uploaded({}) == b""
