"""A slider for the learning rate: a path of gradient descent that is drawn again when the slider moves.

slide_learning_rate(height, walk, goal)
"""

from __future__ import annotations

import ipywidgets

from utils.data.browse import show_controls, show_live
from utils.figures import show_valleys

STATIC = "(The learning rate can be changed here once the notebook runs in JupyterLab or Colab.)"


def slide_learning_rate(height, walk, goal, *, lr=0.03, low=0.002, high=0.12, step=0.002, title=None):
    """Show the path walk(lr), points (steps + 1, 2), on the surface `height`, for the learning rate of a slider."""
    layout = {"layout": ipywidgets.Layout(width="520px"), "style": {"description_width": "initial"}}
    options = {"min": low, "max": high, "step": step, "readout_format": ".3f", "continuous_update": False}
    slider = ipywidgets.FloatSlider(value=lr, description="learning rate", **options, **layout)

    def show_path():
        paths = {f"learning rate {slider.value:.3f}": walk(slider.value)}
        return show_valleys(height, paths, goal=goal, title=title)

    show_controls([slider], STATIC)
    show_live(show_path, [slider])
