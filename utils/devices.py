"""Owns the choice of a device, its name for people, and how this process keeps its memory. Changes no device."""

from __future__ import annotations

import ctypes
import os
import pathlib
import platform
import warnings

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # as glibc's malloc.h numbers what mallopt can set


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


def best_precision(device):
    """Name the fastest precision that the device really has: some GPUs only imitate bf16, slowly."""
    device = torch.device(device)
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        return "bf16"
    return "fp32"


def keep_memory():
    """Let this process keep the memory that it frees; return whether it could be asked to, which is so with glibc.

    Otherwise glibc gives a freed block of some size back to the system, which clears each of its pages when the next
    batch wants it again: on two cores that was a sixth to a quarter of a training's time.
    """
    mallopt = getattr(ctypes.pythonapi, "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))


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


def _processor(cpuinfo="/proc/cpuinfo"):
    """Return the processor's name; that of a virtual machine, often no more than "AMD EPYC", with family and model."""
    text = pathlib.Path(cpuinfo).read_text(errors="replace") if pathlib.Path(cpuinfo).exists() else ""
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())  # of the first core
    facts = {name.strip(): value.strip() for name, _, value in pairs}
    name = facts.get("model name") or platform.processor() or platform.machine()
    if "hypervisor" in facts.get("flags", "").split() and "cpu family" in facts:
        name += f", family {facts['cpu family']} model {facts.get('model', '?')}"
    return name
