"""Load a finished or interrupted run: its network with the weights of its newest checkpoint.

trained = load_run("quick-full-s0-1a2b3c4d")
trained = load_run("mine", network=MyNet)     # if the network's class can't be found by its import path
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import warnings
from collections.abc import Callable

import torch
from torch import nn

from utils.data.augment import AUGMENTATIONS
from utils.data.cifar10 import load_cifar10
from utils.data.loader import BatchLoader
from utils.devices import as_device, try_gpu
from utils.errors import CheckpointWarning, CourseworkError
from utils.models.convolution import use_fast_convolutions
from utils.models.source import find_by_path, import_path
from utils.optim.losses import LOSSES, make_loss
from utils.recipes.recipe import Recipe
from utils.recipes.train import (
    Trained,
    check_network_output,
    checkpoint_of,
    isolated_randomness,
    laid_out,
    measured_at_a_time,
)
from utils.runs.checkpoints import weights_of
from utils.runs.run import Run, find
from utils.runs.same_training import edits
from utils.training.effort import evenly_spaced
from utils.training.history import History
from utils.training.step import Step


def load_run(
    run: Run | str,
    data=None,
    device=None,
    *,
    network: Callable[..., nn.Module] | nn.Module | None = None,
    loss: Callable | None = None,
) -> Trained:
    """Return the Trained of a run (a Run or its name), with the weights of its newest checkpoint. Nothing is trained.

    network: the class or function that makes the network, or a network of the same shape; only needed if it can't be
    found by the import path in the record. loss: only needed if it is not one of LOSSES.
    """
    run = find(run) if isinstance(run, str) else run
    device = as_device(device or try_gpu())
    if not run.record:
        next_step = "Restore the record or train again."
        raise CourseworkError(f"{run.name} can't be loaded: {run.problem}", where=run.folder, next_step=next_step)
    if data is None and not run.record.get("data"):
        raise CourseworkError(
            f"{run.name} was trained on the images of your own loader, which its record does not name.",
            where=run.folder,
            next_step="Measure the network on your own test images: evaluate(net, test_iter). Or give data=...",
        )
    data = data or load_cifar10()
    require_same_images(run, data)
    recipe = recipe_of(run, network)
    state = checkpoint_of(run)
    test_images = evenly_spaced(data.test, min(run.record.get("test_images") or len(data.test), len(data.test)))
    with isolated_randomness(0, device):  # the random weights are replaced below
        if isinstance(network, nn.Module):
            net = copy.deepcopy(network).cpu()  # the caller's own network keeps its weights
        else:
            net = made_again(run, recipe, len(data.classes))
        check_network_output(recipe, net, test_images, len(data.classes))
        net = laid_out(net, device).to(device)
    load_weights(run, net, weights_of(state))
    warn_of_edits(run, net, state)
    if device.type == "cpu" and isinstance(recipe.network, str):
        use_fast_convolutions(net)
    net.eval()
    test_iter = BatchLoader(
        test_images, measured_at_a_time(recipe, device), mean=recipe.mean, std=recipe.std, device=device
    )
    step = Step(run.record.get("precision") or "fp32", clip_norm=recipe.clip_norm, clip_value=recipe.clip_value)
    loss = loss or loss_of(run, recipe)
    return Trained(recipe, net, history_of(run, state), test_iter, loss, step, run.record, run.folder)


def history_of(run: Run, state: dict) -> History:
    """Return the history up to the checkpoint, since the run log of an unfinished training may go on after it."""
    history = History()
    history.load_state_dict(state["history"])
    history.stopped = run.state != "finished"
    if len(run.history()) > len(history):
        warnings.warn(
            f"The weights of {run.name} are those of its newest checkpoint, after {len(history)} epochs; its run log "
            f"goes on to epoch {len(run.history())}.\n"
            "  next:  train again with the same arguments to resume, if you need the later weights.",
            CheckpointWarning,
            stacklevel=3,
        )
    return history


def require_same_images(run: Run, data) -> None:
    """Raise an error if a run was trained on other images."""
    checksum = (run.record.get("data") or {}).get("checksum")
    if checksum is not None and data.checksum != checksum:
        raise CourseworkError(
            f"{run.name} was trained on {run.data}, but these images are {data.name}.",
            where=run.folder,
            next_step="Set CIFAR10_ROOT to the run's images: these test images may be its training images.",
        )


def recipe_of(run: Run, network=None) -> Recipe:
    """Return the Recipe in a run's record; for a run without a recipe, make one from its recorded settings."""
    record = run.record
    facts = dict(record.get("recipe") or {})
    summary = run.network or {}
    path = facts.pop("network", None) or summary.get("path")
    settings = facts.pop("network_settings", None) or summary.get("settings") or {}
    facts.pop("network_code", None)
    make_net = network
    if isinstance(network, nn.Module):
        make_net, settings = type(network), {}
    elif network is None:
        make_net = named_network(run, path)
    for name in ("mean", "std"):  # in a run without a recipe, they were recorded from its loader
        if name not in facts and record.get(name) is not None:
            facts[name] = record[name]
    known = {field.name for field in dataclasses.fields(Recipe)} - {"name", "network", "network_settings", "augment"}
    values = {name: as_tuple(value) for name, value in facts.items() if name in known}
    values["views"] = record.get("views") or "plain"
    augment = tuple(augmentation_of(entry) for entry in facts.get("augment") or ())
    return Recipe(record.get("system") or run.name, make_net, settings, augment=augment, **values)


