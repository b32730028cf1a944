"""Notebooks 01 and 04: examinations of accuracy, of training loops and of evaluations."""

from __future__ import annotations

import torch

from utils import my_utils
from utils.teaching.exercises import Wrong, exercise
from utils.teaching.expect import call, compare, ensure, is_close, number_of, numbers_of
from utils.teaching.loops import (
    LOOP_HINTS,
    LOSS,
    RATE,
    Watched,
    examine_loop,
    make_batches,
    over_batches,
    over_images,
    totals,
    train,
)

ACCURACY_HINTS = {
    "share": "Counts can be added over batches of different sizes, shares can't. Don't divide.",
    "wrong_dimension": "The largest score of each image is wanted. Over which dimension do you look for it?",
    "not_one_number": "One number for the whole batch is expected. What is left to do with the answers of the images?",
    "counts_errors": "You count the wrong predictions.",
}
EVALUATION_HINTS = {
    "batch_means": LOOP_HINTS["batch_means"],
    "last_batch": LOOP_HINTS["last_batch"],
    "counts": "The share of all images is expected. What do you divide the count by?",
    "percent": "A fraction from 0 to 1 is expected.",
    "gradients": "PyTorch prepares gradients here, which costs memory. Which line switches that off?",
    "training_mode": "The network is in training mode while you measure, so dropout and batch norm act as in training.",
}


@exercise(
    "04.accumulator",
    "sums of several quantities",
    shared="Two Accumulators share their sums. Is the list made for each object, or once for the class?",
    overwrites="After two calls of `add`, a sum holds the last value only.",
    wrong_length="Accumulator(n) has n sums, which begin at 0.",
    no_index="sums[0] should give the first sum. Which special method does Python call for the brackets?",
    waits="The sums of tensors should be tensors. `item` or `float` makes a GPU wait in every batch.",
)
def examine_accumulator(answer):
    sums = call(answer, 3)
    ensure(hasattr(type(sums), "__getitem__"), "no_index")
    compare(_first(sums), [0, 0, 0], otherwise="wrong_length")
    call(sums.add, 1, 2.0, torch.tensor(3.0), may_be_none=True)
    call(sums.add, 10, 20.0, torch.tensor(30.0), may_be_none=True)
    compare(_first(sums), [11, 22, 33], {"overwrites": [10, 20, 30]})
    ensure(isinstance(sums[2], torch.Tensor), "waits")
    compare(_first(call(answer, 3)), [0, 0, 0], otherwise="shared")
    compare(number_of(call(answer, 1)[0]), 0, otherwise="wrong_length")


def _first(sums):
    try:
        return [number_of(sums[i]) for i in range(3)]
    except (IndexError, KeyError):
        raise Wrong("wrong_length") from None


@exercise("04.accuracy", "the correct predictions of a batch", **ACCURACY_HINTS)
@exercise("01.accuracy", "the correct predictions of a batch", **ACCURACY_HINTS)
def examine_accuracy(answer):
    y_hat = torch.tensor([[3.0, 1, 0], [0, 2, 5], [1, 2, 0], [9, 8, 7], [0, 0, 1]])
    y = torch.tensor([0, 2, 0, 0, 2])
    try:
        result = call(answer, y_hat, y)
        ensure(not isinstance(result, torch.Tensor) or result.numel() == 1, "not_one_number")
        compare(number_of(result), 4, {"share": 4 / 5, "counts_errors": 1, "wrong_dimension": 0})
        square = call(answer, y_hat[:3], torch.tensor([0, 2, 1]))
        compare(number_of(square), 3, {"share": 1.0, "counts_errors": 0})
    except Wrong as wrong:
        raise Wrong("wrong_dimension") if wrong.hint == "raises" and "size" in wrong.facts["error"] else wrong from None


@exercise(
    "01.loop",
    "a training loop",
    epochs="One pair (loss, accuracy) for each epoch is expected, in a list.",
    not_reset="Each epoch starts with new sums. Yours still contain the epochs before.",
    **LOOP_HINTS,
)
def examine_train_by_hand(answer):
    net, batches = Watched(), make_batches()
    history = call(answer, net, batches, 2, RATE, may_change=True)
    ensure(isinstance(history, (list, tuple)) and len(history) == 2, "epochs")
    results = [numbers_of(row, 2, what="An epoch's result") for row in history]
    _, rows = train(batches, 2)
    if is_close(results, [over_images(rows[0]), over_images(rows[0] + rows[1])]):
        raise Wrong("not_reset")
    examine_loop(results, net, batches)


@exercise(
    "04.epoch",
    "a training epoch",
    eval_mode="The network must be in training mode, whatever mode it had before.",
    graph="Plain numbers are expected. A tensor with its graph keeps the computation in memory: look at `detach`.",
    **LOOP_HINTS,
)
def examine_train_epoch(answer):
    net, batches = Watched().eval(), make_batches()
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    result = call(answer, net, batches, LOSS, optimizer, may_change=True)
    ensure(not any(getattr(value, "requires_grad", False) for value in result), "graph")
    result = numbers_of(result, 2)
    examine_loop([result], net, batches)
    ensure(all(training for _, training, _ in net.uses), "eval_mode")


