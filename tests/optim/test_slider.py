"""The slider for the learning rate: a new rate redraws the one figure."""

import torch

from utils.optim import slide_learning_rate, slider


def test_a_new_learning_rate_redraws_the_path(shown):
    figures, bundles, controls = shown
    slide_learning_rate(
        lambda w: w[0] ** 2 + w[1] ** 2, lambda lr: torch.tensor([[1.0, 1.0], [lr, 0.0]]), torch.zeros(2), lr=0.03
    )
    controls[0].value = 0.05
    assert bundles[0]["text/plain"] == slider.STATIC
    ends = [figure.axes[0].lines[-2].get_xydata()[-1].tolist() for figure in figures]
    assert torch.allclose(torch.tensor(ends), torch.tensor([[0.03, 0.0], [0.05, 0.0]]))
