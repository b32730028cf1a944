"""A button for uploading a picture that the network classifies; without a kernel, the figure of an example is shown.

upload(net, "ship.png")
"""

from __future__ import annotations

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display

from utils.data.browse import show_controls
from utils.errors import CourseworkError
from utils.evaluation.own_picture import classify
from utils.figures.evaluation import show_answer

STATIC = "(A picture can be uploaded here once the notebook runs in JupyterLab or Colab.)"


def upload(net_or_trained, example):
    """Show the prediction of a network or Trained for an example (a path or bytes), then for each uploaded picture."""
    button = ipywidgets.FileUpload(accept="image/*", multiple=False)
    note = ipywidgets.Label()
    show_controls([button, note], STATIC)
    figure = _prediction(net_or_trained, example)
    handle = display(figure, display_id=True)
    plt.close(figure)  # otherwise the notebook would show it a second time at the end of the cell

    def predict(_):
        try:
            figure = _prediction(net_or_trained, uploaded(button.value))
        except CourseworkError as error:
            note.value = f"{error.what} {error.next_step}"
            return
        note.value = ""
        handle.update(figure)
        plt.close(figure)

    button.observe(predict, names="value")


def uploaded(value):
    """Return an uploaded file's bytes from a button's value, which in ipywidgets 7 (on Colab) is a dict by name."""
    files = list(value.values()) if isinstance(value, dict) else value
    return files[-1]["content"] if files else b""


def _prediction(net_or_trained, source):
    picture, p = classify(net_or_trained, source)
    best = next(iter(p))
    return show_answer(picture, p, title=f"Predicted: {best}, with a probability of {100 * p[best]:.0f} %")
