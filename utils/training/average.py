"""Owns averages of a network's weights over a training, and the memory of its best epoch. Writes no file."""

from __future__ import annotations

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Average:
    """A callback that keeps an exponential average of the weights, and lets that be measured instead of the network.

    The training itself goes on with the network's own weights. `net` is the average; decay is how much of it stays at
    each batch.
    """

    key = "Average"  # its state's name in checkpoints

    def __init__(self, decay=0.999):
        self.decay, self._averaged, self._state = decay, None, None

    @property
    def net(self):
        """The network with averaged weights, once a training has begun."""
        return self._averaged.module

    def on_start(self, training):
        """Begin with a copy of the network, or with the average that was loaded."""
        average = get_ema_multi_avg_fn(self.decay)
        self._averaged = AveragedModel(training.net, multi_avg_fn=average, use_buffers=True)
        self._averaged.train(training.net.training)
        training.scored = self.net
        if self._state is not None:
            self.load_state_dict(self._state)

    def after_batch(self, training):
        """Take the new weights into the average."""
        self._averaged.update_parameters(training.net)

    def describe(self):
        """Return the settings that the result depends on."""
        return {"average": self.decay}

    def state_dict(self):
        """Return the averaged weights and how many were averaged."""
        return self._averaged.state_dict()

    def load_state_dict(self, state):
        """Go on with these averaged weights, at once or when the training begins."""
        self._state = None if self._averaged is not None else state
        if self._averaged is not None:
            self._averaged.load_state_dict(state)


class KeepBest:
    """A callback that remembers the weights of the best epoch: the highest accuracy on the watched images."""

    def __init__(self):
        self.row, self.weights = None, None

    def on_start(self, training):
        """Forget the training before this one."""
        self.row, self.weights = None, None

    def after_epoch(self, training):
        """Copy the measured network's weights if no epoch before was better."""
        row, column = training.history.rows[-1], f"{training.watched}_acc"
        if column in row and (self.row is None or row[column] > self.row[column]):
            self.row = dict(row)
            self.weights = {name: tensor.detach().clone() for name, tensor in training.scored.state_dict().items()}

    def state_dict(self):
        """Return the best epoch's row and weights."""
        return {"row": self.row, "weights": self.weights}

    def load_state_dict(self, state):
        """Remember what state_dict told of."""
        self.row, self.weights = state["row"], state["weights"]
