"""Whether a training is the one that a checkpoint was written by: its description, and the comparison of two."""

from __future__ import annotations

import functools
import re

import torch

from utils.errors import CheckpointError

SHOWN = 5  # differences that an error lists


def describe(training):
    """Return what a training's result depends on, as a flat dict; how long it runs is left out."""
    facts = {
        f"net.{name}": f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
        for name, tensor in training.net.state_dict().items()
    }
    facts |= {f"layer.{name}": _layer(module) for name, module in training.net.named_modules()}
    facts |= _optimizer(training.optimizer)
    facts["loss"] = _settings(training.loss)
    facts["step"] = _settings(training.step)
    facts["batches"] = training.batches
    facts |= _loader(training.train_iter)
    for name, callback in named(training.callbacks).items():
        if hasattr(callback, "describe"):
            facts |= {f"{name}.{setting}": str(value) for setting, value in callback.describe().items()}
    return facts


def named(callbacks):
    """Return {key: callback}: the key that its class declares, else the class's name; numbered where several share it.

    Checkpoints save a callback's state under this key, so that a class that declares one can be renamed.
    """
    keys = [getattr(callback, "key", type(callback).__name__) for callback in callbacks]
    names = {}
    for i, (key, callback) in enumerate(zip(keys, callbacks, strict=True)):
        number = keys[:i].count(key) + 1 if keys.count(key) > 1 else ""
        names[f"{key}{number}"] = callback
    return names


def compare(saved, present, path, next_step=None):
    """Raise an error that lists the differences, if there are any."""
    names = sorted(saved.keys() | present.keys())
    changed = [name for name in names if saved.get(name) != present.get(name)]
    if not changed:
        return
    lines = [
        f"{name}: {saved.get(name, 'none')} in the checkpoint, now {present.get(name, 'none')}" for name in changed
    ]
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    raise CheckpointError(
        "The checkpoint in this folder is of another training:\n    " + "\n    ".join(lines[:SHOWN] + more),
        where=path,
        next_step=next_step or "Use another folder for it, or start anew there: Checkpoints(..., resume=False).",
    )


def _loader(train_iter):
    if hasattr(train_iter, "describe"):
        facts = train_iter.describe()
    else:  # somebody's own, or a plain DataLoader
        names = ("batch_size", "seed", "augment", "drop_last", "shuffle")
        facts = {name: getattr(train_iter, name) for name in names if hasattr(train_iter, name)}
        transform = str(getattr(getattr(train_iter, "dataset", None), "transform", None))
        facts["transform"] = re.sub(r" at 0x[0-9a-f]+", "", transform)  # where a function lies in memory says nothing
        for name in ("dataset", "sampler"):
            if hasattr(train_iter, name):
                facts[name] = type(getattr(train_iter, name)).__name__
        if hasattr(getattr(train_iter, "dataset", None), "__len__"):
            facts["examples"] = len(train_iter.dataset)
    return {f"loader.{name}": str(value) for name, value in facts.items()}


def settings_of(training):
    """Return a training's hyperparameters as a short flat dict, for a table."""
    group = training.optimizer.param_groups[0]
    facts = {"optimizer": type(training.optimizer).__name__, "lr": peak_lr(training)}
    names = ("momentum", "betas", "weight_decay", "nesterov")
    facts |= {name: group[name] for name in names if group.get(name)}
    loader = training.train_iter.describe() if hasattr(training.train_iter, "describe") else {}
    facts["batch_size"] = loader.get("batch_size", getattr(training.train_iter, "batch_size", None))
    facts["augment"] = [repr(op) for op in loader.get("augment", ())]
    facts["loss"] = _settings(training.loss)
    facts["step"] = _settings(training.step)
    for name, callback in named(training.callbacks).items():
        described = callback.describe() if hasattr(callback, "describe") else {}
        facts |= {name.lower() if key == "name" else f"{name.lower()}.{key}": value for key, value in described.items()}
    return facts


def peak_lr(training):
    """Return the learning rate that the training was set to, that of the first group: its schedule's peak, if any."""
    for callback in training.callbacks:
        if getattr(callback, "peaks", None):
            return callback.peaks[0]
    group = training.optimizer.param_groups[0]
    return group.get("initial_lr", group["lr"])


def _optimizer(optimizer):
    facts = {"optimizer": type(optimizer).__name__}
    for i, group in enumerate(optimizer.param_groups):
        # A schedule moves lr (and momentum) during the training; the values it started with are the same each time.
        values = {**group, "lr": group.get("initial_lr", group["lr"]), "tensors": len(group["params"])}
        moving = {"params", "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum"}
        moving |= {"momentum", "betas"} if "max_momentum" in group else set()
        moving |= {"fused", "foreach", "capturable", "differentiable"}  # several ways to compute the same result
        facts |= {f"optimizer.{i}.{name}": _plain(v) for name, v in values.items() if name not in moving}
    return facts


def _layer(module):
    """Name a layer with its settings, without the form of a gated convolution: all forms compute the same."""
    described = f"{type(module).__name__}({module.extra_repr()})"
    return re.sub(r",? ?form='\w+'| at 0x[0-9a-f]+", "", described)  # nor where a function lies in memory


def _settings(thing):
    """Name a loss or a step, with its settings."""
    if isinstance(thing, functools.partial):
        return f"{_settings(thing.func)} {thing.keywords}"
    if hasattr(thing, "describe"):
        return f"{type(thing).__name__} {thing.describe()}"
    if not isinstance(thing, torch.nn.Module):
        return getattr(thing, "__qualname__", type(thing).__name__)
    values = {name: _plain(v) for name, v in vars(thing).items() if not name.startswith("_") and name != "training"}
    values |= {name: _numbers(tensor) for name, tensor in thing.state_dict().items()}  # weights of classes, say
    values |= {name: _settings(part) for name, part in thing.named_children()}
    return f"{type(thing).__name__} {values}"


def _numbers(tensor):
    """Return a tensor's numbers, or their shape and sum if they are many."""
    return _plain(tensor) if tensor.numel() <= 100 else f"{list(tensor.shape)}, sum {float(tensor.double().sum()):.6g}"


def _plain(value):
    value = value.tolist() if isinstance(value, torch.Tensor) else value
    return value if isinstance(value, (int, float, list)) else str(value)
