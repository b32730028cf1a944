"""Owns what a notebook does first: missing packages, the figures' look, a line on the machine. Nothing random."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile

from utils.errors import CourseworkError
from utils.figures.style import COLOURS, DASHES, STYLE

# What the notebooks import, and the package that brings it.
NEEDED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "matplotlib": "matplotlib",
    "pandas": "pandas",
    "PIL": "pillow",
    "tqdm": "tqdm",
    "filelock": "filelock",
    "ipywidgets": "ipywidgets",
    "typst": "typst",
}


def start():
    """Make ready for a notebook: packages, figures; print which Python, torch and device it runs on."""
    # Idle threads of torch wait in a busy loop. When another program wants a core, too, that makes a training on the
    # CPU twenty times slower; a short loop costs next to nothing. The number is read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    install_missing()
    style_figures()
    from utils.devices import describe, keep_memory, try_gpu

    keep_memory()
    print(f"{describe(try_gpu())}, Python {platform.python_version()}")


def missing():
    """List the packages that the notebooks need and this Python does not find."""
    return [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]


def install_missing():
    """On Colab install what is missing and change nothing that is there; elsewhere say how to get it."""
    packages = missing()
    if not packages:
        return
    names = ", ".join(packages)
    if "google.colab" not in sys.modules:
        raise CourseworkError(
            f"This kernel's Python lacks {names}.",
            next_step="Start the notebooks with `make lab` (Windows: py tools/make.py lab), which installs all of it.",
        )
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write(installed())
        constraints.flush()
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", constraints.name, *packages]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CourseworkError(
            f"pip could not install {names}: {done.stderr.strip()[-300:]}",
            next_step="Check the network, then run this cell again.",
        )
    print(f"Installed {names}.")


def installed():
    """Return pip constraints that hold every installed package, torch above all, at the version it has."""
    found = {}
    for distribution in importlib.metadata.distributions():  # the first of a name is the one that Python imports
        name, version = distribution.metadata["Name"], distribution.version
        if name and version:
            found.setdefault(name.lower().replace("_", "-"), version)
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


def style_figures():
    """Set the look of the suite's figures: crisp PNGs in the notebook, lines that differ by more than colour."""
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update(STYLE)
    matplotlib.rcParams["axes.prop_cycle"] = cycler(color=COLOURS) + cycler(linestyle=DASHES)
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and getattr(shell, "kernel", None):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        shell.run_line_magic("matplotlib", "inline")
        set_matplotlib_formats("retina")  # twice the pixels at the same size, for screens that have them
