"""A run's files with one value of another JSON type, or without it; and files that are damaged as a whole. No tests."""

import copy
import json
import os

from report_parts import evaluation, metrics, network, record

FAULT = {"when": "2026-11-21T15:50:00+00:00", "kind": "memory", "what": "Memory ran out.", "epoch": 1, "batch": 2}
OTHER_TYPES = (None, True, 7, "text", ["text"], {"text": 1})
MISSING = object()


def whole():
    """Return {file: content} of a run in which all files are intact; those with lines are lists."""
    tests = [{"when": "2026-11-21T16:50:00+00:00", "accuracy": 0.84, "loss": 0.5, "views": "plain"}]
    ended = {"epoch": 3, "column": "val_loss", "best": 0.5, "best_epoch": 2, "patience": 1}
    more = {"tests": tests, "ended_early": ended, "parent": "earlier", "sweep": "grid", "macs": 10**6}
    about = record(run="damaged", num_epochs=3, test_images=10_000, watched_images=5_000, **more)
    return {
        "run.json": about,
        "evaluation.json": evaluation(),
        "network.json": network(),
        "metrics.jsonl": metrics(3),
        "faults.jsonl": [FAULT],
    }


def write(folder, files):
    """Write a run's files."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        lines = content if name.endswith("l") else [content]
        (folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def paths(value, path=()):
    """Yield the path of every value inside a JSON value; of a list only those of its first item."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths(item, (*path, key))


def changed(value, path, new):
    """Return a copy of a JSON value with one value inside replaced, or removed if new is MISSING."""
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if new is MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return value


def value_at(value, path):
    """Return the value at a path."""
    for key in path:
        value = value[key]
    return value


def is_other_type(old, new):
    """Return whether JSON gives two values different types; a field that may be null may have any value of its type."""
    if new is MISSING:
        return True
    if old is None:
        return False
    return json_type(old) is not json_type(new)


def json_type(value):
    """Return the type of a value in JSON, which has one for all numbers."""
    return float if type(value) is int else type(value)


def type_changes():
    """Return (file, path, new value) of every value in a run's files with every other type, and without it."""
    changes = []
    for name, content in whole().items():
        if isinstance(content, list):  # each kind of line: the beginning of an attempt, a point, an epoch; a fault
            places = [(i, *path) for i in range(min(3, len(content))) for path in paths(content[i])]
        else:
            places = [*paths(content)]
        for path in places:
            old = value_at(content, path)
            changes += [(name, path, new) for new in (MISSING, *OTHER_TYPES) if is_other_type(old, new)]
    return changes


ONLY_ON_POSIX = {"a link to itself": lambda path: path.symlink_to(path.name), "a pipe": lambda path: os.mkfifo(path)}
DAMAGES = {
    "a folder": lambda path: path.mkdir(),
    **({} if os.name == "nt" else ONLY_ON_POSIX),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "half": lambda path: path.write_bytes(b'{"state": "finished", "data"'),
    "zeros": lambda path: path.write_bytes(bytes(500)),
    "a list": lambda path: path.write_text("[1, 2]"),
    "NaN": lambda path: path.write_text("NaN"),
    "deep": lambda path: path.write_text('{"a": ' * 100_000 + "1" + "}" * 100_000),
    "fairly deep": lambda path: path.write_text('{"state": "stopped", "data": ' + '{"a": ' * 400 + "1" + "}" * 401),
    "400 digits": lambda path: path.write_text('{"state": "finished", "images": 1' + "0" * 400 + "}"),
    "400 digits in a setting": lambda path: path.write_text(
        '{"state": "finished", "settings": {"lr": 1' + "0" * 400 + "}}"
    ),
    "400 digits in an epoch": lambda path: path.write_text('{"epoch": 1, "val_acc": 1' + "0" * 400 + "}\n"),
    "infinite": lambda path: path.write_text('{"epoch": 1, "seconds": 1e999}\n'),
}
