"""Answers about the student's code: run the notebook, then call the parts that it hands in.

The parts are the entries of the dict `hand_in` in the notebook's last code cell.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tools.grading import child, messages
from tools.grading.child_run import predictions
from utils.models.count import find_gates
from utils.models.source import import_path
from utils.models.summary import convolutions_of, summarise
from utils.recipes.load import load_weights
from utils.recipes.train import checkpoint_of
from utils.runs import Run
from utils.runs.checkpoints import weights_of
from utils.teaching.guard import time_limit

shell = None  # IPython's shell, in which the notebook was run
network = None  # the student's network, made by the last `make_network`


def run_cells(cells: list[str], seconds_each: float, pictures: str | None) -> list[str]:
    """Run a notebook's cells in order, also after an error, and send the errors; return the names of the parts."""
    global shell
    nothing = os.open(os.devnull, os.O_WRONLY)
    for file in (1, 2):  # so that endless messages don't fill the parent's disk
        os.dup2(nothing, file)
    sys.path.append(os.getcwd())  # at the end, so that a submission's own utils/ does not replace the library
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    if pictures:  # the synthetic images, drawn already
        from utils.data.sources import Images, synthetic

        arrays = np.load(pictures)
        synthetic.draw = lambda *args, **settings: tuple(arrays[name] for name in Images._fields)
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor"
    shell = InteractiveShell.instance(config=config)
    for number, source in enumerate(cells):
        child.send(messages.encode({"cell": number}))
        try:
            with time_limit(seconds_each):
                result = shell.run_cell(source)
            error = result.error_before_exec or result.error_in_exec
        except BaseException as raised:
            error = raised
        if error is not None:
            child.send(messages.encode({"cell": number, "error": child.describe(error, seconds_each)}))
    return sorted(map(str, parts()))


def parts() -> dict:
    """Return the parts that the notebook hands in."""
    found = shell.user_ns.get("hand_in")
    return found if isinstance(found, dict) else {}


def part(name: str):
    """Return one part, or raise an error that says that it is missing."""
    if name not in parts():
        raise LookupError(f"hand_in has no entry {name!r}.")
    return parts()[name]


def call(name: str, arguments: list):
    """Call a part with tensors; return its result."""
    return part(name)(*map(tensor, arguments))


def tensor(value):
    """Return an array as a tensor; other values stay as they are."""
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def batches(name: str, count: int) -> list:
    """Return the first batches (X, y) of a loader that the notebook hands in."""
    return [[X, y] for (X, y), _ in zip(part(name), range(count), strict=False)]


def linear_network(weight, bias, dropout: float = 0.0) -> nn.Module:
    """Return a linear network with these weights."""
    net = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(weight.shape[1], weight.shape[0]))
    net[2].weight.data, net[2].bias.data = tensor(weight), tensor(bias)
    return net


def train_epoch(weight, bias, batches: list, lr: float) -> dict:
    """Let the student's epoch train a linear network on these batches; return the weights after it."""
    net = linear_network(weight, bias)
    data = [(tensor(X), tensor(y)) for X, y in batches]
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    result = part("train_epoch")(net, data, nn.CrossEntropyLoss(), optimizer)
    return {"weight": net[2].weight, "bias": net[2].bias, "result": result}


def evaluate(weight, bias, batches: list) -> dict:
    """Let the student's evaluation measure a network with dropout; return its result, and the mode after it."""
    net = linear_network(weight, bias, dropout=0.5).train()
    result = part("evaluate")(net, [(tensor(X), tensor(y)) for X, y in batches])
    return {"result": result, "is_training": net.training, "weight": net[2].weight}


def make_network(seed: int) -> dict:
    """Make the student's network; return what it consists of. Its gates get random weights, in case they start at 0."""
    global network
    torch.manual_seed(seed)
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
        return network(tensor(images))


def block(name: str, images=None, X=None, gate=None, branches=None) -> dict:
    """Compute one gated block; return its input, gate, branches and output.

    images: for the whole network, to find the shape of the block's input. X: the block's input. gate, branches: values
    that replace what the block's gate and branches return.
    """
    module = network if name == "network" else network.get_submodule(name)
    seen = {}

    def watch(key, watched, value):
        """Keep what a module returns, and return the value in its place if there is one."""

        def hook(m, inputs, output):
            seen[key] = output
            return None if value is None else tensor(value)

        return watched.register_forward_hook(hook)

    values = itertools.repeat(None) if branches is None else branches
    hooks = [module.register_forward_pre_hook(lambda m, inputs: seen.update(X=inputs[0]))]
    hooks.append(watch("gate", find_gates(network)[name], gate))
    hooks += [watch(i, *pair) for i, pair in enumerate(zip(branches_of(module), values, strict=False))]
    try:
        with torch.no_grad():
            Y = network(tensor(images)) if X is None else module(tensor(X))
    finally:
        for hook in hooks:
            hook.remove()
    shapes = [list(seen[i].shape) for i in sorted(key for key in seen if isinstance(key, int))]
    return {"input": list(seen["X"].shape), "gate": seen["gate"], "branches": shapes, "output": Y}


def branches_of(module: nn.Module) -> list[nn.Module]:
    """List a block's branches: the entries of its ModuleList, or else its children that hold a convolution."""
    for found in module.modules():
        if isinstance(found, nn.ModuleList) and len(found) > 1 and all(map(convolutions_of, found)):
            return list(found)
    named = [(name, child) for name, child in module.named_children() if name not in ("gate", "shortcut")]
    return [child for _, child in named if convolutions_of(child)]


def predict_own_network(folder: str, images: list[str], mean, std) -> list:
    """Make the student's network, load the run's weights into it, and return its predictions for each file.

    mean, std: the constants of the normalisation in the run's record; `hand_in` may name others.
    """
    run = Run(Path(folder))
    net = part("network")()
    net(torch.zeros(2, 3, 32, 32))
    load_weights(run, net, weights_of(checkpoint_of(run)))
    constants = [parts().get(name, given) for name, given in (("mean", mean), ("std", std))]
    return [predictions(net, file, *constants) for file in images]
