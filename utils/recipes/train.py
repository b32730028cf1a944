"""Train a recipe: make its loaders, network, optimizer and callbacks, and call train_ch3."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import operator
import random
from pathlib import Path

import numpy as np
import torch
from torch import nn

from utils.data.augment import for_epochs
from utils.data.cifar10 import load_cifar10
from utils.data.counter_rng import derive_seed
from utils.data.loader import BatchLoader, make_iters
from utils.devices import as_device, keep_memory, try_gpu
from utils.errors import CourseworkError
from utils.models.basic_layers import TemperatureSoftmax, Whiten
from utils.models.convolution import use_fast_convolutions
from utils.models.gated import GatedConv
from utils.models.source import import_path
from utils.my_utils import train_ch3
from utils.optim.losses import make_loss
from utils.optim.optimizers import make_optimizer
from utils.optim.schedules import make_schedule
from utils.recipes.recipe import WATCHED, Recipe, num_held_out
from utils.runs.checkpoint_files import newest
from utils.runs.checkpoints import Checkpoints, weights_of
from utils.runs.processes import Processes
from utils.runs.recorder import Recorder
from utils.runs.run import Run, find
from utils.training.average import Average
from utils.training.cool_gates import CoolGates
from utils.training.effort import Effort, choose_effort, evenly_spaced
from utils.training.interrupt import quietly_interrupted
from utils.training.measure import in_mode
from utils.training.step import Step

MIN_MEASURED = 2000  # images in a batch that a GPU only measures: with fewer it would wait for Python
WHITENING_IMAGES = 5000  # the images from which a Whiten layer computes its kernels


@quietly_interrupted
def train_recipe(
    recipe: Recipe,
    data=None,
    *,
    seed: int = 0,
    protocol: str = "validation",
    effort: str | Effort | None = None,
    device=None,
    precision: str = "auto",
    cuda_graph: bool | str = False,
    folder="auto",
    save_every: float = 60.0,
    parent=None,
    sweep: str | None = None,
    callbacks=(),
    curves: bool | str = True,
    processes: Processes | None = None,
) -> Trained:
    """Train a recipe and return the Trained. The same call resumes a training that was interrupted.

    effort: "check", "demo", "full" or an Effort. Default: COURSEWORK_EFFORT, else full on a GPU and demo on a CPU.
    folder: the folder for the record and the checkpoints ("auto": a separate folder for each different training; None:
    nothing is written). save_every: seconds between two checkpoints. parent: a Run or its name; the training starts
    with its weights, and with its optimizer state if the optimizer is of the same class. sweep: the name of a group of
    runs, such as a grid. cuda_graph: on a GPU, replay each step as a CUDA graph. A replay does not run the Python code
    in `forward`, so "auto" does this only for the networks of utils.models; give True if yours computes only with
    tensors. processes: the Processes of `several_processes`, which then share every batch.
    """
    device = as_device(device or try_gpu())
    processes = processes or Processes(device)
    device = processes.device
    data = data or processes.in_turn(load_cifar10)
    seed = operator.index(seed)
    effort = effort if isinstance(effort, Effort) else choose_effort(effort, device)
    parent = find(parent) if isinstance(parent, str) else parent
    facts = recipe.facts(data, effort, device, seed, protocol, precision, parent)
    folder = recipe.folder(facts) if folder == "auto" else folder and Path(folder)
    images, num_epochs = effort.cut(data, recipe.num_epochs, recipe.macs())
    loaders = make_loaders(recipe, images, num_epochs, protocol, seed, device)
    train_iter, watched_iter, test_iter = loaders
    loss = make_loss(recipe.loss, **recipe.loss_settings)
    if cuda_graph == "auto":
        cuda_graph = can_replay(recipe) and processes.count == 1
    step = Step(facts["precision"], cuda_graph=cuda_graph, clip_norm=recipe.clip_norm, clip_value=recipe.clip_value)
    with isolated_randomness(derive_seed(seed, recipe.name), device):
        net = prepared_network(recipe, data, train_iter.split, device)
        optimizer = make_optimizer(recipe.optimizer, net, recipe.lr, **recipe.optimizer_settings)
        if parent:
            inherit(parent, net, optimizer)
        schedule = make_schedule(
            recipe.schedule, optimizer, num_epochs=num_epochs, batches=len(train_iter), **recipe.schedule_settings
        )
        curves = f"Training the recipe {recipe.name} ({data.name})" if curves is True else curves
        average = Average(recipe.average) if recipe.average else None
        callbacks = [*callbacks, schedule]
        if average:
            callbacks.append(average)
        if any(isinstance(layer, TemperatureSoftmax) for layer in net.modules()):
            callbacks.append(CoolGates())
        if folder is not None:
            record = record_of_training(recipe, facts, effort, sweep, images, loaders)
            callbacks.append(Recorder(folder, recipe.name, record))
            callbacks.append(Checkpoints(folder, every=save_every, about=flattened(facts)))
        history = train_ch3(
            net,
            train_iter,
            watched_iter,
            loss,
            num_epochs,
            optimizer,
            watched=WATCHED[protocol],
            **processes.options(step=step, callbacks=callbacks, record=folder is not None, curves=curves),
        )
    step.release()
    return Trained(recipe, average.net if average else net, history, test_iter, loss, step, facts, folder)


functools.update_wrapper(Recipe.train, train_recipe, assigned=["__doc__"], updated=[])  # for help and completion


@dataclasses.dataclass(frozen=True)
class Trained:
    """The result of a training: the trained network, its history, its test images, its loss and its facts."""

    recipe: Recipe
    net: nn.Module
    history: object
    test_iter: object
    loss: object
    step: object
    facts: dict  # see Recipe.facts
    folder: Path | None

    def __repr__(self):
        return f"Trained {self.recipe.name} in {self.folder or 'no folder'}: {self.history!r}"

    @property
    def run(self) -> Run | None:
        """The Run on disk, or None if nothing was recorded."""
        return Run(self.folder) if self.folder else None


def can_replay(recipe) -> bool:
    """Return True for a network of utils.models, whose `forward` does the same in each batch."""
    return isinstance(recipe.network, str) or import_path(recipe.network).startswith("utils.models.")


def make_loaders(recipe, images, num_epochs, protocol, seed, device):
    """Return (train_iter, watched_iter, test_iter) for a protocol; watched_iter is None if nothing is watched."""
    train_iter, val_iter, test_iter = make_iters(
        images,
        recipe.batch_size,
        augment=for_epochs(recipe.augment, num_epochs, recipe.num_epochs),
        val=num_held_out(images, protocol),
        seed=seed,
        device=device,
        mean=recipe.mean,
        std=recipe.std,
        measured_at_a_time=measured_at_a_time(recipe, device),
    )
    return train_iter, {"val": val_iter, "test": test_iter}.get(WATCHED[protocol]), test_iter


def prepared_network(recipe, data, split, device) -> nn.Module:
    """Return a new network on its device, in the memory layout that is fastest there."""
    net = recipe.make_network(len(data.classes))
    check_network_output(recipe, net, split, len(data.classes))
    whiten(recipe, net, split)
    net = laid_out(net, device).to(device)
    if device.type == "cpu":
        if isinstance(recipe.network, str):  # the classes of a student's own layers do not change
            use_fast_convolutions(net)
        keep_memory()
    return net


def check_network_output(recipe, net, split, num_classes) -> None:
    """Call the network with two images and check that it returns a score for each class; initialise lazy layers."""
    images = split.images[:2].cpu().float() / 255
    with torch.random.fork_rng(devices=[]), torch.no_grad(), in_mode(net, training=False):
        try:
            scores = net(images)
        except Exception as error:
            raise CourseworkError(
                f"The network cannot take a batch of shape {tuple(images.shape)}: {type(error).__name__}: {error}",
                where=f"{recipe.name}, network={recipe.describe()['network']}",
                next_step="Find the error by calling it yourself: net(torch.zeros(2, 3, 32, 32)).",
            ) from error
    is_matrix = isinstance(scores, torch.Tensor) and scores.ndim == 2 and len(scores) == len(images)
    if not is_matrix or scores.shape[1] < num_classes:
        output = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise CourseworkError(
            f"For two images the network must return scores of shape (2, {num_classes}), but it returns {output}.",
            where=f"{recipe.name}, network={recipe.describe()['network']}",
            next_step=f"Make nn.Linear(..., {num_classes}) its last layer.",
        )


def whiten(recipe, net, split) -> None:
    """Set the kernels of Whiten layers from some of the images, before the training."""
    layers = [layer for layer in net.modules() if isinstance(layer, Whiten)]
    if not layers:
        return
    images = evenly_spaced(split, min(len(split), WHITENING_IMAGES))
    X, _ = BatchLoader(images, len(images), mean=recipe.mean, std=recipe.std).batch(epoch=0, i=0)
    for layer in layers:
        layer.learn(X)


def laid_out(net: nn.Module, device) -> nn.Module:
    """Put convolutions into the channels-last memory layout, in which they are fastest.

    On a CPU, a network whose gated convolutions merge their kernels is not changed: they are faster in channels-first.
    """
    merges = any(isinstance(module, GatedConv) and module.merges_kernels for module in net.modules())
    if torch.device(device).type == "cuda" or not merges:
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
    return net


def measured_at_a_time(recipe, device) -> int:
    """Return the batch size for validation and test images."""
    return max(recipe.batch_size, MIN_MEASURED) if device.type == "cuda" else recipe.batch_size


def record_of_training(recipe, facts, effort, sweep, images, loaders) -> dict:
    """Return the entries of the run's record that the Training object does not contain."""
    _, watched_iter, test_iter = loaders
    record = {"parent": None} | facts | {"system": recipe.name, "effort": effort.name, "sweep": sweep}
    record["macs"] = recipe.macs()
    record["views"] = recipe.views
    record["test_images"] = len(test_iter.split)
    record["data"] = images.train.origin
    record["classes"] = list(images.classes)
    if watched_iter is not None:
        record["watched_images"] = len(watched_iter.split)
    return record


