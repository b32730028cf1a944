"""A node of a Ray cluster is killed in mid-trial: its trial continues elsewhere, and every trial ends once."""

import json
import pathlib
import subprocess
import sys
import time
import types

import pytest
import torch
from patience import PATIENCE, wait_until
from ray_nodes import CannotStart, Cluster, work
from victim import differences

from utils.experiments.search_log import SearchLog, threshold
from utils.files import read_json
from utils.runs.checkpoint_files import listed, position
from utils.runs.claim import NAME
from utils.runs.run import Run

PROGRAM = pathlib.Path(__file__).with_name("ray_nodes.py")

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds a node's processes by their parents"),
]


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    cluster = Cluster()
    try:
        cluster.add()
        yield cluster
    except CannotStart as error:
        pytest.skip(str(error))
    finally:
        cluster.stop()


@pytest.mark.parametrize("kind", ["grid", "search"])
def test_a_node_that_dies_costs_batches_and_no_trial(kind, cluster, tmp_path, monkeypatch, record_property):
    begun = time.monotonic()
    try:
        second = cluster.add()
    except CannotStart as error:
        pytest.skip(str(error))
    ready = time.monotonic()
    environ = cluster.environ | {"COURSEWORK_RUNS": str(tmp_path / "runs"), "CI": "1"}
    driver = subprocess.Popen([sys.executable, PROGRAM, kind], env=environ, stdout=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: driver.poll() is not None or trained_by(cluster.processes(second), tmp_path / "runs"))
        killed = trained_by(cluster.processes(second), tmp_path / "runs")
        assert killed, "the second node has trained nothing"
        reached = position(listed(killed)[0])
        cluster.kill(second)
        out, _ = driver.communicate(timeout=PATIENCE)
    finally:
        driver.kill()
    rows = json.loads(out.splitlines()[-1])
    assert len(rows) == 4 and {row["state"] for row in rows} <= {"finished", "pruned"}
    for row in rows:
        ends = [attempt.get("how") for attempt in Run(tmp_path / "runs" / row["run"]).record["attempts"]]
        assert ends.count("finished") == 1 and ends[-1] == "finished"
    first, *_, last = Run(killed).record["attempts"]
    assert first.get("how") is None and tuple(last["from"]) >= reached > (0, 0)
    if kind == "search":
        (folder,) = (tmp_path / "runs").glob("search-*")
        assert sorted(SearchLog(folder).read("proposal")) == [0, 1, 2, 3]
    axis = {"grid": "seed", "search": "lr"}[kind]
    finished = {row[axis]: row["run"] for row in rows if row["state"] == "finished"}
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "undisturbed"))
    for row in work("grid", {axis: list(finished)}).itertuples():
        ends = [tmp_path / "runs" / finished[getattr(row, axis)], tmp_path / "undisturbed" / row.run]
        states = [torch.load(listed(end)[0], weights_only=True) for end in ends]
        assert differences(*(dict(state["net"]) for state in states)) == []
    seconds = f"node ready in {ready - begun:.0f} s, {kind} done in {time.monotonic() - ready:.0f} s"
    what = f"one of two Ray nodes killed in mid-trial, checkpoint {reached}; its trial continued from {last['from']}"
    record_property("says", f"{what}; 4 of 4 trials ended once, {len(finished)} with the same bits; {seconds}")


def trained_by(processes, runs):
    """Return the folder of a trial that one of these processes trains and that has checkpoints, or None."""
    for path in runs.glob(f"*/{NAME}"):
        if (read_json(path) or {}).get("pid") in processes and listed(path.parent):
            return path.parent
    return None


def test_trials_are_pruned_as_tunes_asha_does():
    asha = pytest.importorskip("ray.tune.schedulers.async_hyperband")
    bracket = asha._Bracket(min_t=1, max_t=1000, reduction_factor=3, s=0)
    accuracies = torch.rand(60, generator=torch.Generator().manual_seed(0)).tolist()
    for i, accuracy in enumerate(accuracies):
        action = bracket.on_result(types.SimpleNamespace(trial_id=i), 1, accuracy)
        is_pruned = i > 0 and accuracy < threshold(accuracies[:i])
        assert is_pruned == (action == asha.TrialScheduler.STOP)
