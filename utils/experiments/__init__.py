"""Experiments (notebook 06): train grids of settings, compare runs, and compare our accuracies with reported ones."""

from utils.experiments.beside_reports import beside_reported, beside_table, comparison_table
from utils.experiments.choose import choose_runs
from utils.experiments.compare import Group, differences, find_ablations, group_runs
from utils.experiments.grid import run_grid
from utils.experiments.page import write_page
from utils.experiments.plots import (
    show_best_runs,
    show_changes,
    show_continued,
    show_curves,
    show_reported,
    show_trials,
)
from utils.experiments.records import read_records, results_table

__all__ = [
    "Group",
    "beside_reported",
    "beside_table",
    "choose_runs",
    "comparison_table",
    "differences",
    "find_ablations",
    "group_runs",
    "read_records",
    "results_table",
    "run_grid",
    "show_best_runs",
    "show_changes",
    "show_continued",
    "show_curves",
    "show_reported",
    "show_trials",
    "write_page",
]
