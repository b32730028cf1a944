"""Experiments (notebook 06): grids and searches, intervals and tests, and our accuracies beside reported ones."""

from utils.experiments.grid import run_grid
from utils.experiments.intervals import sign_test, t_interval
from utils.experiments.page import write_page
from utils.experiments.plots import (
    show_continued,
    show_intervals,
    show_power,
    show_reported,
    show_search,
    show_tails,
)
from utils.experiments.records import beside_reported, gate_differences, read_records
from utils.experiments.search import run_search
from utils.experiments.space import linear_range, log_range

__all__ = [
    "beside_reported",
    "choose_seeds",
    "gate_differences",
    "linear_range",
    "log_range",
    "read_records",
    "run_grid",
    "run_search",
    "show_continued",
    "show_intervals",
    "show_power",
    "show_reported",
    "show_search",
    "show_tails",
    "sign_test",
    "t_interval",
    "write_page",
]


def __getattr__(name):
    if name != "choose_seeds":
        raise AttributeError(f"module 'utils.experiments' has no attribute {name!r}")
    from utils.experiments.choose import choose_seeds  # imported when used: the records need no ipywidgets

    return choose_seeds
