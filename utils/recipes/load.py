"""A finished or interrupted run, loaded again: its network with the weights of its newest checkpoint.

trained = load_run("quick-full-s0-1a2b3c4d")
trained = load_run("mine", network=MyNet)     # where the class cannot be found again by itself
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from utils.data import augment as augmentations
from utils.data.cifar10 import load_cifar10
from utils.data.loader import BatchLoader
from utils.devices import try_gpu
from utils.errors import CourseworkError
from utils.models.convolution import use_fast_convolutions
from utils.models.source import find_by_path, import_path
from utils.optim.losses import LOSSES, make_loss
from utils.recipes.recipe import Recipe
from utils.recipes.train import Trained, check_scores, checkpoint_of, isolated_randomness, laid_out, measured_at_a_time
from utils.runs.checkpoints import weights_of
from utils.runs.run import Run, find
from utils.training.effort import first
from utils.training.step import Step


def load_run(
    run: Run | str,
    data=None,
    device=None,
    *,
    network: Callable[..., nn.Module] | nn.Module | None = None,
    loss: Callable | None = None,
) -> Trained:
    """Return the Trained of a run (or of its name) as its newest checkpoint has it. Nothing is trained.

    network: the class or function that makes the network, or a network of that shape; only needed where the record's
    import path does not lead to it. loss: likewise, where the loss is not one of ours.
    """
    run = find(run) if isinstance(run, str) else run
    device = torch.device(device or try_gpu())
    if data is None and not run.record.get("data"):
        raise CourseworkError(
            f"{run.name} was trained on images of your own loader, which its record does not name.",
            where=run.folder,
            next_step="Measure the network on your own test images: evaluate(net, test_iter). Or give data=...",
        )
    data = data or load_cifar10()
    require_same_images(run, data)
    recipe = recipe_of(run, network)
    state = checkpoint_of(run)
    test_images = first(data.test, min(run.record.get("test_images") or len(data.test), len(data.test)))
    with isolated_randomness(0, device):  # the weights that are drawn here are replaced
        net = network if isinstance(network, nn.Module) else recipe.make_network(len(data.classes))
        check_scores(recipe, net, test_images, len(data.classes))
        net = laid_out(net, device).to(device)
    load_weights(run, net, weights_of(state))
    if device.type == "cpu":
        use_fast_convolutions(net)
    net.eval()
    test_iter = BatchLoader(
        test_images, measured_at_a_time(recipe, device), mean=recipe.mean, std=recipe.std, device=device
    )
    step = Step(run.record.get("precision") or "fp32", clip_norm=recipe.clip_norm, clip_value=recipe.clip_value)
    loss = loss or loss_of(run, recipe)
    return Trained(recipe, net, run.history(), test_iter, loss, step, run.record, run.folder)


def require_same_images(run: Run, data) -> None:
    """Raise unless a run was trained on these images."""
    recorded = (run.record.get("data") or {}).get("fingerprint")
    if recorded is not None and data.fingerprint != recorded:
        raise CourseworkError(
            f"{run.name} was trained on {run.data}, and these are {data.name}.",
            where=run.folder,
            next_step="Set CIFAR10_ROOT to its images: its training images may be among the test images of others.",
        )


def recipe_of(run: Run, network=None) -> Recipe:
    """Return the Recipe that a run's record tells of; of a run by hand, one with what its loader and network told."""
    record = run.record
    if (record.get("recipe") or {}).get("network") and not isinstance(record["recipe"]["network"], str):
        raise CourseworkError(
            f"{run.name} was trained by the first version of the suite, which described networks in another way.",
            where=run.folder,
            next_step="Its record can be listed, shown and compared. To use its network, train it again.",
        )
    facts = dict(record.get("recipe") or {})
    recorded = run.network or {}
    path = facts.pop("network", None) or recorded.get("path")
    settings = facts.pop("network_settings", None) or recorded.get("settings") or {}
    facts.pop("network_code", None)
    make = network
    if isinstance(network, nn.Module):
        make, settings = type(network), {}
    elif network is None:
        make = named_network(run, path)
    for name in ("mean", "std"):  # a run by hand has them from its loader
        if name not in facts and record.get(name) is not None:
            facts[name] = record[name]
    known = {field.name for field in dataclasses.fields(Recipe)} - {"name", "network", "network_settings", "augment"}
    values = {name: as_tuple(value) for name, value in facts.items() if name in known}
    values["views"] = record.get("views") or "plain"
    augment = tuple(augmentation_of(entry) for entry in facts.get("augment") or ())
    return Recipe(record.get("system") or run.name, make, settings, augment=augment, **values)


def named_network(run: Run, path: str | None):
    """Return the name or the class of a run's network, or raise an error that says how to give it."""
    from utils.models import NETWORKS

    if path in NETWORKS:
        return path
    make = find_by_path(path) if path else None
    if make is None or make.__module__.startswith("torch.nn"):  # of an nn.Sequential nobody knows the layers
        name = (path or (run.network or {}).get("class") or "MyNet").rpartition(".")[2]
        raise CourseworkError(
            f"The network of {run.name} cannot be found again: {path or 'its class was not recorded'}.",
            where=run.folder,
            next_step=f"Define or import it, then give it: load_run({run.name!r}, network={name}).",
        )
    return make


def augmentation_of(entry: dict):
    """Return the augmentation that a recipe's description tells of."""
    (name, settings), *_ = entry.items()
    kind = getattr(augmentations, name, None)
    if not dataclasses.is_dataclass(kind) or kind.__module__ != augmentations.__name__:
        raise CourseworkError(
            f"There is no augmentation {name!r}.",
            next_step="It was the author's own, or the record is damaged: train again with a recipe that names it.",
        )
    return kind(**{key: as_tuple(value) for key, value in settings.items()})


def as_tuple(value):
    """Return a list from a JSON file as the tuple that it was."""
    return tuple(as_tuple(entry) for entry in value) if isinstance(value, list) else value


def load_weights(run: Run, net: nn.Module, weights: dict) -> None:
    """Load weights into a network; say which class they do not belong to where they do not fit."""
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise CourseworkError(
            f"The weights of {run.name} do not fit {import_path(type(net))}: {str(error).splitlines()[-1].strip()}",
            where=run.folder,
            next_step="Give the network that was trained: network.json in the run's folder has its layers and source.",
        ) from None


def loss_of(run: Run, recipe: Recipe):
    """Return the loss that a run was trained with, or raise an error that says how to give it."""
    if recipe.loss in LOSSES and run.record.get("recipe"):
        return make_loss(recipe.loss, **recipe.loss_settings)
    module, _, name = recipe.loss.rpartition(".")
    if module.startswith("torch.nn"):
        return make_loss(getattr(nn, name, None) or getattr(nn.functional, name), **recipe.loss_settings)
    by_hand = str((run.record.get("settings") or {}).get("loss") or "")
    if not module and by_hand.lower().replace("_", "").startswith("crossentropy"):
        return make_loss("cross_entropy")
    raise CourseworkError(
        f"The loss of {run.name} cannot be found again: {recipe.loss if module else by_hand or 'it was not recorded'}.",
        where=run.folder,
        next_step=f"Define or import it, then give it: load_run({run.name!r}, loss=...).",
    )
