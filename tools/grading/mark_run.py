"""Marks the recorded run of a submission: its record, and the accuracy of its network on the test images."""

from __future__ import annotations

from tools.grading import images, judge
from tools.grading.nursery import ChildEnded
from tools.grading.scheme import Mark
from utils.report.marking import band

CLAIM_TOLERANCE = 0.002  # an accuracy may differ by so much from one device to another
LOOKED_UP = 0.15  # an accuracy that falls by more if images are mirrored and shifted by a pixel


def mark_run(marking):
    """Read the run and measure a network of the library; return its predictions, or None."""
    if marking.run is None:
        marking.refuse(["curves", "test_accuracy"], "There is no run folder.")
        return None
    with marking.session() as session:  # a new child, in which no code of the student ever runs
        folder = session.path(marking.path_of_run())
        try:
            marking.facts = session.ask("child_run.read_run", folder=folder)
            mark_record(marking)
            if not is_measurable(marking):
                return None
            if marking.given.is_replayed:
                replay(marking, session, folder)
            if marking.facts["is_library"]:
                marking.notes.append(f"The run's network is {marking.facts['network']} of the library.")
                settings = {"folder": folder, "images": images.shown_to(session)}
                return session.ask("child_run.predict_library_network", marking.limits.seconds, **settings)
        except (ChildEnded, *judge.FAULTS) as error:
            marking.refuse(["test_accuracy"], f"The run can't be measured: {error}")
    return None


def mark_record(marking):
    """Mark the curves in the record, and note what is unusual."""
    facts = marking.facts
    if facts.get("problem"):
        marking.refuse(["curves", "test_accuracy"], f"The run can't be read: {facts['problem']}")
        marking.claims.append(f"The record of the run is damaged: {facts['problem']}")
        return
    marking.weights = facts.get("weights")
    rows, names = facts["rows"], ("train_loss", "train_acc", "val_acc")
    missing = [name for name in names if not rows or any(name not in row for row in rows)]
    is_complete = not missing and len(rows) > 1
    lacks = "" if is_complete else f"; missing: {', '.join(missing) or 'more epochs'}"
    marking.marks["curves"] = Mark(2 if is_complete else 0, f"{len(rows)} epochs in the record{lacks}")
    if facts["state"] != "finished":
        marking.notes.append(f"The run is not finished: it is {facts['state']}.")
    if facts["tests"] > 1:
        marking.notes.append(f"The test images were measured {facts['tests']} times. The first accuracy counts.")
    if facts["watched"] == "test":
        marking.notes.append("The test images were watched during the training.")


def is_measurable(marking) -> bool:
    """Return whether the run's weights can be measured on the test images here; if not, refuse the accuracy."""
    facts, data = marking.facts, marking.test_set.data
    if facts.get("problem"):
        return False
    if facts.get("no_weights"):
        reason = f"The run has no weights that can be loaded: {facts['no_weights']}"
        marking.claims.append(reason)
    elif facts["checksum"] not in (None, data.checksum):
        reason = f"The run was trained on {facts['data']}, but the test images here are those of {data.name}."
    else:
        return True
    marking.refuse(["test_accuracy"], reason)
    return False


def replay(marking, session, folder: str):
    """Train again from one saved checkpoint to the next, and compare the weights."""
    if not marking.facts["is_library"]:
        marking.notes.append("Not replayed: the network is the student's own, so its training would run their code.")
        return
    data, train = marking.test_set.data, session.path(f"{images.SHOWN}/{images.TRAIN}")
    settings = {"folder": folder, "scratch": session.home, "train": train, "checksum": data.checksum, "name": data.name}
    try:
        replayed = session.ask("child_run.replay", marking.limits.seconds, **settings)
    except ValueError as error:
        marking.notes.append(f"Not replayed: {error}")
        return
    text = f"The training was replayed from {replayed['from']} to {replayed['to']}"
    if replayed["is_exact"]:
        marking.notes.append(f"{text}: the weights are equal, bit by bit.")
    else:
        difference = f"the weights differ by {replayed['difference']:.1e} of the largest one in their tensor"
        is_close = replayed["difference"] < judge.TOLERANCE
        texts = marking.notes if is_close else marking.claims
        texts.append(f"{text} on this CPU (the run: {replayed['device']}): {difference}.")


def mark_accuracy(marking, predicted):
    """Compute the accuracy from the predictions, compare it with what the run claims, and mark it by its band."""
    if not marking.is_open("test_accuracy") or predicted is None:
        return
    labels, data = marking.test_set.labels, marking.test_set.data
    try:
        sizes = len(labels), min(len(labels), images.CHANGED)
        pairs = zip(predicted, sizes, strict=True)
        plain, changed = (judge.array(values, (count,), "The predictions") for values, count in pairs)
    except judge.FAULTS as error:
        marking.refuse(["test_accuracy"], str(error))
        return
    right = plain == labels
    marking.measured = measured = float(right.mean())
    fall = float(right[: len(changed)].mean() - (changed == labels[: len(changed)]).mean())
    if fall > LOOKED_UP:
        what = f"The accuracy falls by {100 * fall:.0f} points if images are mirrored and shifted by one pixel."
        marking.notes.append(f"{what} Are the answers stored in the submission?")
    for file, claimed in marking.facts["claims"].items():
        if abs(claimed - measured) > max(CLAIM_TOLERANCE, 1.5 / len(labels)):
            marking.claims.append(f"{file} claims an accuracy of {claimed:.2%}, but it is {measured:.2%}.")
    text = f"{measured:.2%} of {len(labels):,} test images of {data.name}"
    if not marking.test_set.has_bands:
        marking.marks["test_accuracy"] = Mark(None, f"{text}, which belong to no band")
        return
    found = band(measured)
    marking.marks["test_accuracy"] = Mark(found.marks, f"{text}: {found.name}")
