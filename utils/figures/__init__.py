"""Figures for all notebooks: functions that take numbers and return matplotlib figures."""

import importlib

# Imported when a name is used: matplotlib is slow to import, and a notebook first checks that it is installed.
_MODULES = {
    "basics": ("show_bars", "show_channels", "show_grid", "show_history"),
    "curves": ("show_learning_curves",),
    "model": ("show_features", "show_forms", "show_gates", "show_responses"),
    "optimizer": ("show_confidence", "show_paths", "show_range", "show_runs", "show_schedules"),
    "evaluation": (
        "show_answer",
        "show_calibration",
        "show_confusion",
        "show_mistakes",
        "show_per_class",
        "show_robustness",
        "show_views",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = list(_MODULE_OF)


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__():
    return __all__
