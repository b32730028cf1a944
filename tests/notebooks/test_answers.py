"""Tests the blocks of code in docs/answers.md, and that there is an answer to each exercise."""

import re

import pytest
import torch
from suites import ROOT
from torchvision.transforms.v2 import functional

from tools import notebooks
from utils.data.augment import Flip
from utils.data.cifar10 import Split
from utils.data.loader import BatchLoader

TEXT = (ROOT / "docs" / "answers.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^ *```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def answers():
    """Run all blocks, one after the other, and return what they define."""
    names = {"__name__": "answers"}
    for block in BLOCK.findall(TEXT):
        exec(re.sub(r"^   ", "", block, flags=re.MULTILINE), names)
    return names


def numbers(text):
    """List the numbers of a numbered list that is not indented."""
    return [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_each_exercise_has_an_answer(path):
    prose = "\n\n".join(cell.source for cell in notebooks.read(path).cells if cell.cell_type == "markdown")
    asked = numbers(prose.partition("## Exercises")[2])
    (answered,) = re.findall(rf"^## {path.name[:2]} .*?(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert asked and numbers(answered) == asked == [*range(1, len(asked) + 1)]


def test_grey_is_torchvisions_on_the_share_of_images_that_was_asked_for(answers):
    images = torch.randint(0, 256, (400, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.zeros(400, dtype=torch.int64))

    def batch(*augment):
        X, _ = BatchLoader(split, 400, augment=augment, mean=(0, 0, 0), std=(1, 1, 1)).batch(epoch=0, i=0)
        return 255 * X

    expected = functional.rgb_to_grayscale(images, num_output_channels=3).float()
    assert (batch(answers["Grey"](1.0)) - expected).abs().max() <= 1.001
    assert torch.equal(batch(answers["Grey"](0.0)), batch())
    grey = (batch(answers["Grey"]()).std(1) < 1e-3).all((1, 2))
    assert 0.13 < grey.float().mean() < 0.27
    assert torch.equal(batch(answers["Grey"](), Flip()), batch(answers["Grey"](), Flip()))


def test_the_lowest_smoothed_loss_is_the_entropy_of_what_is_asked_for(answers):
    shares = answers["shares"]
    assert float(shares.sum()) == pytest.approx(1)
    assert float(answers["lowest"]) == pytest.approx(float(-(shares * shares.log()).sum()), abs=1e-5)
    assert f"= {float(answers['lowest']):.3f}" in TEXT
    other = (shares + torch.tensor([[-0.02, 0.02] + [0.0] * 8])).log()
    assert answers["make_loss"]("cross_entropy", label_smoothing=0.1)(other, torch.tensor([0])) > answers["lowest"]


def test_each_group_gets_its_own_temperature_and_no_answer_changes(answers):
    y_hat = torch.tensor([[4.0, 1.0, 0.0], [0.0, 6.0, 2.0]])
    divided = answers["divide_by_group"](y_hat, torch.tensor([0]), 2.0, 0.5)
    assert torch.equal(divided, torch.tensor([[2.0, 0.5, 0.0], [0.0, 12.0, 4.0]]))
