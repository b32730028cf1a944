"""Tests that a training that is killed at any time, again and again, loses an interval at most and ends the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import killing
import pytest
import torch
import victim
from patience import PATIENCE
from victim import Victim, differences

from utils.runs.checkpoint_files import listed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills children that it forks")


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.faults)])
def test_kills_at_random_times_lose_an_interval_at_most_and_change_no_bit(tmp_path, kills, record_property):
    command = [sys.executable, killing.__file__, tmp_path, str(kills), "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr[-3000:]
    seen = json.loads(ended.stdout.splitlines()[-1])
    lost, when = f"at most {seen['most_lost']} batches lost", seen["phases"]
    ends = f"{seen['equal']} of {seen['runs']} ends the same to the last bit"
    record_property("says", f"{seen['kills']} of {kills} kills resumed from, {lost}, {ends}; killed while {when}")
    assert seen["kills"] == kills and seen["equal"] == seen["runs"] >= 1
    assert seen["most_lost"] <= killing.EVERY
    if kills >= 200:
        assert all(seen["phases"][phase] for phase in ("starting", "training", "measuring", "saving"))
        assert seen["partial"], "no kill found a file half written"


@pytest.mark.faults
def test_programs_killed_at_random_times_end_the_same(tmp_path):
    clock, expected = random.Random(1), Victim().train()
    command = [sys.executable, victim.__file__, tmp_path / "kept", tmp_path / "result.pt"]
    began = time.monotonic()
    subprocess.run([*command[:2], tmp_path / "other", tmp_path / "other.pt"], capture_output=True, check=True)
    length, killed = time.monotonic() - began, 0
    for attempt in range(100):
        seed = attempt if listed(tmp_path / "kept") else 0  # what begins anew begins the same
        child = subprocess.Popen([*command, f"--seed={seed}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            # Most of a program's time goes into its imports, and so the kills begin where these end, about.
            assert child.wait(clock.uniform(0.6, 1.1) * length if killed < 8 else None) == 0
            break
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            killed += 1
    assert killed >= 1 and differences(expected, torch.load(tmp_path / "result.pt", weights_only=True)) == []