def examine_evaluation(answer, in_eval_mode):
    net, batches = Watched(), make_batches(seed=1)
    result = number_of(call(answer, net, batches, may_change=True))
    rows = [(0.0, int((net.linear(X).argmax(1) == y).sum()), len(y)) for X, y in batches]
    right = over_images(rows)[1]
    mistakes = {
        "last_batch": over_images(rows[:-1])[1],
        "batch_means": over_batches(rows)[1],
        "counts": totals(rows)[1],
        "percent": 100 * right,
    }
    ensure(not is_close(result, totals(rows)[1] / len(batches)), "counts")
    compare(result, right, mistakes)
    ensure(not any(gradients for _, _, gradients in net.uses), "gradients")
    ensure(not in_eval_mode or not any(training for _, training, _ in net.uses), "training_mode")


@exercise("01.share-correct", "the accuracy over all batches", **EVALUATION_HINTS)
def examine_share_correct(answer):
    examine_evaluation(answer, in_eval_mode=False)


@exercise("04.evaluate", "the accuracy in eval mode, without gradients", **EVALUATION_HINTS)
def examine_evaluate_accuracy(answer):
    examine_evaluation(answer, in_eval_mode=True)


@exercise(
    "04.mistake",
    "the line that is missing in report C's test loop",
    not_a_line="Give the missing line as a text in quotation marks.",
    gradients="The loop has `torch.no_grad()` already. That saves memory and does not change an answer.",
    step="Nothing is trained here, so neither a gradient nor a step is needed.",
    softmax="A softmax does not change which score is the largest.",
    brackets="`eval` is a method: call it, with nothing in the brackets.",
    trains="In which mode is the network after the training, and in which should it be?",
    other_line="Two kinds of layers behave differently in training and in evaluation. What tells them which it is?",
)
def examine_missing_line(answer):
    ensure(isinstance(answer, str), "not_a_line")
    text = "".join(answer.lower().split())
    for hint, words in {
        "gradients": ("no_grad", "inference_mode"),
        "step": ("zero_grad", "backward", "step"),
        "softmax": ("softmax",),
        "trains": (".train()", "train(true)"),
    }.items():
        ensure(not any(word in text for word in words), hint)
    ensure(".eval" not in text or ".eval()" in text, "brackets")
    ensure(".eval()" in text or ".train(false)" in text or ".train(mode=false)" in text, "other_line")


@exercise(
    "04.epochs",
    "several epochs, with callbacks",
    no_rows="A list with a dictionary for each epoch is expected: epoch, train_loss, train_acc and val_acc.",
    number="The number of rows is not the number of epochs.",
    from_zero="The first epoch has the number 1.",
    callbacks="After each epoch, each callback is called once, with the list of all rows so far.",
    too_early="`val_acc` belongs to the network after the epoch. When do you measure it?",
    wrong_images="`val_acc` is not the accuracy on `val_iter`. Which images do you measure?",
    training="`train_loss` and `train_acc` are the two results of `train_epoch`, unchanged.",
)
def examine_train_epochs(answer):
    train_iter, val_iter, lengths, accuracies = make_batches(), make_batches(seed=3), [], []
    net = Watched()
    optimizer = torch.optim.SGD(net.parameters(), RATE)

    def note(rows):
        lengths.append(len(rows) if isinstance(rows, list) else None)
        accuracies.append([my_utils.evaluate_accuracy(net, batches) for batches in (val_iter, train_iter)])

    before = my_utils.evaluate_accuracy(net, val_iter)
    settings = {"callbacks": [note, lambda rows: None]}
    rows = call(answer, net, train_iter, val_iter, LOSS, 3, optimizer, may_change=True, **settings)
    keys = {"epoch", "train_loss", "train_acc", "val_acc"}
    ensure(isinstance(rows, list) and all(isinstance(row, dict) and keys <= set(row) for row in rows), "no_rows")
    ensure(len(rows) == 3, "number")
    ensure(lengths == [1, 2, 3], "callbacks")
    measured = [number_of(row["val_acc"]) for row in rows]
    after = [value for value, _ in accuracies]
    mistakes = {"too_early": [before, *after[:-1]], "wrong_images": [value for _, value in accuracies]}
    compare(measured, after, mistakes)
    compare([number_of(row["epoch"]) for row in rows], [1, 2, 3], otherwise="from_zero")
    _, expected = train(train_iter, 3)
    values = [[number_of(row["train_loss"]), number_of(row["train_acc"])] for row in rows]
    compare(values, [over_images(epoch) for epoch in expected], otherwise="training")
