"""The facts in the report of a run, as plain data, read only from the run's folder.

    facts(run)["accuracy"]["share"]  # 0.84; facts(run)["accuracy"] is None if it was not measured

The sentences are in report.md.j2. A fact that was not recorded is None, and the template writes "unknown".
"""

from __future__ import annotations

import dataclasses
import json
import math

from utils.data.loader import MEAN, STD
from utils.data.sources import CLASSES
from utils.files import plain
from utils.recipes.recipe import WATCHED
from utils.recipes.reported import SYSTEMS
from utils.report.accuracy import accuracy_facts
from utils.report.formats import setting
from utils.report.marking import BANDS, TASKS, backbone_faults, band
from utils.runs.run import Run
from utils.runs.run_table import row, tested_accuracy

ALL_TEST_IMAGES, MOST_IMAGES = 10_000, 45_000  # CIFAR-10's test images; its training images if a tenth is held out
NETWORK_ROWS = 36  # rows of the table of layers, at most


def facts(run: Run) -> dict:
    """Return all facts about a run that the report contains."""
    record = run.record
    training = _training(run)
    data = _data(run)
    accuracy = accuracy_facts(run)
    names = ("seed", "device", "precision", "parameters", "macs")
    return plain(
        {
            "run": run.name,
            "system": record.get("system") or run.name,
            "state": run.state,
            "problem": run.problem,
            "by_hand": not record.get("recipe"),
            **{name: record.get(name) for name in names},
            "data": data,
            "loader": _loader(run),
            "network": _network(run.network),
            "optimization": _optimization(run),
            "training": training,
            "curves": {"rows": run.history().rows, "points": run.history().points},
            "hyperparameters": _hyperparameters(run, training),
            "accuracy": accuracy,
            "reported": _reported(run),
            "marking": _marking(data, accuracy),
            "tests": len(record.get("tests") or ()),
            "tested_on": (run.evaluation or {}).get("data"),
            "bad_lines": run.bad_lines,
            "unsaved": record.get("unsaved"),
            "caveats": _caveats(run, data, training),
        }
    )


def _recipe(run):
    return run.record.get("recipe") or {}


def _setting(run, name):
    """Return a setting of the run's recipe; for a run without a recipe, the setting that was recorded."""
    return _recipe(run).get(name, (run.record.get("settings") or {}).get(name))


def _data(run):
    record = run.record.get("data") or {}
    source = record.get("source")
    is_synthetic = source == "synthetic"
    classes = (run.evaluation or {}).get("classes")
    return {
        "name": "synthetic images" if is_synthetic else run.data,
        "checksum": record.get("checksum"),
        "is_recorded": bool(record),
        "is_synthetic": is_synthetic,
        "is_official": source == "official",
        "has_classes_of_cifar10": classes is None or tuple(classes) == tuple(CLASSES),
        "classes": len(classes) if classes else None,
        "images": run.record.get("images"),
        "watched": run.record.get("watched") or WATCHED.get(run.record.get("protocol")),
    }


def _loader(run):
    mean, std = _recipe(run).get("mean"), _recipe(run).get("std")
    augment = _setting(run, "augment")
    return {
        "batch_size": _setting(run, "batch_size"),
        "batches": run.record.get("batches"),
        "mean": mean,
        "std": std,
        "is_mean_of_cifar10": bool(mean and std) and (tuple(mean), tuple(std)) == (tuple(MEAN), tuple(STD)),
        "augment": None if augment is None else [_augmentation(entry) for entry in augment],
    }


def _augmentation(entry):
    """Return the name and the text of an augmentation, such as Crop and Crop(padding=4), from any form of record."""
    if isinstance(entry, str):  # in a training without a recipe
        return {"name": entry.partition("(")[0], "text": entry}
    ((name, settings),) = entry.items()
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return {"name": name, "text": f"{name}({', '.join(f'{key}={value!r}' for key, value in settings.items())})"}


