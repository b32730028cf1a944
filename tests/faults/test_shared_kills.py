"""Tests that a training of several processes survives the loss of any one of them: torchrun, a kill, torchrun again."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from utils.files import read_json
from utils.runs.checkpoint_files import position

SCRIPT = Path(__file__).resolve().parents[1] / "runs" / "shared_training.py"
sys.path.append(str(SCRIPT.parent))
from shared_training import numbers  # noqa: E402

BATCHES, EPOCHS = 7, 3
KILLS = 4
pytestmark = pytest.mark.faults


def start(folder, run, count, pause=0.0):
    """Start a training of this many processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command += [str(SCRIPT), str(folder), str(run), "--epochs", str(EPOCHS), "--dropout", "--pause", str(pause)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with open(folder / "output.txt", "a", encoding="utf-8") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def results(folder, count):
    return [torch.load(folder / f"result-{rank}.pt", weights_only=True) for rank in range(count)]


def done(run):
    """Return how many batches the newest checkpoint has done."""
    epoch, batch = max(map(position, run.glob("checkpoint-*.pt")), default=(0, 0))
    return epoch * BATCHES + batch


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_process_ends_all_and_the_restart_ends_in_the_same_bits(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    assert start(whole, whole / "run", 2).wait(600) == 0
    expected, other = results(whole, 2)
    assert torch.equal(numbers(expected), numbers(other))  # also with dropout
    clock, folder = random.Random(0), tmp_path / "killed"
    folder.mkdir()
    for target in sorted(clock.sample(range(1, BATCHES * EPOCHS - 3), KILLS)):
        torchrun = start(folder, folder / "run", 2, pause=0.1)
        while done(folder / "run") < target:
            assert torchrun.poll() is None, "it ended before it was killed"
            time.sleep(0.02)
        pids = [int((folder / f"pid-{rank}").read_text()) for rank in (0, 1)]
        os.kill(clock.choice(pids), signal.SIGKILL)
        assert torchrun.wait(120) != 0
        assert not any(is_running(pid) for pid in pids)
        assert done(folder / "run") < BATCHES * EPOCHS
    assert start(folder, folder / "run", 2).wait(600) == 0
    for result in results(folder, 2):
        assert torch.equal(numbers(result), numbers(expected)) and torch.equal(result["random"], expected["random"])
    attempts = read_json(folder / "run" / "run.json")["attempts"]
    assert len(attempts) == KILLS + 1 and {attempt["processes"] for attempt in attempts} == {2}


def test_other_numbers_of_processes_resume_the_training(tmp_path):
    torchrun = start(tmp_path, tmp_path / "run", 3, pause=0.1)
    while done(tmp_path / "run") < 5:
        assert torchrun.poll() is None
        time.sleep(0.02)
    torchrun.kill()
    torchrun.wait()
    for rank in range(3):
        pid = int((tmp_path / f"pid-{rank}").read_text())
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
    assert start(tmp_path, tmp_path / "run", 2).wait(600) == 0
    first, second = results(tmp_path, 2)
    assert torch.equal(numbers(first), numbers(second)) and len(first["rows"]) == EPOCHS
    attempts = read_json(tmp_path / "run" / "run.json")["attempts"]
    assert [attempt["processes"] for attempt in attempts] == [3, 2] and attempts[1]["from"] != [0, 0]
