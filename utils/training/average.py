"""An exponential moving average (EMA) of a network's weights: callbacks=[Average(0.999)]."""

from __future__ import annotations

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Average:
    """A callback that averages the weights; the averaged network is measured instead of the trained one.

    The training itself does not change. `net` is the network with averaged weights. decay d: after the first batch the
    average is a copy of the weights, and after each later batch, average = d * average + (1 - d) * weights.
    """

    key = "Average"

    def __init__(self, decay=0.999):
        self.decay = decay
        self._averaged = None

    @property
    def net(self):
        """The network with averaged weights; it exists once a training has started."""
        return self._averaged.module

    def on_start(self, training):
        """Start with a copy of the network."""
        average = get_ema_multi_avg_fn(self.decay)
        self._averaged = AveragedModel(training.net, multi_avg_fn=average, use_buffers=True)
        self._averaged.train(training.net.training)
        training.measured_net = self.net

    def after_batch(self, training):
        """Update the average with the new weights."""
        self._averaged.update_parameters(training.net)

    def describe(self):
        """Return the settings that the result depends on."""
        return {"average": self.decay}

    def state_dict(self):
        """Return the averaged weights and how many were averaged."""
        return self._averaged.state_dict()

    def load_state_dict(self, state):
        """Continue with these averaged weights."""
        self._averaged.load_state_dict(state)
