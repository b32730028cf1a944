"""A slider for the temperature of a softmax: a reliability diagram that is drawn again when the slider moves.

slide_temperature(y_hat, y)
"""

from __future__ import annotations

import ipywidgets
import torch
import torch.nn.functional as F

from utils.data.browse import show_controls, show_live
from utils.evaluation.metrics import calibration
from utils.figures.calibration import show_temperature

COLUMNS = ("count", "confidence", "accuracy", "ece")
LOW, HIGH, STEP = 0.2, 3.0, 0.05  # of the slider
STATIC = "(The temperature can be changed here once the notebook runs in JupyterLab or Colab.)"


def slide_temperature(y_hat: torch.Tensor, y: torch.Tensor, *, title=None):
    """Show the reliability diagram of softmax(y_hat / T) for logits (n, classes) and labels, with a slider for T.

    The curves beside it show the expected calibration error and the cross-entropy at every T of the slider.
    """
    options = {"min": LOW, "max": HIGH, "step": STEP, "readout_format": ".2f", "continuous_update": False}
    layout = ipywidgets.Layout(width="520px")
    slider = ipywidgets.FloatSlider(value=1.0, description="T", layout=layout, **options)
    temperatures = torch.arange(LOW, HIGH + STEP / 2, STEP).tolist()
    errors = [calibration((y_hat / T).softmax(1), y)["ece"] for T in temperatures]
    losses = [F.cross_entropy(y_hat / T, y).item() for T in temperatures]
    curves = {"ECE": (temperatures, errors), "cross-entropy": (temperatures, losses)}

    def show_diagram():
        bins = calibration((y_hat / slider.value).softmax(1), y)
        name = f"T = {slider.value:.2f}"
        return show_temperature(name, [bins[column] for column in COLUMNS], curves, slider.value, title=title)

    show_controls([slider], STATIC)
    show_live(show_diagram, [slider])
