"""Owns the choice of a device, and its name for people. Leaves every setting of the device as it is."""

from __future__ import annotations

import os
import pathlib
import platform
import warnings

import torch


def try_gpu(i=0):
    """Return GPU i, else Apple's, else the CPU; a GPU counts only if a small operation really runs on it."""
    found = [torch.device("cuda", i)] if torch.cuda.device_count() > i and torch.cuda.is_available() else []
    found += [torch.device("mps")] if torch.backends.mps.is_available() else []
    return next((device for device in found if _runs(device)), torch.device("cpu"))


def describe(device="cpu"):
    """Return one line: the device's name, its memory or cores, and torch's version."""
    device = torch.device(device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, size = properties.name, f"{properties.total_memory / 2**30:.0f} GiB"
    else:
        name, size = _processor(), f"{_cores()} core" + "s" * (_cores() > 1)
    return f"{name}{' GPU' if device.type == 'mps' else ''} ({size}), torch {torch.__version__}"


def _runs(device):
    """Tell whether the device can do a sum. One that is too old for this torch is available and fails only here."""
    try:
        return torch.ones(2, device=device).sum().item() == 2
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was compiled for the device
        warnings.warn(f"{device} is there, but torch cannot use it: {str(error).splitlines()[0]}", stacklevel=3)
        return False


def _cores():
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor():
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
