"""The types of the fields in a run's files. A file is checked against them when it is read.

content, problem = read_checked(run.folder / "run.json", RUN_FIELDS)  # one of the two is None
"""

from __future__ import annotations

import dataclasses
import json
import math
import stat
from collections.abc import Callable
from pathlib import Path

from utils.files import read_lines

LARGEST = 2**64  # a seed may be as large; a larger whole number is damage
DEEPEST = 40  # levels of lists and objects
SLACK = 1e-6  # a fraction computed in float32 may exceed 1 by this much


@dataclasses.dataclass(frozen=True)
class Kind:
    """A type of single values: its name in messages, and the test of a value."""

    name: str
    test: Callable


@dataclasses.dataclass(frozen=True)
class Maybe:
    """A type whose value may be null, or missing in an object."""

    type: object


def optional(kind, *names: str) -> dict:
    """Return {name: type} of fields that may be null or missing."""
    return dict.fromkeys(names, Maybe(kind))


def is_number(value) -> bool:
    """Return whether a value from JSON is a number that can be computed with."""
    if isinstance(value, float):
        return not math.isinf(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_fraction(value) -> bool:
    """Return whether a value is a number from 0 to 1, or NaN, which stands for an unknown one in metrics.jsonl."""
    return is_number(value) and not (value < -SLACK or value > 1 + SLACK)


def is_augmentation(value) -> bool:
    """Return whether a value describes an augmentation: {name: settings}."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    (settings,) = value.values()
    return isinstance(settings, dict) and None not in settings.values()


ANYTHING = Kind("anything", lambda value: True)
TEXT = Kind("a text", lambda value: isinstance(value, str))
TEXT_OR_NULL = Kind("a text or null", lambda value: value is None or isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
WHOLE = Kind("a whole number", lambda value: is_number(value) and isinstance(value, int))
NUMBER = Kind("a number", is_number)
FRACTION = Kind("a fraction from 0 to 1", is_fraction)
AUGMENTATION = Kind("an augmentation", is_augmentation)
OF_VERSION_1 = Kind("absent: version 1.0 wrote this run, so train it again", lambda value: value is None)
OBJECT = {...: ANYTHING}

# In these tables {"name": type} is an object that may have further fields, {...: type} gives the type of all other
# fields, [type] is a list of any length, and (type, type) a list of this length.
IMAGES = optional(TEXT, "name", "source", "checksum") | optional(OF_VERSION_1, "fingerprint")
RECIPE_FIELDS = {
    **optional(TEXT, "name", "loss", "optimizer", "schedule", "views", "network", "network_code"),
    **optional(NUMBER, "lr", "clip_norm", "clip_value", "average", "num_epochs"),
    **optional(OBJECT, "network_settings", "loss_settings", "optimizer_settings", "schedule_settings"),
    **optional([NUMBER], "mean", "std"),
    **optional([AUGMENTATION], "augment"),
    **optional(WHOLE, "batch_size"),
}
TEST = optional(FRACTION, "accuracy") | optional(NUMBER, "loss") | optional(TEXT, "views", "when")
RUN_FIELDS = {
    "state": TEXT,
    **optional(TEXT, "run", "system", "created", "watched", "protocol", "effort", "views"),
    **optional(TEXT, "precision", "device", "torch", "python", "parent", "sweep", "unsaved"),
    **optional(WHOLE, "seed", "images", "test_images", "watched_images", "parameters", "macs"),
    **optional(NUMBER, "num_epochs", "batches", "seconds"),
    "settings": Maybe({"augment": Maybe([TEXT]), ...: ANYTHING}),
    "data": Maybe(IMAGES),
    "recipe": Maybe(RECIPE_FIELDS),
    "git": Maybe({"commit": Maybe(TEXT), "changed": Maybe(FLAG)}),
    "attempts": Maybe([{"from": Maybe((WHOLE, WHOLE)), "how": Maybe(TEXT)}]),
    **optional([TEST], "tests"),
    **optional(OBJECT, "ended_early"),
}
DAMAGED = {"strengths": [Maybe(NUMBER)], "accuracy": [FRACTION]}
CALIBRATION = {
    **dict.fromkeys(("confidence", "accuracy"), [Maybe(FRACTION)]),
    "edges": [NUMBER],
    "count": [WHOLE],
    "ece": Maybe(NUMBER),
}
EVALUATION_FIELDS = {
    **optional(TEXT, "when", "checkpoint", "weights"),
    **optional(WHOLE, "images", "views_images"),
    **optional(NUMBER, "loss"),
    **optional(FRACTION, "accuracy"),
    **optional({...: FRACTION}, "top", "views"),
    "interval": Maybe((FRACTION, FRACTION)),
    "data": Maybe(IMAGES),
    "classes": Maybe([TEXT]),
    "confusion": Maybe([[WHOLE]]),
    "per_class": Maybe({...: [FRACTION]}),
    "mistakes": Maybe([{"label": WHOLE, "predicted": WHOLE, "confidence": FRACTION, "row": WHOLE}]),
    "gates": Maybe({...: [[Maybe(NUMBER)]]}),
    "calibration": Maybe(CALIBRATION),
    "robustness": Maybe(optional(WHOLE, "images") | optional(DAMAGED, "shift", "noise", "jpeg")),
}
GATED = {
    "k": WHOLE,
    "after": TEXT,
    "steps": WHOLE,
    "channels": [Maybe(WHOLE)],
    **dict.fromkeys(("gate", "branches", "shortcut"), TEXT_OR_NULL),
}
LAYER = {
    **dict.fromkeys(("name", "kind", "text"), TEXT),
    **dict.fromkeys(("parameters", "macs"), WHOLE),
    "shape": [WHOLE],
    "gated": Maybe(GATED),
}
NETWORK_FIELDS = {
    "class": TEXT,
    "printed": TEXT,
    "layers": [LAYER],
    **optional(TEXT, "path", "source", "problem"),
    **optional(WHOLE, "parameters", "macs"),
    "input": Maybe([WHOLE]),
    "settings": Maybe(OBJECT),
    "gates": Maybe({...: WHOLE}),
}
EPOCH_FIELDS = {"epoch": NUMBER, **optional(FRACTION, "train_acc", "val_acc", "test_acc"), ...: Maybe(NUMBER)}
FAULT_FIELDS = optional(TEXT, "when", "kind", "what") | optional(NUMBER, "epoch", "batch")


def read_checked(path: Path, fields: dict, agrees: Callable | None = None) -> tuple[dict | None, str | None]:
    """Return (content, None), or (None, the reason why a file can't be read), or (None, None) if there is no file.

    agrees(content) returns what does not fit together, or None.
    """
    try:
        if not _is_file(path):
            return None, f"{path.name} is not a file."
        content = json.loads(path.read_bytes(), parse_constant=lambda name: None)  # NaN and Infinity are not JSON
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, f"{path.name} can't be opened: {error.strerror}."
    except (ValueError, RecursionError):
        return None, f"{path.name} is damaged: it is not JSON."
    if not isinstance(content, dict):
        return None, f"{path.name} is damaged: its content must be an object."
    problem = depth_problem(content) or type_problem(content, fields) or (agrees and agrees(content))
    return (None, f"{path.name} is damaged: {problem}.") if problem else (content, None)


def read_checked_lines(path: Path, is_valid: Callable) -> tuple[list[dict], int, str | None]:
    """Return (the valid lines, the number of other lines, the reason why the file can't be read or None)."""
    try:
        if path.exists() and not _is_file(path):
            return [], 0, f"{path.name} is not a file."
        lines, bad = read_lines(path)
    except OSError as error:
        return [], 0, f"{path.name} can't be opened: {error.strerror}."
    valid = [line for line in lines if is_valid(line)]
    return valid, bad + len(lines) - len(valid), None


def _is_file(path):
    """Return whether this is a file, so that reading it ends: a pipe or a device may never end."""
    return stat.S_ISREG(path.stat().st_mode)


def depth_problem(value, depth=0) -> str | None:
    """Return what is wrong if lists and objects are nested too deeply, or if a number is too large."""
    if depth > DEEPEST:
        return "its values are nested too deeply"
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)):
            if problem := depth_problem(item, depth + 1):
                return problem
        elif isinstance(item, (int, float)) and not isinstance(item, bool) and not is_number(item):
            return "it contains a number that is too large"
    return None


def type_problem(value, kind, where="") -> str | None:
    """Return which field has the wrong type, or None; where is the field's position in the file."""
    if isinstance(kind, Maybe):
        if value is None:
            return None
        kind = kind.type
    if isinstance(kind, Kind):
        return None if kind.test(value) else f"{where} must be {kind.name}"
    if isinstance(kind, dict):
        return _object_problem(value, kind, where)
    if not isinstance(value, list):
        return f"{where} must be a list"
    if isinstance(kind, tuple) and len(value) != len(kind):
        return f"{where} must be a list of {len(kind)}"
    for i, item in enumerate(value):
        if problem := type_problem(item, kind[i] if isinstance(kind, tuple) else kind[0], f"{where}[{i}]"):
            return problem
    return None


def _object_problem(value, fields, where):
    if not isinstance(value, dict):
        return f"{where} must be an object"
    others = fields.get(..., ANYTHING)
    for name in {**value, **fields}:
        if name is ...:
            continue
        kind = fields.get(name, others)
        inside = f"{where}.{name}" if where else name
        if name not in value and not isinstance(kind, Maybe):
            return f"{inside} is missing"
        if problem := type_problem(value.get(name), kind, inside):
            return problem
    return None


def evaluation_disagreement(evaluation: dict) -> str | None:
    """Return which of the lists in an evaluation do not have the same number of classes or bins, or None."""
    confusion = evaluation.get("confusion") or []
    count = len(confusion)
    tables = {"confusion": confusion, **(evaluation.get("gates") or {} if count else {})}
    lists = dict(evaluation.get("per_class") or {})
    if evaluation.get("classes"):
        lists["classes"] = evaluation["classes"]
    for name, values in (lists | tables).items() if count else ():
        if len(values) != count:
            return f"{name} does not have as many entries as confusion has rows"
    for name, rows in tables.items():
        if len({len(row) for row in rows}) > 1 or (name == "confusion" and count and len(rows[0]) != count):
            return f"the rows of {name} differ in length"
    for mistake in evaluation.get("mistakes") or ():
        if count and not (0 <= mistake["label"] < count and 0 <= mistake["predicted"] < count):
            return "mistakes contains a class that confusion does not have"
    return _bins_disagreement(evaluation)


def _bins_disagreement(evaluation):
    bins = evaluation.get("calibration")
    if bins and len({len(bins["edges"]) - 1, *(len(bins[name]) for name in ("count", "confidence", "accuracy"))}) > 1:
        return "the lists of calibration differ in length"
    for name, tried in (evaluation.get("robustness") or {}).items():
        if isinstance(tried, dict) and len(tried.get("strengths", ())) != len(tried.get("accuracy", ())):
            return f"the lists of robustness.{name} differ in length"
    return None


def network_disagreement(network: dict) -> str | None:
    """Return what a network's record lacks although it has layers, or None."""
    missing = [name for name in ("input", "parameters", "macs") if network.get(name) is None]
    missing += ["layers.gated"] if any("gated" not in layer for layer in network["layers"]) else []
    return f"{missing[0]} is missing" if network["layers"] and missing else None


def is_metrics_line(line: dict) -> bool:
    """Return whether a line of metrics.jsonl has the Recorder's form, or is of another kind, which is ignored."""
    if "from" in line:
        return type_problem(line["from"], (NUMBER, NUMBER)) is None
    if "point" in line:
        return type_problem(line["point"], (NUMBER, Maybe(NUMBER), Maybe(NUMBER))) is None
    if "epoch" not in line:
        return True
    return type_problem(line, EPOCH_FIELDS) is None


def is_fault_line(line: dict) -> bool:
    """Return whether a line of faults.jsonl has the Recorder's form."""
    return type_problem(line, FAULT_FIELDS) is None
