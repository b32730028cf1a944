"""Beside each reported accuracy stands our best complete run of the same recipe, or a record, or that there is none."""

import pytest

from utils.experiments.beside_reports import beside_reported, beside_table, best_group, comparison_table
from utils.experiments.compare import group_runs
from utils.files import plain
from utils.recipes.reported import SYSTEMS
from utils.recipes.tables import C_ROWS, D_ROWS


def test_beside_the_five_reported_accuracies_stand_our_best_runs_or_nothing(add):
    add("worse", 0.7)
    add("best", 0.8, seed=1)
    add("synthetic", 0.99, data=add.synthetic)
    add("other lr", 0.99, recipe=SYSTEMS["plain_cnn"].change(lr=0.1))
    add("E", 0.6, recipe=SYSTEMS["dropout_cnn"], data=add.synthetic)
    rows = {row["report"]: row for row in beside_reported(records=[])}
    assert [rows[letter]["reported"] for letter in "ABCDE"] == [0.8885, 0.8367, 0.84, 0.9051, 0.8565]
    assert (rows["C"]["run"], rows["C"]["ours"], rows["C"]["seeds"]) == ("best", 0.8, 2)
    assert rows["C"]["mean"] == pytest.approx(0.75) and not rows["C"]["is_synthetic"]
    assert rows["E"]["is_synthetic"] and rows["A"]["ours"] is None
    table = comparison_table(list(rows.values()))
    assert table.loc["A", "ours"] == "not yet run" and table.loc["A", "conditions"] == ""
    assert table.loc["C", "ours"] == "80.00 % validation (75.00 % ± 7.07 over 2 seeds)"
    assert table.loc["E", "conditions"] == "synthetic images, protocol validation, effort full, 1 epoch"


def test_a_short_run_is_no_result_of_ours_and_its_number_of_images_is_named(add):
    add("short", 0.9, effort="demo", watched_images=14)
    row = beside_reported(records=[])[2]
    table = comparison_table([row])
    assert row["is_complete"] is False and table.loc["C", "ours"] == "not yet run in full"
    assert all(fact in table.loc["C", "conditions"] for fact in ("short", "90.00 %", "14 validation images"))
    add("cut off", 0.95, seed=1, state="stopped")
    add("whole", 0.5, watched_images=5000)
    row = beside_reported(records=[])[2]
    assert row["run"] == "whole" and "5,000 validation images" in comparison_table([row]).loc["C", "conditions"]


def test_a_test_accuracy_comes_before_a_better_one_of_held_out_images(add):
    add("held_out", 0.9)
    tested = add("tested", 0.6, protocol="watch_test", watched="test")
    averaged = [{"accuracy": 0.6, "views": "plain"}, {"accuracy": 0.8, "views": "flip"}]
    add("averaged", 0.5, seed=1, tests=averaged, protocol="train_on_all")
    assert best_group(SYSTEMS["plain_cnn"], group_runs()).runs == (tested,)
    assert best_group(SYSTEMS["plain_cnn"], []) is None


@pytest.mark.parametrize(("letter", "rows"), [("C", C_ROWS), ("D", D_ROWS)])
def test_tables_of_the_reports_have_our_run_of_each_rows_recipe(add, letter, rows):
    add("mine", 0.66, recipe=rows[2].recipe)
    table = beside_table(letter, records=[])
    assert len(table) == len(rows) and [row["run"] for row in table].count("mine") == 1
    assert table[2]["run"] == "mine" and table[2]["reported"] == rows[2].reported["test_acc"]
    assert len(comparison_table(table)) == len(rows)


def test_without_a_complete_run_on_real_images_the_records_are_shown_and_the_original_images_first(add):
    recipe = SYSTEMS["plain_cnn"]
    facts = {"system": recipe.name, "recipe": plain(recipe.describe()), "epochs": 30, "test_images": 10000}

    def record(accuracy, images="CIFAR-10", protocol="watch_test", **changes):
        return facts | {"accuracy": accuracy, "data": {"name": images}, "protocol": protocol} | changes

    copies, other = record(0.9, "JPEG copies of CIFAR-10"), record(0.9, recipe={})
    records = [copies, record(0.9, protocol="validation"), record(0.5), record(0.75), other]
    add("short", 0.95, effort="demo")
    add("synthetic", 0.95, data=add.synthetic)
    row = beside_reported(records=records)[2]
    assert (row["ours"], row["seeds"], row["data"], row["is_complete"]) == (0.625, 2, "CIFAR-10", True)
    assert beside_reported(records=[copies])[2]["data"] == "JPEG copies of CIFAR-10"
    add("mine", 0.6)
    assert beside_reported(records=records)[2]["run"] == "mine"


def test_the_committed_records_hold_every_reported_system():
    assert all(row["is_complete"] for row in beside_reported([]))
