"""The slider for the temperature: a new temperature redraws the reliability diagram."""

import pytest
import torch

from utils.evaluation import calibration, slide_temperature, temperature_slider


def test_a_new_temperature_redraws_the_diagram(shown):
    figures, bundles, controls = shown
    y_hat, y = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 10
    slide_temperature(y_hat, y)
    controls[0].value = 2.0
    assert bundles[0]["text/plain"] == temperature_slider.STATIC
    eces = [float(figure.axes[0].get_title().rpartition(" ")[2]) for figure in figures]
    expected = [calibration((y_hat / T).softmax(1), y)["ece"] for T in (1, 2)]
    assert eces == pytest.approx(expected, abs=1e-3)
