"""Comparing runs: seeds go together, one change is one change, and what is reported stands beside what is ours."""

import dataclasses
import json
import math
import statistics

import pytest

from utils.errors import CourseworkError
from utils.experiments.compare import (
    ablations,
    beside_reported,
    beside_table,
    best_of,
    difference,
    frame,
    groups,
    labels,
    neighbours,
    settings_of,
)
from utils.recipes import SYSTEMS
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.runs.run import all_runs, find

REAL = {"name": "CIFAR-10", "source": "archive", "fingerprint": "a" * 16}
DRAWN = {"name": "drawn images", "source": "drawn", "fingerprint": "d" * 16}


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Return a function that puts a run on the test's ledger: its recipe, accuracy, and changes to run.json."""
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))

    def add(name, acc=0.5, recipe=SYSTEMS["plain_cnn"], watched="val", **changes):
        folder = tmp_path / name
        folder.mkdir()
        record = {"run": name, "system": recipe and recipe.name, "state": "finished", "seed": 0, "data": REAL}
        record |= {"recipe": recipe and recipe.describe(), "budget": "full", "protocol": "honest", "images": 45000}
        record |= {"created": f"2026-01-01T00:00:{len(list(tmp_path.iterdir())):02d}", "parameters": 1000}
        (folder / "run.json").write_text(json.dumps(record | changes))
        rows = [{"epoch": 1, f"{watched}_acc": acc, "train_acc": acc, "seconds": 1.0}] if acc is not None else []
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return find(name)

    return add


def varied(**changes):
    return SYSTEMS["plain_cnn"].change(**changes)


def test_runs_that_differ_only_in_their_seed_are_one_group_with_mean_and_spread(add):
    for seed, acc in enumerate((0.70, 0.72, 0.77)):
        add(f"s{seed}", acc, seed=seed, device=f"machine {seed}", git={"commit": str(seed)})
    add("other", 0.9, varied(lr=0.1))
    one, other = groups()
    assert [run.name for run in one.runs] == ["s0", "s1", "s2"] and len(other.runs) == 1
    assert one.mean == pytest.approx(0.73) and one.std == pytest.approx(statistics.stdev([0.70, 0.72, 0.77]))
    assert one.in_words() == "73.00 % ± 3.61 over 3 seeds"
    assert math.isnan(other.std) and other.in_words() == "90.00 %"


@pytest.mark.parametrize(
    "change",
    [{"data": DRAWN}, {"budget": "quick"}, {"images": 10}, {"protocol": "report"}, {"precision": "x"}, {"parent": "p"}],
)
def test_other_images_budget_protocol_precision_or_parent_make_another_group(add, change):
    add("a")
    add("b", seed=1, **change)
    assert len(groups()) == 2


def test_unfinished_seeds_do_not_count_beside_finished_ones(add):
    add("done", 0.8)
    add("cut", 0.1, seed=1, state="stopped")
    (group,) = groups()
    assert group.accuracies == [0.8] and len(group.runs) == 2


def test_a_group_is_of_test_accuracies_only_if_all_of_its_runs_have_one(add):
    add("a", 0.6, tests=[{"accuracy": 0.58}])
    assert (groups()[0].kind, groups()[0].mean) == ("test", 0.58)
    add("b", 0.7, seed=1)
    (group,) = groups()
    assert group.kind == "validation" and group.accuracies == [0.6, 0.7]


def test_runs_by_hand_are_never_thrown_together(add):
    add("a", recipe=None)
    add("b", recipe=None)
    assert len(groups()) == 2 and settings_of(find("a")) == {"run": "a"}


def test_an_ablation_is_one_change_with_its_spread(add):
    add("base", 0.80)
    add("lr0", 0.70, varied(lr=0.1))
    add("lr1", 0.74, varied(lr=0.1), seed=1)
    add("decay", 0.82, varied(optimizer_settings={"weight_decay": 5e-4}))
    add("other images", 0.9, varied(), data=DRAWN)
    add("went on", 0.9, varied(), parent="base")
    add("not finished", 0.1, varied(batch_size=8), state="stopped")
    add("two changes", 0.99, varied(lr=0.1, batch_size=7))
    add("named otherwise", 0.81, varied(name="mine"), seed=5)
    base, changes = ablations("base")
    assert base.accuracies == [0.80, 0.81]
    assert [str(change) for change in changes] == ["lr: 0.1", "weight decay: 0.0005"]
    assert [change.before for change in changes] == ["0.0005", "none"]
    assert changes[0].group.mean == pytest.approx(0.72)


def test_the_images_that_a_budget_gives_another_network_are_no_second_change(add):
    add("base", images=900)
    add("network", 0.6, varied(network=SYSTEMS["dropout_cnn"].network), images=300, parameters=2000)
    add("lr and images", 0.6, varied(lr=0.1), images=300)
    add("images", 0.6, images=300)
    _, changes = ablations("base")
    assert [str(change) for change in changes] == ["images: 300", "network: 2,000 parameters"]


def test_a_network_with_other_layers_is_named_by_them_where_that_is_short(add):
    plan = SYSTEMS["plain_cnn"].network
    layers = plan.layers
    add("base", 0.5)
    add("more", 0.6, varied(network=dataclasses.replace(plan, layers=("norm", "norm", *layers))))
    add("less", 0.7, varied(network=dataclasses.replace(plan, layers=tuple(x for x in layers if x != "average 2"))))
    add("init", 0.8, varied(network=dataclasses.replace(plan, init="xavier_uniform")), parameters=2000)
    assert [change.after for change in ablations("base")[1]] == ["+ 2 norm", "- 1 average 2", "2,000 parameters"]


