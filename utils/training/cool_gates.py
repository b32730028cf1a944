"""A callback that lowers the temperature of gates during a training: callbacks=[CoolGates()]."""

from __future__ import annotations

from utils.models.basic_layers import TemperatureSoftmax


class CoolGates:
    """Set the temperature of each TemperatureSoftmax before each epoch; train_recipe adds this callback itself."""

    key = "CoolGates"

    def on_ready(self, training):
        """Set the temperature of the first epoch, or of the one in which a training resumes."""
        self._cool(training)

    def after_epoch(self, training):
        """Set the next epoch's temperature; after the last epoch nothing changes, since the network was measured."""
        if not training.complete:
            self._cool(training)

    def _cool(self, training):
        for net in (training.net, training.measured_net):  # the second one may be a moving average
            for layer in net.modules():
                if isinstance(layer, TemperatureSoftmax):
                    layer.cool(training.epoch / training.num_epochs)
