"""Owns results/: a small record of each finished training, kept with the suite, and their table. Trains nothing."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from pathlib import Path

import pandas as pd

from utils.devices import describe
from utils.errors import CourseworkError
from utils.evaluation.metrics import wilson_interval
from utils.evaluation.robustness import accuracy_of_views
from utils.files import read_json, write_json
from utils.my_utils import evaluate
from utils.runs.recorder import git_state, note_test, now

RESULTS = Path(__file__).resolve().parents[2] / "results" / "accuracy"


def path_of(recipe, data, *, seed, protocol, device, folder=RESULTS):
    """Return the file of a training's record; another recipe, other images or another kind of device have another."""
    about = json.dumps([recipe.describe(), recipe.views, data.fingerprint], sort_keys=True)
    digest = hashlib.sha256(about.encode()).hexdigest()[:8]
    return folder / f"{recipe.name}-{protocol}-s{seed}-{device.type}-{digest}.json"


def record_of(trained, seconds):
    """Measure a finished Trained on its test images and return the record; seconds is what the training took."""
    if trained.history.stopped:
        next_step = "Let it go on to its end: the same call resumes it."
        raise CourseworkError(f"{trained.recipe.name} is not finished.", where=trained.folder, next_step=next_step)
    facts, run, images = trained.facts, trained.run, trained.test_iter.split
    device, (figures, answered) = next(trained.net.parameters()).device, _figures(trained)
    correct = round(figures["accuracy"] * len(images))
    return {
        "format": 1,
        "system": trained.recipe.name,
        "protocol": facts["protocol"],
        "seed": facts["seed"],
        "data": dict(images.origin),
        "images": facts["images"],
        "test_images": len(images),
        **figures,
        "interval": list(wilson_interval(correct, len(images))),
        "epochs": len(trained.history),
        "seconds": {"training": seconds, "answers": answered},
        "attempts": len(run.record.get("attempts", ())) if run else 1,
        "device": describe(device),
        "precision": facts["precision"],
        "parameters": sum(parameter.numel() for parameter in trained.net.parameters()),
        "macs": trained.recipe.macs(),
        "git": git_state(),
        "finished": now(),
        "recipe": trained.recipe.describe(),
        "history": {name: trained.history[name] for name in trained.history.rows[0]},
    }


def _figures(trained):
    """Return the accuracies of single predictions and of the recipe's views, and the seconds that the latter took."""
    views, begun = trained.recipe.views, time.perf_counter()
    if views == "plain":
        single = _single_predictions(trained)
        accuracy = single["plain_accuracy"]
        seconds = time.perf_counter() - begun
    else:
        options = {"mean": trained.recipe.mean, "std": trained.recipe.std, "predict": trained.step.predict}
        accuracy = accuracy_of_views(trained.net, trained.test_iter.split, (views,), **options)[views]
        seconds = time.perf_counter() - begun
        single = _single_predictions(trained)  # to compare with, after the clock
    if trained.folder:
        note_test(trained.folder, single["plain_accuracy"], single["loss"])
        if views != "plain":
            note_test(trained.folder, accuracy, None, views)
    return single | {"views": views, "accuracy": accuracy}, seconds


def _single_predictions(trained):
    """Return the test loss and accuracy of one prediction per image; if the test set was watched, the last epoch's."""
    last = trained.history.rows[-1]
    if "test_acc" not in last:
        loss, acc = evaluate(trained.net, trained.test_iter, trained.loss, predict=trained.step.predict)
        return {"loss": loss, "plain_accuracy": acc}
    best = trained.history.best("test_acc")
    watched = {"best_epoch": {"epoch": best["epoch"], "accuracy": best["test_acc"]}}
    return {"loss": last["test_loss"], "plain_accuracy": last["test_acc"], **watched}


def keep(record, path):
    """Write a record into results/."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)


def read_results(folder=RESULTS):
    """Return {path: record} of all trainings that are kept; a file that cannot be read is an error, not a gap."""
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        found[path] = read_json(path)
        if found[path] is None:
            raise CourseworkError("This is no record.", where=path, next_step="Take it from git again, or remove it.")
    return found


def groups(records):
    """Return the records in lists of those that differ in their seed only, or in which CPU, or GPU, they ran on."""
    together = {}
    for record in records:
        # Of a CPU the cores are named, of a GPU its memory; Apple's GPU is named beside its processor.
        kind = "CPU" if " core" in record["device"] and " GPU (" not in record["device"] else "GPU"
        about = (record["system"], record["protocol"], record["data"]["fingerprint"], kind)
        together.setdefault(about, []).append(record)
    return list(together.values())


def seconds(group):
    """Return a group's median time, training and answers: a run that was disturbed does not count for more."""
    return statistics.median(sum(record["seconds"].values()) for record in group)


def fastest(group):
    """Return those of a group's records whose machine took the least time: those of two machines do not go together."""
    machines = dict.fromkeys(record["device"] for record in group)
    return min(([record for record in group if record["device"] == machine] for machine in machines), key=seconds)


def table(folder=RESULTS):
    """Return all that results/ keeps as a table, best first; accuracies in percent, means over the seeds.

    The seconds are a median, of the fastest machine if the seeds ran on several.
    """
    rows = []
    for group in groups(read_results(folder).values()):
        one, accuracies = group[0], [100 * record["accuracy"] for record in group]
        row = {"system": one["system"], "test accuracy": statistics.fmean(accuracies)}
        row |= {"spread": statistics.stdev(accuracies) if len(group) > 1 else float("nan"), "seeds": len(group)}
        row |= {"images": one["data"]["name"], "protocol": one["protocol"], "epochs": one["epochs"]}
        rows.append(row | {"seconds": seconds(fastest(group)), "on": fastest(group)[0]["device"]})
    columns = ("system", "test accuracy", "spread", "seeds", "images", "protocol", "epochs", "seconds", "on")
    return pd.DataFrame(rows, columns=columns).sort_values("test accuracy", ascending=False).set_index("system")
