"""Reading the ledger: runs are found by name, compared in a table, and what cannot be read of them is said."""

import pandas as pd
import pytest
from ledger_parts import SMALL, train

from utils import runs
from utils.errors import CourseworkError
from utils.evaluation.evaluate import measure_test_accuracy
from utils.runs.run import find, fold
from utils.runs.run_table import settled

pytestmark = pytest.mark.usefixtures("ledger_folder")


def test_runs_are_found_by_name_by_a_beginning_or_as_the_last(data, tiny):
    first = tiny.train(data, seed=1, **SMALL).run.name
    second = tiny.train(data, seed=2, **SMALL).run.name
    assert find(first).name == find(first[:15]).name == first
    with pytest.raises(CourseworkError, match="2 runs"):
        find("tiny")
    with pytest.raises(CourseworkError, match="no run") as caught:
        find("nothing")
    assert first in caught.value.next_step and second in caught.value.next_step
    with pytest.raises(CourseworkError, match="no run") as caught:
        find("x", "/nowhere")
    assert "Train a network first" in caught.value.next_step


def test_the_table_has_the_four_figures_of_report_e(data, tiny):
    trained = tiny.train(data, seed=1, **SMALL)
    tiny.train(data, seed=2, protocol="watch_test", **SMALL)
    table = runs.table()
    assert list(table.seed) == [1, 2] and table.index.name == "run"
    mine = table.loc[trained.run.name]
    seconds = trained.history["seconds"][-1]
    assert mine.ms_per_iteration == pytest.approx(1000 * seconds / (2 * 4))
    assert mine.parameters == sum(p.numel() for p in trained.net.parameters())
    assert mine.error_rate == pytest.approx(1 - trained.history["val_acc"][-1])
    assert mine.settled_s in trained.history["seconds"] or pd.isna(mine.settled_s)
    acc = measure_test_accuracy(trained)["accuracy"]
    assert runs.table().loc[trained.run.name, "test_acc"] == acc
    assert runs.table().loc[trained.run.name, "error_rate"] == pytest.approx(1 - acc)


def test_an_empty_ledger_is_an_empty_table():
    assert runs.table().empty and "val_acc" in runs.table() and runs.all_runs() == []


def test_a_run_whose_epochs_have_different_columns_hides_no_other():
    train()
    folder = runs.trainings() / "odd"
    folder.mkdir()
    (folder / "run.json").write_text('{"state": "stopped", "created": null, "watched": "val", "batches": 3}')
    lines = ['{"epoch": 1, "val_acc": 0.5}', '{"epoch": 2, "val_loss": 1.0, "val_acc": null}', '{"epoch": 3}']
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    table = runs.table()
    assert list(table.index)[0] == "odd" and len(table) == 2  # nobody knows when it began
    odd = table.loc["odd"]
    assert (odd.epochs, odd.best_val_acc, odd.bad_lines) == (3, 0.5, 0)
    assert pd.isna(odd.val_acc) and pd.isna(odd.seconds) and pd.isna(odd.settled_s)


def rows(*accuracies):
    history = fold([{"epoch": i + 1, "val_acc": acc, "seconds": 10.0 * (i + 1)} for i, acc in enumerate(accuracies)])
    return settled(history, "val_acc")


def test_accuracy_has_settled_where_no_later_epoch_is_a_point_below_the_best():
    assert rows(0.5, 0.895, 0.9, 0.893) == 20.0
    assert rows(0.5, 0.9, 0.6, 0.9) == 40.0
    assert rows(0.9) == 10.0
    assert pd.isna(rows(0.5, 0.9, 0.6))
    assert pd.isna(rows()) and rows(0.9, None) == 10.0
