"""A network typed in a notebook cell: the kernel is killed in the second epoch, and a new kernel resumes to the bit."""

import os
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel
from patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
import hashlib
import torch
from torch import nn
from utils.data import load_cifar10
from utils.recipes import Recipe, load_run
torch.set_num_threads(1)
data = load_cifar10(source="synthetic")
"""
NETWORK = """
class TypedNet(nn.Module):
    '''A network with a gate, typed in a cell.'''

    def __init__(self, width=5):
        super().__init__()
        self.gate = nn.Sequential(nn.Flatten(), nn.LazyLinear(2), nn.Softmax(1))
        self.left, self.right = nn.Conv2d(3, width, 3), nn.Conv2d(3, width, 3)
        self.head = nn.Linear(width, 10)

    def forward(self, X):
        a = self.gate(X)[:, :, None, None, None]
        return self.head((a[:, 0] * self.left(X) + a[:, 1] * self.right(X)).relu().mean((2, 3)))


class Die:
    batches = 0

    def after_batch(self, training):
        self.batches += 1
        if self.batches == 6:
            os.kill(os.getpid(), signal.SIGKILL)


recipe = Recipe("typed", TypedNet, {"width": 4}, batch_size=48, num_epochs=2, lr=0.01)
options = {"effort": "check", "device": "cpu", "curves": False, "save_every": 0.0}
"""
HASH = """
values = b"".join(value.numpy().tobytes() for value in trained.net.state_dict().values())
print("weights", hashlib.sha256(values).hexdigest())
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return a function that starts a kernel and returns (manager, a function that runs a cell)."""
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "runs"))
    kernels = []

    def make():
        manager, client = start_new_kernel(
            startup_timeout=PATIENCE,
            kernel_name="python3",
            extra_arguments=["--HistoryManager.hist_file=:memory:"],
            env=dict(os.environ),
        )
        kernels.append((manager, client))

        def run(code):
            printed = []
            reply = client.execute_interactive(
                code, timeout=PATIENCE, output_hook=lambda message: printed.append(message["content"].get("text", ""))
            )["content"]
            assert reply["status"] == "ok", "".join(reply.get("traceback", []))
            return "".join(printed)

        return manager, client, run

    yield make
    for manager, client in kernels:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.skipif(sys.platform == "win32", reason="kills a kernel by a signal that Windows does not have")
def test_a_network_typed_in_a_cell_resumes_in_a_new_kernel(start):
    manager, client, run = start()
    run(IMPORTS)
    run(NETWORK)
    client.execute("recipe.train(data, callbacks=[Die()], **options)")
    assert manager.is_alive()
    while manager.is_alive():
        pass

    _, _, run = start()
    run(IMPORTS)
    run(NETWORK)
    printed = run("trained = recipe.train(data, **options)")
    assert "Resumed after 1 epoch and" in printed
    resumed = run(HASH)
    whole = run("trained = recipe.train(data, folder=None, **options)" + HASH)
    assert resumed.split()[:2] == whole.split()[:2]
    shown = run("print(load_run('typed', data, 'cpu').run.network['source'])")
    assert shown.lstrip().startswith("class TypedNet(nn.Module):") and "self.left, self.right" in shown
