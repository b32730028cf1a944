"""All figures are drawn in the style of the notebooks, and closed after each test."""

import matplotlib.pyplot as plt
import pytest

from utils.figures.style import STYLE


@pytest.fixture(autouse=True)
def style(close_figures):
    with plt.rc_context(STYLE):
        yield
