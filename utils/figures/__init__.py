"""Figures for all notebooks: functions that take numbers and return matplotlib figures."""

import importlib

# Imported when a name is used: matplotlib is slow to import, and a notebook first checks that it is installed.
_MODULES = {
    "basics": ("show_channels", "show_grid", "show_pixels"),
    "curves": ("show_learning_curves",),
    "model": ("show_data_flow", "show_gate_spread", "show_responses"),
    "optimizer": (
        "show_circles",
        "show_comparison",
        "show_confidence",
        "show_graph",
        "show_losses",
        "show_paths",
        "show_range",
        "show_schedules",
        "show_valleys",
    ),
    "trials": ("show_importances", "show_parallel", "show_trials"),
    "calibration": ("show_reliability", "show_temperature"),
    "evaluation": (
        "show_answer",
        "show_class_gates",
        "show_confusion",
        "show_drops",
        "show_embedding",
        "show_estimates",
        "show_maps",
        "show_per_class",
        "show_robustness",
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
