"""Tests of several processes that share a training: equal to each other, and to a single process; what they refuse."""

import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

import utils.runs.processes
from utils.errors import CourseworkError
from utils.files import read_json
from utils.my_utils import train_batch
from utils.runs.processes import Processes, SameState, several_processes
from utils.training import Step
from utils.training.shared_norm import SharedNorms
from utils.training.shared_step import SharedStep

SCRIPT = Path(__file__).with_name("shared_training.py")
sys.path.append(str(SCRIPT.parent))
from shared_training import alone, numbers  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.skipif(sys.platform != "linux", reason="forks processes")
def test_two_processes_stay_equal_do_what_one_does_and_one_resumes(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, str(SCRIPT), "fork", "2", str(tmp_path), str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"result-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(numbers(first), numbers(second)) and torch.equal(first["random"], second["random"])
    single = alone()  # 21 batches
    assert single.keys() == first.keys() and single["rows"][0].keys() == first["rows"][0].keys()
    assert (numbers(single) - numbers(first)).abs().max() < 1e-12
    attempts = read_json(run / "run.json")["attempts"]
    assert [attempt["processes"] for attempt in attempts] == [2]  # the other process has written nothing
    resumed = alone(folder=run, epochs=4)
    attempts = read_json(run / "run.json")["attempts"]
    assert attempts[1]["from"] == [3, 0] and "processes" not in attempts[1]
    assert (numbers(resumed) - numbers(alone(epochs=4))).abs().max() < 1e-12


@pytest.fixture
def group():
    """A group of this process alone, in which the collectives of torch.distributed can be called."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("shape", [(6, 4, 5, 5), (6, 4, 7), (6, 4)])
@pytest.mark.parametrize("affine", [True, False])
def test_a_shared_norm_is_torchs_batch_norm(group, shape, affine):
    kind = {4: nn.BatchNorm2d, 3: nn.BatchNorm1d, 2: nn.BatchNorm1d}[len(shape)]
    X = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 100
    results = []
    for is_shared in (False, True):
        norm, inputs = kind(4, affine=affine).double(), X.clone().requires_grad_()
        if is_shared:
            with SharedNorms(len(X)):
                Y = norm(inputs)
        else:
            Y = norm(inputs)
        (Y * X.sin()).sum().backward()
        gradients = [parameter.grad for parameter in norm.parameters()]
        results.append([Y.detach(), inputs.grad, norm.running_mean, norm.running_var, *gradients])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


def test_a_shared_norm_in_eval_mode_and_in_half_precision_is_torchs(group):
    X = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    mean, var = torch.randn(3), torch.rand(3) + 0.5
    with SharedNorms(len(X)):
        shared = F.batch_norm(X, mean, var), F.batch_norm(X.bfloat16(), None, None, training=True)
    assert torch.equal(shared[0], F.batch_norm(X, mean, var)) and shared[1].dtype == torch.bfloat16
    assert torch.allclose(shared[1], F.batch_norm(X.bfloat16(), None, None, training=True), atol=0.02)


def test_a_batch_of_a_single_value_is_refused_as_torch_does(group):
    with SharedNorms(1), pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm1d(4)(torch.randn(1, 4))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 128])
@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_each_row_of_a_batch_belongs_to_one_process(group, count, processes):
    step = SharedStep(Step())
    step.processes = processes
    rows = []
    for step.rank in range(processes):
        rows.append(range(count)[step.part(count)])
    assert [row for own in rows for row in own] == [*range(count)]
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_a_step_of_one_process_in_a_group_is_the_usual_step(group):
    X, y = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    results = []
    for step in (Step(clip_norm=0.5), SharedStep(Step(clip_norm=0.5))):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
        loss = nn.CrossEntropyLoss(weight=torch.arange(1.0, 11.0))  # a mean with weights
        for _ in range(3):
            value, y_hat = step(net, X, y, loss, torch.optim.SGD(net.parameters(), 0.1))
        results.append([value, y_hat, *[parameter.detach() for parameter in net.parameters()]])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*results, strict=True))


def test_a_network_that_changes_its_parameters_is_refused(group):
    net = nn.ModuleList([nn.Linear(3, 10), nn.Linear(3, 10)])
    net.forward = lambda X: net[int(X[0, 0] > 0)](X)
    step, optimizer = SharedStep(Step()), torch.optim.SGD(net.parameters(), 0.1)
    step(net, torch.ones(4, 3), torch.arange(4), nn.CrossEntropyLoss(), optimizer)
    with pytest.raises(CourseworkError):
        step(net, -torch.ones(4, 3), torch.arange(4), nn.CrossEntropyLoss(), optimizer)


def test_memory_that_runs_out_is_not_answered_by_smaller_micro_batches(group):
    def too_large(X):
        raise torch.OutOfMemoryError("out of memory")

    net = nn.Linear(3, 10)
    net.forward = too_large
    with pytest.raises(CourseworkError, match="micro_batch=2"):
        SharedStep(Step()).predict(net, torch.ones(4, 3))


def test_without_torchrun_nothing_changes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")  # as other programs set it
    with several_processes("cpu") as processes:
        step, callbacks = Step(), [lambda training: None]
        options = processes.options(step=step, callbacks=callbacks, record="mine", curves=False)
        assert processes.in_turn(lambda: 5) == 5
    assert options == {"step": step, "callbacks": callbacks, "record": "mine", "curves": False}
    assert (processes.rank, processes.count) == (0, 1) and not dist.is_initialized()


@pytest.mark.parametrize("step", [Step(cuda_graph=True), train_batch])
def test_a_step_that_several_processes_cannot_share_is_refused(step):
    with pytest.raises(CourseworkError):
        Processes(torch.device("cpu"), 0, 2).options(step=step)


def test_a_compiled_network_is_refused():
    net = nn.Sequential(nn.Linear(2, 2))
    SameState(0).check(types.SimpleNamespace(net=net))
    net[0]._compiled_call_impl = net[0].forward  # what net.compile() does, without importing the compiler
    with pytest.raises(CourseworkError):
        SameState(0).check(types.SimpleNamespace(net=net))


def test_more_processes_than_gpus_and_gpus_of_other_makers_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for device in ("cuda", "mps"):
        with pytest.raises(CourseworkError):
            utils.runs.processes._own_device(torch.device(device), 1)
    assert utils.runs.processes._own_device(torch.device("cpu"), 7) == torch.device("cpu")