def _network(summary):
    if not summary:
        return None
    gated = [layer | layer["gated"] for layer in summary["layers"] if layer["gated"]]
    descriptions = [{name: block[name] for name in ("k", "gate", "branches", "shortcut", "after")} for block in gated]
    rows = _network_rows(summary["layers"])
    # problem is the reason why the layers are unknown
    names = ("printed", "settings", "input", "parameters", "macs", "problem", "source")
    return {
        "summary": summary,
        # The function or class that makes the network. A function such as gated_backbone returns a plain Sequential.
        "name": (summary.get("path") or summary.get("class") or "unknown").rpartition(".")[2],
        **{name: summary.get(name) for name in names},
        "rows": rows[:NETWORK_ROWS],
        "rows_left_out": len(rows[NETWORK_ROWS:]),
        "gated": gated,
        "gates": summary.get("gates") or {},
        "ks": sorted({block["k"] for block in gated}),
        "are_blocks_alike": all(description == descriptions[0] for description in descriptions),
        "is_ours": (summary.get("path") or "").startswith("utils."),
        "backbone_faults": backbone_faults(summary),
    }


def _network_rows(layers):
    """List text, shape, parameters and macs of the table's rows: a layer together with the small layers after it."""
    rows = []
    for layer in layers:
        text = layer["text"]
        if layer["gated"]:
            widths = " → ".join(f"{width:,}" for width in layer["gated"]["channels"] if width)
            text = f"{layer['name']}: {widths}, k = {layer['gated']['k']}"
        becomes_vector = rows and _is_vector(layer["shape"]) and not _is_vector(rows[-1]["shape"])
        if not rows or becomes_vector or layer["kind"] in ("gated", "conv", "linear", "other"):
            rows.append({"text": text, "parameters": 0, "macs": 0})
        else:
            rows[-1]["text"] += f", {text}"
        rows[-1]["shape"] = layer["shape"]
        rows[-1]["parameters"] += layer["parameters"]
        rows[-1]["macs"] += layer["macs"]
    return rows


def _is_vector(shape):
    """Return True if a shape (C, H, W) or (C,) is one number per channel."""
    return math.prod(shape) == max(shape, default=0)


def _optimization(run):
    """Return the name and settings of loss, optimizer and schedule, and the learning rates of the run."""
    choices = {}
    for kind in ("loss", "optimizer", "schedule"):
        name = _setting(run, kind)
        name = None if name is None else setting(name)  # recorded by hand, it may be an object
        choices[kind] = {"name": name, "settings": _recipe(run).get(f"{kind}_settings") or {}}
    history = run.history()
    rates = [(point["epoch"], point["lr"]) for point in history.points or history.rows if "lr" in point]
    seen = None
    if rates:
        epoch, highest = max(rates, key=lambda rate: rate[1])
        seen = {"first": rates[0][1], "last": rates[-1][1], "highest": highest, "epoch": max(1, math.ceil(epoch))}
        seen["is_constant"] = min(rate for _, rate in rates) == highest
    names = ("lr", "clip_norm", "clip_value", "average")
    return choices | {name: _setting(run, name) for name in names} | {"seen": seen}


def _training(run):
    """Return the first, the last and the best epoch, the duration, the attempts and the faults of the training."""
    record, history, figures = run.record, run.history(), row(run)
    last = history.rows[-1] if history.rows else {}
    watched = next((name for name in ("val", "test") if f"{name}_acc" in last), None)
    best = history.best(f"{watched}_acc") if watched else {}
    attempts = record.get("attempts") or []
    faults = [{name: fault.get(name) for name in ("kind", "what", "epoch", "batch")} for fault in run.faults]
    return {
        "epochs": len(history),
        "planned": record.get("num_epochs"),
        "planned_by_recipe": _recipe(run).get("num_epochs"),
        "effort": run.effort,
        "first": history.rows[0] if history.rows else {},
        "last": last,
        "watched": watched,
        "best_epoch": best.get("epoch"),
        "best_accuracy": best.get(f"{watched}_acc"),
        "last_accuracy": last.get(f"{watched}_acc"),
        "is_last_best": best is last,
        "gap": last["train_acc"] - last[f"{watched}_acc"] if watched and "train_acc" in last else None,
        "seconds": record.get("seconds") or figures["seconds"],
        "ms_per_iteration": figures["ms_per_iteration"],
        "convergence_seconds": figures["settled_s"],
        "attempts": len(attempts),
        "resumed_from": [attempt.get("from") or [0, 0] for attempt in attempts[1:]],
        "faults": faults,
        "reason": next((fault["what"] for fault in reversed(faults) if fault["kind"] == run.state), None),
    }


