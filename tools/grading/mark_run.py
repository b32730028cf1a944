"""Marks the recorded run of a submission, in a child in which no code of the student ever runs."""

from __future__ import annotations

from tools.grading import images, judge
from tools.grading.scheme import Mark
from tools.grading.session import ChildEnded


def mark_run(marking):
    """Read the run and measure a network of the library; return its predictions, or None."""
    if marking.run is None:
        marking.marks["curves"] = marking.marks["test_accuracy"] = Mark(0, "There is no run folder.")
        return None
    where = marking.path_of_run()
    with marking.session() as session:  # a child of its own, in which no code of the student ever runs
        try:
            marking.facts = session.ask("read_run", folder=session.path(where))
            judge_record(marking)
            if not is_measurable(marking):
                return None
            files = images.shown_to(session)
            if marking.is_replayed:
                replay(marking, session, where)
            if marking.facts["is_library"]:
                marking.notes.append(f"The run's network is {marking.facts['network']} of the library.")
                return session.ask(
                    "predict_library_network", marking.limits.seconds, folder=session.path(where), images=files
                )
        except (ChildEnded, *judge.FAULTS) as error:
            marking.marks["test_accuracy"] = Mark(0, f"The run can't be measured: {error}")
    return None


def judge_record(marking):
    """Mark the curves in the record, and note what is unusual."""
    facts = marking.facts
    if facts.get("problem"):
        marking.marks["curves"] = marking.marks["test_accuracy"] = Mark(0, f"The run can't be read: {facts['problem']}")
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
    """Return whether the run's weights can be measured on the test images here; if not, mark the accuracy."""
    facts, data = marking.facts, marking.test_set.data
    if facts.get("problem"):
        return False
    reason = None
    if facts.get("no_weights"):
        reason = f"The run has no weights that can be loaded: {facts['no_weights']}"
        marking.claims.append(reason)
    elif facts["checksum"] not in (None, data.checksum):
        reason = f"The run was trained on {facts['data']}, but the test images here are those of {data.name}."
    if reason:
        marking.marks["test_accuracy"] = Mark(0, reason)
    return reason is None


def replay(marking, session, where: str):
    """Train again from one saved checkpoint to the next, and compare the weights."""
    if not marking.facts["is_library"]:
        marking.notes.append("Not replayed: the network is the student's own, so its training would run their code.")
        return
    names = {
        "folder": session.path(where),
        "scratch": session.home,
        "train": session.path(f"{images.SHOWN}/{images.TRAIN}"),
    }
    data = marking.test_set.data
    try:
        replayed = session.ask("replay", marking.limits.seconds, **names, checksum=data.checksum, name=data.name)
    except ValueError as error:
        marking.notes.append(f"Not replayed: {error}")
        return
    text = f"The training was replayed from {replayed['from']} to {replayed['to']}"
    if replayed["is_exact"]:
        marking.notes.append(f"{text}: the weights are equal, bit by bit.")
    else:
        difference = f"the weights differ by {replayed['difference']:.1e} of the largest one in their tensor"
        at = f"{text} on this CPU (the run: {replayed['device']})"
        is_close = replayed["difference"] < judge.TOLERANCE
        (marking.notes if is_close else marking.claims).append(f"{at}: {difference}.")
