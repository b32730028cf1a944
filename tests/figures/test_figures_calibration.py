"""The figures of calibration: every bin in its place, and the best temperature marked."""

import pytest
from figure_checks import check_whole

from utils.figures.calibration import show_reliability, show_temperature

BINS = ([0, 3, 400, 700], [None, 0.4, 0.6, 0.9], [None, 0.5, 0.7, 0.8], 0.1)


def test_reliability_diagrams_stand_side_by_side_without_the_accuracy_of_few_images():
    figure = show_reliability({"first": BINS, "second": BINS}, title="Finding")
    left, right, below, _ = figure.axes
    bars = sorted(right.patches, key=lambda bar: bar.get_x())
    assert [bar.get_height() for bar in bars] == pytest.approx([70, 80])
    assert [bar.get_x() for bar in bars] == pytest.approx([50, 75])
    shares = [100 * count / 1103 for count in BINS[0]]
    assert [bar.get_height() for bar in below.patches] == pytest.approx(shares)
    gaps = [segment[:, 1].tolist() for segment in left.collections[0].get_segments() if len(segment)]
    assert gaps == [pytest.approx(gap) for gap in ([60, 70], [90, 80])]
    assert "first" in left.get_title(loc="left") and "0.100" in left.get_title(loc="left")
    check_whole(figure)


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
