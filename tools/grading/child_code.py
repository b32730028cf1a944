"""Answers of the child: run the notebook, call the parts that it hands in, predict, and replay a training.

The parts are the entries of the dict `hand_in` in the notebook's last code cell.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn
from traitlets.config import Config

from utils.data.cifar10 import Cifar10, Split
from utils.data.loader import MEAN, STD, BatchLoader
from utils.evaluation import metrics
from utils.models import NETWORKS
from utils.models.convolution import use_fast_convolutions
from utils.models.count import find_branches, find_gates
from utils.models.source import import_path
from utils.models.summary import summarise
from utils.recipes.load import load_weights, recipe_of
from utils.recipes.train import checkpoint_of, laid_out
from utils.runs import Run
from utils.runs.checkpoint_files import listed, newest
from utils.runs.checkpoints import weights_of
from utils.training.effort import EFFORTS

AT_A_TIME = 250  # images in a batch
shell = None  # IPython's shell, in which the notebook was run
network = None  # the student's network, made by the last `make_network`


def run_cell(source: str):
    """Run a cell of the notebook, or raise its error."""
    global shell
    if shell is None:
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "NoColor"
        shell = InteractiveShell.instance(config=config)
        sys.path.append(os.getcwd())  # at the end, so that a submission's own utils/ does not replace the library
    result = shell.run_cell(source)
    error = result.error_before_exec or result.error_in_exec
    if error is not None:
        raise error


def parts() -> dict:
    """Return the parts that the notebook hands in."""
    found = shell.user_ns.get("hand_in")
    return found if isinstance(found, dict) else {}


def part(name: str):
    """Return one part, or raise an error that says that it is missing."""
    if name not in parts():
        raise LookupError(f"hand_in has no entry {name!r}.")
    return parts()[name]


def call(name: str, arguments: tuple, net: nn.Module | None = None) -> dict:
    """Call a part; return its result and, after the call, the weights and the mode of the network in its arguments."""
    result = part(name)(*arguments)
    after = {} if net is None else {"weights": list(net.parameters()), "is_training": net.training}
    return {"result": result} | after


def batches(name: str, count: int) -> list:
    """Return the first batches (X, y) of a loader that the notebook hands in."""
    return [[X, y] for (X, y), _ in zip(part(name), range(count), strict=False)]


def make_network() -> dict:
    """Make the student's network; return what it consists of. Its gates get random weights, in case they start at 0."""
    global network
    network = part("network")()
    network(torch.zeros(2, 3, 32, 32))  # initialises lazy layers
    with torch.no_grad():
        for gate in find_gates(network).values():
            for parameter in gate.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
    network.eval()
    classes = {kind for module in network.modules() for kind in type(module).__mro__}
    return summarise(network) | {"classes": sorted(map(import_path, classes))}


def scores(images) -> torch.Tensor:
    """Return the network's scores for these images."""
    with torch.no_grad():
        return network(images)


def block(name: str, k: int, X=None, gate=None, branches=()) -> dict:
    """Compute one block with k branches; return its gate, its output, and the shapes of its input and its branches.

    X: the block's input; without it, the whole network is computed. gate, branches: values that replace what the
    block's gate and branches return.
    """
    module = network if name == "network" else network.get_submodule(name)
    seen = {}

    def watch(key, watched, value=None):
        """Keep what a module returns, and return the value in its place if there is one."""

        def hook(module, inputs, output):
            seen[key] = output
            return value

        hooks.callback(watched.register_forward_hook(hook).remove)

    with torch.no_grad(), contextlib.ExitStack() as hooks:
        hook = module.register_forward_pre_hook(lambda module, inputs: seen.update(input=inputs[0]))
        hooks.callback(hook.remove)
        watch("gate", find_gates(network)[name], gate)
        for number, branch in enumerate(find_branches(module, k)):
            watch(number, branch, branches[number] if len(branches) else None)
        Y = network(torch.randn(2, 3, 32, 32)) if X is None else module(X)
    weights = seen.pop("gate")
    return {"gate": weights, "output": Y, "shapes": [list(value.shape) for value in seen.values()]}


def predict(folder: str, images: str) -> torch.Tensor:
    """Make the network of a run and load its weights; return the class with the highest score for each image in a file.

    A network of the library is rebuilt by its name and settings. If `hand_in` has "mean" and "std", they replace the
    constants of the normalisation in the run's record.
    """
    run = Run(Path(folder))
    weights = weights_of(checkpoint_of(run))
    constants = run.record.get("recipe") or run.record
    if run.network_name in NETWORKS:
        net = recipe_of(run).make_network(10)
        use_fast_convolutions(laid_out(net, "cpu"))
    else:
        net = part("network")()
        net(torch.zeros(2, 3, 32, 32))  # initialises lazy layers
        constants = constants | parts()
    load_weights(run, net, weights)
    X = torch.from_numpy(np.load(images))
    split = Split(X, torch.zeros(len(X), dtype=torch.int64))  # without labels
    mean, std = three_numbers(constants.get("mean"), MEAN), three_numbers(constants.get("std"), STD)
    return metrics.scores(net, BatchLoader(split, AT_A_TIME, mean=mean, std=std))[0].argmax(1)


def three_numbers(values, default):
    """Return the constants of a normalisation, given as a list, an array or a tensor; None means the default."""
    return default if values is None else [float(value) for value in values]


def replay(folder: str, train: str) -> dict:
    """Train from the older of a run's two checkpoints to the newer one, and compare the weights."""
    run, copy = Run(Path(folder)), Path("replay").resolve()
    paths, record = listed(run.folder), run.record
    if len(paths) < 2:
        raise ValueError("The run folder has fewer than two checkpoints, so nothing can be replayed.")
    shutil.copytree(run.folder, copy, ignore=shutil.ignore_patterns(paths[0].name))
    origin = record["data"]
    images, labels, test_images = map(torch.from_numpy, np.load(train).values())
    splits = Split(images, labels, origin), Split(test_images, torch.zeros(len(test_images)).long(), origin)
    recipe_of(run).train(
        Cifar10(*splits, origin["source"], origin["name"], origin["checksum"]),
        seed=record["seed"],
        protocol=record["protocol"],
        effort=EFFORTS[run.effort],
        device="cpu",
        precision=record["precision"],
        folder=copy,
        curves=False,
        save_every=1e9,
    )
    theirs, ours = newest(run.folder)[1]["net"], newest(copy)[1]["net"]
    differences = [float((theirs[key] - ours[key]).abs().max() / ours[key].abs().max().clamp(min=1e-6)) for key in ours]
    return {
        "from": paths[1].name,
        "to": paths[0].name,
        "difference": max(differences),  # of a tensor, relative to its largest number
        "device": record.get("device"),
    }
