"""The search: proposals depend on the seed and the trials so far, are written before training, and are never redone."""

import json
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from networks import bare_cnn

from utils.errors import CourseworkError
from utils.experiments import propose as proposals
from utils.experiments import trial as trials
from utils.experiments.grid import run_grid
from utils.experiments.propose import Tried, propose
from utils.experiments.search import run_search
from utils.experiments.search_log import SearchLog, threshold
from utils.experiments.space import linear_range, log_range
from utils.figures.trials import importances, show_importances, show_parallel, show_trials
from utils.recipes import Recipe
from utils.runs.claim import Claim
from utils.runs.run import find
from utils.training.effort import Effort

SPACE = {"lr": log_range(0.01, 1.0), "network_settings.channels": [2, 4, 8]}
WIDE = SPACE | {"momentum": linear_range(0.0, 0.9), "layers": log_range(1, 100)}


@pytest.fixture
def tiny(tmp_path, monkeypatch, one_thread):
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))
    return Recipe("tiny", bare_cnn, {"channels": 4}, batch_size=50, num_epochs=4, optimizer="sgd", lr=0.01)


@pytest.fixture
def search(tiny, data):
    """Return a function that runs a random search of the tiny recipe on 50 images."""

    def run(count, space=SPACE, **how):
        arguments = {"data": data, "effort": Effort("small", images=50), "device": "cpu", "precision": "fp32"}
        return run_search(tiny, space, trials=count, **arguments | {"sampler": "random"} | how)

    return run


def log_of(folder):
    (path,) = folder.glob("search-*")
    return SearchLog(path)


@pytest.fixture(params=["random", "tpe"])
def sampler(request):
    if request.param == "tpe":
        pytest.importorskip("optuna")
    return request.param


def test_a_proposal_is_a_pure_function_of_the_seed_and_the_trials_so_far(sampler, tiny):
    space = WIDE | {"network_settings.channels": {channels: channels for channels in (2, 4, 8)}}
    states = ["finished", "pruned", "failed", "diverged", "running"]
    earlier, others = [], []
    for number in range(16):
        settings, _ = propose(space, earlier, 3, sampler)
        assert (settings, _) == propose(space, list(earlier), 3, sampler)
        assert json.loads(json.dumps(settings)) == settings
        assert 0.01 <= settings["lr"] <= 1 and settings["network_settings.channels"] in (2, 4, 8)
        assert 0 <= settings["momentum"] <= 0.9 and settings["layers"] in range(1, 101)
        earlier.append(Tried(settings, states[number % 7 % 5], {1: 0.1, 2: 0.5 - abs(settings["lr"] - 0.3)}))
        others.append(settings["lr"])
    assert len(set(others)) > 12 and propose(space, earlier, 4, sampler) != propose(space, earlier, 3, sampler)


def test_optuna_learns_from_the_trials_so_far():
    pytest.importorskip("optuna")
    space, earlier = {"lr": linear_range(0.0, 1.0)}, []
    for _ in range(40):
        settings, _ = propose(space, earlier, 0, "tpe")
        earlier.append(Tried(settings, "finished", {1: 1 - abs(settings["lr"] - 0.3)}))
    errors = [abs(tried.settings["lr"] - 0.3) for tried in earlier]
    assert np.mean(errors[20:]) < 0.2 < 0.29  # the mean of random draws


def test_values_of_a_range_are_spread_evenly_and_stay_inside():
    fractions = (np.arange(1000) + 0.5) / 1000
    log = [log_range(0.01, 1.0).at(fraction) for fraction in fractions]
    assert min(log) >= 0.01 and max(log) <= 1.0 and 480 < sum(value < 0.1 for value in log) < 520
    whole = [linear_range(2, 5).at(fraction) for fraction in fractions]
    assert [whole.count(value) for value in (2, 3, 4, 5)] == [250] * 4
    assert all(isinstance(log_range(8, 64).at(fraction), int) for fraction in fractions)


@pytest.mark.parametrize(
    "space",
    [
        {},
        ["lr"],
        {"learning_rate": [0.1]},
        {"lr": []},
        {"lr": ["fast"]},
        {"seed": [0, 1]},
        {"protocol": ["watch_test"]},
        {"batch_size": linear_range(0.5, 2)},
        {"batch_size": [0, 50]},
        {"network_settings.width": [8]},
        {"network_settings.channels": [4, "many"]},
        {"optimizer_settings.momentun": [0.9]},
        {"optimizer": ["sgd", "nonesuch"]},
        {"loss_settings.smoothing": [0.1]},
        {"schedule": ["one_cycle", "nonesuch"]},
        {"num_epochs": [0]},
    ],
)
def test_a_space_that_no_training_can_have_is_refused_before_anything_is_trained(space, search, tmp_path):
    with pytest.raises(CourseworkError) as error:
        search(2, space)
    assert error.value.next_step and not list(tmp_path.iterdir())


