"""Compute all metrics of a trained network, and write them to evaluation.json in the folder of its run.

record = evaluate(net, data_iter)  # any network, any iterable of batches (X, y)
record = evaluate(trained)  # a finished training, on its test images, once
record["accuracy"], record["interval"], record["confusion"]
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import nn

from utils.errors import CourseworkError, RecordWarning
from utils.evaluation.cifar10_c import first_of_each_class
from utils.evaluation.metrics import (
    are_probabilities,
    calibration,
    class_gates,
    class_names,
    confident_mistakes,
    confusion_matrix,
    per_class,
    probabilities,
    scores,
    top_k,
    wilson_interval,
)
from utils.evaluation.robustness import (
    CHANGE_PASSES,
    VIEW_PASSES,
    accuracy_of_views,
    normalisation,
    robustness,
)
from utils.files import plain, write_json
from utils.models.count import macs
from utils.runs.recorder import note_test
from utils.runs.run import EVALUATION, Run
from utils.runs.training_facts import now
from utils.training.effort import Effort, choose_effort
from utils.training.measure import mean_loss, place

TOP = (1, 2, 3, 5)
# TTA and robustness predict their images many times, so an effort also limits their number of images.
SHARE = 0.5  # TTA and robustness may each take this fraction of the multiply-adds that a training may take
LEAST_IMAGES, MOST_IMAGES = 200, 5000


def evaluate(
    net_or_run,
    data=None,
    loss: Callable | None = None,
    *,
    classes: Iterable | None = None,
    network: Callable | None = None,
    effort=None,
) -> dict:
    """Measure a network on batches (X, y), or a finished training on its test images; return the record.

    A network is any nn.Module that returns scores (B, classes); data is any iterable of batches, and nothing is
    written. The record contains accuracy, its 95 % interval, loss, top-k, confusion, per-class metrics, calibration,
    the most confident mistakes ("row" counts the images of data) and the mean output of each submodule called `gate`.
    loss: by default cross-entropy. classes: names that replace those of the data.

    A training is a Trained, a Run or the name of a run: see evaluate_run. Its own loss and test images are used. For a
    Run, data may be the images that it was trained on, as load_cifar10 returns them; network is the class of its
    network, needed only if it can't be found by the import path in the record.
    """
    if isinstance(net_or_run, nn.Module):
        if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
            raise CourseworkError(
                f"data must be an iterable of batches (X, y), but is a {type(data).__name__}.",
                next_step="Give a loader, such as BatchLoader(data.test, 500) or a DataLoader.",
            )
        return plain(_measure(net_or_run, data, loss, None, classes))
    if isinstance(net_or_run, (str, Run)):
        from utils.recipes import load_run

        net_or_run = load_run(net_or_run, data, network=network)
        data = None
    if not hasattr(net_or_run, "test_iter"):
        raise CourseworkError(
            f"An object of the class {type(net_or_run).__name__} cannot be evaluated.",
            next_step="Give an nn.Module and a loader, the result of Recipe.train, or the name of a run.",
        )
    if data is not None or loss is not None:
        raise CourseworkError(
            "A training is always measured on its own test images and with its own loss.",
            where="data or loss",
            next_step="Leave them out, or give the network instead of the training: evaluate(trained.net, data_iter).",
        )
    return evaluate_run(net_or_run, effort, classes)


def evaluate_run(trained, effort=None, classes: Iterable | None = None) -> dict:
    """Compute all metrics of a Trained on its test images; return them and write them to evaluation.json in its folder.

    The test images are used once, after the training: for an unfinished training an error is raised. If the same
    weights were measured before, the record of that time is returned. effort: its name or an Effort (default: full on a
    GPU, demo on a CPU) limits the number of test images for test-time augmentation (TTA) and for robustness; everything
    else is measured on all test images. In the record, TTA has the key "views".
    """
    test_iter = trained.test_iter
    split = test_iter.split
    folder = trained.folder
    effort = effort if isinstance(effort, Effort) else choose_effort(effort, split.images.device)
    identity = {"weights": weights_hash(trained.net), "data": split.origin, "images": len(split)}
    earlier = (Run(folder).evaluation if folder else None) or {}
    if all(name in earlier and earlier[name] == value for name, value in identity.items()):
        print(f"These weights were already measured on {earlier.get('when')}. This is the record of that time.")
        if earlier.get("effort") not in (None, effort.name):
            print(f"Its effort was {earlier['effort']}. To measure with {effort.name}, remove {folder / EVALUATION}.")
        return earlier
    _require_finished(trained)
    run = Run(folder) if folder else None
    if run and run.record.get("tests"):
        print(f"Earlier measurements of this run on its test images: {len(run.record['tests'])}.")
    record = {"when": now(), "checkpoint": run.checkpoint.name if run and run.checkpoint else None}
    record |= {"effort": effort.name}
    changed_images = _measure_changed_images(trained, effort)  # first, since the next line already writes into run.json
    record = plain(record | identity | measure_test_accuracy(trained, classes=classes) | changed_images)
    if run:
        with _warn_if_unwritten():
            write_json(folder / EVALUATION, record)
    return record


def measure_test_accuracy(trained, views: str = "plain", classes: Iterable | None = None) -> dict:
    """Measure a finished training on its test images and record the accuracy in run.json; return the metrics.

    Every accuracy in `evaluate` and in the README is computed and recorded here, except those in training mode, see
    utils/experiments/records.py. (If a training watches the test images, their accuracies are in its history.)

    views: an entry of VIEWS. With "plain", the network predicts each image once, and all metrics that `evaluate`
    computes in one pass are returned. With another entry, its predictions are averaged over views of the image, and
    {"accuracy", "loss": None} is returned.
    """
    _require_finished(trained)
    if views == "plain":
        measured = _measure(trained.net, trained.test_iter, trained.loss, trained.step.predict, classes)
    else:
        accuracies = accuracy_of_views(trained.net, trained.test_iter.split, (views,), **_settings(trained))
        measured = {"accuracy": accuracies[views], "loss": None}
    if trained.folder:
        with _warn_if_unwritten():
            note_test(trained.folder, measured["accuracy"], measured["loss"], views)
    return measured


def weights_hash(net: nn.Module) -> str:
    """Return a hash of a network's weights and running statistics, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        else:  # the result of a module's get_extra_state
            digest.update(f"{name} {value!r}".encode())
    return digest.hexdigest()[:16]


