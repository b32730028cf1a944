"""Makes the virtual environment and installs the packages, with nothing but Python's standard library.

    python3 tools/environment.py

does this alone. `environment()` also returns the environment's Python. If uv is found, it installs the packages: it is
faster, and it chooses the build of PyTorch that fits the machine's GPU. Otherwise pip installs them.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 10)
UNFINISHED = "made by tools/make.py, not finished"
UV = shutil.which("uv")
ANOTHER_PYTHON = "py -3.12 tools/make.py ..." if os.name == "nt" else "PYTHON=python3.12"

# What pip's log says and what then helps; the first match counts.
CLUES = (
    (("No space left on device", "Errno 28"), "Free some disk space"),
    (
        ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "unreachable"),
        "No package index could be reached: check the network, and the proxy if there is one (HTTPS_PROXY)",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED",),
        "The index's certificate was refused: ask for your network's certificate, and set PIP_CERT",
    ),
    (("No matching distribution",), f"A package has no build for this Python: try another one ({ANOTHER_PYTHON})"),
)


def fail(what, next_step):
    """Stop with what is wrong and what to do next."""
    raise SystemExit(f"{what}\n  next:  {next_step}")


def check_python(version=sys.version_info, executable=sys.executable):
    """Stop in one line if this Python is too old."""
    if tuple(version[:2]) >= OLDEST:
        return
    number = ".".join(map(str, version[:2]))
    what = f"The suite needs Python 3.10 or newer, and {executable} is {number}."
    raise SystemExit(f"{what} Name a newer one: {ANOTHER_PYTHON}")


def run(command):
    """Print a command, run it in the suite's folder, and return its exit code."""
    words = [str(word) for word in command]
    print("$ " + subprocess.list2cmdline(words), flush=True)
    process = subprocess.Popen(words, cwd=str(ROOT))
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
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing and not UV:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        fail(
            f"{sys.executable} cannot make environments: its module {missing[0]} is not installed.",
            f"On Debian and Ubuntu: sudo apt install {package}, then run the same command again.",
        )
    shutil.rmtree(str(folder), ignore_errors=True)
    folder.mkdir(parents=True)
    mark.write_text(UNFINISHED)
    # Use the base Python: the one that runs this may have been in the folder that was just removed.
    base = getattr(sys, "_base_executable", sys.executable)
    with_uv = [UV, "venv", "--seed", "--allow-existing", "--python", base]  # seed: pip, which `version_of` looks for
    command = with_uv if missing else [base, "-m", "venv"]  # Python's own way needs no network
    if run([*command, folder]):
        fail(f"The environment {folder} could not be made (see above).", "Run the same command again, or set VENV.")


def install(python, folder):
    """Install requirements.txt with uv, or with pip if there is no uv or it fails; after a failure, say what helps."""
    print(f"Installing requirements.txt into {folder}. This happens once. PyTorch is most of it: on Linux up to 3 GB")
    print("to download and 6 GB on disk, elsewhere less. It takes minutes, and some of them are silent.", flush=True)
    if UV:
        code = run(uv_install(python))
        if code == 0:
            return
        if code not in (1, 2):  # Ctrl-C
            fail("The installation was stopped.", "Run the same command again. Complete downloads are kept.")
        print("uv could not install the packages. Now pip tries it: it has its own settings for indexes and proxies.")
    log = folder / "pip.log"
    if log.exists():
        log.unlink()
    if run([python, "-m", "pip", "install", "--log", log, "-r", "requirements.txt"]):
        tail = log.read_text(errors="replace")[-200_000:] if log.exists() else ""
        help_ = next((help_ for signs, help_ in CLUES if any(sign in tail for sign in signs)), "See pip's lines above")
        fail("The packages could not be installed.", help_ + "; then run the same command again. Downloads are kept.")


def uv_install(python):
    """Return the command with which uv installs requirements.txt and the build of torch that fits this machine."""
    backend = os.environ.get("UV_TORCH_BACKEND") or "auto"
    files = ["-r", "requirements.txt"]
    for constraints in os.environ.get("PIP_CONSTRAINT", "").split():  # uv itself does not read pip's variables
        files += ["-c", constraints]
    return [UV, "pip", "install", "--python", python, f"--torch-backend={backend}", *files]


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


if __name__ == "__main__":
    check_python()
    print(environment())
