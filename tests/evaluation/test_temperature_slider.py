"""The slider for the temperature: a new temperature redraws the reliability diagram."""

import matplotlib.pyplot as plt
import pytest
import torch

from utils.data import browse
from utils.evaluation import calibration, slide_temperature, temperature_slider


def test_a_new_temperature_redraws_the_diagram(monkeypatch):
    figures, bundles, sliders = [], [], []

    class Handle:
        def update(self, figure):
            figures.append(figure)

    def display(what, raw=False, display_id=None):
        (bundles if raw else figures).append(what)
        return Handle()

    make = temperature_slider.ipywidgets.FloatSlider
    monkeypatch.setattr(browse, "display", display)
    monkeypatch.setattr(
        temperature_slider.ipywidgets, "FloatSlider", lambda **options: sliders.append(make(**options)) or sliders[-1]
    )
    y_hat, y = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 10
    slide_temperature(y_hat, y)
    sliders[0].value = 2.0
    assert bundles[0]["text/plain"] == temperature_slider.STATIC
    shown = [float(figure.axes[0].get_title().rpartition(" ")[2]) for figure in figures]
    expected = [calibration((y_hat / T).softmax(1), y)["ece"] for T in (1, 2)]
    assert shown == pytest.approx(expected, abs=1e-3)
    plt.close("all")
