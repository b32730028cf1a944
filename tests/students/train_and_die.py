"""Trains each student's network three times, in a process of its own each: whole, killed in the middle, and resumed.

python train_and_die.py FOLDER prints for each kind of network a line of JSON: {"kind", "killed", "same", ...}.
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

from utils.data import load_cifar10
from utils.recipes import Recipe

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


def train(kind, folder, callbacks):
    """Train by a Recipe; return the network's weights."""
    network, settings, fields = student_networks.KINDS[kind]
    recipe = Recipe("student", network, settings, **{"batch_size": 48, "num_epochs": 2, "lr": 0.01} | fields)
    options = {"effort": "check", "device": "cpu", "curves": False, "save_every": 0.0}
    return recipe.train(DATA, folder=folder, callbacks=callbacks, **options).net.state_dict()


def in_a_process(kind, folder, callbacks, result):
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


def main(folder):
    torch.set_num_threads(1)
    for kind in student_networks.KINDS:
        place = Path(folder) / kind
        place.mkdir()
        in_a_process(kind, place / "whole", [], place / "whole.pt")
        killed, _ = in_a_process(kind, place / "killed", [Die()], place / "killed.pt")
        code, printed = in_a_process(kind, place / "killed", [], place / "resumed.pt")
        whole, resumed = (torch.load(place / f"{name}.pt") for name in ("whole", "resumed"))
        same = whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)
        print(json.dumps({"kind": kind, "killed": killed, "code": code, "same": same, "printed": printed}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
