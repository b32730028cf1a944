"""A kernel of 3x3 numbers that can be edited in a notebook, and the response of an image to it.

edit_kernel(image, K)
"""

from __future__ import annotations

import ipywidgets
import torch
import torch.nn.functional as F

from utils.data.browse import show_controls, show_live
from utils.figures import show_responses

STATIC = "(The nine numbers of the kernel can be changed here once the notebook runs in JupyterLab or Colab.)"


def edit_kernel(image, kernel, *, title=None):
    """Show the response of an image, uint8 (3, h, w), averaged to grey, to a 3x3 kernel whose numbers can be edited."""
    grey = image.float().mean(0)[None, None] / 255
    numbers = [float(value) for value in torch.as_tensor(kernel).flatten()]
    layout = ipywidgets.Layout(width="72px")
    cells = [ipywidgets.FloatText(value=value, step=1, layout=layout) for value in numbers]

    def show_response():
        K = torch.tensor([cell.value for cell in cells]).view(3, 3)
        response = F.conv2d(grey, K[None, None])[0, 0]
        return show_responses(image, {"your kernel": K}, {"your kernel": response}, title=title)

    rows = [ipywidgets.HBox(cells[start : start + 3]) for start in (0, 3, 6)]
    show_controls([ipywidgets.VBox(rows)], STATIC)
    show_live(show_response, cells)