@contextlib.contextmanager
def isolated_randomness(seed: int, device: torch.device):
    """Seed the random generators of Python, NumPy and torch inside a with block; restore their states afterwards.

    Of torch's generators, those of the CPU and of a CUDA device are restored.
    """
    devices = [device] if device.type == "cuda" else []
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed % 2**63)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def inherit(parent: Run, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load the weights of another run's newest checkpoint, and its optimizer state if the optimizers' classes agree."""
    state = checkpoint_of(parent)
    try:
        net.load_state_dict(weights_of(state))
    except RuntimeError as error:
        raise CourseworkError(
            f"{parent.name} has a different network: {str(error).splitlines()[-1].strip()}",
            where=parent.folder,
            next_step="Choose a parent with the same network.",
        ) from None
    if state["about"].get("optimizer") != type(optimizer).__name__:
        return
    present = optimizer.state_dict()
    saved = state["optimizer"]
    if _shape_of_state(present) != _shape_of_state(saved):
        raise CourseworkError(
            f"The optimizer of {parent.name} has its state for other groups of parameters.",
            where=parent.folder,
            next_step="Use the same optimizer settings, or an optimizer of another class, which starts without state.",
        )
    # With the new learning rates.
    optimizer.load_state_dict({"state": saved["state"], "param_groups": present["param_groups"]})


def _shape_of_state(state):
    return [(len(group["params"]), group.get("amsgrad")) for group in state["param_groups"]]


def checkpoint_of(run: Run) -> dict:
    """Return the state in a run's newest intact checkpoint."""
    checkpoint = newest(run.folder)
    if checkpoint is None:
        raise CourseworkError(
            f"{run.name} has no checkpoint.",
            where=run.folder,
            next_step='Train it first. train_ch3 writes checkpoints only if record is a name, such as record="mine".',
        )
    if run.state == "unsaved":  # after the checkpoint was read, since a damaged one is renamed then
        raise CourseworkError(
            f"The last weights of {run.name} are not on the disk; the newest checkpoint is {checkpoint[0].name}.",
            where=run.folder,
            next_step="Train again with the same arguments: it resumes from this checkpoint, and finishes.",
        )
    return checkpoint[1]


def flattened(facts: dict, prefix: str = "") -> dict:
    """Return nested dicts as one dict, {"recipe.lr": "0.001"}, so that errors can name the settings that differ."""
    flat = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