def test_a_test_accuracy_is_not_compared_with_a_validation_accuracy(add):
    add("base", 0.8)
    add("tested", 0.7, varied(lr=0.1), tests=[{"accuracy": 0.7}], watched="test")
    assert ablations("base")[1] == []


@pytest.mark.parametrize("how", [{"acc": None}, {"recipe": None}, {"state": "stopped"}])
def test_a_run_without_figures_recipe_or_end_is_refused_as_a_base(add, how):
    add("base", **how)
    with pytest.raises(CourseworkError, match="cannot be a base"):
        ablations("base")


def test_neighbours_say_of_all_groups_what_ablations_say_of_one(add):
    for i, changes in enumerate(({}, {"lr": 0.1}, {"lr": 0.2}, {"batch_size": 9}, {"lr": 0.1, "batch_size": 9})):
        add(str(i), 0.5 + i / 100, varied(**changes))
    every = groups()
    for i, found in enumerate(neighbours(every)):
        expected = [(str(change), change.group.mean) for change in ablations(str(i))[1]]
        assert sorted((str(change), every[j].mean) for j, change in found) == sorted(expected)
    assert difference(every[0], every[4]) is None and difference(every[0], every[0]) is None


def test_beside_the_five_reported_figures_stand_our_best_runs_or_nothing(add):
    add("worse", 0.7)
    add("best", 0.8, seed=1)
    add("drawn", 0.99, data=DRAWN)
    add("E", 0.6, SYSTEMS["dropout_cnn"], data=DRAWN)
    rows = {row["report"]: row for row in beside_reported()}
    assert [rows[letter]["reported"] for letter in "ABCDE"] == [0.8885, 0.8367, 0.84, 0.9051, 0.8565]
    assert (rows["C"]["run"], rows["C"]["ours"], rows["C"]["seeds"]) == ("best", 0.8, 2)
    assert rows["C"]["mean"] == pytest.approx(0.75) and not rows["C"]["is_drawn"]
    assert rows["E"]["is_drawn"] and rows["A"]["ours"] is None
    table = frame(list(rows.values()))
    assert table.loc["A", "ours"] == "not yet run"
    assert table.loc["C", "ours"] == "80.00 % validation (75.00 % ± 7.07 over 2 seeds)"
    assert table.loc["E", "of"] == "drawn images, protocol honest, budget full, 1 epoch"


def test_a_trial_is_no_figure_of_ours_and_says_of_how_many_images_it_is(add):
    add("trial", 0.9, budget="taste", watched_images=14)
    (row,) = [row for row in beside_reported() if row["report"] == "C"]
    table = frame([row])
    assert row["is_trial"] and table.loc["C", "ours"] == "not yet run in full"
    assert table.loc["C", "of"].startswith("a trial: 90.00 % of 14 validation images, CIFAR-10")
    add("cut off", 0.95, seed=1, state="stopped")
    add("whole", 0.5, watched_images=5000)
    (row,) = [row for row in beside_reported() if row["report"] == "C"]
    table = frame([row])
    assert row["run"] == "whole" and table.loc["C", "ours"] == "50.00 % validation"
    assert table.loc["C", "of"].startswith("of 5,000 validation images, CIFAR-10")


def test_runs_are_told_apart_by_what_differs_or_by_their_names_where_that_is_much(add):
    for seed in (0, 1):
        add(f"a{seed}", 0.5, varied(lr=0.1), seed=seed)
    add("b", 0.5, varied(lr=0.02), seed=1)
    assert labels(all_runs()) == {"a0": "lr 0.1, seed 0", "a1": "lr 0.1, seed 1", "b": "lr 0.02, seed 1"}
    assert labels([find("a0"), find("a1")]) == {"a0": "seed 0", "a1": "seed 1"}
    assert labels([find("b")]) == {"b": "b"} and labels([]) == {}
    add("other", 0.5, SYSTEMS["dropout_cnn"])
    add("by hand", recipe=None)
    assert labels([find("b"), find("other")]) == {"b": "b", "other": "other"}
    assert labels([find("b"), find("by hand")]) == {"b": "b", "by hand": "by hand"}


@pytest.mark.parametrize(("letter", "rows"), [("C", C_ROWS), ("D", D_ROWS)])
def test_tables_of_the_reports_have_our_run_of_each_rows_recipe(add, letter, rows):
    add("mine", 0.66, rows[2].recipe)
    found = beside_table(letter)
    assert len(found) == len(rows) and [row["run"] for row in found].count("mine") == 1
    assert found[2]["run"] == "mine" and found[2]["reported"] == rows[2].reported["test_acc"]
    assert len(frame(found)) == len(rows)


@pytest.mark.parametrize("record", ["{}", "[]", '{"recipe": 3, "data": null, "state": 4}', "no json"])
def test_damaged_records_are_runs_without_figures(add, tmp_path, record):
    run = add("whole", 0.5)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text(record)
    assert len(all_runs()) == 2
    assert best_of(SYSTEMS["plain_cnn"], groups()).runs == (run,)
    assert [group.kind for group in groups()].count(None) == 1


def test_an_empty_ledger_compares_to_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "none"))
    assert groups() == [] and {row["ours"] for row in beside_reported()} == {None}


def test_a_run_with_other_settings_does_not_stand_beside_a_report(add):
    add("better", 0.9, varied(lr=0.1))
    own = add("own", 0.6)
    assert best_of(SYSTEMS["plain_cnn"], groups()).runs == (own,)
    assert {row["run"] for row in beside_reported()} == {"own", None}


def test_a_test_accuracy_comes_before_a_better_one_of_held_out_images(add):
    add("held_out", 0.9)
    tested = add("tested", 0.6, protocol="report", watched="test", tests=[{"accuracy": 0.6, "loss": 1.0}])
    assert best_of(SYSTEMS["plain_cnn"], groups()).runs == (tested,)
