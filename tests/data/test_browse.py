"""The controls: each choice redraws the one figure in its place; without controls a sentence and a figure stay."""

import matplotlib.pyplot as plt
import pytest
import torch

from utils.data import browse as widgets
from utils.data.augment import Flip
from utils.data.cifar10 import CLASSES, Cifar10, Split


@pytest.fixture
def data():
    labels = torch.arange(120) % 10
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).clone()
    images[:, :, :, :16] += 100  # brighter on the left
    split = Split(images, labels)
    return Cifar10(split, split, "synthetic", "synthetic images", "0" * 16)


def named(controls):
    """Return {description: control}."""
    return {control.description: control for control in controls}


def captions(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def first_picture(figure):
    return figure.axes[0].images[0].get_array()[11 : 11 + 32, :32]


def test_the_first_page_is_a_plain_figure_that_needs_no_controls(shown, data):
    figures, bundles, _ = shown
    widgets.browse_images(data)
    (figure,) = figures
    assert len(captions(figure)) == 40 and set(captions(figure)) <= set(CLASSES)
    assert figure.get_suptitle() == "Training images, class: all, augmentation: none (synthetic images)"
    (bundle,) = bundles
    assert bundle["text/plain"] == widgets.STATIC
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert plt.get_fignums() == []  # nothing is left for the notebook to show a second time


def test_all_pages_together_show_every_image_once(shown, data):
    figures, _, controls = shown
    widgets.browse_images(data)
    for page in (2, 3):
        named(controls)["page"].value = page
    names = [name for figure in figures for name in captions(figure)]
    assert sorted(names) == sorted(CLASSES * 12)


def test_a_class_shows_that_class_and_as_many_pages_as_it_has(shown, data):
    figures, _, controls = shown
    widgets.browse_images(data)
    named(controls)["page"].value = 3
    named(controls)["class"].value = "frog"
    assert captions(figures[-1]) == ["frog"] * 12
    assert named(controls)["page"].value == named(controls)["page"].max == 1


def test_an_augmentation_is_applied(shown, data):
    figures, _, controls = shown
    widgets.browse_images(data, {"flip": (Flip(p=1.0),)}, chosen="flip")
    named(controls)["augment"].value = "none"
    after, before = first_picture(figures[0]), first_picture(figures[-1])
    assert (after == before[:, ::-1]).all() and not (after == before).all()
    assert "augmentation: flip" in figures[0].get_suptitle()
