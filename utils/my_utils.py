"""The training loop of every notebook: accuracy, Accumulator, evaluate_accuracy, train_epoch_ch3, train_ch3.

    train_ch3(net, train_iter, test_iter, nn.CrossEntropyLoss(), num_epochs=10, optimizer=optimizer)

Two arguments extend train_ch3:
- `step` trains on one batch: `train_batch` below, or a Step (utils/training/step.py), such as one in mixed precision;
- `callbacks` follow a training, for example to change the learning rate: see utils/training/callbacks.py.
"""

import torch

from utils.errors import CourseworkError
from utils.training.checked_batches import CheckedBatches, check_scores
from utils.training.checks import check_training
from utils.training.interrupt import quietly_interrupted
from utils.training.measure import in_mode, mean_loss, means
from utils.training.state import Training


def accuracy(y_hat, y):
    """Return how many predictions of a batch are correct, as a tensor; y_hat holds the scores (B, classes)."""
    check_scores(y_hat, y)
    classes = y.argmax(dim=1) if y.ndim == 2 else y  # of images mixed by Mixup or CutMix, the largest share counts
    return (y_hat.argmax(dim=1) == classes).sum()


class Accumulator:
    """Sums of n quantities. A sum of tensors stays on their device until float(sums[i]) copies it to the CPU."""

    def __init__(self, n):
        self.data = [0] * n

    def add(self, *values):
        """Add one value to each sum."""
        if len(values) != len(self.data):
            what = f"This Accumulator has {len(self.data)} sums, but add was called with {len(values)} values."
            raise CourseworkError(what, where="Accumulator.add", next_step="Give one value for each sum.")
        self.data = [total + value for total, value in zip(self.data, values, strict=True)]

    def reset(self):
        """Set all sums to zero."""
        self.data = [0] * len(self.data)

    def __getitem__(self, i):
        return self.data[i]

    def __len__(self):
        return len(self.data)


def evaluate_accuracy(net, data_iter, device=None, *, predict=None):
    """Return the fraction of data_iter's examples that net classifies correctly."""
    return loss_and_accuracy(net, data_iter, None, device, predict=predict)[1]


@torch.no_grad()
def loss_and_accuracy(net, data_iter, loss, device=None, *, predict=None, metrics=()):
    """Return (mean loss, fraction correct) over data_iter, with net in eval mode.

    If predict is given, predict(net, X) replaces net(X). The metrics are updated with (y_hat, y) of each batch.
    """
    sums = Accumulator(3)  # summed loss, correct predictions, examples
    with CheckedBatches(data_iter, net, device, "data_iter") as batches, in_mode(net, training=False):
        for X, y in batches:
            y_hat = net(X) if predict is None else predict(net, X)
            batches.check(y_hat)
            batch_loss = float("nan") if loss is None else mean_loss(loss, y_hat, y)
            sums.add(batch_loss * len(y), accuracy(y_hat, y), len(y))
            for metric in metrics:
                metric.update(y_hat, y)
    return means(sums)


def train_batch(net, X, y, loss, optimizer):
    """Take one step down the gradient of the batch's mean loss; return that loss and the scores before the step."""
    optimizer.zero_grad()
    y_hat = net(X)
    batch_loss = mean_loss(loss, y_hat, y)
    batch_loss.backward()
    optimizer.step()
    return batch_loss.detach(), y_hat.detach()


def train_epoch_ch3(net, train_iter, loss, optimizer, device=None, *, step=train_batch, metric=None, after_batch=None):
    """Train for one epoch; return (mean loss, fraction correct). Each batch is measured just before the step on it.

    metric: the Accumulator of an interrupted epoch, to continue it. after_batch(metric) is called after each batch.
    """
    check_training(net, loss, optimizer, step)
    metric = metric or Accumulator(3)  # summed loss, correct predictions, examples
    with CheckedBatches(train_iter, net, device, "train_iter", mixed=True) as batches, in_mode(net, training=True):
        for X, y in batches:  # on the device of net
            batch_loss, y_hat = step(net, X, y, loss, optimizer)
            batches.check(y_hat)
            with torch.no_grad():  # a step may return a loss with its graph, which would fill the memory
                metric.add(batch_loss * len(y), accuracy(y_hat, y), len(y))
            if after_batch is not None:
                after_batch(metric)
    return means(metric)


@quietly_interrupted
def train_ch3(
    net,
    train_iter,
    test_iter,
    loss,
    num_epochs,
    optimizer,
    device=None,
    *,
    step=train_batch,
    callbacks=(),
    watched="test",
    curves=True,
    record=True,
    every=None,
):
    """Train for num_epochs, measure the network on test_iter after each epoch, and draw the curves; return the History.

    test_iter: None measures nothing. watched: "val" if it has validation images. curves: False, or the figure's title.
    record: True writes a record into a new folder of runs/; a name, "mine", also saves checkpoints, and the same call
    then resumes exactly. every: batches between two points of the curve. Ctrl+C ends it after the current batch.
    """
    if record:
        from utils.runs.recorder import with_recorder  # imported here, since a training without a record needs no files

        callbacks = with_recorder(callbacks, record)
    if curves:
        from utils.training.live import with_curves  # imported here, since matplotlib is slow to import

        callbacks = with_curves(callbacks, curves)
    training = Training(
        net, train_iter, test_iter, loss, num_epochs, optimizer, device, step, callbacks, watched, every
    )
    training.metric = Accumulator(3)
    with training.under_way():  # calls on_start and on_end of the callbacks; Ctrl+C waits for the end of the batch
        while not training.complete:
            trained = train_epoch_ch3(
                net, training.rest_of_epoch(), loss, optimizer, training.device,
                step=step, metric=training.metric, after_batch=training.after_batch,
            )  # fmt: skip
            measured = None
            if test_iter is not None:
                measured = loss_and_accuracy(
                    training.measured_net, training.watched_batches(), loss, training.device,
                    predict=getattr(step, "predict", None), metrics=training.metrics,
                )  # fmt: skip
            training.close_epoch(trained, measured)
    return training.history
