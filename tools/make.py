"""Runs the targets (run, test, ...) and makes the virtual environment, with nothing but Python's standard library.

`make TARGET ARGS="..."` and `py tools/make.py TARGET ...` do the same.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 10)
UNFINISHED = "made by tools/make.py, not finished"
NEEDED_GB = 7  # of disk, where torch brings its CUDA libraries
ZIP = "cifar10-coursework.zip"
NOT_PACKED = {".git", "__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".ruff_cache", ".hypothesis"}

# What pip's log says and what then helps; the first match counts.
CLUES = (
    (("No space left on device", "Errno 28"), "Free some disk space"),
    (
        ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "unreachable"),
        "No package index could be reached: check the network (behind a proxy, set HTTPS_PROXY)",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED",),
        "The index's certificate was refused: ask for your network's certificate, and set PIP_CERT",
    ),
    (("No matching distribution",), "A package has no build for this Python: try another one (PYTHON=python3.12)"),
)


def fail(what, next_step):
    """Stop with what is wrong and what to do next."""
    raise SystemExit(f"{what}\n  next:  {next_step}")


def check_python(version=sys.version_info, executable=sys.executable):
    """Stop in one line if this Python is too old, and name a newer one if there is one."""
    if tuple(version[:2]) >= OLDEST:
        return
    newer = next((name for name in (f"python3.{minor}" for minor in range(15, 9, -1)) if can_start(name)), None)
    hint = f"use PYTHON={newer}" if newer else "install a newer one, then name it: PYTHON=python3.12"
    number = ".".join(map(str, version[:2]))
    raise SystemExit(f"The suite needs Python 3.10 or newer, and {executable} is {number}: {hint}")


def can_start(name):
    """Tell whether there is a program of this name that starts; pyenv puts names on the path that do not."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return shutil.which(name) is not None and subprocess.call([name, "-V"], **quiet) == 0


def by_hand(command):
    """Return a command as a person can type it in the suite's folder."""
    words = [str(word) for word in command]
    words = [os.path.relpath(word, str(ROOT)) if ROOT in Path(word).parents else word for word in words]
    return subprocess.list2cmdline(words) if os.name == "nt" else " ".join(map(shlex.quote, words))


def run(command):
    """Print a command, run it in the suite's folder, and return its exit code."""
    print("$ " + by_hand(command), flush=True)
    process = subprocess.Popen([str(word) for word in command], cwd=str(ROOT))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the command received Ctrl-C as well; let it end by itself
            continue


def version_of(python):
    """Return the version of an environment's Python, or None if it is missing, broken or has no pip."""
    question = [str(python), "-c", "import sys, pip; print(sys.version)"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def stamp(python):
    """Return the stamp of a complete environment: a hash of requirements.txt and of its Python's version."""
    return hashlib.sha256((ROOT / "requirements.txt").read_bytes() + version_of(python).encode()).hexdigest()


def create(folder):
    """Make an empty environment; it replaces a broken or unfinished one of ours, but no folder that is not ours."""
    mark = folder / "coursework.stamp"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        fail(f"{folder} has no working Python with pip, and this suite did not make it.", "Remove it, or set VENV.")
    missing = [name for name in ("venv", "ensurepip") if not has_module(name)]
    if missing:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        fail(
            f"{sys.executable} cannot make environments: its module {missing[0]} is not installed.",
            f"On Debian and Ubuntu: sudo apt install {package}, then run the same command again.",
        )
    shutil.rmtree(str(folder), ignore_errors=True)
    folder.mkdir(parents=True)
    mark.write_text(UNFINISHED)
    # Use the base Python: the one that runs this may have been in the folder that was just removed.
    if run([getattr(sys, "_base_executable", sys.executable), "-m", "venv", folder]):
        fail(f"The environment {folder} could not be made (see above).", "Run the same command again, or set VENV.")


def has_module(name):
    """Tell whether Python can import a module of this name."""
    import importlib.util

    return importlib.util.find_spec(name) is not None


def install(python, folder):
    """Install requirements.txt; after a failure, say what helps."""
    log = folder / "pip.log"
    if log.exists():
        log.unlink()
    free = shutil.disk_usage(str(folder)).free / 1e9
    print(f"Installing requirements.txt into {folder}. This happens once. PyTorch is most of it: on Linux about")
    print("3 GB to download and 6 GB on disk, elsewhere less. It takes minutes, and pip is silent for some of them.")
    if sys.platform.startswith("linux") and free < NEEDED_GB:
        print(f"Only {free:.1f} GB of disk space are free here, which may not be enough.")
    if run([python, "-m", "pip", "install", "--log", log, "-r", "requirements.txt"]):
        tail = log.read_text(errors="replace")[-200_000:] if log.exists() else ""
        help_ = next((help_ for signs, help_ in CLUES if any(sign in tail for sign in signs)), "See pip's lines above")
        fail("The packages could not be installed.", help_ + "; then run the same command again. Downloads are kept.")


def environment():
    """Return the environment's Python; make the environment and install the packages first if that is needed."""
    folder = Path(os.environ.get("VENV") or ROOT / ".venv")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    mark = folder / "coursework.stamp"
    if version_of(python) is None or (mark.exists() and mark.read_text() == UNFINISHED):
        create(folder)
    check_python(tuple(map(int, version_of(python).split(".")[:2])), python)
    wanted = stamp(python)
    if not mark.exists() or mark.read_text() != wanted:
        install(python, folder)
        mark.write_text(wanted)
    return python


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
        "ruff check": [python, "-m", "ruff", "check", "."],
        "ruff format": [python, "-m", "ruff", "format", "--check", "."],
        "pytest and notebooks": pytest(python, "not faults", "--nbval-lax", "--nbval-current-env", *extra),
    }
    return stages(commands)


