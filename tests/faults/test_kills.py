"""Tests that a training that is killed at any time, again and again, loses an interval at most and ends the same."""

import json
import subprocess
import sys

import killing
import pytest
from patience import PATIENCE

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills children that it forks")


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
