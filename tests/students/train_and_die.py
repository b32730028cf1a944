"""Trains each student's network three times, in a process of its own each: whole, killed in the middle, and resumed.

python train_and_die.py FOLDER WAY prints for each kind of network a line of JSON: {"kind", "killed", "same", ...}.
"""

import contextlib
import io
import json
import os
import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

import student_networks
import torch

from utils.data import load_cifar10, make_iters
from utils.my_utils import train_ch3
from utils.recipes import Recipe
from utils.runs import recorder
from utils.training.effort import EFFORTS

DATA = load_cifar10(source="synthetic")
BATCHES = 4  # of an epoch: 180 images in batches of 48


class Die:
    """A callback that kills the process in the second epoch, as a power cut does."""

    def __init__(self):
        self.left = BATCHES + 2

    def after_batch(self, training):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def by_recipe(kind, folder, callbacks):
    """Train by a Recipe; return the network's weights."""
    network, settings, fields = student_networks.KINDS[kind]
    recipe = Recipe("student", network, settings, **{"batch_size": 48, "num_epochs": 2, "lr": 0.01} | fields)
    options = {"effort": "check", "device": "cpu", "curves": False, "save_every": 0.0}
    return recipe.train(DATA, folder=folder, callbacks=callbacks, **options).net.state_dict()


def by_hand(kind, folder, callbacks):
    """Train by train_ch3 under a name; return the network's weights."""
    os.environ["COURSEWORK_RUNS"] = str(folder)
    recorder.SAVE_EVERY = 0.0  # a checkpoint after each batch
    network, settings, _ = student_networks.KINDS[kind]
    torch.manual_seed(0)
    net = network(**settings)
    net(torch.zeros(2, 3, 32, 32))  # lazy layers want to see a batch before the optimizer is made
    images, _ = EFFORTS["check"].cut(DATA, 2, 1)
    train_iter, val_iter, _ = make_iters(images, 48, val=20)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    torch.manual_seed(1)
    arguments = (net, train_iter, val_iter, torch.nn.CrossEntropyLoss(), 2, optimizer)
    train_ch3(*arguments, record="by hand", curves=False, callbacks=callbacks, watched="val")
    return net.state_dict()


def in_a_process(train, kind, folder, callbacks, result):
    """Train in a child process; return (its exit code or minus its signal, what it printed)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            torch.save(train(kind, folder, callbacks), result)
        os.write(writing, printed.getvalue().encode())
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with open(reading, encoding="utf-8") as pipe:
        return os.waitstatus_to_exitcode(status), pipe.read()


def main(folder, way):
    torch.set_num_threads(1)
    train = {"recipe": by_recipe, "hand": by_hand}[way]
    for kind in student_networks.KINDS:
        place = Path(folder) / kind
        place.mkdir()
        in_a_process(train, kind, place / "whole", [], place / "whole.pt")
        killed, _ = in_a_process(train, kind, place / "killed", [Die()], place / "killed.pt")
        code, printed = in_a_process(train, kind, place / "killed", [], place / "resumed.pt")
        whole, resumed = (torch.load(place / f"{name}.pt") for name in ("whole", "resumed"))
        same = whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)
        print(json.dumps({"kind": kind, "killed": killed, "code": code, "same": same, "printed": printed}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