def faults(extra):
    """Run the fault tests in their long form: damaged files, cut downloads, killed processes."""
    return run(pytest(environment(), "faults", *extra))


def bench(extra):
    """Run all benchmarks, or those named, then write their page; options (--quick) go to each of them."""
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
    names = subprocess.run(listing, stdout=subprocess.PIPE).stdout.split(b"\0")
    return [Path(os.fsdecode(name)) for name in names if name and (ROOT / os.fsdecode(name)).is_file()]


def files_on_disk():
    """List all files except caches, environments, runs, archives and the user's images."""
    files = []
    for top, folders, names in os.walk(str(ROOT)):
        here = Path(top).relative_to(ROOT)
        folders[:] = [name for name in folders if name not in NOT_PACKED and not Path(top, name, "pyvenv.cfg").exists()]
        if not here.parts:
            folders[:] = [name for name in folders if name not in ("runs", "dist")]  # utils/runs is part of the suite
        if here.parts[:1] == ("data",):
            folders[:], names = [], [name for name in names if name.endswith((".md", ".png"))]
        files += [here / name for name in names if not name.endswith((".zip", ".part"))]
    return files


def pack(extra):
    """Pack the suite into one file for an upload to Colab."""
    files = sorted(tracked_files() or files_on_disk())
    part = ROOT / (ZIP + ".part")
    with zipfile.ZipFile(str(part), "w", zipfile.ZIP_DEFLATED) as archive:
        for name in files:
            archive.write(str(ROOT / name), (Path("cifar10-coursework") / name).as_posix())
    part.replace(ROOT / ZIP)
    print(f"{ZIP}: {len(files)} files, {(ROOT / ZIP).stat().st_size / 1e6:.1f} MB")
    print("On Colab: File > Upload notebook, then drop this file into the Files pane and run the set-up cell.")
    return 0


def help_(extra):
    """List these targets."""
    print('make TARGET [ARGS="..."], or without make: py tools/make.py TARGET ...\n')
    for name, (target, text) in TARGETS.items():
        print(f"  {name:<10} {text or target.__doc__.splitlines()[0]}")
    print("\nTwo variables choose the Python to use (PYTHON) and the folder of the environment (VENV, default .venv).")
    return 0


TARGETS = {  # name: (function, its help text if that is not the first line of the function's docstring)
    "run": (module("tools.run"), 'Run all notebooks, or those named: run ARGS="04 05"; ends with a report.'),
    "lab": (lab, None),
    "test": (test, None),
    "faults": (faults, None),
    "bench": (bench, None),
    "reproduce": (module("tools.reproduce"), "Train all systems by their own recipes and keep their results."),
    "results": (module("tools.pages"), "Write the tables of results in README.md and results/README.md again."),
    "report": (module("tools.report", "RUN"), "Write the report of a run (RUN=NAME), or the last report again."),
    "compare": (module("tools.compare"), "Compare all runs on one page, runs/compare.html."),
    "notebooks": (lambda extra: module("tools.run")(["--in-place", *extra]), "Run the notebooks and rewrite them."),
    "publish": (module("tools.publish", "ADDRESS"), "Write the suite's public ADDRESS into badges and set-up cells."),
    "grade": (module("tools.grade", "FOLDER"), "Mark the submissions in a folder (FOLDER=submissions)."),
    "student": (module("tools.student_edition"), "Make the student edition: no solutions, no answers, no outputs."),
    "zip": (pack, None),
    "help": (help_, None),
}


def main(arguments):
    """Run the target that the first argument names; return its exit code."""
    check_python()
    name, *extra = arguments or ["help"]
    if name not in TARGETS:
        fail(f"There is no target '{name}'.", "Choose one of " + ", ".join(TARGETS) + ".")
    # The commands run in the suite's folder, but the caller may be in another one.
    for variable in ("VENV", "CIFAR10_ROOT", "CIFAR10_CACHE", "COURSEWORK_RUNS", "FOLDER"):
        if os.environ.get(variable):
            os.environ[variable] = os.path.abspath(os.path.expanduser(os.environ[variable]))
    try:
        return TARGETS[name][0](extra)
    except OSError as error:  # above all a folder that belongs to somebody else, or a full disk
        what = f"{error.filename or ROOT} can't be read or written: {error.strerror or error}."
        fail(what, "Copy the suite into a folder that you may write to, and run the same command there.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
