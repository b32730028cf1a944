"""Answers about the recorded run. The parent asks these before any code of the student runs."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import torch

from utils.data.cifar10 import Cifar10, Split
from utils.data.loader import MEAN, STD
from utils.models import NETWORKS
from utils.models.convolution import use_fast_convolutions
from utils.models.count import macs, parameters
from utils.recipes.load import load_weights, recipe_of
from utils.recipes.train import checkpoint_of, laid_out
from utils.runs import Run
from utils.runs.checkpoint_files import listed, newest
from utils.runs.checkpoints import weights_of
from utils.training.effort import EFFORTS

AT_A_TIME = 250  # images in a batch
MOST_PARAMETERS, MOST_MACS = 100e6, 5e9  # of a network that is built for a record: larger ones would fill the memory
LAST_ROWS = 500


def names_of_files(folder: str) -> list[str]:
    """Return the names of the files in a folder: a question that shows that the child answers."""
    return sorted(path.name for path in Path(folder).iterdir())


def read_run(folder: str) -> dict:
    """Return what a run's record says, checked for its types only, and a hash of its weights."""
    run = Run(Path(folder))
    facts = {"name": run.name, "problem": run.problem, "state": run.recorded_state}
    if run.problem:
        return facts
    constants = run.record.get("recipe") or run.record
    facts |= {
        "network": run.network_name,
        "is_library": run.network_name in NETWORKS,
        "checksum": (run.record.get("data") or {}).get("checksum"),
        "data": run.data,
        "rows": run.rows[-LAST_ROWS:],
        "claims": claims_of(run),
        "tests": len(run.record.get("tests") or ()),
        "watched": run.watched,
        "settings": {name: str(value)[:200] for name, value in run.settings.items() if value is not None},
        "mean": constants.get("mean"),
        "std": constants.get("std"),
    }
    try:
        facts["weights"] = hash_of(weights_of(checkpoint_of(run)))
    except Exception as error:
        facts["no_weights"] = str(getattr(error, "what", error)).split(": ")[0][:300]
    return facts


def claims_of(run: Run) -> dict:
    """Return {file: the accuracy on the test images that it claims, with single predictions}."""
    tests = [test.get("accuracy") for test in run.record.get("tests") or () if test.get("views") == "plain"]
    claims = {"evaluation.json": (run.evaluation or {}).get("accuracy"), "run.json": tests[-1] if tests else None}
    return {file: accuracy for file, accuracy in claims.items() if accuracy is not None}


def hash_of(weights: dict) -> str:
    """Return a hash of a network's weights, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, value in weights.items():
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {tuple(value.shape)}".encode())
            digest.update(value.float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def predict_library_network(folder: str, images: list[str]) -> list:
    """Rebuild a network of the library by its name and settings; return its predictions for each file of images."""
    run = Run(Path(folder))
    recipe = recipe_of(run)
    with torch.device("meta"):  # shapes only: nothing is allocated
        net = recipe.make_network(10)
        if parameters(net) > MOST_PARAMETERS or macs(net) > MOST_MACS:
            raise ValueError(f"The network is too large to be measured: {parameters(net):,} parameters.")
    net = recipe.make_network(10)
    load_weights(run, net, weights_of(checkpoint_of(run)))
    use_fast_convolutions(laid_out(net, "cpu"))
    return [predictions(net, file, recipe.mean, recipe.std) for file in images]


@torch.no_grad()
def predictions(net, file: str, mean=None, std=None) -> np.ndarray:
    """Return the class with the highest score for each image in an .npy file."""
    images = np.load(file, mmap_mode="r")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean or MEAN, std or STD))  # as the loaders do
    net.eval()
    best = []
    for start in range(0, len(images), AT_A_TIME):
        X = torch.from_numpy(np.array(images[start : start + AT_A_TIME])).float() / 255
        best.append(net((X - mean) / std).argmax(1).to(torch.int64))
    return torch.cat(best).numpy()


def replay(folder: str, scratch: str, train: str, checksum: str, name: str) -> dict:
    """Train from the older of a run's two checkpoints to the newer one, and compare the weights."""
    run, copy = Run(Path(folder)), Path(scratch) / "replay"
    paths = listed(run.folder)
    if len(paths) < 2:
        raise ValueError("The run folder has fewer than two checkpoints, so nothing can be replayed.")
    shutil.copytree(run.folder, copy, ignore=shutil.ignore_patterns(paths[0].name))
    recipe, record = recipe_of(run), run.record
    arrays = np.load(train)
    images = [torch.from_numpy(arrays[key]) for key in ("train_images", "train_labels", "test_images")]
    origin = record.get("data")
    splits = Split(images[0], images[1], origin), Split(images[2], torch.zeros(len(images[2])).long(), origin)
    data = Cifar10(*splits, source=(origin or {}).get("source", ""), name=name, checksum=checksum)
    recipe.train(
        data,
        seed=record["seed"],
        protocol=record["protocol"],
        effort=EFFORTS[run.effort],
        device="cpu",
        precision=record["precision"],
        folder=copy,
        curves=False,
        save_every=1e9,
    )
    theirs, ours = newest(run.folder)[1]["net"], newest(copy)[1]["net"]
    differences = [float((theirs[key] - ours[key]).abs().max() / ours[key].abs().max().clamp(min=1e-6)) for key in ours]
    return {
        "from": paths[1].name,
        "to": paths[0].name,
        "is_exact": all(torch.equal(theirs[key], ours[key]) for key in theirs),
        "difference": max(differences),  # of a tensor, relative to its largest number
        "device": record.get("device"),
    }
