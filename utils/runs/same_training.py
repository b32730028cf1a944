"""Describe a training, and compare it with the description in a checkpoint: is it the same training?"""

from __future__ import annotations

import functools
import re
import zlib

import torch
from torch.utils.data import TensorDataset

from utils.errors import CheckpointError
from utils.runs.own_code import CODE, VALUE, attributes, own_code

SHOWN = 5  # how many differences an error lists


def describe(training):
    """Return the settings that a training's result depends on, as a flat dict, without the number of epochs."""
    facts = {f"net.{name}": _shape(value) for name, value in training.net.state_dict().items()}
    facts |= {f"layer.{name}": _layer(module) for name, module in training.net.named_modules()}
    facts |= _optimizer(training.optimizer)
    facts["loss"] = _settings(training.loss)
    facts["step"] = _settings(training.step)
    facts["batches"] = training.batches
    facts |= _loader(training.train_iter)
    for name, callback in named(training.callbacks).items():
        if hasattr(callback, "describe"):
            facts |= {f"{name}.{setting}": str(value) for setting, value in callback.describe().items()}
    facts |= _checksum(training.train_iter)
    return facts | own_code(training.net, training.loss, training.step) | _frozen(training.net)


def network_values(net):
    """Return what of a network's description may change in a training: its attributes, and which weights are frozen."""
    return attributes(net) | _frozen(net)


def _frozen(net):
    return {f"{VALUE}net.{name}.requires_grad": str(value.requires_grad) for name, value in net.named_parameters()}


def edits(saved, net):
    """Return where a network's code and attributes differ from the description in a checkpoint, as lines of text."""
    present = own_code(net, None, None)
    lines = []
    for name in sorted(saved.keys() & present.keys()):
        is_same = saved[name] == present[name]
        if name.startswith(CODE):  # several lambdas have one name, and those of the loss are not known here
            is_same = set(present[name].split()) <= set(saved[name].split())
        if not is_same:
            lines.append(_difference(name, saved[name], present[name]))
    return lines


def named(callbacks):
    """Return {key: callback}. The key is the class's attribute `key`, else its name; equal keys get a number.

    Checkpoints save a callback's state under this key. A class with an attribute `key` can therefore be renamed.
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
    # Code that only one of them describes is not compared: the checkpoint may be from an earlier version of the suite
    # or of Python. If it was removed from the training, the code that used it has changed.
    changed = [name for name in changed if not name.startswith(("code.", VALUE)) or (name in saved and name in present)]
    if not changed:
        return
    next_step = next_step or "Use another folder, or remove this one, to start anew."
    if all(name.startswith(("optimizer.", "layer.", f"{VALUE}net.")) for name in changed):
        again = "If a training has changed this, make the network and the optimizer again, then run this call."
        next_step = f"{again} Otherwise: {next_step}"
    lines = [_difference(name, saved.get(name, "none"), present.get(name, "none")) for name in changed]
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    raise CheckpointError(
        "The checkpoint in this folder belongs to another training:\n    " + "\n    ".join(lines[:SHOWN] + more),
        where=path,
        next_step=next_step,
    )


def _shape(value):
    """Return the type and shape of an entry of a network's state as text."""
    if not isinstance(value, torch.Tensor):  # what a layer's get_extra_state returns
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def _difference(name, before, now):
    if name.startswith(CODE):
        return f"{name.removeprefix(CODE)}: its code was changed after the checkpoint"
    return f"{name.removeprefix(VALUE)}: {before} in the checkpoint, now {now}"


def _loader(train_iter):
    if hasattr(train_iter, "describe"):
        facts = train_iter.describe()
    else:  # a DataLoader, or the user's own loader
        names = ("batch_size", "seed", "augment", "drop_last", "shuffle")
        facts = {name: getattr(train_iter, name) for name in names if hasattr(train_iter, name)}
        transform = str(getattr(getattr(train_iter, "dataset", None), "transform", None))
        facts["transform"] = re.sub(r" at 0x[0-9a-f]+", "", transform)  # a function's address differs in each process
        for name in ("dataset", "sampler"):
            if hasattr(train_iter, name):
                facts[name] = type(getattr(train_iter, name)).__name__
        if hasattr(getattr(train_iter, "dataset", None), "__len__"):
            facts["examples"] = len(train_iter.dataset)
    return {f"loader.{name}": str(value) for name, value in facts.items()}


def _checksum(train_iter):
    """Return a checksum of the images and labels of a list of batches, or of a DataLoader over tensors."""
    dataset = getattr(train_iter, "dataset", None)
    if isinstance(dataset, TensorDataset):
        tensors = dataset.tensors
    elif isinstance(train_iter, (list, tuple)):
        tensors = [entry for batch in train_iter for entry in batch if isinstance(entry, torch.Tensor)]
    else:
        return {}
    checksum = 0
    for tensor in tensors:
        checksum = zlib.crc32(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy(), checksum)
    return {f"{VALUE}loader.checksum": f"{checksum:08x}"}


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
        settings = callback.describe() if hasattr(callback, "describe") else {}
        facts |= {name.lower() if key == "name" else f"{name.lower()}.{key}": value for key, value in settings.items()}
    return facts


def peak_lr(training):
    """Return the learning rate of the first parameter group: the peak of its schedule, if there is one."""
    for callback in training.callbacks:
        if getattr(callback, "peaks", None):
            return callback.peaks[0]
    group = training.optimizer.param_groups[0]
    return group.get("initial_lr", group["lr"])


def _optimizer(optimizer):
    facts = {"optimizer": type(optimizer).__name__}
    for i, group in enumerate(optimizer.param_groups):
        # A schedule changes lr (and momentum) during the training, so the values before the first batch are compared.
        values = {**group, "lr": group.get("initial_lr", group["lr"]), "tensors": len(group["params"])}
        ignored = {"params", "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum"}
        ignored |= {"momentum", "betas"} if "max_momentum" in group else set()
        ignored |= {"fused", "foreach", "capturable", "differentiable"}  # they do not change the result
        facts |= {f"optimizer.{i}.{name}": _plain(v) for name, v in values.items() if name not in ignored}
    return facts


def _layer(module):
    """Return a layer's class and settings as text."""
    text = f"{type(module).__name__}({module.extra_repr()})"
    return re.sub(r" at 0x[0-9a-f]+", "", text)  # a function's address differs in each process


def _settings(component):
    """Return a loss's or a step's class and settings as text."""
    if isinstance(component, functools.partial):
        arguments = f"{[*map(_plain, component.args)]} " if component.args else ""
        return f"{_settings(component.func)} {arguments}{component.keywords}"
    if hasattr(component, "describe"):
        return f"{getattr(component, 'key', type(component).__name__)} {component.describe()}"
    if not isinstance(component, torch.nn.Module):
        return getattr(component, "__qualname__", type(component).__name__)
    values = {}
    for name, value in vars(component).items():
        if not name.startswith("_") and name != "training":
            values[name] = _plain(value)
    values |= {name: _numbers(tensor) for name, tensor in component.state_dict().items()}  # such as weights of classes
    values |= {name: _settings(child) for name, child in component.named_children()}
    return f"{type(component).__name__} {values}"


def _numbers(tensor):
    """Return a tensor's numbers, or its shape and sum if there are more than 100."""
    return _plain(tensor) if tensor.numel() <= 100 else f"{list(tensor.shape)}, sum {float(tensor.double().sum()):.6g}"


def _plain(value):
    value = value.tolist() if isinstance(value, torch.Tensor) else value
    return value if isinstance(value, (int, float, list)) else str(value)
