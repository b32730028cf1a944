"""The editor of kernels: an edited number changes the response, which is the one of torch's convolution."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F

from utils.models import kernel_editor


def test_a_changed_number_changes_the_response(shown, rng):
    figures, _, cells = shown
    image = torch.from_numpy(rng.integers(0, 256, (3, 8, 8), dtype=np.uint8))
    K = torch.tensor([[-1.0, 0, 1]] * 3)
    kernel_editor.edit_kernel(image, K, title="Your kernel")
    cells[4].value = 5.0
    K[1, 1] = 5
    plain = F.conv2d(image.float().mean(0)[None, None] / 255, K[None, None])[0, 0]
    assert len(figures) == 2 and figures[0].get_suptitle() == "Your kernel"
    assert np.allclose(figures[1].axes[1].images[0].get_array(), plain)
    assert not plt.get_fignums()
