"""What makes a training the same one: each change of what its result depends on is found, and no other."""

import pytest
import torch
from torch import nn
from training_parts import images, parts

from utils.data.augment import Flip
from utils.data.cifar10 import Split
from utils.data.dataset import torch_loader
from utils.data.loader import BatchLoader
from utils.errors import CheckpointError
from utils.models.gated import GatedConv
from utils.my_utils import train_ch3
from utils.optim.losses import make_loss
from utils.runs.checkpoints import Checkpoints


def train(folder, net=None, train_iter=None, loss=None):
    """Train for an epoch, by default a small network in the usual way, with checkpoints in this folder."""
    own, its_iter, _, _ = parts(count=48)
    net, train_iter, loss = net or own, train_iter or its_iter, loss or nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    train_ch3(net, train_iter, None, loss, 1, optimizer, callbacks=[Checkpoints(folder)], curves=False, record=False)


def net_with(**layers):
    """Return the usual small network with other layers in some places."""
    net = parts()[0]
    for place, layer in layers.items():
        net[int(place.removeprefix("at"))] = layer
    return net


def loader_with(**settings):
    split = settings.pop("split", images(48))
    return BatchLoader(split, 24, shuffle=True, seed=0, **settings)


def dataloader_with(**settings):
    return torch_loader(images(48), 24, shuffle=True, num_workers=0, **settings)


class Composed(nn.Module):
    """A loss that leaves the work to another one inside it."""

    def __init__(self, **settings):
        super().__init__()
        self.inner = nn.CrossEntropyLoss(**settings)

    def forward(self, y_hat, y):
        return self.inner(y_hat, y)


BRIGHTER = Split(images(48).images + 1, images(48).labels)
OTHERWISE = {
    "dropout": ({"net": net_with(at3=nn.Dropout(0.5))}, "Dropout"),
    "an activation": ({"net": net_with(at2=nn.Sigmoid())}, "Sigmoid"),
    "the classes' weights": ({"loss": nn.CrossEntropyLoss(weight=torch.arange(1.0, 11.0))}, "weight"),
    "a loss in a loss": ({"loss": Composed(label_smoothing=0.1)}, "label_smoothing"),
    "the images": ({"train_iter": loader_with(augment=(Flip(),), split=BRIGHTER)}, "images"),
    "the mean": ({"train_iter": loader_with(augment=(Flip(),), mean=(0.5, 0.5, 0.5))}, "mean"),
    "the type of the images": ({"train_iter": loader_with(augment=(Flip(),), dtype=torch.float64)}, "dtype"),
    "the deviation": ({"train_iter": loader_with(augment=(Flip(),), std=(0.5, 0.5, 0.5))}, "std"),
}


@pytest.mark.parametrize("change", OTHERWISE)
def test_a_training_with_something_else_does_not_go_on_from_a_checkpoint(change, tmp_path):
    how, named = OTHERWISE[change]
    usual = {"train_iter": loader_with(augment=(Flip(),))} if "train_iter" in how else {}
    usual |= {"loss": Composed()} if isinstance(how.get("loss"), Composed) else {}
    train(tmp_path, **usual)
    with pytest.raises(CheckpointError, match=f"another training(.|\n)*{named}"):
        train(tmp_path, **how)


@pytest.mark.parametrize("settings", [{"augment": (Flip(0.2),)}, {"mean": (0.5, 0.5, 0.5)}, {"std": (0.5, 0.5, 0.5)}])
def test_nor_does_one_with_another_dataloader(settings, tmp_path):
    train(tmp_path, train_iter=dataloader_with(augment=(Flip(),)))
    with pytest.raises(CheckpointError, match="another training"):
        train(tmp_path, train_iter=dataloader_with(**{"augment": (Flip(),), **settings}))


def test_the_form_of_a_gated_convolution_may_change(tmp_path, capsys):
    class Gated(nn.Module):
        def __init__(self, form):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.last = GatedConv(3, 6, (3, 3), form=form), nn.Linear(6, 10)

        def forward(self, X):
            return self.last(self.conv(X, torch.full((len(X), 2), 0.5)).mean((2, 3)))

    train(tmp_path, net=Gated("loop"))
    train(tmp_path, net=Gated("scaled"))
    assert "This training is complete" in capsys.readouterr().out


def test_a_function_in_a_layers_description_may_lie_elsewhere_in_memory(tmp_path, capsys):
    class Described(nn.Module):
        def extra_repr(self):
            return f"{(lambda: None)}, {object()}"

        def forward(self, X):
            return X

    for _ in range(2):
        train(tmp_path, net=net_with(at3=Described()))
    assert "This training is complete" in capsys.readouterr().out


def test_a_callback_that_is_used_again_saves_again(tmp_path):
    callback, kept = Checkpoints(tmp_path / "one"), []
    for seed in (0, 1):
        net, train_iter, _, optimizer = parts(count=48, seed=seed)
        callback.folder = tmp_path / str(seed)
        how = {"callbacks": [callback], "curves": False, "record": False}
        train_ch3(net, train_iter, None, make_loss("cross_entropy"), 1, optimizer, **how)
        kept.append(len(list(callback.folder.glob("*.pt"))))
    assert kept == [1, 1]
