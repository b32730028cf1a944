"""Answers about the student's code: run the notebook, then call the parts that it hands in.

The parts are the entries of the dict `hand_in` in the notebook's last code cell.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tools.grading import child
from utils.data.cifar10 import Split
from utils.data.loader import BatchLoader
from utils.evaluation import metrics
from utils.models.convolution import use_fast_convolutions
from utils.models.count import find_branches, find_gates
from utils.models.source import import_path
from utils.models.summary import summarise
from utils.recipes.load import load_weights, recipe_of
from utils.recipes.train import checkpoint_of, laid_out
from utils.runs import Run
from utils.runs.checkpoints import weights_of
from utils.teaching.guard import time_limit

AT_A_TIME = 250  # images in a batch
shell = None  # IPython's shell, in which the notebook was run
network = None  # the student's network, made by the last `make_network`


def run_cells(cells: list[str], seconds_each: float):
    """Run a notebook's cells in order, also after an error, and send the errors."""
    global shell
    sys.path.append(os.getcwd())  # at the end, so that a submission's own utils/ does not replace the library
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor"
    shell = InteractiveShell.instance(config=config)
    for number, source in enumerate(cells):
        child.send({"cell": number})
        try:
            with time_limit(seconds_each):
                result = shell.run_cell(source)
            error = result.error_before_exec or result.error_in_exec
        except BaseException as raised:
            error = raised
        if error is not None:
            child.send({"cell": number, "error": child.describe(error, seconds_each)})


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
    return summarise(network) | {"modules": sorted({import_path(type(module)) for module in network.modules()})}


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


def predict(folder: str, images: str, is_library: bool, constants: list) -> torch.Tensor:
    """Make the network of a run and load its weights; return the class with the highest score for each image in a file.

    A network of the library is rebuilt by its name and settings. constants: the mean and the standard deviation of the
    normalisation in the run's record; `hand_in` may name others.
    """
    run = Run(Path(folder))
    if is_library:
        net = recipe_of(run).make_network(10)
        use_fast_convolutions(laid_out(net, "cpu"))
    else:
        net = part("network")()
        net(torch.zeros(2, 3, 32, 32))  # initialises lazy layers
        constants = [parts().get(name, given) for name, given in zip(("mean", "std"), constants, strict=True)]
    load_weights(run, net, weights_of(checkpoint_of(run)))
    X = torch.from_numpy(np.load(images))
    mean, std = constants
    batches = BatchLoader(Split(X, torch.zeros(len(X), dtype=torch.int64)), AT_A_TIME, mean=mean, std=std)
    return metrics.scores(net, batches)[0].argmax(1)
