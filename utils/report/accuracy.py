"""The facts of the report about the test images: accuracy, classes, confusions, calibration, gates, robustness."""

from __future__ import annotations

from utils.runs.run import Run
from utils.runs.run_table import tested_accuracy

GATE_COLUMNS = 12  # the most gate weights side by side that can be read
MISTAKES, CONFUSIONS = 5, 4  # how many are listed
MATRIX_CLASSES = 12  # a confusion matrix of more classes does not fit on the page
LISTED_CLASSES = 40  # how many classes the table in its place lists, those with the lowest recall
DAMAGES = ("shift", "noise", "jpeg")


def accuracy_facts(run: Run) -> dict | None:
    """Return the measurements on the test images, or None if there are none."""
    share = tested_accuracy(run)
    if share is None:
        return None
    evaluation = run.evaluation or {}
    top = evaluation.get("top") or {}
    views = evaluation.get("views") or {}
    known = {
        "share": share,
        "images": evaluation.get("images"),
        "interval": evaluation.get("interval"),
        "loss": evaluation.get("loss"),
        "top": {k: value for k, value in top.items() if k != "1"},
        "views": {name: value for name, value in views.items() if name != "plain"},
        "robustness": _robustness(evaluation.get("robustness") or {}),
        "has_confusion": bool(evaluation.get("confusion")),
    }
    return known | _classes(evaluation) if known["has_confusion"] else known


def _robustness(measured):
    """Return the accuracies under each change of the images, and the strength with the lowest accuracy."""
    worst = []
    for change in DAMAGES:
        tried = measured.get(change) or {}
        pairs = zip(tried.get("strengths", ()), tried.get("accuracy", ()), strict=False)
        pairs = [(strength, share) for strength, share in pairs if strength]
        if pairs:
            strength, share = min(pairs, key=lambda pair: pair[1])
            worst.append({"change": change, "strength": strength, "share": share})
    if not worst:
        return None
    tried = {change: measured[change] for change in DAMAGES if measured.get(change)}
    return {"images": measured.get("images"), "worst": worst, "measured": tried}


def _classes(evaluation):
    """Return the confusion matrix, the best and worst class, the most frequent confusions, mistakes and gates."""
    confusion = evaluation["confusion"]
    classes = evaluation.get("classes") or [f"class {i}" for i in range(len(confusion))]
    per_class = evaluation.get("per_class") or {}
    recalls = [(line[i] / sum(line), classes[i]) for i, line in enumerate(confusion) if sum(line)]
    confusions = [
        {"count": count, "true": classes[i], "predicted": classes[j]}
        for i, line in enumerate(confusion)
        for j, count in enumerate(line)
        if count and i != j
    ]
    mistakes = [
        {
            "true": classes[m["label"]],
            "predicted": classes[m["predicted"]],
            "confidence": m["confidence"],
            "row": m["row"],
        }
        for m in (evaluation.get("mistakes") or [])[:MISTAKES]
    ]
    calibration = evaluation.get("calibration") or {}
    return {
        "classes": classes,
        "confusion": confusion,
        "per_class": {name: per_class[name] for name in ("recall", "precision", "f1") if per_class.get(name)},
        "best_class": max(recalls, key=lambda pair: pair[0], default=None),
        "worst_class": min(recalls, key=lambda pair: pair[0], default=None),
        "confusions": sorted(confusions, key=lambda entry: -entry["count"])[:CONFUSIONS],
        "mistakes": mistakes,
        "calibration": calibration if calibration.get("count") else None,
        "gates": _gates(evaluation.get("gates") or {}, classes),
        "class_rows": _class_rows(confusion, classes) if len(classes) > MATRIX_CLASSES else None,
    }


def _class_rows(confusion, classes):
    """List each class with its recall, its precision and the wrong class that is most often predicted for it."""
    rows = []
    for i, counts in enumerate(confusion):
        predicted = sum(line[i] for line in confusion)
        count, j = max((count, j) for j, count in enumerate(counts) if j != i)
        rows.append(
            {
                "name": classes[i],
                "recall": counts[i] / sum(counts) if sum(counts) else None,
                "precision": counts[i] / predicted if predicted else None,
                "confused_with": classes[j] if count else None,
                "count": count,
            }
        )
    worst = sorted(rows, key=lambda row: row["recall"] or 0)[:LISTED_CLASSES]
    return [row for row in rows if row in worst]


def _gates(tables, classes):
    """Return the mean gate weights of the last modules that fit side by side, and their differences between classes."""
    tables = {name: rows for name, rows in tables.items() if rows and rows[0]}
    complete = [i for i in range(len(classes)) if all(None not in rows[i] for rows in tables.values())]
    if not tables or not complete:
        return None
    tables = {name: [rows[i] for i in complete] for name, rows in tables.items()}
    spreads = {}
    for name, rows in tables.items():
        spreads[name] = max(max(column) - min(column) for column in zip(*rows, strict=True))
    shown, columns = [], 0
    for name in reversed(tables):
        columns += len(tables[name][0])
        if shown and columns > GATE_COLUMNS:
            break
        shown.insert(0, name)
    return {
        "tables": {name: tables[name] for name in shown},
        "modules": len(tables),
        "classes": [classes[i] for i in complete],
        "classes_left_out": len(classes) - len(complete),
        "spread": max(spreads.values()),
        "widest": max(spreads, key=spreads.get),
    }
