"""Fixtures of the report's tests."""

import matplotlib.pyplot as plt
import pytest

BLANK = '<svg xmlns="http://www.w3.org/2000/svg" width="1pt" height="1pt"></svg>'


@pytest.fixture
def own_diagram():
    """Let a test draw the network's diagram."""


@pytest.fixture(autouse=True)
def simple_diagram(request, monkeypatch):
    """Draw an empty figure in place of the network's diagram, whose drawing has tests of its own."""
    if "own_diagram" not in request.fixturenames:
        monkeypatch.setattr("utils.report.drawings.draw_network", lambda summary: plt.figure(figsize=(7, 2)))


@pytest.fixture
def blank_figures(monkeypatch):
    """Leave all figures blank: drawing them takes most of a report's time."""
    monkeypatch.setattr("utils.report.drawings._svg", lambda *_, **__: BLANK)
