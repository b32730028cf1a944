"""The figures of experiments, and the sliders of one of them: what is drawn is what was given."""

import matplotlib.pyplot as plt
import pytest

from utils.experiments import choose
from utils.experiments.plots import (
    show_continued,
    show_intervals,
    show_power,
    show_reported,
    show_search,
    show_tails,
)

pytestmark = pytest.mark.usefixtures("close_figures")


def lines(ax):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}


def test_intervals_have_a_dot_at_the_mean_a_bar_as_long_as_the_interval_and_a_tick_for_each_value():
    rows = [{"label": "a\n(images)", "mean": 1.0, "half": 0.5, "values": [0.5, 1.5]}]
    rows.append({"label": "b", "mean": -1.0, "half": 2.0, "values": [-1.0]})
    (ax,) = show_intervals(rows).axes
    bars = [collection.get_segments()[0][:, 0].tolist() for collection in ax.collections]
    assert bars == [[0.5, 1.5], [-3.0, 1.0]]
    ticks = [line for line in ax.lines if line.get_marker() == "|" and list(line.get_ydata())[0] % 1]
    assert [list(line.get_xdata()) for line in ticks] == [[0.5, 1.5], [-1.0]]
    assert [text.get_text() for text in ax.texts] == ["+1.00 ± 0.50", "\N{MINUS SIGN}1.00 ± 2.00"]


def test_intervals_under_headings_have_panels_of_one_scale():
    rows = [{"label": "a", "mean": 1.0, "half": 0.5, "values": [1.0]} for _ in range(2)]
    above, below = show_intervals({"one": rows, "two": rows[:1]}).axes
    assert [ax.get_title(loc="left") or ax.get_title() for ax in (above, below)] == ["one", "two"]
    assert above.get_xlim() == below.get_xlim() and below.get_xlabel()
    labels = [tick.get_text() for ax in (above, below) for tick in ax.get_yticklabels()]
    assert labels == ["a", "a", "a"]


def test_power_is_drawn_in_percent_over_the_number_of_seeds():
    (ax,) = show_power({"small": [0.25, 0.5], "large": [0.5, 1.0]}, (3, 6)).axes
    drawn = lines(ax)
    assert drawn["small"] == ([3, 6], [25, 50]) and drawn["large"] == ([3, 6], [50, 100])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["3", "6"]


def test_a_search_has_a_dot_for_each_trial_and_a_circle_around_the_best():
    grid = [{"lr": 0.1, "decay": 0.01, "val_acc": 0.25}, {"lr": 1.0, "decay": 0.01, "val_acc": 0.5}]
    random = [{"lr": 0.3, "decay": 0.02, "val_acc": 0.75}]
    left, right, _ = show_search({"grid": grid, "random": random}, "lr", "decay").axes
    assert left.collections[0].get_offsets().tolist() == [[0.1, 0.01], [1.0, 0.01]]
    assert left.collections[0].get_array().tolist() == [25, 50]
    assert list(left.lines[0].get_xdata()) == [1.0] and [text.get_text() for text in right.texts] == ["best: 75.0 %"]


def test_a_child_continues_where_its_parent_of_the_same_seed_ended_in_a_panel_for_each_seed(add):
    parents = [add("parent0", 0.25, 0.5, seed=3), add("parent1", 0.25, 0.5, seed=4)]
    children = {"slower": [add("child0", 0.75), add("child1", 0.875)], "faster": [add("x", 0.375), add("y", 0.625)]}
    figure = show_continued(parents, children)
    drawn = [lines(ax) for ax in figure.axes]
    for panel in drawn:
        assert panel["the parent"] == ([1, 2], [25, 50])
    assert [panel["slower"] for panel in drawn] == [([2, 3], [50, 75]), ([2, 3], [50, 87.5])]
    assert [panel["faster"] for panel in drawn] == [([2, 3], [50, 37.5]), ([2, 3], [50, 62.5])]
    assert [ax.get_title() or ax.get_title(loc="left") for ax in figure.axes] == ["seed 3", "seed 4"]
    assert [text.get_text() for text in figure.legends[0].texts] == ["the parent", "slower", "faster"]


def test_the_bars_of_a_tail_have_another_colour():
    (ax,) = show_tails([0, 2, 4], [1, 2, 1], [True, False, False]).axes
    assert [bar.get_height() for bar in ax.patches] == [1, 2, 1]
    assert [bar.get_x() + bar.get_width() / 2 for bar in ax.patches] == pytest.approx([0, 2, 4])
    first, *others = [bar.get_facecolor() for bar in ax.patches]
    assert len(set(others)) == 1 and first not in others


def test_a_few_bars_have_a_tick_and_their_height_each():
    (ax,) = show_tails(range(3), [0.25, 0.5, 0.25], [True, False, False]).axes
    assert list(ax.get_xticks()) == [0, 1, 2] and [text.get_text() for text in ax.texts] == ["0.250", "0.500", "0.250"]
    assert not show_tails(range(40), [1] * 40, [False] * 40).axes[0].texts


def test_marked_positions_have_a_line_and_their_number():
    (ax,) = show_tails(range(40), [1] * 40, [False] * 40, lines=(2.5, 0)).axes
    assert [line.get_xdata()[0] for line in ax.lines] == [2.5, 0]
    assert [text.get_text() for text in ax.texts] == ["2.5", "0"]


def test_reported_figures_are_drawn_with_ours_and_their_conditions():
    shared = {"report": "B", "reported": 0.8367, "protocol": "watch_test"}
    rows = [
        shared | {"system": "first", "mean": 0.5, "epochs": 7},
        shared | {"system": "second", "mean": 0.75, "epochs": 9},
    ]
    (ax,) = show_reported(rows).axes
    assert [text.get_text() for text in ax.texts] == ["7 epochs", "9 epochs"]
    assert "test images" in ax.get_xlabel() and "watch_test" not in ax.get_xlabel()
    drawn = {marker: [line.get_xdata()[0] for line in ax.lines if line.get_marker() == marker] for marker in ("s", "o")}
    assert drawn == {"s": pytest.approx([83.67, 83.67]), "o": [50, 75]}


def test_the_sliders_draw_the_power_of_the_chosen_difference_and_spread(shown):
    figures, bundles, sliders = shown
    choose.choose_seeds(lambda difference, spread, n: difference / spread / n, (2, 4))
    assert ([2, 4], [50, 25]) in lines(figures[0].axes[0]).values()
    sliders[0].value = 0.2
    assert ([2, 4], pytest.approx([20, 10])) in lines(figures[-1].axes[0]).values()
    assert bundles[0]["text/plain"] == choose.STATIC and plt.get_fignums() == []


def test_the_sliders_begin_at_the_given_difference_and_spread(shown):
    choose.choose_seeds(lambda difference, spread, n: 0.5, (2, 4), difference=1.0, spread=4.8)
    assert [slider.value for slider in shown[2][:2]] == [1.0, 4.8]
