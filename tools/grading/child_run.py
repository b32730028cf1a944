"""Answers about the recorded run. The parent asks these before any code of the student runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from utils.data.cifar10 import Cifar10, Split
from utils.data.loader import MEAN, STD
from utils.models import NETWORKS
from utils.recipes.load import recipe_of
from utils.recipes.train import checkpoint_of
from utils.runs import Run
from utils.runs.checkpoint_files import listed, newest
from utils.runs.checkpoints import weights_of
from utils.training.effort import EFFORTS

CURVES = ("train_loss", "train_acc", "val_acc")


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
        "epochs": len(run.rows),
        "missing": [name for name in CURVES if not all(name in row for row in run.rows)],
        "claims": claims_of(run),
        "tests": len(run.record.get("tests") or ()),
        "watched": run.watched,
        "constants": [constants.get("mean") or MEAN, constants.get("std") or STD],
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
