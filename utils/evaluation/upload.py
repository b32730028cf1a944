"""Owns the button by which a reader gives the network a picture. Without a kernel an example's figure stays."""

from __future__ import annotations

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display

from utils.data.browse import show_controls
from utils.errors import CourseworkError
from utils.evaluation.own_picture import classify
from utils.figures.evaluation import show_answer

STATIC = "(A picture can be uploaded here once the notebook runs in JupyterLab or Colab.)"


def upload(trained, example):
    """Show what a Trained says of an example (a path or a file's bytes), and then of each picture that is uploaded."""
    button, note = ipywidgets.FileUpload(accept="image/*", multiple=False), ipywidgets.Label()
    box = ipywidgets.HBox([button, note])
    show_controls(box, STATIC)
    figure = _answer(trained, example)
    handle = display(figure, display_id=True)
    plt.close(figure)  # or the notebook would show it a second time at the end of the cell

    def answer(_):
        try:
            figure = _answer(trained, uploaded(button.value))
        except CourseworkError as error:
            note.value = f"{error.what} {error.next_step}"
            return
        note.value = ""
        handle.update(figure)
        plt.close(figure)

    button.observe(answer, names="value")


def uploaded(value):
    """Return an uploaded file's bytes from a button's value; ipywidgets 7, which Colab has, gives a dict by name."""
    files = list(value.values()) if isinstance(value, dict) else value
    return files[-1]["content"] if files else b""


def _answer(trained, source):
    picture, answer = classify(trained, source)
    best = next(iter(answer))
    return show_answer(picture, answer, title=f"It says {best} and is {answer[best]:.0%} sure")
