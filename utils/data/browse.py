"""Owns what a reader can click: controls around the figures of basics. Without a kernel a plain figure stays."""

from __future__ import annotations

import math

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display

from utils.data.cifar10 import class_rows
from utils.data.counter_rng import epoch_order
from utils.data.loader import augmented
from utils.figures.basics import show_grid

STATIC = "(The class, page and augmentation can be chosen here once the notebook runs in JupyterLab or Colab.)"


def browse(data, augmentations=None, *, columns=10, lines=4):
    """Show training images page by page, by class and by augmentation (a dict of name: operations)."""
    augmentations = {"none": ()} | (augmentations or {})
    chosen = {
        "class": ipywidgets.Dropdown(options=["all", *data.classes], description="class"),
        "page": ipywidgets.BoundedIntText(value=1, min=1, max=1, description="page"),
        "augmentation": ipywidgets.Dropdown(options=list(augmentations), description="augment"),
    }
    of = ipywidgets.Label()

    def page():
        rows = class_rows(data.train, data.classes, chosen["class"].value)
        if chosen["class"].value == "all":  # image folders come sorted by class
            rows = epoch_order(0, 0, len(rows))
        chosen["page"].max = math.ceil(len(rows) / (columns * lines))
        of.value = f"of {chosen['page'].max:,}"
        start = (chosen["page"].value - 1) * columns * lines
        rows = rows[start : start + columns * lines]
        images = augmented(data.train, rows, augmentations[chosen["augmentation"].value], epoch=chosen["page"].value)
        captions = [data.classes[label] for label in data.train.labels[rows]]
        title = f"{data.name}: class {chosen['class'].value}, augmentation {chosen['augmentation'].value}"
        return show_grid(images, captions, columns=columns, title=title)

    show_controls(ipywidgets.HBox([chosen["class"], chosen["page"], of, chosen["augmentation"]]))
    show_live(page, chosen.values())


def show_controls(box, said=STATIC):
    """Display a widget, and a sentence in its place wherever widgets are not drawn (GitHub, HTML pages)."""
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    display({"application/vnd.jupyter.widget-view+json": view, "text/plain": said}, raw=True)


def show_live(make_figure, controls):
    """Display a figure and draw it again in the same place when a control changes; the picture is a plain PNG."""
    figure = make_figure()
    handle = display(figure, display_id=True)
    plt.close(figure)  # or the notebook would show it a second time at the end of the cell

    def redraw(_):
        figure = make_figure()
        handle.update(figure)
        plt.close(figure)

    for control in controls:
        control.observe(redraw, names="value")
