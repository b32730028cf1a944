"""Sliders for "how many seeds do I need?"; without a kernel, one figure is shown.

choose_seeds(power)  # power(difference, spread, n) is the share of experiments that find the difference
"""

from __future__ import annotations

import ipywidgets

from utils.data.browse import show_controls, show_live
from utils.experiments.plots import show_power

STATIC = "(The difference and the spread can be changed here once the notebook runs in JupyterLab or Colab.)"
SEEDS = (3, 4, 6, 8, 10, 15, 20, 30, 50, 100, 140, 200)


def choose_seeds(power, seeds=SEEDS, *, difference=0.5, spread=0.5, title=None):
    """Plot the power for each number of seeds; two sliders set the true difference and the spread of the pairs.

    difference and spread are where the sliders stand at first.
    """
    options = {"step": 0.1, "continuous_update": False, "style": {"description_width": "initial"}}
    first = ipywidgets.FloatSlider(value=difference, min=0, max=3, description="difference", **options)
    second = ipywidgets.FloatSlider(value=spread, min=0.1, max=8, description="spread", **options)

    def show_curve():
        d, s = first.value, second.value
        label = f"difference of {d:.1f} points, spread of {s:.1f} points"
        return show_power({label: [power(d, s, n) for n in seeds]}, seeds, title=title)

    show_controls([first, second], STATIC)
    show_live(show_curve, [first, second])
