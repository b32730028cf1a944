"""The slider for the learning rate: a new rate redraws the one figure."""

import matplotlib.pyplot as plt
import torch

from utils.data import browse
from utils.optim import slide_learning_rate, slider


class Handle:
    """Stand in for a display's handle and remember what it was given."""

    def __init__(self):
        self.figures = []

    def update(self, figure):
        self.figures.append(figure)


def test_a_new_learning_rate_redraws_the_path(monkeypatch):
    handle, bundles, made = Handle(), [], []

    def display(what, raw=False, display_id=None):
        (bundles if raw else handle.figures).append(what)
        return handle

    make = slider.ipywidgets.FloatSlider
    monkeypatch.setattr(browse, "display", display)
    monkeypatch.setattr(slider.ipywidgets, "FloatSlider", lambda **options: made.append(make(**options)) or made[-1])
    slide_learning_rate(
        lambda w: w[0] ** 2 + w[1] ** 2, lambda lr: torch.tensor([[1.0, 1.0], [lr, 0.0]]), torch.zeros(2), lr=0.03
    )
    made[0].value = 0.05
    assert bundles[0]["text/plain"] == slider.STATIC
    ends = [figure.axes[0].lines[-2].get_xydata()[-1].tolist() for figure in handle.figures]
    assert torch.allclose(torch.tensor(ends), torch.tensor([[0.03, 0.0], [0.05, 0.0]]))
    plt.close("all")