def named_network(run: Run, path: str | None):
    """Return the name or the class of a run's network; raise an error if it can't be found."""
    from utils.models import NETWORKS

    if path in NETWORKS:
        return path
    make_net = find_by_path(path) if path else None
    if make_net is None or make_net.__module__.startswith("torch.nn"):  # the layers of an nn.Sequential are unknown
        name = (path or (run.network or {}).get("class") or "MyNet").rpartition(".")[2]
        raise CourseworkError(
            f"The network of {run.name} cannot be found: {path or 'its class was not recorded'}.",
            where=run.folder,
            next_step=f"Define or import its class. {how_to_give(run, f'{name}(...)')}",
        )
    return make_net


def made_again(run: Run, recipe: Recipe, num_classes: int) -> nn.Module:
    """Return a new network of a recipe; for a run by hand, whose settings are unknown, errors say how to give it."""
    try:
        return recipe.make_network(num_classes)
    except CourseworkError as error:
        if run.is_by_hand:
            error.next_step = how_to_give(run, f"{import_path(recipe.network).rpartition('.')[2]}(...)")
        raise


def how_to_give(run: Run, network: str) -> str:
    """Return an advice with the lines to type for a run whose network is needed."""
    call = f"({run.name!r}, network={network})"
    return f"Give its network as it was trained: load_run{call} or evaluate{call}."


def augmentation_of(entry: dict):
    """Return the augmentation from its description in a recipe, such as {"Crop": {"padding": 4}}."""
    (name, settings), *_ = entry.items()
    if name not in AUGMENTATIONS:
        raise CourseworkError(
            f"There is no augmentation {name!r}.",
            next_step="It was your own class, or the record is damaged: train again with a recipe that uses the class.",
        )
    return AUGMENTATIONS[name](**{key: as_tuple(value) for key, value in settings.items()})


def as_tuple(value):
    """Turn lists, which JSON has in place of tuples, back into tuples."""
    return tuple(as_tuple(entry) for entry in value) if isinstance(value, list) else value


def load_weights(run: Run, net: nn.Module, weights: dict) -> None:
    """Load weights into a network; raise an error that names its class if they do not fit.

    The weights' names may have the prefixes of torch.compile or nn.DataParallel, in the run or in the network.
    """
    own_names = dict(zip(plain_names(net.state_dict()), net.state_dict(), strict=True))
    names = [own_names.get(plain, name) for plain, name in zip(plain_names(weights), weights, strict=True)]
    try:
        net.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    except RuntimeError as error:
        raise CourseworkError(
            f"The weights of {run.name} do not fit {import_path(type(net))}: {str(error).splitlines()[-1].strip()}",
            where=run.folder,
            next_step=f"{how_to_give(run, '...')} The folder's network.json has its layers and source.",
        ) from None


def warn_of_edits(run: Run, net: nn.Module, state: dict) -> None:
    """Warn if the code of the network, or a value that it reads, was edited after the training."""
    if lines := edits(state["about"], net):
        warnings.warn(
            f"{run.name} was trained with another network than this one:\n    " + "\n    ".join(lines[:5]) + "\n"
            "  next:  give the network that was trained: network.json in the run's folder has its source. If you have "
            "only renamed something, nothing is wrong.",
            CheckpointWarning,
            stacklevel=3,
        )


def plain_names(weights: dict) -> list[str]:
    """Return the names of weights without the prefixes of torch.compile and nn.DataParallel."""
    names = [name.replace("_orig_mod.", "") for name in weights]
    while names and all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    return names


def cross_entropy_of(text: str):
    """Return the cross-entropy that a record describes, with its settings; None if it describes something else."""
    name, _, settings = text.partition(" ")
    if name.lower().replace("_", "") not in ("crossentropy", "crossentropyloss"):
        return None
    try:
        settings = ast.literal_eval(settings or "{}")
        if "weight" in settings:
            settings["weight"] = torch.tensor(settings["weight"])
        return nn.CrossEntropyLoss(**settings)
    except (SyntaxError, TypeError, ValueError):
        return None


def loss_of(run: Run, recipe: Recipe):
    """Return the loss that a run was trained with, or raise an error that says how to give it."""
    if recipe.loss in LOSSES and run.record.get("recipe"):
        return make_loss(recipe.loss, **recipe.loss_settings)
    module, _, name = recipe.loss.rpartition(".")
    if module.startswith("torch.nn"):
        return make_loss(getattr(nn, name, None) or getattr(nn.functional, name), **recipe.loss_settings)
    by_hand = str((run.record.get("settings") or {}).get("loss") or "")
    loss = None if module else cross_entropy_of(by_hand)
    if loss is not None:
        return loss
    raise CourseworkError(
        f"The loss of {run.name} cannot be found again: {recipe.loss if module else by_hand or 'it was not recorded'}.",
        where=run.folder,
        next_step=f"Define or import it, then give it: load_run({run.name!r}, loss=...).",
    )
