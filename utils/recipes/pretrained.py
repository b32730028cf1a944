"""Networks whose trained weights come with the suite, so that a good network is at hand within a second.

net = load_pretrained("quick")       # in eval mode, ready for net(X)
pretrained_record("quick")["test"]   # how it was trained, and its accuracy
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import nn

from utils.devices import try_gpu
from utils.errors import CourseworkError
from utils.files import read_json, write_bytes, write_json
from utils.models.convolution import use_fast_convolutions
from utils.recipes.ours import find_system
from utils.recipes.train import Trained, isolated_randomness, laid_out
from utils.runs.checkpoint_files import dump, load

WEIGHTS = Path(__file__).resolve().parents[2] / "results" / "weights"


def load_pretrained(name: str = "quick", device=None, folder: Path = WEIGHTS) -> nn.Module:
    """Return the network of a recipe with its trained weights, in eval mode, on the device (default: a GPU if any)."""
    record = pretrained_record(name, folder)
    path = folder / f"{name}.pt"
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise CourseworkError(
            "The trained weights are damaged or incomplete: their checksum is not the recorded one.",
            where=path,
            next_step=f"Restore the file: git checkout -- results/weights/{path.name}; or get the suite again.",
        )
    weights = load(content, path, "Restore the file from the repository. None of its code was run.")
    device = torch.device(device or try_gpu())
    with isolated_randomness(0, torch.device("cpu")):  # the random weights are replaced below
        net = find_system(name).make_network(len(record["classes"]))
    net.load_state_dict(weights)  # halves become float32 again
    net = laid_out(net, device).to(device)
    if device.type == "cpu":
        use_fast_convolutions(net)
    return net.eval()


def pretrained_record(name: str = "quick", folder: Path = WEIGHTS) -> dict:
    """Return the record of a pretrained network: its recipe, images, seed, classes, normalisation and accuracies."""
    record = read_json(folder / f"{name}.json")
    if record is None:
        known = sorted(path.stem for path in folder.glob("*.json"))
        raise CourseworkError(
            f"There are no trained weights of {name!r}.",
            where=folder,
            next_step=f"Choose one of {', '.join(known) or 'none'}, or train it: find_system({name!r}).train().",
        )
    recipe = find_system(name)
    if record["network"] != _network_of(recipe):
        raise CourseworkError(
            f"The trained weights are of another network than that of the recipe {name!r}.",
            where=folder / f"{name}.json",
            next_step="Train the recipe again, and save its weights: python -m tools.weights RUN",
        )
    return record


def save_pretrained(trained: Trained, facts: dict, folder: Path = WEIGHTS) -> Path:
    """Write the weights of a training, kernels and matrices in half precision, and their record; return the path."""
    recipe, split = trained.recipe, trained.test_iter.split
    weights = {name: _halved(value.detach().cpu().contiguous()) for name, value in trained.net.state_dict().items()}
    content = bytes(dump(weights))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{recipe.name}.pt"
    write_bytes(path, content)
    record = {
        "network": _network_of(recipe),
        "sha256": hashlib.sha256(content).hexdigest(),
        "data": {name: value for name, value in split.origin.items() if name != "classes"},
        "classes": list(split.classes),
        "mean": list(recipe.mean),
        "std": list(recipe.std),
        **facts,
    }
    write_json(path.with_suffix(".json"), record)
    return path


def _halved(value):
    return value.half() if value.is_floating_point() and value.ndim > 1 else value


def _network_of(recipe):
    """Return the network's name and settings as JSON has them, to notice weights of another network."""
    facts = recipe.describe()
    return json.loads(json.dumps({"name": facts["network"], "settings": facts["network_settings"]}))
