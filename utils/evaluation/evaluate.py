"""Owns the record of a trained network's test, evaluation.json: measured once, then read. Draws nothing."""

from __future__ import annotations

import hashlib
import warnings

import torch

from utils.data.cifar10 import CLASSES
from utils.errors import CourseworkError, RecordWarning
from utils.evaluation.metrics import (
    calibration,
    class_gates,
    confident_mistakes,
    confusion_matrix,
    per_class,
    probabilities,
    scores,
    top_k,
    wilson_interval,
)
from utils.evaluation.robustness import CHANGE_PASSES, VIEW_PASSES, accuracy_of_views, robustness, spread_rows
from utils.files import plain, read_json, write_json
from utils.models.count import flops
from utils.runs.recorder import note_test, now
from utils.runs.run import EVALUATION, Run
from utils.training.budget import Budget, choose_budget
from utils.training.measure import mean_loss

TOP = (1, 2, 3, 5)
# Views and robustness pass over their images again and again: on a machine with a budget of work, that is limited.
SHARE = 0.5  # of the work that a training may take, for the views and for the robustness each
LEAST_IMAGES, MOST_IMAGES = 200, 5000


def weights_hash(net):
    """Return 16 hexadecimal digits of a network's weights and statistics: the same for the same network only."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def evaluate_run(trained, budget=None):
    """Measure a Trained on its test images and return the record, which its folder keeps as evaluation.json.

    The test images are touched once, when the training is finished: one that was interrupted is refused. Asked again
    for the same weights, it returns what it measured then. The budget
    (smoke, quick, full or a Budget; else by the hardware) limits the number of test images for the views and for the
    robustness; all else is measured on every one.
    """
    split, folder = trained.test_iter.split, trained.folder
    identity = {"weights": weights_hash(trained.net), "data": split.origin, "images": len(split)}
    earlier = (read_json(folder / EVALUATION) if folder else None) or {}
    if all(name in earlier and earlier[name] == value for name, value in identity.items()):
        print(f"Measured before, on {earlier.get('when')}: the test images are left alone, this is the record of then.")
        return earlier
    _require_finished(trained)
    run = Run(folder) if folder else None
    if run and run.record.get("tests"):
        print(f"Looks that this run had at its test images before this one: {len(run.record['tests'])}.")
    budget = budget if isinstance(budget, Budget) else choose_budget(budget, split.images.device)
    record = plain(
        {
            "when": now(),
            "checkpoint": run.checkpoint.name if run and run.checkpoint else None,
            **identity,
            **_measure(trained),
            **_measure_more(trained, budget),
        }
    )
    if run:
        _keep(folder, record)
    return record


def _require_finished(trained):
    """Raise unless the training ran to its end, so that no look at the test images is spent on half of it."""
    state = trained.run.state if trained.run else "unreadable"
    if state == "unreadable":  # there is no record: the training itself knows
        state = "stopped" if trained.history.stopped else "finished"
    if state == "finished":
        return
    done = f"{len(trained.history)} of {trained.facts['num_epochs']} epochs"
    raise CourseworkError(
        f"The test images are for a finished training, and this one is {state}: {done} are done.",
        where=trained.folder,
        next_step="Train on, then evaluate: train() with the same arguments goes on from the last checkpoint.",
    )


def _keep(folder, record):
    """Write the record; what was measured is not lost where that fails."""
    try:
        note_test(folder, record["accuracy"], record["loss"])
        write_json(folder / EVALUATION, record)
    except OSError as error:
        what = (
            f"The evaluation could not be written: {error}\n  next:  make room or mend the folder, and evaluate again."
        )
        warnings.warn(what, RecordWarning, stacklevel=3)


def _measure(trained):
    """Return all that follows from one pass over all test images, as plain data."""
    gates = {}
    y_hat, y = scores(trained.net, trained.test_iter, trained.step.predict, gates=gates)
    p, said, n = probabilities(trained.net, y_hat), y_hat.argmax(1), len(CLASSES)
    correct = int((said == y).sum())
    confusion, means = confusion_matrix(said, y, n), class_gates(gates, y, n)
    return {
        "accuracy": correct / len(y),
        "interval": list(wilson_interval(correct, len(y))),
        "loss": float(mean_loss(trained.loss, y_hat, y)),
        "top": {str(k): top_k(y_hat, y, k) for k in TOP},
        "classes": list(CLASSES),
        "confusion": confusion.tolist(),
        "per_class": {name: values.tolist() for name, values in per_class(confusion).items()},
        "calibration": calibration(p, y),
        "mistakes": confident_mistakes(p, y),
        "gates": means and {name: table.tolist() for name, table in means.items()},
    }


def _measure_more(trained, budget):
    """Return what takes many passes, each part on as many test images as its share of the budget allows."""
    how = {"mean": trained.recipe.mean, "std": trained.recipe.std, "predict": trained.step.predict}
    seen, changed = (_fitting(trained, budget, passes) for passes in (VIEW_PASSES, CHANGE_PASSES))
    views = accuracy_of_views(trained.net, seen, **how)
    return {"views": views, "views_images": len(seen), "robustness": robustness(trained.net, changed, **how)}


def _fitting(trained, budget, passes):
    """Return the test images that a budget allows so many passes over, the same number of each class."""
    split = trained.test_iter.split
    count = min(len(split), budget.images or len(split))
    if budget.macs is not None:
        fitting = int(SHARE * budget.macs / (passes * flops(trained.net)))
        count = min(count, max(LEAST_IMAGES, min(fitting, MOST_IMAGES)))
    return split.subset(spread_rows(split.labels, count))