def _require_finished(trained):
    """Raise an error if the training is not finished, so that the test images are used only after it."""
    state = trained.run.state if trained.run else "unreadable"
    if state == "unreadable":  # without a record, the history shows whether the training is finished
        state = "stopped" if trained.history.stopped else "finished"
    if state == "finished":
        return
    done = f"{len(trained.history)} of {trained.facts['num_epochs']} epochs are done"
    raise CourseworkError(
        f"Only a finished training can be measured on the test images, but this one is {state}: {done}.",
        where=trained.folder,
        next_step="Call train() again with the same arguments: it resumes and finishes. Then evaluate.",
    )


@contextlib.contextmanager
def _warn_if_unwritten():
    """Turn an OSError, for example on a full disk, into a warning, so that the measurements are returned."""
    try:
        yield
    except OSError as error:
        message = (
            f"The evaluation could not be written: {error}\n"
            "  next:  free some disk space or repair the folder, and evaluate again."
        )
        warnings.warn(message, RecordWarning, stacklevel=4)


def _measure(net, data_iter, loss, predict, classes):
    """Return all metrics that need one pass over the images, as plain data."""
    gates = {}
    y_hat, y = scores(net, data_iter, predict, gates=gates)
    p = probabilities(y_hat)
    predicted = y_hat.argmax(1)
    count = y_hat.shape[1]
    correct = int((predicted == y).sum())
    confusion = confusion_matrix(predicted, y, count)
    mean_gates = class_gates(gates, y, count)
    return {
        "images": len(y),
        "accuracy": correct / len(y),
        "interval": list(wilson_interval(correct, len(y))),
        "loss": _mean_cross_entropy(y_hat, y) if loss is None else _mean_loss(loss, y_hat, y),
        "top": {str(k): top_k(y_hat, y, k) for k in TOP if k < count},
        "classes": list(class_names(count, data_iter, classes, y)),
        "confusion": confusion.tolist(),
        "per_class": {name: values.tolist() for name, values in per_class(confusion).items()},
        "calibration": calibration(p, y),
        "mistakes": confident_mistakes(p, y),
        "gates": mean_gates and {name: table.tolist() for name, table in mean_gates.items()},
    }


def _mean_cross_entropy(y_hat, y):
    """Return the mean of -log(probability of the right class).

    If the network returns probabilities, one of 0 counts as the smallest float.
    """
    if not are_probabilities(y_hat):
        return float(F.cross_entropy(y_hat, y))
    p_of_label = y_hat.gather(1, y[:, None]).clamp(min=torch.finfo(y_hat.dtype).tiny)
    return float(-p_of_label.log().mean())


def _mean_loss(loss, y_hat, y):
    # The class weights of a loss are on the device of the training.
    device = place(loss, None) if isinstance(loss, nn.Module) else y_hat.device
    return float(mean_loss(loss, y_hat.to(device), y.to(device)))


def _measure_changed_images(trained, effort):
    """Measure TTA and robustness, which need many passes, on as many test images as the effort allows."""
    settings = _settings(trained)
    for_views = _affordable(trained, effort, VIEW_PASSES)
    for_changes = _affordable(trained, effort, CHANGE_PASSES)
    return {
        "views": accuracy_of_views(trained.net, for_views, **settings),
        "views_images": len(for_views),
        "robustness": robustness(trained.net, for_changes, **settings),
    }


def _settings(trained):
    """Return what the functions of robustness.py need besides the network and its images."""
    return {**normalisation(trained.test_iter), "predict": trained.step.predict}


def _affordable(trained, effort, passes):
    """Return the test images on which the effort allows this number of passes, equally many of each class."""
    split = trained.test_iter.split
    count = min(len(split), effort.images or len(split))
    if effort.macs is not None:
        affordable = int(SHARE * effort.macs / (passes * macs(trained.net, split.images.shape[-1])))
        count = min(count, max(LEAST_IMAGES, min(affordable, MOST_IMAGES)))
    return split.subset(first_of_each_class(split.labels, count))
