"""The figures of calibration: every bin in its place, and the best temperature marked."""

import matplotlib.pyplot as plt
import pytest
from figure_checks import check_whole
from matplotlib.colors import to_hex

from utils.figures.calibration import show_calibration, show_reliability, show_temperature
from utils.figures.style import STYLE

CALIBRATION = {
    "edges": [0.0, 0.25, 0.5, 0.75, 1.0],
    "count": [0, 3, 400, 700],
    "confidence": [None, 0.4, 0.6, 0.9],
    "accuracy": [None, 0.5, 0.7, 0.8],
    "ece": 0.1,
}


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context(STYLE):
        yield
    plt.close("all")


def test_reliability_diagrams_stand_side_by_side_and_mark_bins_of_few_images():
    nan = float("nan")
    bins = ([0, 3, 400, 700], [nan, 0.4, 0.6, 0.9], [nan, 0.5, 0.7, 0.8], 0.1)
    figure = show_reliability({"first": bins, "second": bins}, title="Finding")
    left, right, below, _ = figure.axes
    assert [bar.get_height() for bar in right.patches] == pytest.approx([0, 50, 70, 80])
    assert [bar.get_height() for bar in below.patches] == [0, 3, 400, 700]
    assert len({bar.get_facecolor() for bar in right.patches[2:]}) == 1
    assert right.patches[1].get_facecolor() != right.patches[2].get_facecolor()
    gaps = [segment[:, 1].tolist() for segment in left.collections[0].get_segments() if len(segment)]
    assert gaps == [pytest.approx(gap) for gap in ([60, 70], [90, 80])]
    assert "first" in left.get_title(loc="left") and "0.100" in left.get_title(loc="left")
    check_whole(figure)


def test_a_reliability_diagram_leaves_empty_bins_out_and_marks_those_of_few_images():
    figure = show_calibration(CALIBRATION, title="Finding")
    ax, below = figure.axes
    bars = sorted(ax.patches, key=lambda bar: bar.get_x())
    assert [bar.get_height() for bar in bars] == pytest.approx([50, 70, 80])
    assert [bar.get_x() for bar in bars] == pytest.approx([25, 50, 75])
    colours = [to_hex(bar.get_facecolor()) for bar in bars]
    assert colours[0] != colours[1] == colours[2]
    sure = ax.lines[1].get_xydata()
    assert sure.ravel().tolist() == pytest.approx([40, 40, 60, 60, 90, 90])
    assert [bar.get_height() for bar in below.patches] == [0, 3, 400, 700]
    check_whole(figure)


@pytest.mark.parametrize("size", [None, (4.4, 4.0)], ids=["notebook", "report"])
def test_the_legend_of_a_reliability_diagram_hides_no_bar(size):
    high = {"accuracy": [1.0, 0.95, 0.97, 0.99], "confidence": [0.2, 0.4, 0.6, 0.9], "count": [3, 3, 400, 700]}
    figure = show_calibration(CALIBRATION | high, title="Finding")
    if size:
        figure.set_size_inches(size)
    figure.canvas.draw()
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    (place,) = (legend.get_window_extent() for legend in legends)
    assert not any(place.overlaps(ax.get_tightbbox()) for ax in figure.axes)
    assert place.x0 >= 0 and place.x1 <= figure.bbox.x1
    assert len(legends[0].get_texts()) == 4


def test_each_curve_of_a_temperature_marks_its_minimum_and_the_temperature_of_the_diagram():
    bins = ([30, 50], [0.4, 0.9], [0.5, 0.8], 0.1)
    temperatures = [0.5, 1.0, 1.5]
    curves = {"ECE": (temperatures, [0.2, 0.1, 0.3]), "cross-entropy": (temperatures, [1.0, 2.0, 3.0])}
    figure = show_temperature("T = 1.50", bins, curves, 1.5, title="Finding")
    _, _, *panels = figure.axes
    for panel, (value, best) in zip(panels, ((0.1, 1.0), (1.0, 0.5)), strict=True):
        _, marker, line = panel.lines
        assert marker.get_xydata().tolist() == [[best, value]] and list(line.get_xdata()) == [1.5, 1.5]
        assert f"{best:.2f}" in panel.get_title(loc="left")
    check_whole(figure)
