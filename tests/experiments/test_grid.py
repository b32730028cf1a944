"""The grid: every combination is trained once, whatever fails, stops, is asked for again or shared with a process."""

import functools
import math
import signal

import numpy as np
import pytest
import torch
from networks import bare_cnn

from utils.errors import CourseworkError
from utils.experiments import trial as trials
from utils.experiments.grid import run_grid
from utils.experiments.trial import axis_values, count_failures, is_due, vary
from utils.files import read_json, write_json
from utils.recipes import SYSTEMS, Recipe
from utils.runs.claim import Claim
from utils.runs.run import RECORD, Run, all_runs, find, trainings
from utils.training.effort import EFFORTS, Effort

SMALL = Effort("small", images=100)


@pytest.fixture
def tiny(tmp_path, monkeypatch, one_thread):
    """Return a recipe that trains in a moment, with a ledger of the test's own."""
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))
    return Recipe("tiny", bare_cnn, batch_size=30, num_epochs=2, optimizer="sgd", lr=0.01)


@pytest.fixture
def grid(tiny, data):
    """Return a function that runs a grid of the tiny recipe on 100 images."""

    def run(axes, **how):
        arguments = {"data": data, "effort": SMALL, "device": "cpu", "precision": "fp32", "name": "g"} | how
        return run_grid(arguments.pop("recipe", tiny), axes, **arguments)

    return run


def times():
    """Return when each run's record was written."""
    return {run.name: (run.folder / RECORD).stat().st_mtime_ns for run in all_runs()}


def test_each_combination_is_a_row_and_a_run_of_that_sweep(grid):
    table = grid({"lr": [0.01, 0.1], "seed": [0, 1, 2]})
    assert list(zip(table["lr"], table["seed"], strict=True)) == [(a, b) for a in (0.01, 0.1) for b in (0, 1, 2)]
    assert set(table["state"]) == {"finished"} and set(table["error"]) == {""}
    for row in table.itertuples():
        record = find(row.run).record
        assert record["sweep"] == "g" and record["seed"] == row.seed and record["recipe"]["lr"] == row.lr
        assert row.val_acc == find(row.run).history()["val_acc"][-1]


def test_numpys_numbers_are_as_good_as_pythons(grid):
    given = grid({"lr": np.array([0.5, 0.25], dtype=np.float32), "seed": np.arange(1), "batch_size": [np.int64(50)]})
    plainly = grid({"lr": [0.5, 0.25], "seed": [0], "batch_size": [50]})
    assert given.equals(plainly) and set(given["state"]) == {"finished"}
    named = grid({"batch_size": {"fifty": np.int64(50)}}, seed=np.int64(0))
    assert named["batch_size"][0] == "fifty" and find(named["run"][0]).record["recipe"]["batch_size"] == 50


def test_called_again_nothing_is_trained_and_the_table_is_the_same(grid, monkeypatch):
    axes = {"lr": [0.01, 0.1], "seed": [0, 1]}
    first, before = grid(axes), times()
    monkeypatch.setattr(Recipe, "train", lambda *args, **how: pytest.fail("it trained again"))
    second = grid(axes)
    assert first.equals(second) and times() == before


def test_a_trial_that_cannot_be_read_is_listed_with_the_reason_and_not_trained_again(grid, monkeypatch):
    axes = {"lr": [0.01, 0.1]}
    first = grid(axes)
    (find(first["run"][1]).folder / "evaluation.json").write_text('{"accuracy": [0.5]}')
    monkeypatch.setattr(Recipe, "train", lambda *args, **how: pytest.fail("it trained again"))
    second = grid(axes)
    assert list(second["state"]) == ["finished", "unreadable"] and "evaluation.json" in second["error"][1]


@pytest.mark.parametrize("how", [{}, {"protocol": "watch_test"}, {"effort": EFFORTS["check"]}, {"seed": 3}])
def test_a_trial_has_the_folder_that_the_recipe_gives_the_same_training(grid, tiny, data, how, monkeypatch):
    table = grid({"lr": [0.02]}, **how)
    arguments = {"data": data, "effort": SMALL, "device": "cpu", "precision": "fp32", "curves": False} | how
    by_hand = tiny.change(lr=0.02).train(**arguments)
    assert table["run"][0] == by_hand.folder.name


def test_a_trial_that_goes_on_from_a_parent_has_the_folder_that_the_recipe_gives_it(grid, tiny, data):
    parent = grid({"seed": [0]})["run"][0]
    table = grid({"lr": [0.001]}, parent=parent)
    arguments = {"data": data, "effort": SMALL, "device": "cpu", "precision": "fp32", "curves": False}
    assert tiny.change(lr=0.001).train(parent=parent, **arguments).folder.name == table["run"][0]
    assert find(table["run"][0]).record["parent"] == parent


