"""Runs the targets (run, test, ...), with nothing but Python's standard library.

`make TARGET ARGS="..."` and `py tools/make.py TARGET ...` do the same.
"""

import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script would find its own folder only

from tools.environment import ROOT, check_python, environment, fail, run

ZIP = "cifar10-coursework.zip"
NOT_PACKED = {".git", "__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".ruff_cache", ".hypothesis"}


def module(name, variable=""):
    """Return a target that runs `python -m name` with the extra arguments, after the one that a variable may hold."""
    return lambda extra: run([environment(), "-m", name, *filter(None, [os.environ.get(variable)]), *extra])


def stages(commands):
    """Run every command, even after a failure; print a line for each, and return 1 if any failed."""
    codes = {name: run(command) for name, command in commands.items()}
    print()
    for name, code in codes.items():
        print(f"{name:<24} {'ok' if code == 0 else f'FAILED (exit code {code})'}")
    return int(any(codes.values()))


def pytest(python, markers, *arguments):
    """Return the command that runs pytest in several processes, each file (and notebook) in one of them."""
    workers = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    spread = ["-n", workers, "--dist", "loadfile", "--no-loadscope-reorder"]
    return [python, "-m", "pytest", "-q", *spread, "-m", markers, *arguments]


def lab(extra):
    """Open the notebooks in JupyterLab; only this machine can reach it, with its token."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container, where Jupyter refuses to start otherwise
        extra = ["--allow-root", *extra]
    folders = ["--ServerApp.root_dir=.", "--FileContentsManager.preferred_dir=notebooks"]
    start = ["--LabApp.app_settings_dir=tools/lab", "--LabApp.default_url=/lab/tree/notebooks/README.md"]
    return run([environment(), "-m", "jupyterlab", "--ServerApp.ip=localhost", *folders, *start, *extra])


def test(extra):
    """Check the style, then run the tests and every notebook."""
    python = environment()
    commands = {
        "ruff check": [python, "-m", "ruff", "check", "--no-cache", "."],
        "ruff format": [python, "-m", "ruff", "format", "--no-cache", "--check", "."],
        "pytest and notebooks": pytest(python, "not faults", "--nbval-lax", "--nbval-current-env", *extra),
    }
    return stages(commands)


def faults(extra):
    """Run the fault tests in their long form: damaged files, cut downloads, killed processes."""
    return run(pytest(environment(), "faults", *extra))


def bench(extra):
    """Run all benchmarks, or those named, then write their page; options (--check) go to each of them."""
    names = sorted(path.stem for path in (ROOT / "tools" / "bench").glob("[!_]*.py") if path.stem != "page")
    options = [word for word in extra if word.startswith("-")]
    chosen = [word for word in extra if word not in options]
    unknown = [name for name in chosen if name not in names]
    if unknown or not names:
        fail(f"There is no benchmark {', '.join(unknown)}.", f"Choose from {', '.join(names) or 'none at all'}.")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in the notebooks, see utils/notebook.py
    python = environment()
    commands = {name: [python, "-m", "tools.bench." + name, *options] for name in chosen or names}
    return stages({**commands, "page": [python, "-m", "tools.bench.page"]})


def tracked_files():
    """List what git tracks or would track; list nothing if there is no git."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        return []
    names = subprocess.run(listing, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.split(b"\0")
    return [Path(os.fsdecode(name)) for name in names if name and (ROOT / os.fsdecode(name)).is_file()]


def files_on_disk():
    """List all files except caches, environments, runs, archives and the user's images."""
    files = []
    for top, folders, names in os.walk(str(ROOT)):
        here = Path(top).relative_to(ROOT)
        folders[:] = [name for name in folders if name not in NOT_PACKED and not Path(top, name, "pyvenv.cfg").exists()]
        if not here.parts:
            folders[:] = [name for name in folders if name not in ("runs", "dist", "site")]  # not utils/runs
        if here.parts[:1] == ("data",):
            folders[:], names = [], [name for name in names if name.endswith((".md", ".png"))]
        files += [here / name for name in names if not name.endswith((".zip", ".part"))]
    return files


def pack(extra):
    """Pack the suite into one file for an upload to Colab."""
    files = tracked_files() or files_on_disk()
    # The module that the set-up cell looks for comes last: once it is unpacked, so are the others.
    files = sorted(files, key=lambda path: (path == Path("utils", "notebook.py"), path))
    part = ROOT / (ZIP + ".part")
    with zipfile.ZipFile(str(part), "w", zipfile.ZIP_DEFLATED) as archive:
        for name in files:
            archive.write(str(ROOT / name), (Path("cifar10-coursework") / name).as_posix())
    part.replace(ROOT / ZIP)
    print(f"{ZIP}: {len(files)} files, {(ROOT / ZIP).stat().st_size / 1e6:.1f} MB")
    print("On Colab: File > Upload notebook, then run the set-up cell. It asks for this file.")
    if (ROOT / "docs" / "answers.md").exists():
        print("This file contains all solutions. `make student` writes another one for students, into dist/.")
    return 0


def help_(extra):
    """List these targets."""
    print('make TARGET [ARGS="..."], or without make: py tools/make.py TARGET ...\n')
    width = shutil.get_terminal_size().columns
    for name, (target, text) in TARGETS.items():
        line = f"  {name:<10} {text or target.__doc__.splitlines()[0]}"
        print(textwrap.fill(line, width, subsequent_indent=13 * " "))
    print("\nVariables: PYTHON is the Python to use, VENV the environment's folder (.venv).")
    return 0


TARGETS = {  # name: (function, its help text if that is not the first line of the function's docstring)
    "run": (module("tools.run"), 'Run all notebooks, or those named: run ARGS="04 05"; ends with a report.'),
    "lab": (lab, None),
    "test": (test, None),
    "faults": (faults, None),
    "bench": (bench, None),
    "reproduce": (module("tools.reproduce"), "Train all systems by their own recipes and keep their results."),
    "search": (module("tools.search"), 'Search for good hyperparameters: search ARGS="quick lr=log:0.001..0.1".'),
    "results": (module("tools.pages"), "Write the tables of results in README.md and results/README.md again."),
    "report": (module("tools.report", "RUN"), "Write the report of a run (RUN=NAME), or the last report again."),
    "export": (
        module("tools.export", "RUN"),
        "Export a network (RUN=NAME, or RUN=quick) as .pt2, ONNX and .pt, with proof.",
    ),
    "demo": (
        module("tools.demo", "RUN"),
        "Write a page with a network inside, which works offline (RUN=NAME or quick).",
    ),
    "compare": (module("tools.compare"), "Compare all runs on one page, runs/compare.html."),
    "notebooks": (lambda extra: module("tools.run")(["--in-place", *extra]), "Run the notebooks and rewrite them."),
    "site": (module("tools.site"), "Build the website into site/, from what is committed; needs no network."),
    "publish": (module("tools.publish", "ADDRESS"), "Write the suite's public ADDRESS into badges and set-up cells."),
    "grade": (module("tools.grade", "FOLDER"), "Mark the submissions in a folder (FOLDER=submissions)."),
    "student": (module("tools.student_edition"), "Make the student edition: no solutions, no answers, no outputs."),
    "zip": (pack, None),
    "colab": (module("tools.colab"), "Write self-contained notebooks for Colab and Kaggle, in dist/colab."),
    "help": (help_, None),
}
# The student edition and an incomplete copy have only the targets whose files are there.
NEEDED = {"test": "tests", "faults": "tests", "bench": "tools/bench"}
NEEDED.update(grade="tools/grade.py", student="tools/student_edition.py")
TARGETS = {name: target for name, target in TARGETS.items() if (ROOT / NEEDED.get(name, "tools")).exists()}


def main(arguments):
    """Run the target that the first argument names; return its exit code."""
    check_python()
    os.environ.setdefault("PYTHONUTF8", "1")  # the commands read and write UTF-8 on Windows, too
    name, *extra = arguments or ["help"]
    if name not in TARGETS:
        fail(f"There is no target '{name}'.", "Choose one of " + ", ".join(TARGETS) + ".")
    # The commands run in the suite's folder, but the caller may be in another one.
    for variable in ("VENV", "CIFAR10_ROOT", "COURSEWORK_RUNS", "FOLDER"):
        if os.environ.get(variable):
            os.environ[variable] = os.path.abspath(os.path.expanduser(os.environ[variable]))
    try:
        return TARGETS[name][0](extra)
    except OSError as error:  # above all a folder that belongs to somebody else, or a full disk
        what = f"{error.filename or ROOT} can't be read or written: {error.strerror or error}."
        fail(what, "Copy the suite into a folder that you may write to, and run the same command there.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