def _hyperparameters(run, training):
    """Return {name: value} of all hyperparameters, and of the versions and the start of the run."""
    record, recipe = run.record, _recipe(run)
    if recipe:
        names = ("batch_size", "loss", "optimizer", "lr", "schedule", "clip_norm", "clip_value", "average")
        names = (*names, "loss_settings", "optimizer_settings", "schedule_settings")
        chosen = {name: recipe[name] for name in names if recipe.get(name) not in (None, {})}
    else:
        settings = record.get("settings") or {}
        chosen = {name: value for name, value in settings.items() if name not in ("step", "augment")}
    git = record.get("git") or {}
    commit, created = git.get("commit"), record.get("created")
    if commit and git.get("changed"):
        commit += ", with changes"
    return {
        **chosen,
        "epochs": training["planned"],
        "effort": training["effort"],
        "seed": record.get("seed"),
        "precision": record.get("precision"),
        "torch": record.get("torch"),
        "Python": record.get("python"),
        "code": commit,
        "started": created and created.replace("T", " ").replace("+00:00", " UTC"),
    }


def _reported(run):
    """Return the figures of a report beside those of this run, or None if no report describes this system."""
    system = SYSTEMS.get(run.record.get("system"))
    if system is None:
        return None
    rows, evaluation = run.history().rows, run.evaluation or {}
    last = rows[-1] if rows else {}
    ours = {
        "test_acc": tested_accuracy(run),
        "best_test_acc": max((row["test_acc"] for row in rows if "test_acc" in row), default=None),
        "train_acc": last.get("train_acc"),
        "train_loss": last.get("train_loss"),
        "test_loss": evaluation.get("loss", last.get("test_loss")),
        "epochs": len(rows),
        "seconds": run.record.get("seconds") or last.get("seconds"),
    }
    theirs = json.loads(json.dumps(system.describe()))
    recipes = [
        {**recipe, "augment": [_augmentation(entry) for entry in recipe.get("augment") or ()]}
        for recipe in (theirs, _recipe(run))
    ]
    differences = [name for name in theirs if recipes[0][name] != recipes[1].get(name)]
    return {
        "report": system.report,
        "short": system.report.partition(",")[0],
        "figures": [{"name": n, "theirs": system.reported[n], "ours": ours[n]} for n in ours if n in system.reported],
        "differences": differences,
        "not_stated": system.not_stated,
    }


def _marking(data, accuracy):
    """Return the tasks, the bands, and the band of an accuracy on CIFAR-10 or on copies of its images."""
    known = {"tasks": [dataclasses.asdict(task) for task in TASKS], "bands": [dataclasses.asdict(b) for b in BANDS]}
    known |= {"band": None, "other_bands": []}
    if accuracy is None or data["is_synthetic"] or not data["has_classes_of_cifar10"]:
        return known
    known["band"] = dataclasses.asdict(band(accuracy["share"]))
    ends = [dataclasses.asdict(band(end)) for end in accuracy["interval"] or ()]
    known["other_bands"] = [end for end in ends if end != known["band"]]
    return known


def _caveats(run, data, training):
    """List the names of the caveats: reasons why the figures of this run mean less than they seem to."""
    record, evaluation = run.record, run.evaluation or {}
    tests = len(record.get("tests") or ())
    is_measured = tested_accuracy(run) is not None
    last_epoch, planned = training["last"].get("epoch", 0), training["planned"] or 0
    is_full = training["planned_by_recipe"] == planned and (data["images"] or 0) >= MOST_IMAGES
    trained_on, tested_on = ((known.get("data") or {}).get("checksum") for known in (record, evaluation))
    checkpoint = run.checkpoint and run.checkpoint.name
    applies = {
        "ended_early": run.state == "finished" and 0 < last_epoch < planned,
        "by_hand": not record.get("recipe"),
        "effort": training["effort"] not in (None, "full") and not is_full,
        "test_images_watched": data["watched"] == "test",
        "tested_often": tests > 1,
        "tested_unfinished": (tests or evaluation) and run.state not in ("finished", "unreadable"),
        "not_tested": not is_measured,
        "few_test_images": is_measured and 0 < (evaluation.get("images") or 0) < ALL_TEST_IMAGES,
        "tested_on_other_images": trained_on and tested_on and trained_on != tested_on,
        "tested_earlier": checkpoint and (evaluation.get("checkpoint") or checkpoint) != checkpoint,
        "bad_lines": run.bad_lines,
        "unsaved": record.get("unsaved"),
    }
    return [name for name, is_true in applies.items() if is_true]
