"""CoolGates sets the temperature of each epoch, also in a resumed training and in averaged weights."""

import pytest
import torch
from torch import nn
from training_parts import StopAfter, images

from utils.data.loader import BatchLoader
from utils.models.basic_layers import TemperatureSoftmax
from utils.my_utils import train_ch3
from utils.recipes import OURS
from utils.training import Average, CoolGates
from utils.training.effort import Effort


class Gated(nn.Module):
    """Two linear branches with a gate."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Sequential(nn.Flatten(), nn.Linear(192, 2), TemperatureSoftmax(30.0, cooling=0.5))
        self.branches = nn.ModuleList([nn.Linear(192, 10), nn.Linear(192, 10)])

    def forward(self, X):
        a = self.gate(X)
        return sum(a[:, j, None] * branch(X.flatten(1)) for j, branch in enumerate(self.branches))


class Temperatures:
    """A callback that notes the temperature that each batch was trained with, and that of the measured network."""

    def __init__(self):
        self.of_batches, self.measured = [], []

    def after_batch(self, training):
        self.of_batches.append(float(training.net.gate[-1].temperature))
        self.measured.append(float(training.measured_net.gate[-1].temperature))


def train(callbacks=(), epochs=4, **options):
    torch.manual_seed(0)
    net, noted = Gated(), Temperatures()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    train_iter = BatchLoader(images(), 50, shuffle=True)
    options = {"curves": False, "record": False} | options
    callbacks = [noted, CoolGates(), *callbacks]
    train_ch3(net, train_iter, None, nn.CrossEntropyLoss(), epochs, optimizer, callbacks=callbacks, **options)
    return net, noted


def test_each_epoch_has_its_temperature_and_the_last_one_is_kept():
    net, noted = train()
    assert noted.of_batches == [30.0, 30.0, 15.5, 15.5, 1.0, 1.0, 1.0, 1.0]
    assert float(net.gate[-1].temperature) == 1.0


def test_a_temperature_that_is_still_falling_at_the_end_stays_that_of_the_last_measurement():
    net, noted = train(epochs=1)
    assert noted.of_batches == [30.0, 30.0] and float(net.gate[-1].temperature) == 30.0


def test_averaged_weights_have_the_same_temperature():
    _, noted = train([Average(0.9)])
    assert noted.measured == pytest.approx(noted.of_batches)


def test_a_resumed_training_has_the_same_temperatures(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))
    whole, _ = train()
    train([StopAfter(3)], record="mine")
    resumed, noted = train(record="mine")
    assert noted.of_batches == [15.5, 1.0, 1.0, 1.0, 1.0]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_recipe_cools_its_gates_by_itself(data):
    settings = {"channels": (4,), "kernel_sizes": (3, 1), "gate": "mlp", "temperature": 30.0, "cooling": 0.5}
    recipe = OURS["quick"].change(network_settings=settings, batch_size=50)
    temperatures = []

    def note(training):
        temperatures.append(float(training.net.block1.gate[-1].temperature))

    options = {"effort": Effort("few", images=100, epochs=4), "folder": None, "curves": False}
    recipe.train(data, callbacks=[note], **options)
    assert temperatures in ([30.0, 15.5, 1.0, 1.0], [15.5, 1.0, 1.0, 1.0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_graph_reads_the_new_temperature():
    from utils.training import Step

    plain, _ = train(device="cuda", step=Step())
    replayed, _ = train(device="cuda", step=Step(cuda_graph=True))
    for a, b in zip(plain.parameters(), replayed.parameters(), strict=True):
        torch.testing.assert_close(a, b)
