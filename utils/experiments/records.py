"""The records of finished trainings in results/accuracy; all accuracies and times in the README come from them.

[record["accuracy"] for record in read_records().values() if record["system"] == "quick"]
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import statistics
import time
from pathlib import Path

import pandas as pd
import torch

from utils.data.loader import BatchLoader
from utils.devices import describe
from utils.errors import CourseworkError
from utils.evaluation.evaluate import measure_test_accuracy
from utils.evaluation.metrics import wilson_interval
from utils.files import plain, read_json, write_json
from utils.my_utils import accuracy
from utils.recipes import GATED, SYSTEMS, WITHOUT_GATE, WITHOUT_SOFTMAX, Recipe, Trained
from utils.recipes.train import isolated_randomness
from utils.runs.training_facts import git_state, now

ORIGINAL = "CIFAR-10"  # the name of the original images; records of other images have another name
RESULTS = Path(__file__).resolve().parents[2] / "results" / "accuracy"
CHOICE_RESULTS = RESULTS.parent / "choices"  # records of what was tried on held-out images


def without_test_images(data):
    """Return the data with black images in place of the test images, so that nothing can be learned about those."""
    black = dataclasses.replace(data.test, images=torch.zeros_like(data.test.images))
    return dataclasses.replace(data, test=black)


def record_path(recipe: Recipe, data, *, seed, protocol, device, folder=RESULTS) -> Path:
    """Return the file of a training's record; its name changes with the recipe, the images and the kind of device."""
    identity = json.dumps([recipe.describe(), recipe.views, data.checksum], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return folder / f"{recipe.name}-{protocol}-s{seed}-{device.type}-{digest}.json"


def make_record(trained: Trained, seconds: float, held_out: bool = False) -> dict:
    """Measure a finished training on its test images and return its record; seconds is the time of the training.

    held_out: the record has the accuracy on the held-out images after the last epoch, and the test images are not used.
    """
    facts, run, images = trained.facts, trained.run, trained.test_iter.split
    device = next(trained.net.parameters()).device
    if held_out:
        last = trained.history.rows[-1]
        accuracies = {"loss": last["val_loss"], "plain_accuracy": last["val_acc"], "accuracy": last["val_acc"]}
        measured = accuracies | {"views": "plain", "measured": "held-out training images"}
        prediction_seconds = 0.0
    else:
        measured, prediction_seconds = _measure(trained)
        correct = round(measured["accuracy"] * len(images))
        measured |= {"test_images": len(images), "interval": list(wilson_interval(correct, len(images)))}
    return {
        "format": 1,
        "system": trained.recipe.name,
        "protocol": facts["protocol"],
        "seed": facts["seed"],
        "data": dict(images.origin),
        "images": facts["images"],
        **measured,
        "epochs": len(trained.history),
        "seconds": {"training": seconds, "answers": prediction_seconds},
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


def _measure(trained):
    """Return the accuracies with the recipe's views and of single predictions, and the seconds of the former."""
    views, begun = trained.recipe.views, time.perf_counter()
    measured = measure_test_accuracy(trained, views)
    seconds = time.perf_counter() - begun
    single = measured
    if views != "plain":  # for comparison, not included in the seconds
        single = measure_test_accuracy(trained)
    record = {"loss": single["loss"], "plain_accuracy": single["accuracy"]}
    record |= {"views": views, "accuracy": measured["accuracy"]}
    if trained.recipe.reported.get("in_training_mode"):
        record["training_mode_accuracy"] = _training_mode_accuracy(trained)
    if "test_acc" in trained.history.rows[-1]:
        best = trained.history.best("test_acc")
        record["best_epoch"] = {"epoch": best["epoch"], "accuracy": best["test_acc"]}
    return record, seconds


def _training_mode_accuracy(trained):
    """Return the accuracy as report C measured it: in training mode, on batches as large as those of the training."""
    recipe, net = trained.recipe, copy.deepcopy(trained.net)  # batch norm would note the test images' statistics
    device = next(net.parameters()).device
    normalisation = {"mean": recipe.mean, "std": recipe.std}
    loader = BatchLoader(trained.test_iter.split, recipe.batch_size, device=device, **normalisation)
    net.train()
    with isolated_randomness(trained.facts["seed"], device), torch.no_grad():
        correct = sum(float(accuracy(trained.step.predict(net, X), y)) for X, y in loader)
    return correct / len(loader.split)


def save_record(record: dict, path: Path):
    """Write a record to its file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)


def read_records(folder: Path = RESULTS) -> dict:
    """Return {path: record} of all records in a folder; raise an error if a file is damaged."""
    records = {}
    for path in sorted(Path(folder).glob("*.json")):
        records[path] = read_json(path)
        if records[path] is None:
            next_step = f"Restore it: git checkout -- {path.name}; or delete it."
            raise CourseworkError("This record can't be read.", where=path, next_step=next_step)
    return records


def group_records(records) -> list[list]:
    """Return lists of records that differ only in their seed and in the model of the CPU, or of the GPU."""
    groups = {}
    for record in records:
        key = (record["system"], record["protocol"], record["data"]["checksum"], ran_on_cpu(record))
        groups.setdefault(key, []).append(record)
    return list(groups.values())


def ran_on_cpu(record) -> bool:
    """Tell whether a training ran on a CPU, and not on a GPU."""
    # The name of a CPU contains its cores, that of a GPU its memory; Apple's GPU has "GPU" in its name.
    return " core" in record["device"] and " GPU (" not in record["device"]


def median_seconds(records) -> float:
    """Return the median time of training and prediction; one run that was disturbed does not change it much."""
    return statistics.median(sum(record["seconds"].values()) for record in records)


def fastest_machine(records) -> list:
    """Return the records of the fastest machine, since times of different machines can't be averaged."""
    machines = {}
    for record in records:
        machines.setdefault(record["device"], []).append(record)
    return min(machines.values(), key=median_seconds)


def beside_reported(records=None) -> list[dict]:
    """Return a row for each network of a report that was trained on the original images: reported accuracy and ours.

    "mean" is the mean accuracy over the seeds, "best" that of each training's best epoch if it was recorded. The
    records of the reports' protocol are taken, or if there are none, those of another one.
    """
    records = read_records().values() if records is None else records
    recipes = sorted([*SYSTEMS.values(), WITHOUT_SOFTMAX], key=lambda recipe: recipe.report)
    rows = []
    for recipe in recipes:
        ours = _on_original_images(recipe, records)
        if ours:
            row = {"report": recipe.report.split()[1].strip(","), "system": recipe.name}
            row |= {"reported": recipe.reported["test_acc"], "seeds": len(ours)}
            row |= {"mean": statistics.fmean(record["accuracy"] for record in ours), "best": None}
            if all("best_epoch" in record for record in ours):
                row["best"] = statistics.fmean(record["best_epoch"]["accuracy"] for record in ours)
            rows.append(row | {name: ours[0][name] for name in ("protocol", "epochs")})
    return rows


def _on_original_images(recipe, records):
    """Return the records of a recipe as it is now, of one protocol: `watch_test` if there is one."""
    description = plain(recipe.describe())
    groups = {}
    for record in records:
        if record["system"] == recipe.name and record["recipe"] == description and record["data"]["name"] == ORIGINAL:
            groups.setdefault(record["protocol"], []).append(record)
    return groups.get("watch_test") or next(iter(groups.values()), [])


def gate_differences(records=None) -> pd.DataFrame:
    """Return the accuracy of each gated recipe minus that of its versions without the gate, seed by seed, in points.

    WITHOUT_GATE lists the versions, and the gated network of each. The accuracies are those of single predictions for
    original images. Each row has the network (the cheapest first), the version, and the differences in a list. Only
    trainings with the same seed, protocol and kind of device are paired.
    """
    records = read_records().values() if records is None else records
    accuracies = {}  # {system: {(protocol, kind of device, seed): accuracy}}
    for record in records:
        if record["data"]["name"] == ORIGINAL:
            conditions = record["protocol"], ran_on_cpu(record), record["seed"]
            accuracies.setdefault(record["system"], {})[conditions] = 100 * record["plain_accuracy"]
    rows = []
    for base in sorted(GATED, key=lambda recipe: recipe.macs()):
        for pair in WITHOUT_GATE[base.name]:
            gated, without = (accuracies.get(recipe.name, {}) for recipe in pair)
            row = {"network": base.name, "against": pair[1].name.removeprefix(f"{base.name}_").replace("_", " ")}
            row["differences"] = [gated[key] - without[key] for key in sorted(gated.keys() & without.keys())]
            rows.append(row)
    return pd.DataFrame([row for row in rows if len(row["differences"]) > 1])
