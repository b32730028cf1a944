"""What a notebook does first: check the packages, set the look of the figures, print a line about the machine.

from utils.notebook import start

start()
"""

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

# The modules that the notebooks import, and the packages that contain them.
NEEDED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "matplotlib": "matplotlib",
    "pandas": "pandas",
    "PIL": "pillow",
    "jinja2": "jinja2",
    "tqdm": "tqdm",
    "filelock": "filelock",
    "ipywidgets": "ipywidgets",
    "typst": "typst",
}


def start():
    """Prepare a notebook: packages and figures; print which Python, torch and device it runs on."""
    # Idle threads of torch wait in a busy loop. If another program needs a core, too, that makes a training on the CPU
    # twenty times slower; a short loop costs almost nothing. The number is read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    install_missing()
    style_figures()
    from utils.devices import describe, keep_memory, try_gpu

    keep_memory()
    print(f"{describe(try_gpu())}, Python {platform.python_version()}")


def missing() -> list[str]:
    """List the packages that the notebooks need and this Python lacks."""
    return [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]


def install_missing():
    """On Colab, install the missing packages and change no other; elsewhere, say how to install them."""
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


def installed() -> str:
    """Return pip constraints that keep every installed package, torch above all, at its version."""
    versions = {}
    for distribution in importlib.metadata.distributions():  # Python imports the first of a name
        name, version = distribution.metadata["Name"], distribution.version
        if name and version:
            versions.setdefault(name.lower().replace("_", "-"), version)
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))


def style_figures():
    """Set the look of the suite's figures: sharp PNGs in the notebook, lines that differ in colour and in dashes."""
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update(STYLE)
    matplotlib.rcParams["axes.prop_cycle"] = cycler(color=COLOURS) + cycler(linestyle=DASHES)
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and getattr(shell, "kernel", None):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        shell.run_line_magic("matplotlib", "inline")
        set_matplotlib_formats("retina")  # twice the pixels at the same size, for screens that have them
