"""Choose the device, describe it, find its fastest precision, and let this process keep freed memory."""

from __future__ import annotations

import ctypes
import os
import pathlib
import platform
import warnings

import torch

from utils.errors import CourseworkError

# The numbers of these two options of mallopt in glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4


def try_gpu(i: int = 0) -> torch.device:
    """Return GPU i, else Apple's GPU, else the CPU; a GPU is only returned if it can compute a small sum."""
    candidates = []
    if torch.cuda.device_count() > i and torch.cuda.is_available():
        candidates.append(torch.device("cuda", i))
    if torch.backends.mps.is_available():
        candidates.append(torch.device("mps"))
    for device in candidates:
        if _runs(device):
            return device
    return torch.device("cpu")


def as_device(device) -> torch.device:
    """Return the torch.device of this name; raise an error if this machine has none."""
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was compiled for the device
        what = f"The device {str(device)!r} can't be used: {str(error).splitlines()[0]}"
        next_step = "device=try_gpu() is the GPU, if there is one, else the CPU."
        raise CourseworkError(what, where="device", next_step=next_step) from None


def describe(device="cpu") -> str:
    """Return one line with the device's name, its memory or number of cores, and torch's version."""
    device = torch.device(device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name = properties.name
        size = f"{properties.total_memory / 2**30:.0f} GiB"
    else:
        name = _processor() + (" GPU" if device.type == "mps" else "")
        size = "1 core" if _cores() == 1 else f"{_cores()} cores"
    return f"{name} ({size}), torch {torch.__version__}"


def best_precision(device) -> str:
    """Return the fastest precision that the device supports in hardware; some GPUs only emulate bf16, slowly."""
    device = torch.device(device)
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        return "bf16"
    return "fp32"


def keep_memory() -> bool:
    """Let this process keep the memory that it frees; return True if that worked (it needs glibc).

    By default glibc returns a large freed block to the operating system, which clears its pages when the next batch
    needs them again. On two cores, this took a sixth to a quarter of the time of a training.
    """
    mallopt = getattr(ctypes.pythonapi, "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def _runs(device):
    """Return True if the device can add numbers; a GPU that is too old for this version of torch can't."""
    try:
        return torch.ones(2, device=device).sum().item() == 2
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was compiled for the device
        warnings.warn(f"{device} exists, but torch cannot use it: {str(error).splitlines()[0]}", stacklevel=3)
        return False


def _cores():
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor(cpuinfo="/proc/cpuinfo"):
    """Return the CPU's name; on a virtual machine with family and model, since its name is often only "AMD EPYC"."""
    path = pathlib.Path(cpuinfo)
    text = path.read_text(errors="replace") if path.exists() else ""
    first_core = text.partition("\n\n")[0]
    pairs = (line.partition(":") for line in first_core.splitlines())
    facts = {name.strip(): value.strip() for name, _, value in pairs}
    name = facts.get("model name") or platform.processor() or platform.machine()
    if "hypervisor" in facts.get("flags", "").split() and "cpu family" in facts:
        name += f", family {facts['cpu family']} model {facts.get('model', '?')}"
    return name
