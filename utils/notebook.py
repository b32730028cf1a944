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
from pathlib import Path
from zipfile import is_zipfile

from utils.errors import CourseworkError
from utils.figures.style import COLOURS, DASHES, STYLE

SUITE = Path(__file__).resolve().parents[1]

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
OPTIONAL = {"typst"}  # only the PDF of a report needs it; write_report says so if it is missing

_runs_folder = None  # the folder for runs that was chosen here, so that it may be chosen again


def start():
    """Check the packages and set the style of the figures; print the versions of Python and torch, and the device."""
    # Idle threads of torch wait in a busy loop. If another program also needs a core, a long loop makes a training on
    # the CPU twenty times slower; a short one costs almost nothing. The number is read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    install_missing()
    work_beside_notebook()
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
    if device.type == "cpu" and on_hosted_machine():
        menu = "Runtime > Change runtime type" if "google.colab" in sys.modules else "Settings > Accelerator"
        print(f"There is no GPU here, which makes notebooks 04 to 06 slow. {menu} gives you a new machine with one.")


def on_hosted_machine() -> bool:
    """Tell whether this notebook runs on Colab or on Kaggle."""
    return "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ


def work_beside_notebook():
    """Outside the suite's folder, as on Colab and Kaggle, keep the runs in the working folder, and say where they are.

    A folder for runs that the user has set in COURSEWORK_RUNS is left as it is.
    """
    global _runs_folder
    here = Path.cwd()
    if SUITE in (here, *here.parents):
        return
    if not {"", str(here)}.intersection(sys.path):
        sys.path.append(str(here))  # for my_network.py, which notebook 02 writes
    if os.environ.get("COURSEWORK_RUNS") in (None, "", _runs_folder):
        os.environ["COURSEWORK_RUNS"] = _runs_folder = str(here / "runs")
    print(f"The course is in {SUITE}, and your runs are kept in {os.environ['COURSEWORK_RUNS']}.")
    if "google.colab" in sys.modules and "drive" not in here.parts:
        print("They are lost when this machine goes, unless you set use_drive = True above.")
    for path in newer_zips():
        print(f"To use the newer {path.name}, delete the folder {SUITE.name}, restart and run this cell again.")


def newer_zips() -> list[Path]:
    """List the suite's zip files that were put beside its folder after it was unpacked, so that they are not in use."""
    unpacked_at = Path(__file__).stat().st_mtime
    zips = [path for path in SUITE.parent.glob("cifar10-coursework*.zip") if is_zipfile(path)]
    return [path for path in zips if path.stat().st_mtime > unpacked_at]


def missing() -> list[str]:
    """List the packages that the notebooks need and that are not installed."""
    return [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]


def install_missing():
    """On Colab and Kaggle, install the missing packages; raise an error if one is still missing that is needed."""
    packages = missing()
    if not packages:
        return
    names = ", ".join(packages)
    what = f"These packages are missing in this kernel's Python: {names}."
    next_step = "Start the notebooks with `make lab` (Windows: py tools/make.py lab), which installs them."
    if on_hosted_machine():
        problem = install(packages)
        if problem is None:
            print(f"Installed {names}.")
            return
        what = f"pip could not install {names}: {problem}"
        next_step = "Check the network (on Kaggle: Settings > Internet), then run this cell again."
    if not OPTIONAL.issuperset(packages):
        raise CourseworkError(what, next_step=next_step)


def install(packages) -> str | None:
    """Install packages without changing any other package; return None, or the end of pip's error message."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write(installed())
        constraints.flush()
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", constraints.name, *packages]
        done = subprocess.run(command, capture_output=True, text=True)
    return done.stderr.strip()[-300:] if done.returncode else None


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
