"""Trains a student's network in a folder, and may kill itself on the way: arguments KIND FOLDER BATCH WAY RESULT."""

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
from utils.training.budget import BUDGETS


class Die:
    """A callback that kills the process after so many batches, as a power cut does."""

    def __init__(self, batches):
        self.left = batches

    def after_batch(self, training):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def by_recipe(kind, folder, callbacks):
    """Train by a Recipe; return the network's weights."""
    network, settings, fields = student_networks.KINDS[kind]
    recipe = Recipe("student", network, settings, **{"batch_size": 48, "num_epochs": 2, "lr": 0.01} | fields)
    data = load_cifar10(source="synthetic")
    trained = recipe.train(
        data, budget="smoke", device="cpu", folder=folder, curves=False, save_every=0.0, callbacks=callbacks
    )
    return trained.net.state_dict()


def by_hand(kind, folder, callbacks):
    """Train by train_ch3 under a name; return the network's weights."""
    os.environ["COURSEWORK_RUNS"] = str(folder)
    network, settings, _ = student_networks.KINDS[kind]
    torch.manual_seed(0)
    net = network(**settings)
    net(torch.zeros(2, 3, 32, 32))  # lazy layers want to see a batch before the optimizer is made
    images, _ = BUDGETS["smoke"].cut(load_cifar10(source="synthetic"), 2, 1)
    train_iter, val_iter, _ = make_iters(images, 48, val=20)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    loss = torch.nn.CrossEntropyLoss()
    torch.manual_seed(1)
    train_ch3(net, train_iter, val_iter, loss, 2, optimizer, record="by hand", curves=False, callbacks=callbacks)
    return net.state_dict()


if __name__ == "__main__":
    kind, folder, batch, way, result = sys.argv[1:]
    torch.set_num_threads(1)
    callbacks = [Die(int(batch))] if int(batch) else []
    weights = {"recipe": by_recipe, "hand": by_hand}[way](kind, Path(folder), callbacks)
    torch.save(weights, result)
