"""Owns what a recipe is: a system as data, from its augmentation to its epochs, and the one call that trains it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import operator
import random
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from utils.data.augment import for_epochs
from utils.data.cifar10 import load_cifar10
from utils.data.counter_rng import derive_seed
from utils.data.loader import MEAN, STD, BatchLoader, make_iters
from utils.devices import keep_memory, try_gpu
from utils.errors import CourseworkError, RecordWarning
from utils.models.blocks import Plan, build, plan_from
from utils.models.count import flops
from utils.models.gated import GatedConv
from utils.models.layers import Whiten
from utils.my_utils import evaluate, train_ch3
from utils.optim.losses import make_loss
from utils.optim.optimizers import make_optimizer
from utils.optim.schedules import make_schedule
from utils.runs.checkpoint_files import newest
from utils.runs.checkpoints import Checkpoints, plain, weights_of
from utils.runs.recorder import Recorder, note_test, safe
from utils.runs.run import Run, find, trainings
from utils.training.average import Average
from utils.training.budget import Budget, choose_budget, first
from utils.training.step import Step, best_precision

PROTOCOLS = {
    "honest": "45,000 images to train on, 5,000 held out to watch; the test images are left alone",
    "report": "all 50,000 images to train on, the test images watched after every epoch, as the reports did",
    "final": "all 50,000 images to train on and nothing watched: for the test images once, when all choices are made",
}
WATCHED = {"honest": "val", "report": "test", "final": "nothing"}

MEASURED = 2000  # images at a time, at least, that a GPU measures: few would leave it waiting for Python
WHITENING = 5000  # images that tell how patches vary


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A system: how its images, its network and its training are made, and what was reported of it.

    reported holds the report's own figures; not_stated says in words what it leaves open and was chosen here.
    """

    name: str
    network: Plan
    augment: tuple = ()
    mean: tuple = MEAN
    std: tuple = STD
    batch_size: int = 128
    loss: str = "cross_entropy"
    loss_settings: dict = dataclasses.field(default_factory=dict)
    optimizer: str = "adam"
    lr: float = 1e-3
    optimizer_settings: dict = dataclasses.field(default_factory=dict)
    schedule: str = "constant"
    schedule_settings: dict = dataclasses.field(default_factory=dict)
    clip_norm: float | None = None
    clip_value: float | None = None
    average: float | None = None  # how much of the averaged weights stays at each batch
    num_epochs: int = 10
    views: str = "plain"  # which of robustness.VIEWS its answer to a test image is the mean of
    report: str = ""
    reported: dict = dataclasses.field(default_factory=dict)
    not_stated: tuple = ()

    def __post_init__(self):
        for field in dataclasses.fields(self):  # NumPy's numbers, such as those of a grid, fit into no record
            value = getattr(self, field.name)
            if hasattr(value, "tolist"):  # nor do arrays and tensors, such as a mean that was measured
                value = value.tolist()
                value = tuple(value) if isinstance(value, list) else value
            object.__setattr__(self, field.name, plain(value))
        if not self.num_epochs >= 1:
            what, next_step = (
                "A training has one epoch at least.",
                "Choose 1 or more; a budget shortens a trial.",
            )
            raise CourseworkError(what, where=f"{self.name}, num_epochs={self.num_epochs}", next_step=next_step)

    def change(self, **changes):
        """Return the same recipe but for these fields."""
        return dataclasses.replace(self, **changes)

    def macs(self):
        """Return the multiply-adds of one image's forward pass."""
        with torch.device("meta"):  # shapes only: no memory, no random numbers
            return flops(build(self.network))

    def describe(self):
        """Return all that the training depends on as plain data, for a record or for a comparison."""
        facts = dataclasses.asdict(self.change(augment=()))
        facts["augment"] = [repr(op) for op in self.augment]
        for name in ("views", "report", "reported", "not_stated"):
            del facts[name]
        return facts

    def train(
        self,
        data=None,
        *,
        seed=0,
        protocol="honest",
        budget=None,
        device=None,
        precision="auto",
        form="auto",
        cuda_graph="auto",
        folder="auto",
        save_every=60.0,
        resume=True,
        parent=None,
        sweep=None,
        callbacks=(),
        curves=True,
        compiled=False,
    ):
        """Train this system and return the Trained; called again, it goes on where it stopped.

        budget: smoke, taste, quick or full, or a Budget; without one COURSEWORK_BUDGET or the hardware chooses. folder:
        where its record and its checkpoints lie, one every save_every seconds ("auto": for each different training a
        folder of its own on the ledger; None: nowhere). parent: a run, or its name, whose weights it begins with and
        whose optimizer's moments, if that is of the same kind. sweep: the name of a group of runs it belongs to.
        cuda_graph: capture the step on a GPU as a CUDA graph ("auto": unless it is compiled). compiled: let
        torch.compile fuse the network first, which pays in a long run only.
        """
        data, device, seed = data or load_cifar10(), torch.device(device or try_gpu()), operator.index(seed)
        budget = budget if isinstance(budget, Budget) else choose_budget(budget, device)
        parent, macs = find(parent) if isinstance(parent, str) else parent, self.macs()
        facts = self.facts(data, budget, device, seed, protocol, precision, parent, macs, compiled)
        images, num_epochs = budget.cut(data, self.num_epochs, macs)
        train_iter, watched_iter, test_iter = self._iters(images, num_epochs, protocol, seed, device)
        folder = self.folder(facts) if folder == "auto" else folder and Path(folder)
        loss = make_loss(self.loss, **self.loss_settings)
        limits = {"clip_norm": self.clip_norm, "clip_value": self.clip_value}
        step = Step(facts["precision"], cuda_graph=not compiled if cuda_graph == "auto" else cuda_graph, **limits)
        with own_randomness(derive_seed(seed, self.name), device):
            net = build(self.network, form=form)
            self._whiten(net, train_iter.split)
            net = laid_out(net, device).to(device)
            if device.type == "cpu":
                keep_memory()
            if compiled:
                net.compile(dynamic=False)  # once for each size of image, none of them slower for the others
            optimizer = make_optimizer(self.optimizer, net, self.lr, **self.optimizer_settings)
            if parent:
                inherit(parent, net, optimizer)
            size = {"num_epochs": num_epochs, "batches": len(train_iter)}
            callbacks = [*callbacks, make_schedule(self.schedule, optimizer, **size, **self.schedule_settings)]
            average = Average(self.average) if self.average else None
            callbacks += [average] if average else []
            if folder is not None:
                about = {"sweep": sweep, "macs": macs, "test_images": len(test_iter.split)}
                about |= {"watched_images": len(watched_iter.split)} if watched_iter else {}
                record = {"parent": None, **facts, "system": self.name, "budget": budget.name, **about}
                callbacks.append(Recorder(folder, self.name, record | {"data": images.train.origin}))
                callbacks.append(Checkpoints(folder, every=save_every, about=_flat(facts), resume=resume))
            about = {"watched": WATCHED[protocol], "curves": curves, "record": folder is not None}
            arguments = (net, train_iter, watched_iter, loss, num_epochs, optimizer)
            history = train_ch3(*arguments, step=step, callbacks=callbacks, **about)
        step.release()
        return Trained(self, average.net if average else net, history, test_iter, loss, step, facts, folder)

    def facts(
        self, data, budget, device, seed=0, protocol="honest", precision="auto", parent=None, macs=None, compiled=False
    ):
        """Return all that a training of this recipe depends on, as plain data; nothing is made ready for it."""
        images, num_epochs = budget.cut(data, self.num_epochs, macs or self.macs())
        facts = {
            "recipe": self.describe(),
            "data": data.fingerprint,
            "images": len(images.train) - held_out(images, protocol),
            "budget": dataclasses.asdict(budget),
            "num_epochs": num_epochs,
            "seed": operator.index(seed),
            "protocol": protocol,
            "precision": best_precision(device) if precision == "auto" else precision,
        }
        return facts | ({"parent": parent.name} if parent else {}) | ({"compiled": True} if compiled else {})

    def folder(self, facts):
        """Return the folder on the ledger of the training with these facts: the same facts, the same folder."""
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
        return trainings() / f"{safe(self.name)}-{safe(facts['budget']['name'])}-s{facts['seed']}-{digest}"

    def _whiten(self, net, split):
        """Let layers that learn from images alone, before the training, do so."""
        layers = [layer for layer in net.modules() if isinstance(layer, Whiten)]
        if layers:
            some = first(split, min(len(split), WHITENING))
            X, _ = BatchLoader(some, len(some), mean=self.mean, std=self.std).batch(epoch=0, i=0)
            for layer in layers:
                layer.learn(X)

    def _iters(self, images, num_epochs, protocol, seed, device):
        """Return iterators of what is trained on, what is watched and what is tested on, as the protocol wants it."""
        augment = for_epochs(self.augment, num_epochs, self.num_epochs)
        options = {"augment": augment, "mean": self.mean, "std": self.std, "seed": seed, "device": device}
        options["measured_at_a_time"] = measured_at_a_time(self, device)
        train_iter, val_iter, test_iter = make_iters(images, self.batch_size, val=held_out(images, protocol), **options)
        return train_iter, {"val": val_iter, "test": test_iter}.get(WATCHED[protocol]), test_iter


