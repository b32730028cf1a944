"""Marks the recorded run of a submission: its record, and the accuracy of its network on the test images.

A child gets the test images without labels, in a random order; the labels stay here.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tools.grading import judge
from tools.grading.session import ChildEnded, Session
from utils.data.cifar10 import load_cifar10
from utils.evaluation.robustness import moved
from utils.models import NETWORKS
from utils.report.marking import band
from utils.runs import Run

CURVES = ("train_loss", "train_acc", "val_acc")
TEST, TRAIN = "test.npy", "train.npz"
CHANGED = 1000  # test images that are predicted a second time, mirrored and shifted by a pixel
CLAIM_TOLERANCE = 0.002  # an accuracy may differ by so much from one device to another
LOOKED_UP = 0.15  # an accuracy that falls by more if images are mirrored and shifted by a pixel


class TestSet:
    """The test images that children see in `folder`, their labels, and what the images are."""

    def __init__(self, folder: Path, is_replayed: bool = False):
        """Write what children may see into a folder; for replays, these are the training images, too."""
        folder.mkdir(exist_ok=True)
        self.folder, self.is_replayed, self.data = folder, is_replayed, load_cifar10()
        train, test = self.data.train, self.data.test
        order = np.random.default_rng().permutation(len(test))  # so that labels in CIFAR-10's order do not help
        images, self.labels = test.images[order], test.labels.numpy()[order]
        np.save(folder / TEST, np.concatenate([images, moved(images[:CHANGED].flip(-1), 1, 1)]))
        if is_replayed:
            np.savez(folder / TRAIN, images=train.images, labels=train.labels, test_images=images)


def mark_run(marking):
    """Mark the curves of the run, note what is unusual, and refuse an accuracy that can't be measured here."""
    run, data = marking.run, marking.test_set.data
    if run is None or run.problem:
        reason = f"The record of the run is damaged: {run.problem}" if run else "There is no run folder."
        marking.refuse(["curves", "test_accuracy"], reason)
        marking.claims += [reason] if run else []
        return
    missing = [name for name in CURVES if not all(name in row for row in run.rows)]
    is_complete = len(run.rows) > 1 and not missing
    lacks = "" if is_complete else f"; missing: {', '.join(missing) or 'more epochs'}"
    marking.give("curves", 2 if is_complete else 0, f"{len(run.rows)} epochs in the record{lacks}")
    if run.network_name in NETWORKS:
        marking.notes.append(f"The run's network is {run.network_name} of the library.")
    if run.recorded_state != "finished":
        marking.notes.append(f"The run is not finished: it is {run.recorded_state}.")
    tests = len(run.record.get("tests") or ())
    if tests > 1:
        marking.notes.append(f"The test images were measured {tests} times. The first accuracy counts.")
    if run.watched == "test":
        marking.notes.append("The test images were watched during the training.")
    if run.checkpoint is None:
        marking.refuse(["test_accuracy"], "The run has no weights.")
    elif (run.record.get("data") or {}).get("checksum") not in (None, data.checksum):
        reason = f"The run was trained on {run.data}, but the test images here are those of {data.name}."
        marking.refuse(["test_accuracy"], reason)
    elif marking.test_set.is_replayed:
        replay(marking)


def replay(marking):
    """Train again from one saved checkpoint to the next, and compare the weights."""
    if marking.run.network_name not in NETWORKS:
        marking.notes.append("Not replayed: the network is the student's own, so its training would run their code.")
        return
    # A new child, in which no code of the student ever runs:
    images = marking.test_set.folder
    with Session(marking.nursery, marking.folder, images) as session:
        paths = {"folder": session.path(marking.run.folder), "train": session.path(images / TRAIN)}
        try:
            replayed = session.ask("replay", session.limits.seconds, **paths)
        except (ChildEnded, ValueError) as error:
            marking.notes.append(f"Not replayed: {error}")
            return
    text = f"The training was replayed from {replayed['from']} to {replayed['to']}"
    if replayed["difference"] == 0:
        marking.notes.append(f"{text}: the weights are equal, bit by bit.")
    else:
        difference = f"the weights differ by {replayed['difference']:.1e} of the largest one in their tensor"
        is_close = replayed["difference"] < judge.TOLERANCE
        texts = marking.notes if is_close else marking.claims
        texts.append(f"{text} on this CPU (the run: {replayed['device']}): {difference}.")


def claims_of(run: Run) -> dict:
    """Return {file: the accuracy on the test images that it claims, with single predictions}."""
    tests = [test.get("accuracy") for test in run.record.get("tests") or () if test.get("views") == "plain"]
    claims = {"evaluation.json": (run.evaluation or {}).get("accuracy"), "run.json": tests[-1] if tests else None}
    return {file: accuracy for file, accuracy in claims.items() if accuracy is not None}


def mark_accuracy(marking, predicted):
    """Compute the accuracy from the predictions, compare it with what the run claims, and mark it by its band."""
    labels, data = marking.test_set.labels, marking.test_set.data
    again = labels[:CHANGED]
    predicted = judge.numbers(predicted, (len(labels) + len(again),), "The tensor of predictions").numpy()
    right = predicted[: len(labels)] == labels
    marking.measured = measured = float(right.mean())
    fall = float(right[: len(again)].mean() - (predicted[len(labels) :] == again).mean())
    if fall > LOOKED_UP:
        what = f"The accuracy falls by {100 * fall:.0f} points if images are mirrored and shifted by one pixel."
        marking.notes.append(f"{what} Are the answers stored in the submission?")
    tolerance = max(CLAIM_TOLERANCE, 1.5 / len(labels))
    tested = marking.run.record.get("test_images") or len(labels)
    if tested < len(labels):  # a training with the effort "demo" is measured on a part of the test images
        tolerance += 2 * math.sqrt(measured * (1 - measured) / tested)
    for file, claimed in claims_of(marking.run).items():
        if abs(claimed - measured) > tolerance:
            marking.claims.append(f"{file} claims an accuracy of {claimed:.2%}, but it is {measured:.2%}.")
    text = f"{measured:.2%} of {len(labels):,} test images of {data.name}"
    if data.source == "synthetic":
        marking.give("test_accuracy", None, f"{text}, which belong to no band")
    else:
        marking.give("test_accuracy", band(measured).marks, f"{text}: {band(measured).name}")
