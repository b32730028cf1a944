"""Evaluate a trained network: metrics, robustness, Grad-CAM, your own picture, and export (notebook 05)."""

from utils.evaluation.corruptions import corrupt
from utils.evaluation.evaluate import evaluate
from utils.evaluation.export import export_network
from utils.evaluation.grad_cam import grad_cam_maps
from utils.evaluation.metrics import calibration, confusion_matrix, per_class, scores, top_k, wilson_interval
from utils.evaluation.own_picture import classify
from utils.evaluation.robustness import VIEWS, accuracy_of_views, corruption_accuracy

__all__ = [
    "VIEWS",
    "accuracy_of_views",
    "calibration",
    "classify",
    "confusion_matrix",
    "corrupt",
    "corruption_accuracy",
    "evaluate",
    "export_network",
    "grad_cam_maps",
    "per_class",
    "scores",
    "slide_temperature",
    "top_k",
    "upload",
    "wilson_interval",
]


def __getattr__(name):
    # These are imported when used, since their widgets take a second to import.
    if name == "upload":
        from utils.evaluation.upload_widget import upload

        return upload
    if name == "slide_temperature":
        from utils.evaluation.temperature_slider import slide_temperature

        return slide_temperature
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