@dataclasses.dataclass(frozen=True)
class Trained:
    """What Recipe.train returns: the network to use, its history, and all that the two came from."""

    recipe: Recipe
    net: torch.nn.Module
    history: object
    test_iter: object
    loss: object
    step: object
    facts: dict  # recipe, data's fingerprint, budget, seed, protocol, precision, epochs
    folder: Path | None

    @property
    def run(self):
        """The training's Run on the ledger, or None if it keeps no record."""
        return Run(self.folder) if self.folder else None

    def test(self):
        """Measure on the test images: (mean loss, fraction correct). Once, when all choices are made; it is noted."""
        loss, acc = evaluate(self.net, self.test_iter, self.loss, predict=self.step.predict)
        if self.folder:
            try:
                note_test(self.folder, acc, loss)
            except OSError as error:  # a full disk, say: the figures are not lost for that
                warnings.warn(f"This look at the test images could not be noted: {error}", RecordWarning, stacklevel=2)
        return loss, acc


def laid_out(net, device):
    """Let a network keep each pixel's channels side by side, in which order convolutions work fastest.

    On a CPU, one whose gated convolutions merge their branches into a kernel for each image stays as it is: that wants
    each channel's pixels side by side.
    """
    merges = any(isinstance(module, GatedConv) and module.merges for module in net.modules())
    if torch.device(device).type == "cuda" or not merges:
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
    return net


