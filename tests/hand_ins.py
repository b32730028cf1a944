"""Hand-ins for the tests of marking: a perfect one, parts of others, and a run of a small network."""

import json
import shutil
import zipfile

import torch
from nbformat.v4 import new_code_cell, new_notebook, writes

from tools import publish
from utils.data.cifar10 import Cifar10, Split, checksum_of_images
from utils.recipes import Recipe
from utils.runs.run import RECORD

NETWORK = """\
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, channels, k=3):
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(k))
        self.gate = nn.Sequential(nn.Linear(channels, k), nn.Softmax(1))
        self.after = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())

    def forward(self, X):
        a = self.gate(X.mean((2, 3)))
        maps = torch.stack([branch(X) for branch in self.branches], 1)
        return self.after((a[:, :, None, None, None] * maps).sum(1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.block1 = Block(8)
        self.pool = nn.MaxPool2d(2)
        self.block2 = Block(8)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classify = nn.Linear(8, 10)

    def forward(self, X):
        X = self.block2(self.pool(self.block1(self.stem(X))))
        return self.classify(self.flatten(self.mean(X)))
"""
FUNCTIONS = """\
def accuracy(y_hat, y):
    return (y_hat.argmax(1) == y).sum()


def train_epoch(net, train_iter, loss, optimizer):
    net.train()
    for X, y in train_iter:
        optimizer.zero_grad()
        loss(net(X), y).backward()
        optimizer.step()


@torch.no_grad()
def evaluate(net, data_iter):
    mode = net.training
    net.eval()
    correct = sum(int(accuracy(net(X), y)) for X, y in data_iter)
    net.train(mode)
    return correct / sum(len(y) for _, y in data_iter)
"""
TRAINING = """\
from utils.data import load_cifar10, make_iters

train_iter, val_iter, test_iter = make_iters(load_cifar10(), 64, val=100)
optimizer = torch.optim.SGD(Net().parameters(), lr=0.1)
"""
HAND_IN = """\
hand_in = {
    "train_iter": train_iter,
    "network": Net,
    "accuracy": accuracy,
    "train_epoch": train_epoch,
    "evaluate": evaluate,
    "mean": torch.tensor([0.4914, 0.4822, 0.4465]),
}
"""
PERFECT = (publish.setup_cell(), NETWORK, FUNCTIONS, TRAINING, HAND_IN)
exec(NETWORK, names := {"__name__": "handed_in"})  # the same class as in the notebook
Net = names["Net"]


def notebook(*sources) -> str:
    """Return a notebook with these code cells as the text of its file."""
    return writes(new_notebook(cells=[new_code_cell(source) for source in sources]))


def write(folder, *sources, run=None):
    """Write a submission as a folder: a notebook with these cells, and a copy of a run."""
    folder.mkdir(parents=True)
    (folder / "handin.ipynb").write_text(notebook(*sources), encoding="utf-8")
    (folder / "report.pdf").write_bytes(b"%PDF-1.7")
    if run is not None:
        shutil.copytree(run, folder / "runs" / run.name)
    return folder


def as_zip(folder):
    """Replace a submission by a zip file of it."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent))
    shutil.rmtree(folder)


def easy_images(train=400, test=120, name="easy images"):
    """Return images whose class is their colour, so that a network learns them in seconds."""
    generator = torch.Generator().manual_seed(1)
    colours = torch.randint(30, 226, (10, 3, 1, 1), generator=generator)

    def split(count):
        labels = torch.arange(count) % 10
        noise = torch.randint(-25, 26, (count, 3, 32, 32), generator=generator)
        return Split((colours[labels] + noise).clamp(0, 255).to(torch.uint8), labels)

    train, test = split(train), split(test)
    checksum = checksum_of_images(train, test)
    origin = {"name": name, "source": "image folder", "checksum": checksum, "classes": list(train.classes)}
    splits = (Split(part.images, part.labels, origin) for part in (train, test))
    return Cifar10(*splits, source="image folder", name=name, checksum=checksum)


def record_run(data, folder, network=Net, save_every=60.0, **settings):
    """Train a network for a few epochs and measure it on the test images; return the folder of the run."""
    from utils.evaluation import evaluate

    recipe = Recipe("mine", network, batch_size=20, lr=0.02, num_epochs=4, **settings)
    options = {"effort": "full", "curves": False, "device": "cpu", "precision": "fp32", "save_every": save_every}
    trained = recipe.train(data, folder=folder, **options)
    evaluate(trained, effort="check")
    return folder


def change_record(run, **changes):
    """Change entries of a run's record, as a forger would."""
    record = json.loads((run / RECORD).read_text(encoding="utf-8"))
    (run / RECORD).write_text(json.dumps(record | changes), encoding="utf-8")