def test_a_trial_that_diverges_is_a_row_with_its_reason_and_the_others_are_as_without_it(grid):
    alone = grid({"lr": [0.01, 0.1]}, name="alone")
    table = grid({"lr": [0.01, 1e6, 0.1]})
    assert list(table["state"]) == ["finished", "diverged", "finished"]
    assert "loss is nan. (epoch" in table["error"][1] and table["error"][0] == ""
    assert list(table["val_acc"][[0, 2]]) == list(alone["val_acc"])


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_failing_trial_is_tried_again_so_many_times_in_all_calls_together(grid, retries):
    for _ in range(3):
        table = grid({"lr": [1e6]}, retries=retries)
    assert len(find(table["run"][0]).record["attempts"]) == 1 + retries == table["attempts"][0]


def test_a_trial_that_fails_once_is_finished_by_its_second_attempt(grid, monkeypatch):
    train, calls = Recipe.train, []

    class Hiccup:
        def after_batch(self, training):
            if len(calls) == 1 and training.batch == 2:
                raise OSError("the drive was gone for a moment")

    def disturbed(recipe, *args, callbacks=(), **how):
        calls.append(how)
        return train(recipe, *args, callbacks=[*callbacks, Hiccup()], **how)

    monkeypatch.setattr(Recipe, "train", disturbed)
    table = grid({"seed": [0]})
    assert [attempt["how"] for attempt in find(table["run"][0]).record["attempts"]] == ["failed", "finished"]
    assert table["state"][0] == "finished" and table["error"][0] == ""


def test_a_setting_that_no_training_can_have_is_a_row_and_stops_nothing(grid):
    table = grid({"optimizer": ["nonesuch", "sgd"], "seed": [0]})
    assert list(table["state"]) == ["failed", "finished"]
    assert "nonesuch" in table["error"][0] and math.isnan(table["val_acc"][0])


def test_a_training_that_a_callback_ended_early_does_not_end_the_grid(grid, monkeypatch):
    train = Recipe.train

    def ended_early(*args, **how):
        trained = train(*args, **how)
        trained.history.stopped = True  # before the last epoch, but the record says finished
        return trained

    monkeypatch.setattr(Recipe, "train", ended_early)
    assert list(grid({"seed": [0, 1]})["state"]) == ["finished", "finished"]


def test_an_interrupt_saves_the_trial_under_way_and_the_next_call_goes_on(grid, monkeypatch, capsys):
    train, seen = Recipe.train, []

    class Interrupt:
        def after_batch(self, training):
            seen.append(training.batch)
            if len(seen) == 5:  # of the first trial's 6
                signal.raise_signal(signal.SIGINT)

    def watched(recipe, *args, callbacks=(), **how):
        return train(recipe, *args, callbacks=[*callbacks, Interrupt()], **how)

    monkeypatch.setattr(Recipe, "train", watched)
    table = grid({"seed": [0, 1, 2]})
    assert list(table["state"]) == ["stopped", "not begun", "not begun"]
    assert "1 stopped, 2 not begun" in capsys.readouterr().out
    again = grid({"seed": [0, 1, 2]})
    assert set(again["state"]) == {"finished"}
    assert len(find(again["run"][0]).record["attempts"]) == 2
    assert len(seen) == 18  # batches of 3 trials, 2 epochs of 3: none twice


def test_a_trial_that_another_process_trains_is_left_to_it(grid, tiny, data):
    folder = trainings() / grid({"seed": [0]})["run"][0]
    record = read_json(folder / RECORD)
    for path in folder.iterdir():
        path.unlink()
    claim = Claim(folder)
    claim.take()
    write_json(folder / RECORD, record | {"state": "running"})
    try:
        table = grid({"seed": [0, 1]})
        assert list(table["state"]) == ["running", "finished"]
        assert table["error"][0] == "another process is training it"
    finally:
        claim.release()
    assert list(grid({"seed": [0, 1]})["state"]) == ["finished", "finished"]


def test_a_trial_that_another_process_gives_up_meanwhile_is_taken_over(grid, monkeypatch):
    looks, begun = iter([True]), []
    monkeypatch.setattr(trials, "is_alive", lambda folder: next(looks, False))
    train = Recipe.train
    monkeypatch.setattr(Recipe, "train", lambda *args, **how: begun.append(how["seed"]) or train(*args, **how))
    assert list(grid({"seed": [0, 1]})["state"]) == ["finished", "finished"]
    assert begun == [1, 0]


