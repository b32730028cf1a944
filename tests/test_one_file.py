"""docs/one_file.py, the main run without the library, against the library: the same network, steps and losses."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from utils.data import load_cifar10
from utils.data.loader import MEAN, STD
from utils.models import GatedBlock
from utils.models.gated import GatedConv
from utils.my_utils import train_ch3
from utils.optim import make_loss, make_optimizer, make_schedule, muon
from utils.recipes import OURS, find_system

PATH = Path(__file__).resolve().parents[1] / "docs" / "one_file.py"


@pytest.fixture(scope="module")
def one_file():
    spec = importlib.util.spec_from_file_location("one_file", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def copy_weights(ours, theirs):
    """Copy all weights and statistics of the library's gated_backbone into the network of the one file."""
    whiten, linear = ours[0], next(layer for layer in ours if isinstance(layer, nn.Linear))
    blocks = [layer for layer in ours if isinstance(layer, GatedBlock)]
    theirs.whiten.load_state_dict(whiten.state_dict())
    theirs.head.load_state_dict(linear.state_dict())
    for block, other in zip(blocks, theirs.blocks, strict=True):
        gated = other[0]
        gated.gate.load_state_dict(block.gate[2].state_dict())
        for conv, (weight, bias) in zip(gated.convs, block.branches.kernels(), strict=True):
            conv.weight.copy_(weight)
            conv.bias.copy_(bias)
        norms = [[m for m in net.modules() if isinstance(m, nn.BatchNorm2d)] for net in (block, other)]
        norms[1][0].load_state_dict(norms[0][0].state_dict())


@pytest.fixture(scope="module")
def images():
    data = load_cifar10(source="synthetic")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (data.train.images[:400].float() / 255 - mean) / std, data.train.labels[:400]


def test_the_network_and_the_whitening_are_the_librarys(one_file, images):
    torch.manual_seed(0)
    ours, theirs = find_system("quick").make_network(10), one_file.Net()
    ours[0].learn(images[0])
    one_file.learn_whitening(theirs.whiten, images[0])
    torch.testing.assert_close(theirs.whiten.weight.abs(), ours[0].weight.abs(), rtol=1e-3, atol=1e-3)
    copy_weights(ours, theirs)
    for mode in (True, False):
        torch.testing.assert_close(theirs.train(mode)(images[0][:100]), ours.train(mode)(images[0][:100]))


def test_a_training_has_the_librarys_losses(one_file, images, monkeypatch):
    """Give the library the batches that the one file made: the losses of all epochs must agree."""
    monkeypatch.setattr(muon, "_fast_dtype", lambda device: torch.float32)  # as the one file computes
    epochs, batch, (X, y) = 2, 200, images
    torch.manual_seed(1)
    recipe = OURS["quick"]
    ours, theirs = recipe.make_network(10), one_file.Net()
    ours[0].learn(X)
    copy_weights(ours, theirs)

    seen, rows_seen = [], []
    augment, randperm = one_file.augment, torch.randperm

    def recorded_augment(*arguments):
        seen.append(augment(*arguments))
        return seen[-1]

    def recorded_randperm(*arguments, **settings):
        rows_seen.append(randperm(*arguments, **settings))
        return rows_seen[-1]

    monkeypatch.setattr(one_file, "augment", recorded_augment)
    monkeypatch.setattr(torch, "randperm", recorded_randperm)
    losses = one_file.train(theirs, X, y, epochs, batch)
    monkeypatch.undo()
    monkeypatch.setattr(muon, "_fast_dtype", lambda device: torch.float32)

    labels = [y[rows] for order in rows_seen for rows in order.split(batch)]
    batches = list(zip(seen, labels, strict=True))
    per_epoch = len(batches) // epochs

    class Recorded:
        """The recorded batches of one epoch after the other."""

        epoch = 0

        def __len__(self):
            return per_epoch

        def __iter__(self):
            start = self.epoch * per_epoch
            self.epoch += 1
            return iter(batches[start : start + per_epoch])

    optimizer = make_optimizer(recipe.optimizer, ours, recipe.lr, **recipe.optimizer_settings)
    schedule = make_schedule(recipe.schedule, optimizer, num_epochs=epochs, batches=per_epoch)
    loss = make_loss(recipe.loss, **recipe.loss_settings)
    history = train_ch3(
        ours, Recorded(), None, loss, epochs, optimizer, callbacks=[schedule], curves=False, record=False
    )
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(losses, history["train_loss"], rtol=1e-3)


def test_augmented_images_are_shifted_mirrored_and_shrunk(one_file):
    torch.manual_seed(2)
    X = torch.randn(64, 3, 32, 32)
    mirrored = torch.arange(64) % 2 == 0
    small = one_file.augment(X, mirrored, 0)
    assert small.shape == (64, 3, one_file.SMALL, one_file.SMALL)
    for epoch in (6, 7):
        shifted = one_file.augment(X, mirrored, epoch)
        expected = torch.where((mirrored ^ (epoch % 2 == 1)).view(-1, 1, 1, 1), X.flip(3), X)
        padded = nn.functional.pad(expected, (2, 2, 2, 2), mode="reflect")
        windows = padded.unfold(2, 32, 1).unfold(3, 32, 1).flatten(2, 3)  # (64, 3, 25, 32, 32)
        is_window = (windows == shifted.unsqueeze(2)).flatten(3).all(3).all(1)
        assert is_window.any(1).all()
        assert is_window.float().argmax(1).unique().numel() > 12  # many of the 25 shifts


def test_the_files_settings_are_those_of_the_recipe(one_file):
    recipe = OURS["quick"]
    assert (recipe.num_epochs, recipe.batch_size) == (one_file.EPOCHS, one_file.BATCH)
    shrink = recipe.augment[-1]
    assert (shrink.size, shrink.epochs) == (one_file.SMALL, one_file.SMALL_EPOCHS)


def test_the_binary_files_are_read_as_the_library_reads_them(one_file, tmp_path):
    data = load_cifar10(source="synthetic")
    rows = torch.cat([data.test.labels[:20, None].to(torch.uint8), data.test.images[:20].flatten(1)], 1)
    (tmp_path / "a.bin").write_bytes(rows[:12].numpy().tobytes())
    (tmp_path / "b.bin").write_bytes(rows[12:].numpy().tobytes())
    X, y = one_file.load(tmp_path, ["a", "b"])
    assert torch.equal(y, data.test.labels[:20])
    pixels = (X * one_file.STD + one_file.MEAN) * 255
    assert torch.equal(pixels.round().to(torch.uint8), data.test.images[:20])


def test_no_part_of_the_library_is_used():
    assert "utils" not in PATH.read_text()
    assert GatedConv.__name__ in PATH.read_text()
