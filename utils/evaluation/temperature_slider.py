"""A slider for the temperature of a softmax: a reliability diagram that is drawn again when the slider moves.

slide_temperature(y_hat, y)
"""

from __future__ import annotations

import ipywidgets
import torch

from utils.data.browse import show_controls, show_live
from utils.evaluation.metrics import calibration
from utils.figures.evaluation import show_reliability

COLUMNS = ("count", "confidence", "accuracy")
STATIC = "(The temperature can be changed here once the notebook runs in JupyterLab or Colab.)"


def slide_temperature(y_hat: torch.Tensor, y: torch.Tensor, *, low=0.2, high=3.0, title=None):
    """Show the reliability diagram of softmax(y_hat / T) for logits (n, classes) and labels, with a slider for T."""
    options = {"min": low, "max": high, "step": 0.05, "readout_format": ".2f", "continuous_update": False}
    layout = ipywidgets.Layout(width="520px")
    slider = ipywidgets.FloatSlider(value=1.0, description="T", layout=layout, **options)

    def show_diagram():
        bins = calibration((y_hat / slider.value).softmax(1), y)
        numbers = [[float("nan") if value is None else value for value in bins[name]] for name in COLUMNS]
        return show_reliability({f"T = {slider.value:.2f}": (*numbers, bins["ece"])}, title=title)

    show_controls([slider], STATIC)
    show_live(show_diagram, [slider])
