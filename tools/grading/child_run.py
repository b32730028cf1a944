"""Answers about the recorded run. The parent asks these before any code of the student runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

from utils.data.cifar10 import Cifar10, Split
from utils.data.loader import MEAN, STD, BatchLoader
from utils.evaluation import scores
from utils.models import NETWORKS
from utils.models.convolution import use_fast_convolutions
from utils.recipes.load import load_weights, recipe_of
from utils.recipes.train import checkpoint_of, laid_out
from utils.runs import Run
from utils.runs.checkpoint_files import listed, newest
from utils.runs.checkpoints import weights_of
from utils.training.effort import EFFORTS

AT_A_TIME = 250  # images in a batch
LAST_ROWS = 500


def read_run(folder: str) -> dict:
    """Return what a run's record says, checked for its types only, and the name of its newest checkpoint."""
    run = Run(Path(folder))
    facts = {"problem": run.problem, "state": run.recorded_state}
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
        "mean": constants.get("mean"),
        "std": constants.get("std"),
    }
    try:
        weights_of(checkpoint_of(run))
        facts["weights"] = run.checkpoint.name  # with a hash of its content
    except Exception as error:
        facts["no_weights"] = str(getattr(error, "what", error)).split(": ")[0][:300]
    return facts


def claims_of(run: Run) -> dict:
    """Return {file: the accuracy on the test images that it claims, with single predictions}."""
    tests = [test.get("accuracy") for test in run.record.get("tests") or () if test.get("views") == "plain"]
    claims = {"evaluation.json": (run.evaluation or {}).get("accuracy"), "run.json": tests[-1] if tests else None}
    return {file: accuracy for file, accuracy in claims.items() if accuracy is not None}


def predict_library_network(folder: str, images: str) -> torch.Tensor:
    """Rebuild a network of the library by its name and settings; return its predictions for a file of images."""
    run = Run(Path(folder))
    recipe = recipe_of(run)
    net = recipe.make_network(10)
    use_fast_convolutions(laid_out(net, "cpu"))
    return predictions(run, net, images, recipe.mean, recipe.std)


def predictions(run: Run, net: nn.Module, file: str, mean=None, std=None) -> torch.Tensor:
    """Load a run's weights into a network; return the class with the highest score for each image in an .npy file."""
    load_weights(run, net, weights_of(checkpoint_of(run)))
    images = torch.from_numpy(np.load(file))
    unknown = Split(images, torch.zeros(len(images), dtype=torch.int64))
    return scores(net, BatchLoader(unknown, AT_A_TIME, mean=mean or MEAN, std=std or STD))[0].argmax(1)


def replay(folder: str, scratch: str, train: str, checksum: str, name: str) -> dict:
    """Train from the older of a run's two checkpoints to the newer one, and compare the weights."""
    run, copy = Run(Path(folder)), Path(scratch) / "replay"
    paths = listed(run.folder)
    if len(paths) < 2:
        raise ValueError("The run folder has fewer than two checkpoints, so nothing can be replayed.")
    shutil.copytree(run.folder, copy, ignore=shutil.ignore_patterns(paths[0].name))
    record, origin = run.record, run.record.get("data")
    images, labels, test_images = map(torch.from_numpy, np.load(train).values())
    splits = Split(images, labels, origin), Split(test_images, torch.zeros(len(test_images)).long(), origin)
    data = Cifar10(*splits, source=(origin or {}).get("source", ""), name=name, checksum=checksum)
    recipe_of(run).train(
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
    theirs, ours = newest([run.folder])[1]["net"], newest([copy])[1]["net"]
    differences = [float((theirs[key] - ours[key]).abs().max() / ours[key].abs().max().clamp(min=1e-6)) for key in ours]
    return {
        "from": paths[1].name,
        "to": paths[0].name,
        "is_exact": all(torch.equal(theirs[key], ours[key]) for key in theirs),
        "difference": max(differences),  # of a tensor, relative to its largest number
        "device": record.get("device"),
    }
