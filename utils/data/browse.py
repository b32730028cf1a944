"""Browse images with controls in a notebook; without a running kernel, one figure and a sentence are shown."""

from __future__ import annotations

import math

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import display

from utils.data.cifar10 import class_rows
from utils.data.counter_rng import epoch_order
from utils.data.loader import augmented
from utils.figures.basics import show_grid

CONTROLS = "coursework-controls"  # CSS class
# JupyterLab takes the keys of a focused list or button for its own commands ("d" twice deletes the cell), unless the
# element has this attribute. A widget can't set it, but an HTML widget can run a script when its image can't be loaded.
KEEP_KEYS = f"""
<img src="data:," onerror="window.courseworkKeys ??= !document.addEventListener('focusin', event => {{
  if (event.target.closest('.{CONTROLS}')) event.target.dataset.lmSuppressShortcuts = 'true';
}})">
"""
STATIC = "(The class, page and augmentation can be chosen here once the notebook runs in JupyterLab or Colab.)"


def browse_images(data, augmentations=None, *, chosen="none", columns=10, lines=4):
    """Show training images page by page, by class and by augmentation (a dict of name: augmentations).

    chosen is the name of the augmentation that is shown first.
    """
    augmentations = {"none": ()} | (augmentations or {})
    class_choice = ipywidgets.Dropdown(options=["all", *data.classes], description="class")
    page_choice = ipywidgets.BoundedIntText(value=1, min=1, max=1, description="page")
    augmentation_choice = ipywidgets.Dropdown(options=list(augmentations), value=chosen, description="augment")
    last_page = ipywidgets.Label()

    def show_page():
        rows = class_rows(data.train, data.classes, class_choice.value)
        if class_choice.value == "all":  # shuffled, since the pictures of image folders are sorted by class
            rows = epoch_order(0, 0, len(rows))
        page_choice.max = math.ceil(len(rows) / (columns * lines))
        last_page.value = f"of {page_choice.max:,}"
        start = (page_choice.value - 1) * columns * lines
        rows = rows[start : start + columns * lines]
        augment = augmentations[augmentation_choice.value]
        images = augmented(data.train, rows, augment, epoch=page_choice.value)
        captions = [data.classes[label] for label in data.train.labels[rows]]
        title = f"Training images, class: {class_choice.value}, augmentation: {augmentation_choice.value} ({data.name})"
        return show_grid(images, captions, columns=columns, title=title)

    show_controls([class_choice, page_choice, last_page, augmentation_choice])
    show_live(show_page, [class_choice, page_choice, augmentation_choice])


def show_controls(controls, sentence=STATIC):
    """Display widgets in a row, which keep the keys that are typed into them.

    Where widgets can't be shown (GitHub, HTML pages), a sentence appears in their place.
    """
    script = ipywidgets.HTML(KEEP_KEYS, layout=ipywidgets.Layout(display="none"))
    box = ipywidgets.HBox([*controls, script])
    box.add_class(CONTROLS)
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    display({"application/vnd.jupyter.widget-view+json": view, "text/plain": sentence}, raw=True)


def show_live(make_figure, controls):
    """Display a figure as a PNG, and replace it by a new one when a control changes."""
    figure = make_figure()
    handle = display(figure, display_id=True)
    plt.close(figure)  # otherwise the notebook would show it a second time at the end of the cell

    def redraw(_):
        figure = make_figure()
        handle.update(figure)
        plt.close(figure)

    for control in controls:
        control.observe(redraw, names="value")