def held_out(images, protocol):
    """Return how many training images a protocol keeps to watch."""
    if protocol not in PROTOCOLS:
        known = "; ".join(f"{name}: {what}" for name, what in PROTOCOLS.items())
        raise CourseworkError(f"There is no protocol {protocol!r}.", next_step=known)
    return max(1, len(images.train) // 10) if protocol == "honest" else 0


def measured_at_a_time(recipe, device):
    """Return how many images are measured at a time."""
    return max(recipe.batch_size, MEASURED) if device.type == "cuda" else recipe.batch_size


@contextlib.contextmanager
def own_randomness(seed, device):
    """Seed the generators for what happens inside, and leave the caller's as they were."""
    devices, before = [device] if device.type == "cuda" else [], (random.getstate(), np.random.get_state())
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed % 2**63)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def inherit(parent, net, optimizer):
    """Begin with the weights of another run's newest checkpoint, and with its optimizer's moments if they fit."""
    state = checkpoint_of(parent)
    try:
        net.load_state_dict(state["net"])
    except RuntimeError as error:
        what = f"The network of {parent.name} is another one: {str(error).splitlines()[-1].strip()}"
        raise CourseworkError(what, where=parent.folder, next_step="Choose a parent of the same network.") from None
    if state["about"].get("optimizer") == type(optimizer).__name__:
        now, before = optimizer.state_dict(), state["optimizer"]
        kinds = [[(len(g["params"]), g.get("amsgrad")) for g in each["param_groups"]] for each in (now, before)]
        if kinds[0] != kinds[1]:
            what = f"The optimizer of {parent.name} keeps moments for other groups of weights."
            next_step = "Use its optimizer settings, or another optimizer, which begins without moments."
            raise CourseworkError(what, where=parent.folder, next_step=next_step)
        optimizer.load_state_dict({"state": before["state"], "param_groups": now["param_groups"]})  # at its own rates


def checkpoint_of(run):
    """Return the state in a run's newest sound checkpoint."""
    found = newest([run.folder])
    if found is None:
        next_step = "Train it first; a run by hand keeps one if train_ch3 is given Checkpoints."
        raise CourseworkError(f"{run.name} has no checkpoint.", where=run.folder, next_step=next_step)
    return found[1]


def load_run(run, data=None, device=None):
    """Return the Trained of a run on the ledger (or its name), as its newest checkpoint has it; nothing is trained."""
    run = find(run) if isinstance(run, str) else run
    record, device = run.record, torch.device(device or try_gpu())
    if not record.get("recipe"):
        next_step = "Runs of a Recipe can be loaded; this one was trained by hand, and only its code knows its network."
        raise CourseworkError(f"{run.name} has no recipe.", where=run.folder, next_step=next_step)
    recipe, data = recipe_from(record["recipe"]), data or load_cifar10()
    if data.fingerprint != (record.get("data") or {}).get("fingerprint"):
        what = f"{run.name} was trained on {run.data}, and these are {data.name}."
        next_step = "Set CIFAR10_ROOT to its images: its test images may be among those of others that are trained on."
        raise CourseworkError(what, where=run.folder, next_step=next_step)
    state, count = checkpoint_of(run), record.get("test_images", len(data.test))
    with own_randomness(0, device):  # the weights that it draws are replaced
        net = laid_out(build(recipe.network), device).to(device)
    net.load_state_dict(weights_of(state))
    net.eval()
    test = first(data.test, count)
    test_iter = BatchLoader(test, measured_at_a_time(recipe, device), mean=recipe.mean, std=recipe.std, device=device)
    step = Step(record["precision"], clip_norm=recipe.clip_norm, clip_value=recipe.clip_value)
    loss = make_loss(recipe.loss, **recipe.loss_settings)
    return Trained(recipe, net, run.history(), test_iter, loss, step, record, run.folder)


def recipe_from(record):
    """Return the Recipe that describe() told of.

    It lacks what describe() leaves out, its report and the views that it answers by, and the augmentation, which only a
    training needs.
    """
    known = {field.name for field in dataclasses.fields(Recipe)} - {"augment", "network"}
    values = {name: value for name, value in record.items() if name in known}
    return Recipe(network=plan_from(record["network"]), **values)


def _flat(facts, prefix=""):
    """Return nested dicts as one, so that a difference can be named: {"recipe.lr": "0.001"}."""
    flat = {}
    for name, value in facts.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": str(value)}
    return flat
