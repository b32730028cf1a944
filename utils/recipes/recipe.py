"""A Recipe: a network and all hyperparameters of its training, as data.

recipe = Recipe("mine", network=MyNet, network_settings={"width": 64}, batch_size=128, lr=0.01)
trained = recipe.train(data)          # the same call resumes a training that was interrupted
trained.history["val_acc"]
evaluate(trained)["accuracy"]         # on the test images, once, when all choices are made
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import operator
import types
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from utils.data.loader import MEAN, STD
from utils.devices import best_precision
from utils.errors import CourseworkError
from utils.files import plain
from utils.models import NETWORKS
from utils.models.count import macs
from utils.models.source import code_digest, import_path, is_library, sources_of
from utils.optim.make import parameters_of
from utils.runs.own_code import as_text, values_read
from utils.runs.run import safe, trainings
from utils.training.effort import Effort

PROTOCOLS = {
    "validation": "train on 90 % of the training images and measure the other 10 % after each epoch",
    "watch_test": "train on all training images and measure the test images after each epoch, as the reports did",
    "train_on_all": "train on all training images and measure the test images once, at the end",
}
# The images that are measured after each epoch.
WATCHED = {"validation": "val", "watch_test": "test", "train_on_all": "nothing"}
NOT_TRAINED_WITH = ("views", "report", "reported", "not_stated")  # fields that do not affect a training


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A network with all hyperparameters of its training, and the figures that a report gives for it.

    network, loss, optimizer and schedule are each a name or a callable; their settings are in the field after each.
    network is a name in `utils.models.NETWORKS`, or any class or function that returns an nn.Module. reported contains
    the report's figures; not_stated lists the details that the report does not state and that were chosen here.
    """

    name: str
    network: str | Callable[..., nn.Module]
    network_settings: dict = dataclasses.field(default_factory=dict)
    augment: tuple = ()
    mean: tuple = MEAN
    std: tuple = STD
    batch_size: int = 128
    loss: str | Callable = "cross_entropy"
    loss_settings: dict = dataclasses.field(default_factory=dict)
    optimizer: str | Callable = "adam"
    lr: float = 1e-3
    optimizer_settings: dict = dataclasses.field(default_factory=dict)
    schedule: str | Callable = "constant"
    schedule_settings: dict = dataclasses.field(default_factory=dict)
    clip_norm: float | None = None
    clip_value: float | None = None
    # The decay d of the averaged weights: after each batch, average = d * average + (1 - d) * weights.
    average: float | None = None
    num_epochs: int = 10
    # Test-time augmentation: an entry of VIEWS in evaluation/robustness.py; predictions are averaged over these views.
    views: str = "plain"
    report: str = ""
    reported: dict = dataclasses.field(default_factory=dict)
    not_stated: tuple = ()

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, python_numbers(getattr(self, field.name)))
        _check_network(self)
        if isinstance(self.network, functools.partial) and not self.network.args:
            object.__setattr__(self, "network_settings", self.network.keywords | self.network_settings)
            object.__setattr__(self, "network", self.network.func)
        if not self.num_epochs >= 1:
            raise CourseworkError(
                "A training needs at least one epoch.",
                where=f"{self.name}, num_epochs={self.num_epochs}",
                next_step='Choose 1 or more. To try a recipe quickly, use train(effort="check").',
            )

    def change(self, **changes) -> Recipe:
        """Return the same recipe with these fields changed."""
        return dataclasses.replace(self, **changes)

    def make_network(self, num_classes: int | None = None) -> nn.Module:
        """Return a new network; its weights come from torch's global random generator.

        A class or function with a parameter num_classes gets num_classes from the data, unless network_settings
        contains it.
        """
        make_net = NETWORKS[self.network] if isinstance(self.network, str) else self.network
        settings = dict(self.network_settings)
        if num_classes is not None and "num_classes" not in settings and takes(make_net, "num_classes"):
            settings["num_classes"] = num_classes
        try:
            net = make_net(**settings)
        except TypeError as error:
            raise CourseworkError(
                f"The network cannot be made with these settings: {error}",
                where=f"{self.name}, network_settings={self.network_settings}",
                next_step=f"Its settings are the arguments of {import_path(make_net)}.",
            ) from error
        if not isinstance(net, nn.Module):
            raise CourseworkError(
                f"network must return an nn.Module, but returned a {type(net).__name__}.",
                where=f"{self.name}, network={import_path(make_net)}",
                next_step="Give the class of the network, or a function that ends with `return net`.",
            )
        return net

    @functools.cached_property
    def _probe(self):
        """Build the network on the "meta" device (no real weights); return its multiply-adds and a hash of its code."""
        try:
            with torch.device("meta"):
                net = self.make_network()
                multiply_adds = macs(net)
        except CourseworkError:
            raise
        except Exception:  # a network that computes with its weights in __init__ can't be built on the "meta" device
            with torch.random.fork_rng():
                net = self.make_network()
                multiply_adds = macs(net)
        make_net = None if isinstance(self.network, str) else self.network
        return multiply_adds, code_digest(sources_of(net, make_net))

    def macs(self) -> int:
        """Return the multiply-adds of one image's forward pass."""
        return self._probe[0]

    def describe(self) -> dict:
        """Return all fields that affect a training as plain data, for a record or a comparison."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        facts = {name: as_plain_data(value) for name, value in fields.items() if name not in NOT_TRAINED_WITH}
        facts["augment"] = [augmentation_as_plain_data(op) for op in self.augment]
        code = None if isinstance(self.network, str) or is_library(self.network) else self._probe[1]
        if code is not None:
            facts["network_code"] = code  # if the class's code was changed, it counts as a different training
        for name in ("network", "loss", "optimizer", "schedule"):
            if values := values_of(fields[name]):
                facts[f"{name}_values"] = values
        return facts

    def facts(
        self,
        data,
        effort: Effort,
        device: torch.device,
        seed: int = 0,
        protocol: str = "validation",
        precision: str = "auto",
        parent=None,
    ) -> dict:
        """Return the facts of one training, as plain data: everything that its result depends on.

        These are the recipe, the checksum of the images, the number of training images, the effort, the epochs, the
        seed, the protocol, the precision and the parent. Trainings with equal facts share a folder, and a checkpoint is
        only resumed by a training with equal facts.
        """
        images, num_epochs = effort.cut(data, self.num_epochs, self.macs())
        facts = {
            "recipe": self.describe(),
            "data": data.checksum,
            "images": len(images.train) - num_held_out(images, protocol),
            "effort": dataclasses.asdict(effort),
            "num_epochs": num_epochs,
            "seed": operator.index(seed),
            "protocol": protocol,
            "precision": best_precision(device) if precision == "auto" else precision,
        }
        if parent:
            facts["parent"] = parent.name
        return facts

    def folder(self, facts: dict) -> Path:
        """Return the run folder of a training; trainings with equal facts have the same folder."""
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
        return trainings() / f"{safe(self.name)}-{safe(facts['effort']['name'])}-s{facts['seed']}-{digest}"

    def train(self, data=None, **options):
        """Train this recipe and return the Trained. The same call resumes a training that was interrupted.

        The options are those of `train_recipe`.
        """
        from utils.recipes.train import train_recipe  # imported here, since utils.recipes.train imports this module

        return train_recipe(self, data, **options)


def python_numbers(value):
    """Turn NumPy's and torch's numbers and arrays, such as a mean that was computed, into Python's numbers."""
    if hasattr(value, "tolist"):
        value = value.tolist()
        return tuple(value) if isinstance(value, list) else value
    if type(value) is dict:
        return {name: python_numbers(entry) for name, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(python_numbers(entry) for entry in value)
    return value


def _check_network(recipe):
    network = recipe.network
    where = f"{recipe.name}, network={network if isinstance(network, str) else type(network).__name__}"
    if isinstance(network, str):
        if network not in NETWORKS:
            raise CourseworkError(
                f"There is no network {network!r}.",
                where=where,
                next_step=f"Choose one of {', '.join(NETWORKS)}, or give a class: network=MyNet.",
            )
    elif isinstance(network, nn.Module):
        raise CourseworkError(
            f"network must be a class or a function that makes the network, but is a {type(network).__name__} object.",
            where=where,
            next_step=(
                f"Give network={type(network).__name__}, with its arguments in network_settings={{...}}: every training"
                " makes a new network. To train this object itself, use train_ch3."
            ),
        )
    elif not callable(network):
        raise CourseworkError(
            f"network must be a name, a class or a function, but is a {type(network).__name__}.",
            where=where,
            next_step="Give the class of your network: network=MyNet.",
        )


def takes(function: Callable, parameter: str) -> bool:
    """Return True if a function or class has a parameter of this name."""
    return parameter in {known.name for known in parameters_of(function) or ()}


def as_plain_data(value):
    """Return a setting as plain data: a class or function as its import path, a tuple as a list.

    A functools.partial becomes a text like "torch.nn.functional.cross_entropy(label_smoothing=0.5)".
    """
    if isinstance(value, dict):
        return {str(name): as_plain_data(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain_data(entry) for entry in value]
    if isinstance(value, functools.partial) and (value.args or value.keywords):
        arguments = [str(as_plain_data(entry)) for entry in value.args]
        arguments += [f"{name}={as_plain_data(entry)}" for name, entry in sorted(value.keywords.items())]
        return f"{as_plain_data(value.func)}({', '.join(arguments)})"
    return import_path(value) if callable(value) else plain(value)


def values_of(function) -> dict[str, str]:
    """Return the plain data that a function of the user's reads from outside, such as the variables of a closure."""
    function = function.func if isinstance(function, functools.partial) else function
    if not isinstance(function, types.FunctionType) or is_library(function):
        return {}
    values = values_read(function)
    if function.__name__ == "<lambda>":  # its source is a whole line, which may contain several
        values |= {"names": function.__code__.co_names, "constants": function.__code__.co_consts}
    texts = {name: as_text(value) for name, value in sorted(values.items()) if not callable(value)}
    return {name: text for name, text in texts.items() if text is not None}


def augmentation_as_plain_data(op) -> dict:
    """Return an augmentation as {class name: settings}, from which load.augmentation_of makes it again."""
    settings = dataclasses.asdict(op) if dataclasses.is_dataclass(op) else {}
    return {type(op).__name__: as_plain_data(settings)}


def num_held_out(images, protocol: str) -> int:
    """Return the number of training images that a protocol holds out for validation."""
    if protocol not in PROTOCOLS:
        known = "; ".join(f"{name}: {meaning}" for name, meaning in PROTOCOLS.items())
        next_step = f"Choose one of these protocols: {known}."
        raise CourseworkError(f"There is no protocol {protocol!r}.", next_step=next_step)
    return max(1, len(images.train) // 10) if protocol == "validation" else 0