@pytest.mark.parametrize("meanwhile", ["finished", "diverged"])
def test_what_another_process_did_between_the_look_and_the_claim_is_not_done_again(grid, meanwhile, monkeypatch):
    axes = {"lr": [1e6]} if meanwhile == "diverged" else {"seed": [0]}
    name = grid(axes)["run"][0]
    before = find(name).record
    looks, is_due = iter([True]), trials.is_due
    monkeypatch.setattr(trials, "is_due", lambda *run: next(looks, None) or is_due(*run))
    table = grid(axes)
    assert table["state"][0] == meanwhile and find(name).record == before


def test_another_grid_of_the_same_name_keeps_the_old_trials_and_names_them(grid, capsys):
    old = grid({"lr": [0.01, 0.02]})
    before = times()
    capsys.readouterr()
    new = grid({"lr": [0.02, 0.03]})
    said = capsys.readouterr().out
    assert old["run"][0] in said and old["run"][1] not in said
    assert old["run"][1] == new["run"][0] and len(all_runs()) == 3
    assert {name: times()[name] for name in before} == before


def test_an_axis_can_be_a_path_into_settings_or_have_names_for_its_values(grid):
    narrow = functools.partial(bare_cnn, channels=4)
    axes = {"optimizer_settings.momentum": [0.0, 0.9], "network": {"wide": bare_cnn, "narrow": narrow}}
    table = grid(axes)
    assert list(table["network"]) == ["wide", "narrow"] * 2
    records = [find(name).record for name in table["run"]]
    assert [record["recipe"]["optimizer_settings"]["momentum"] for record in records] == [0.0, 0.0, 0.9, 0.9]
    assert [record["parameters"] for record in records[:2]] == [8 * 27 + 8 + 90, 4 * 27 + 4 + 50]


class Net(torch.nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.linear = torch.nn.Linear(width, 10)


def make_net(width=8):
    return Net(width)


def test_an_axis_of_networks_is_labelled_by_their_names(tiny):
    networks = ["plain_cnn", Net, make_net, functools.partial(make_net, width=16), Net(4).linear]
    values = axis_values("network", networks)
    assert list(values)[:4] == ["plain_cnn", "Net", "make_net", "make_net(width=16)"]
    assert list(values.values()) == networks
    assert axis_values("network", Net) == {"Net": Net} and axis_values("network", "gated") == {"gated": "gated"}
    assert vary(tiny, "network", Net).network is Net
    assert vary(tiny, "optimizer_settings.momentum", 0.5).optimizer_settings == {"momentum": 0.5}


def test_combinations_that_are_the_same_training_are_one_row(grid):
    assert len(grid({"lr": [0.01, 0.010], "seed": 0})) == 1
    assert len(grid({"network": {"one": bare_cnn, "the same": bare_cnn}, "seed": 0})) == 1


@pytest.mark.parametrize("axis", ["learning_rate", "lr.x", "reported", ""])
def test_an_axis_that_does_not_exist_is_refused_before_anything_is_trained(grid, axis):
    with pytest.raises(CourseworkError, match="axis"):
        grid({"seed": [0], axis: [1]})
    assert all_runs() == []


def test_an_axis_without_values_is_refused(grid):
    with pytest.raises(CourseworkError, match="no values"):
        grid({"lr": []})


def test_the_bar_is_one_line_at_a_terminal_and_nothing_in_ci(grid, capsys, monkeypatch):
    monkeypatch.setenv("CI", "1")
    grid({"seed": [0]})
    quiet = capsys.readouterr()
    monkeypatch.delenv("CI")
    grid({"seed": [0]})
    loud = capsys.readouterr()
    assert quiet.out == "g: 1 trial, 1 finished; 1 trained by this call.\n" and quiet.err == loud.err == ""
    assert "seed 0" in loud.out and loud.out.count("\n") == 1


@pytest.mark.parametrize(
    ("record", "due"),
    [
        ({}, True),
        ({"state": "running"}, True),
        ({"state": "stopped"}, True),
        ({"state": "finished"}, False),
        ({"state": "failed"}, True),
        ({"state": "failed", "attempts": [{"how": "failed"}, {"how": None}]}, True),
        ({"state": "diverged", "attempts": [{"how": "failed"}, {"how": "diverged"}]}, False),
    ],
)
def test_a_record_tells_whether_a_trial_is_due_with_one_retry(record, due, tmp_path):
    write_json(tmp_path / RECORD, record)
    assert is_due(Run(tmp_path), 1) is due
    assert count_failures({"state": "finished", "attempts": [{"how": "failed"}, {"how": "finished"}]}) == 1


def test_a_reported_system_can_be_varied(grid):
    recipe = SYSTEMS["plain_cnn"].change(num_epochs=1)
    table = grid({"lr": [5e-4]}, recipe=recipe, name=None)
    assert list(table["state"]) == ["finished"]
    assert find(table["run"][0]).record["sweep"] == "plain_cnn: lr"
