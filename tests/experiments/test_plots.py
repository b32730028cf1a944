"""The figures that compare runs, and the list to choose them from: what is drawn is what was given."""

import ipywidgets
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from utils.experiments import choose
from utils.experiments.beside_reports import beside_reported
from utils.experiments.compare import Change, Group
from utils.experiments.plots import (
    plain_label,
    show_best_runs,
    show_changes,
    show_continued,
    show_curves,
    show_reported,
    show_trials,
)
from utils.runs.run import all_runs

pytestmark = pytest.mark.usefixtures("close_figures")


def lines(ax):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}


def test_curves_are_drawn_by_epoch_and_by_seconds_each_with_a_look_of_its_own(add):
    runs = [add("a", 0.25, 0.5), add("b", 0.75), add("without an epoch")]
    left, right = show_curves(runs, title="t").axes
    assert lines(left) == {"a": ([1, 2], [25, 50]), "b": ([1], [75])}
    assert lines(right)["a"][0] == [3.0, 6.0]
    assert left.get_ylabel() == "validation accuracy (%)"
    assert len({(line.get_color(), line.get_linestyle()) for line in left.lines}) == 2


def test_where_validation_and_test_accuracies_share_an_axis_it_names_one_and_the_others_are_marked(add):
    runs = [add("a", 0.5, seed=1), add("b", 0.5, watched="test", seed=2)]
    ax = show_curves(runs).axes[0]
    assert ax.get_ylabel().startswith("validation accuracy (%)")
    assert [*lines(ax)] == ["seed 1", "seed 2 (test accuracy)"]
    (best,) = show_best_runs(runs).axes
    fills = {line.get_ydata()[0]: line.get_markerfacecolor() for line in best.lines}
    assert fills[1] == "white" != fills[0] and "hollow: test" in best.get_xlabel()
    assert show_curves(runs[1:]).axes[0].get_ylabel() == "test accuracy (%)"


def test_the_best_epoch_of_each_run_is_drawn_and_the_best_run_comes_first(add):
    runs = [add("a", 0.25, 0.5, 0.375), add("b", 0.75, seed=1), add("c", 0.1, float("nan"), seed=2), add("none")]
    (ax,) = show_best_runs(runs, count=2).axes
    assert [list(line.get_xdata()) for line in ax.lines] == [[75], [50]]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["seed 1", "seed 0 (a)"]
    assert [line.get_marker() for line in ax.lines] == ["o", "o"] and "synthetic" not in ax.get_xlabel()
    (ax,) = show_best_runs([*runs, add("d", 0.8, data=add.synthetic)], count=2).axes
    assert [line.get_marker() for line in ax.lines] == ["^", "o"] and "synthetic" in ax.get_xlabel()
    show_best_runs([])


def test_names_of_runs_are_drawn_as_they_are(add):
    figure = show_curves([add("$\\nonsense$ _{", 0.5), add("x" * 99, 0.5)])
    figure.canvas.draw()
    assert len(figure.legends[0].texts[1].get_text()) == 60 and plain_label("a", 5) == "a"


def test_a_grid_has_a_dot_for_each_trial_a_mean_and_a_cross_for_each_failure(add):
    states = ["finished", "finished", "finished", "diverged"]
    table = pd.DataFrame({"lr": [0.1, 0.1, 0.2, 1e6], "state": states, "val_acc": [0.5, 0.75, 0.25, 0.125]})
    (ax,) = show_trials(table, "lr").axes
    drawn = lines(ax)
    assert drawn["a trial"] == ([0, 0, 1], [50, 75, 25])
    assert drawn["mean"][1][:2] == [62.5, 25]
    assert drawn["failed"][0] == [2]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.1", "0.2", "1e+06"]


def test_changes_have_bars_as_long_as_their_means_with_the_spread_over_seeds(add):
    base = Group((add("a", 0.5), add("b", 0.75)))
    change = Change("lr", "0.1", "0.2", Group((add("c", 0.25),)))
    (ax,) = show_changes(base, [change]).axes
    assert [bar.get_width() for bar in ax.patches] == [62.5, 25]
    assert [text.get_text() for text in ax.texts] == ["62.5 ± 17.7", "25.0"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["the base", "lr: 0.2\n(base: 0.1)"]
    dots = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "o"]
    assert dots == [[50, 75], [25]]


def test_a_child_continues_where_its_parent_of_the_same_seed_ended(add):
    parents = [add("parent0", 0.25, 0.5), add("parent1", 0.25, 0.625)]
    figure = show_continued(parents, {"slower": [add("child0", 0.75), add("child1", 0.875)]})
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[0].lines]
    assert drawn[:2] == [([1, 2], [25, 50]), ([1, 2], [25, 62.5])]
    assert drawn[2:4] == [([2, 3], [50, 75]), ([2, 3], [62.5, 87.5])]
    assert [text.get_text() for text in figure.legends[0].texts] == ["the parents", "slower"]


def test_reported_figures_are_drawn_with_ours_or_the_words_that_there_is_none(add):
    rows = beside_reported([])
    ours = {
        "ours": 0.5,
        "kind": "test",
        "data": "synthetic images",
        "is_synthetic": True,
        "is_complete": True,
        "effort": "full",
    }
    rows[1] |= ours
    rows[2] |= ours | {"is_complete": False, "effort": "demo"}
    (ax,) = show_reported(rows).axes
    words = [text.get_text() for text in ax.texts]
    assert words.count("not yet run") == 3 and words.count("not yet run in full") == 1
    assert "test, synthetic images, effort full" in words
    squares = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "s"]
    assert squares == pytest.approx([88.85, 83.67, 84.0, 90.51, 85.65])
    (ours,) = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert ours.get_xdata()[0] == 50 and ours.get_markerfacecolor() == "white"


class Handle(list):
    """Stand in for a display's handle and remember what it was given."""

    update = list.append


@pytest.fixture
def shown(monkeypatch):
    """Record what is displayed: (figures, bundles, boxes)."""
    handle, bundles, boxes, kind = Handle(), [], [], ipywidgets.SelectMultiple

    def display(what, raw=False, display_id=None):
        (bundles if raw else handle).append(what)
        return handle

    def make(**options):
        boxes.append(kind(**options))
        return boxes[-1]

    monkeypatch.setattr("utils.data.browse.display", display)
    monkeypatch.setattr(choose.ipywidgets, "SelectMultiple", make)
    return handle, bundles, boxes


def test_the_newest_runs_are_drawn_first_and_a_choice_draws_others(add, shown):
    figures, bundles, (boxes) = shown
    for i in range(6):
        add(f"run{i}", 0.1 * i)
    choose.choose_runs()
    assert [*lines(figures[0].axes[0])] == ["run5", "run4", "run3", "run2"]
    assert all(fact in figures[0].get_suptitle() for fact in ("run5", "50.0%", "CIFAR-10"))
    boxes[0].value = (boxes[0].options[-1],)
    assert [*lines(figures[-1].axes[0])] == ["run0"]
    boxes[0].value = ()
    assert lines(figures[-1].axes[0]) == {}
    assert bundles[0]["text/plain"] == choose.STATIC and plt.get_fignums() == []


def test_runs_that_are_named_are_drawn_and_an_empty_ledger_is_an_empty_figure(add, shown):
    figures, _, _ = shown
    choose.choose_runs([])
    assert lines(figures[0].axes[0]) == {}
    add("a", 0.5)
    add("b", 0.5)
    choose.choose_runs(chosen=all_runs()[:1])
    assert [*lines(figures[-1].axes[0])] == ["a"]
