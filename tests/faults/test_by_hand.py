"""A training by hand with a name that is killed ends the same to the last bit when a new process starts it again."""

import os
import pathlib
import signal
import subprocess
import sys

import by_hand
import pytest
import torch
import torch.nn.functional as F
from patience import PATIENCE
from training_parts import parts
from victim import BATCHES, differences

from utils.errors import CheckpointError
from utils.my_utils import train_ch3
from utils.runs.run import Run, all_runs

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGKILL")


def start(runs, result, loader, seed, kill_at=0):
    """Run by_hand.py to its end or its death; return its exit status."""
    command = [sys.executable, by_hand.__file__, result, loader, str(seed), str(kill_at)]
    environment = {**os.environ, "COURSEWORK_RUNS": str(runs)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr[-3000:]
    return ended.returncode


@pytest.mark.parametrize(
    ("loader", "kills", "begins"),
    [
        ("device", (7,), [[0, 0], [1, 2]]),  # from the batch before
        ("plain", (BATCHES + 2,), [[0, 0], [1, 0]]),  # from the beginning of the epoch
    ],
)
def test_a_killed_training_by_hand_resumes_to_the_last_bit(tmp_path, loader, kills, begins):
    runs, result = tmp_path / "runs", tmp_path / "result.pt"
    start(tmp_path / "whole", tmp_path / "whole.pt", loader, seed=0)
    for attempt, kill_at in enumerate(kills):
        assert start(runs, result, loader, attempt, kill_at) == -signal.SIGKILL
        assert Run(runs / "by_hand").state == "interrupted"
    assert start(runs, result, loader, seed=7) == 0
    expected = torch.load(tmp_path / "whole.pt", weights_only=True)
    assert differences(expected, torch.load(result, weights_only=True)) == []
    run = Run(runs / "by_hand")
    assert run.state == "finished" and [attempt["from"] for attempt in run.record["attempts"]] == begins
    assert [path.name for path in pathlib.Path(runs).iterdir()] == ["by_hand"]


def train(*callbacks, seed=0, lr=0.05, batch_size=24, record="mine"):
    """Train two epochs by hand in this process; return (history, net)."""
    net, train_iter, test_iter, optimizer = parts(seed=seed, lr=lr, batch_size=batch_size)
    train_iter.set_position(0)
    options = {"callbacks": callbacks, "curves": False, "record": record}
    return train_ch3(net, train_iter, test_iter, F.cross_entropy, 2, optimizer, **options), net


def test_another_training_of_the_same_name_is_refused_with_what_differs_and_what_to_do(ledger_folder):
    train()
    before = Run(ledger_folder / "mine").record
    with pytest.raises(CheckpointError, match=r"lr: 0.05 in the checkpoint, now 0.1") as caught:
        train(lr=0.1)
    assert 'record="mine 2"' in caught.value.next_step
    assert Run(ledger_folder / "mine").record == before
    with pytest.raises(CheckpointError, match="batch_size"):
        train(batch_size=20)


def test_two_names_that_share_a_folder_are_told_apart(ledger_folder):
    train(record="a b")
    with pytest.raises(CheckpointError, match="record: a b in the checkpoint, now a_b"):
        train(record="a_b")


def test_without_a_name_each_training_has_a_new_folder_and_no_checkpoint(ledger_folder):
    train(record=True)
    train(record=True)
    assert len(all_runs()) == 2 and not [run for run in all_runs() if run.checkpoint]


def test_the_record_keeps_what_loading_it_needs(ledger_folder):
    train()
    (run,) = all_runs()
    described = parts()[1].describe()
    assert (run.record["mean"], run.record["std"]) == (described["mean"], described["std"])
    assert run.checkpoint is not None


def test_the_record_keeps_the_classes_of_the_data(ledger_folder):
    class Images(torch.utils.data.TensorDataset):
        classes = ("cat", "dog")

    data = Images(torch.randn(8, 4), torch.arange(8) % 2)
    net = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loader = torch.utils.data.DataLoader(data, 4)
    train_ch3(net, loader, None, F.cross_entropy, 1, optimizer, curves=False)
    assert all_runs()[0].record["classes"] == ["cat", "dog"]