@pytest.mark.parametrize("ends", [(1, 1), (2, 1), (0, 1), ("a", 1), (float("nan"), 1)])
def test_a_range_without_numbers_is_refused(ends):
    with pytest.raises(CourseworkError):
        log_range(*ends)


@pytest.mark.parametrize(
    "how",
    [
        {"protocol": "watch_test"},
        {"sampler": "best"},
        {"engine": "slurm"},
        {"resources": {"CPU": 1}},
        {"trials": 0},
    ],
)
def test_what_a_search_cannot_do_is_refused(how, search):
    with pytest.raises(CourseworkError):
        search(how.pop("trials", 2), **how)


def test_a_package_that_is_missing_is_named_with_the_line_to_type(search, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    for how in ({"sampler": "tpe"}, {"engine": "ray"}):
        with pytest.raises(CourseworkError, match="requirements-extra.txt"):
            search(2, **how)


def test_without_optuna_the_same_call_draws_at_random(search, monkeypatch, tmp_path):
    monkeypatch.setattr(proposals.importlib.util, "find_spec", lambda name: None)
    assert set(search(2, sampler="auto")["state"]) == {"finished"}
    assert {line["by"] for line in log_of(tmp_path).read("proposal").values()} == {"random"}


def test_a_longer_search_extends_a_shorter_one_and_trials_share_the_folders_of_a_grid(search, tiny, data, monkeypatch):
    short = search(2)
    runs = [find(name).record for name in short["run"]]
    table = search(4)
    assert table.iloc[:2].equals(short) and runs == [find(name).record for name in short["run"]]
    for trial in table.itertuples():
        assert (
            trial.val_acc == find(trial.run).rows[-1]["val_acc"] and find(trial.run).record["protocol"] == "validation"
        )
        assert find(trial.run).record["recipe"]["lr"] == trial.lr
    monkeypatch.setattr(Recipe, "train", lambda *args, **how: pytest.fail("it trained again"))
    arguments = {"data": data, "effort": Effort("small", images=50), "device": "cpu", "precision": "fp32"}
    settings = {"lr": [table["lr"][3]], "network_settings.channels": [table["network_settings.channels"][3]]}
    assert run_grid(tiny, settings, **arguments)["run"][0] == table["run"][3]


def test_proposals_are_in_the_log_before_they_are_trained_with_what_they_are_based_on(search, tmp_path, monkeypatch):
    train, seen = Recipe.train, []

    def watched(*args, **how):
        seen.append(list(log_of(tmp_path).read("proposal")))
        return train(*args, **how)

    monkeypatch.setattr(Recipe, "train", watched)
    search(3)
    assert seen == [[0], [0, 1], [0, 1, 2]]
    assert [line["based_on"] for line in log_of(tmp_path).read("proposal").values()] == [[], [0], [0, 1]]


def test_a_trial_of_another_process_is_left_to_it_and_noted_as_one_beside(search, tmp_path):
    search(1)
    claim = Claim(tmp_path / search(1)["run"][0])
    record = claim.path.with_name("run.json")
    record.write_text(record.read_text().replace('"state": "finished"', '"state": "running"'))
    claim.take()
    try:
        table = search(2)
    finally:
        claim.release()
    assert list(table["state"]) == ["running", "finished"]
    second = log_of(tmp_path).read("proposal")[1]
    assert second["based_on"] == [] and second["beside"] == [0]


def test_a_trial_that_fails_before_its_record_exists_fails_once_for_all_processes(search, tmp_path, monkeypatch):
    train = Recipe.train

    def broken(recipe, *args, **how):
        if recipe.network_settings["channels"] == 8:
            raise OSError("no such drive")
        return train(recipe, *args, **how)

    monkeypatch.setattr(Recipe, "train", broken)
    table = search(4)
    failed = table[table["network_settings.channels"] == 8]
    assert 0 < len(failed) < 4 and set(failed["state"]) == {"failed"} and "no such drive" in failed["error"].iloc[0]
    monkeypatch.setattr(Recipe, "train", lambda *args, **how: pytest.fail("it trained again"))
    assert search(4).equals(table)


def test_pruning_is_recorded_and_a_pruned_trial_stays_apart_from_a_whole_training(search, tmp_path, tiny, data):
    table = search(8, {"lr": log_range(1e-6, 1.0)}, prune=True)
    decisions = log_of(tmp_path).read("decision")
    pruned = {trial: epoch for (trial, epoch), line in decisions.items() if line["pruned"]}
    assert 0 < len(pruned) < 8 and set(table.index[table["state"] == "pruned"]) == set(pruned)
    for (trial, epoch), line in decisions.items():
        others = [decisions[number, epoch]["val_acc"] for number in line["compared_with"]]
        assert line["threshold"] == threshold(others) and line["pruned"] == bool(
            others and line["val_acc"] < min(1, line["threshold"])
        )
        assert line["val_acc"] == find(table["run"][trial]).rows[epoch - 1]["val_acc"]
    assert all(table["epochs"][trial] == epoch for trial, epoch in pruned.items())
    trial = next(iter(pruned))
    arguments = {"data": data, "effort": Effort("small", images=50), "device": "cpu", "precision": "fp32"}
    whole = tiny.change(lr=table["lr"][trial]).train(curves=False, **arguments)
    assert len(whole.history) == 4 and whole.folder.name != table["run"][trial]


def test_a_decision_is_not_taken_again(search, tmp_path):
    first = search(1, prune=True)
    log = log_of(tmp_path)
    with log.claimed():
        log.append("decision", trial=1, epoch=1, pruned=True, val_acc=0.0, threshold=1.0, compared_with=[0])
    second = search(2, prune=True)
    assert second.iloc[:1].equals(first) and second["state"][1] == "pruned" and second["epochs"][1] == 1


def test_a_task_waits_for_a_process_that_may_be_dead_and_then_continues(search, tiny, data, monkeypatch):
    looks = iter([True, True])
    monkeypatch.setattr(trials, "is_alive", lambda folder: next(looks, False))
    monkeypatch.setattr(trials.time, "sleep", lambda seconds: None)
    arguments, _ = trials.split_arguments("g", data=data, effort=Effort("small", images=50), device="cpu")
    trial = trials.make_trial(tiny, {}, arguments, {"precision": "fp32"})
    assert trials.train_when_free(trial, (1, arguments)) == ("done", None) and trial.run.state == "finished"
    assert next(looks, "none") == "none"


def example(count=400):
    """Return a table in which lr explains most of the variance, the network some, and the batch size none."""
    rng = np.random.default_rng(0)
    lr, batch = rng.uniform(0, 1, count), rng.choice([32, 64, 128], count)
    network = rng.choice(["a", "b"], count)
    accuracy = 0.5 + 0.3 * lr + 0.1 * (network == "b") + 0.01 * rng.normal(size=count)
    columns = {"lr": lr, "batch_size": batch, "network": network, "state": "finished", "val_acc": accuracy}
    return pd.DataFrame(columns)


def test_importances_are_the_shares_of_the_variance():
    table = example()
    variance = {"lr": 0.3**2 / 12, "network": 0.1**2 / 4}
    total, shares = sum(variance.values()) + 0.01**2, importances(table)
    assert shares["network"] == pytest.approx(variance["network"] / total, abs=0.05)
    assert 0.85 * variance["lr"] / total < shares["lr"] < variance["lr"] / total + 0.03  # in four groups
    assert shares["batch_size"] < 0.03
    assert importances(table[:1]) == importances(table[:0]) == dict.fromkeys(shares, 0.0)


def test_the_figures_of_a_search_show_its_table(close_figures):
    table = example(6)
    table["state"] = ["finished", "pruned", "finished", "diverged", "finished", "failed"]
    table["val_acc"] = [0.5, 0.2, 0.4, np.nan, 0.75, np.nan]
    (ax,) = show_trials(table).axes
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}
    assert drawn["finished"] == ([0, 2, 4], [50, 40, 75]) and drawn["best so far"] == ([*range(6)], [50] * 4 + [75] * 2)
    assert drawn["pruned"] == ([1], [20]) and drawn["diverged"] == ([3], [0])
    (ax,) = show_parallel(table).axes
    paths = [line for line in ax.lines if len(line.get_xdata()) == 4]
    assert len(paths) == 3 and paths[-1].get_label() == "the best trial" and paths[-1].get_ydata()[-1] == 1
    (ax,) = show_importances(table).axes
    assert len(ax.patches) == 3
    for show in (show_trials, show_parallel, show_importances):  # before a trial has finished
        show(table[table["state"] != "finished"]).canvas.draw()
    plt.close("all")
