"""Every training as a folder on disk: written, read, resumed."""

from utils.runs.run import Run, all_runs, find, row, table, tested_accuracy, trainings

__all__ = ["Run", "all_runs", "find", "row", "table", "tested_accuracy", "trainings"]
