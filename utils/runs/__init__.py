"""The run log: every training is recorded in a folder on disk, from which it can be read and resumed."""

from utils.runs.processes import several_processes
from utils.runs.run import Run, all_runs, find, trainings
from utils.runs.run_table import row, table, tested_accuracy

__all__ = ["Run", "all_runs", "find", "row", "several_processes", "table", "tested_accuracy", "trainings"]
