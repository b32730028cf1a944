"""Sliders for "how many seeds do I need?"; without a kernel, one figure is shown.

choose_seeds(power)  # power(difference, spread, n) is the share of experiments that find the difference
"""

from __future__ import annotations

import ipywidgets

from utils.data.browse import show_controls, show_live
from utils.experiments.plots import show_power

STATIC = "(The difference and the spread can be changed here once the notebook runs in JupyterLab or Colab.)"


def choose_seeds(power, seeds=(3, 4, 6, 8, 10, 15, 20, 30, 50, 100), *, title=None):
    """Plot the power for each number of seeds; the true difference and the spread of one pair are set by sliders."""
    options = {"step": 0.1, "continuous_update": False, "style": {"description_width": "initial"}}
    difference = ipywidgets.FloatSlider(value=0.5, min=0, max=3, description="difference", **options)
    spread = ipywidgets.FloatSlider(value=0.5, min=0.1, max=8, description="spread", **options)

    def show_curve():
        d, s = difference.value, spread.value
        return show_power({f"difference {d:.1f}, spread {s:.1f}": [power(d, s, n) for n in seeds]}, seeds, title=title)

    show_controls([difference, spread], STATIC)
    show_live(show_curve, [difference, spread])
