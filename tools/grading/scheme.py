"""The marking scheme's tasks, divided into parts that are measured here and parts that a person marks."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a task; a person marks it if `is_by_hand`."""

    name: str
    task: int
    marks: int
    title: str
    is_by_hand: bool = False


PARTS = (
    Part("loaders", 1, 1, "The loader gives batches of normalised images and labels"),
    Part("data", 1, 4, "Images, split, normalisation and augmentation, with reasons", is_by_hand=True),
    Part("gate", 2, 10, "Each image gets its own weights, from the mean of X alone"),
    Part("weighted_sum", 2, 10, "The block's output contains the sum of a_i times branch i"),
    Part("structure", 2, 5, "Backbone and classifier are the assigned ones"),
    Part("scores", 2, 5, "The network gives ten scores for each image, and no probabilities"),
    Part("tests", 2, 10, "The student's tests and explanations", is_by_hand=True),
    Part("loss", 3, 5, "Loss, optimizer, learning rate and first loss", is_by_hand=True),
    Part("accuracy", 4, 2, "accuracy(y_hat, y)"),
    Part("train_epoch", 4, 4, "train_epoch(net, train_iter, loss, optimizer)"),
    Part("curves", 4, 2, "The record has loss, training and validation accuracy of each epoch"),
    Part("training", 4, 4, "Figures, hyperparameters, and what the curves show", is_by_hand=True),
    Part("evaluate", 4, 2, "evaluate(net, data_iter)"),
    Part("evaluation", 4, 4, "Interval, confusions and mistakes, interpreted", is_by_hand=True),
    Part("experiment", 4, 6, "The experiment", is_by_hand=True),
    Part("report", 4, 6, "The report", is_by_hand=True),
    Part("test_accuracy", 5, 20, "The accuracy on the test images, measured again"),
)
BY_HAND = [part.name for part in PARTS if part.is_by_hand]
MEASURED = [part.name for part in PARTS if not part.is_by_hand]
MARKS = {part.name: part.marks for part in PARTS}
