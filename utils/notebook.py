"""Start a notebook: check the packages, set the style of the figures, print a line about the machine.

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
    """Check the packages and set the style of the figures; print the versions of Python and torch, and the device."""
    # Idle threads of torch wait in a busy loop. If another program also needs a core, a long loop makes a training on
    # the CPU twenty times slower; a short one costs almost nothing. The number is read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    install_missing()
    try:
        style_figures()
        from utils.devices import describe, keep_memory, try_gpu
    except ImportError as error:
        raise CourseworkError(
            f"A package is installed but can't be imported: {error}",
            next_step="Install tested versions: python -m pip install -r requirements.txt -c constraints.txt",
        ) from error
    keep_memory()
    device = try_gpu()
    print(f"{describe(device)}, Python {platform.python_version()}")
    if device.type == "cpu" and "google.colab" in sys.modules:
        print("A GPU is faster: Runtime > Change runtime type > GPU. Files do not move to the new machine.")


def missing() -> list[str]:
    """List the packages that the notebooks need and that are not installed."""
    return [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]


def install_missing():
    """On Colab, install the missing packages and change no others; elsewhere, raise an error with advice."""
    packages = missing()
    if not packages:
        return
    names = ", ".join(packages)
    if "google.colab" not in sys.modules:
        raise CourseworkError(
            f"These packages are missing in this kernel's Python: {names}.",
            next_step="Start the notebooks with `make lab` (Windows: py tools/make.py lab), which installs them.",
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
    """Return constraints for pip, so that it changes the version of no installed package, such as torch."""
    versions = {}
    for distribution in importlib.metadata.distributions():  # if a name occurs twice, Python imports the first one
        name, version = distribution.metadata["Name"], distribution.version
        if name and version:
            versions.setdefault(name.lower().replace("_", "-"), version)
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))


def style_figures():
    """Set the style of all figures: sharp PNGs in the notebook, lines that differ in colour and in dashes."""
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update(STYLE)
    matplotlib.rcParams["axes.prop_cycle"] = cycler(color=COLOURS) + cycler(linestyle=DASHES)
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and getattr(shell, "kernel", None):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        shell.run_line_magic("matplotlib", "inline")
        set_matplotlib_formats("retina")  # twice the pixels at the same size, for screens of high resolution
