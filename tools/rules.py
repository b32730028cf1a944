"""The rules that committed notebooks and the suite's code keep, as functions that list what breaks them.

python -m tools.rules [NOTEBOOK ...]
"""

from __future__ import annotations

import ast
import collections
import re
import sys
from pathlib import Path

from tools import notebooks, publish
from utils import ROOMS

ROOT = Path(__file__).resolve().parents[1]
IMPORTED_FILES = ("errors", "my_utils", "notebook", "devices")  # what notebooks import from utils/ besides rooms
# The reader writes these, and then compares them with the library's.
REWRITTEN = {"Accumulator", "GatedBlock", "GatedConv", "accuracy", "evaluate_accuracy"}
FORBIDDEN_CALLS = {
    "pickle.load": "runs whatever the file says: use an Unpickler with a list of what it may load",
    "pickle.loads": "runs whatever the bytes say: use an Unpickler with a list of what it may load",
    "eval": "runs any text",
    "exec": "runs any text",
    "os.system": "runs any text in a shell",
}
FORBIDDEN_TEXTS = {  # in any string, and so in the words of a command
    r"(?<![\d.])0\.0\.0\.0(?![\d.])": "listening on every address opens it to the network",
    r"\btoken\s*=\s*(''|\"\"|$)": "an empty token lets anybody in",
}


def check(path):
    """List what is wrong with a committed notebook, each with the cell it is in."""
    nb = notebooks.read(path)
    problems = [*notebooks.refused(nb), *_file(path), *_skeleton(nb), *_execution(nb), *_figures(nb)]
    for number, cell in enumerate(nb.cells, 1):
        if cell.cell_type == "code":
            source = as_python(cell.source)
            problems += [f"cell {number}: {problem}" for problem in forbidden(source)]
            problems += [f"cell {number}: {problem}" for problem in imports_past_rooms(source)]
    return problems


def _file(path):
    if notebooks.text_of(notebooks.clean(notebooks.read(path))) != Path(path).read_text(encoding="utf-8"):
        yield "it is not clean: run python -m tools.notebooks"


def _skeleton(nb):
    prose = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    for name, pattern in {"title": r"^# \S", "Summary": r"^## Summary\b", "Exercises": r"^## Exercises\b"}.items():
        if not re.search(pattern, prose, re.MULTILINE):
            yield f"no {name}"
    setups = [number for number, cell in enumerate(nb.cells) if "setup" in cell.metadata.get("tags", [])]
    if [nb.cells[number].source for number in setups] != [publish.setup_cell()]:
        yield "not exactly one cell tagged setup with the template's text: run make publish"
    if torn := re.search(r"^<!--.*-->[^\n<]+", prose, re.MULTILINE):
        yield f"Markdown is shown as it is in a line that begins with a comment: {torn[0][:50]}"
    before = "\n".join(cell.source for cell in nb.cells[: setups[0] if setups else 0])
    if not re.search(r"(?i)\bgoals?\b[^\n]*\n+\s*([-*]|1\.) ", before):
        yield "no list of goals before the set-up cell"


def _execution(nb):
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield f"its execution counts are not 1 to {len(code)}: run make notebooks"
    if not any(cell.outputs for cell in code):
        yield "no cell has an output: run make notebooks"


def _figures(nb):
    """Each figure is followed by text: what its cell prints after it, or the next cell's prose."""
    for number, cell in enumerate(nb.cells, 1):
        outputs = cell.get("outputs", [])
        figures = [index for index, output in enumerate(outputs) if "image/png" in output.get("data", {})]
        if not figures:
            continue
        later = outputs[figures[-1] + 1 :]
        is_printed = any(output.get("text", "").strip() or "text/plain" in output.get("data", {}) for output in later)
        following = nb.cells[number] if number < len(nb.cells) else None
        is_prose = following is not None and following.cell_type == "markdown" and not following.source.startswith("#")
        if not is_printed and not is_prose:
            yield f"cell {number}: a figure without a line of text after it"


def as_python(source):
    """Return a cell's source as Python: IPython's own lines, %magic and !command, become comments."""
    return re.sub(r"(?m)^(\s*)([%!])", r"\1pass  # \2", source)


def imports_past_rooms(source):
    """List a notebook's imports from the suite that are neither from a room nor from `IMPORTED_FILES`."""
    rooms = [room for room in ROOMS if (ROOT / "utils" / room).is_dir()]
    allowed = {f"utils.{name}" for name in (*rooms, *IMPORTED_FILES)}
    problems = []
    for node in ast.walk(ast.parse(source)):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "utils":
            modules = [f"utils.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            if module.partition(".")[0] in ("utils", "tools", "tests") and module not in allowed:
                problems.append(f"line {node.lineno}: {module} is not a room: import from utils.<room>")
    return problems


def definitions(source):
    """Return the names of the functions and classes that a piece of source defines at its top."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.parse(source).body if isinstance(node, kinds)}


def defined_twice(paths, modules):
    """List the names that two notebooks define, or a notebook and a module."""
    owners = collections.defaultdict(set)
    for path in paths:
        for cell in notebooks.read(path).cells:
            if cell.cell_type == "code":
                for name in definitions(as_python(cell.source)):
                    owners[name].add(path.name)
    for module in modules:
        for name in definitions(module.read_text(encoding="utf-8")) & set(owners):
            owners[name].add(module.name)
    twice = {name: files for name, files in owners.items() if len(files) > 1 and name not in REWRITTEN}
    return [f"{name} is defined in {' and '.join(sorted(files))}" for name, files in twice.items()]


def forbidden(source):
    """List the calls and texts in a piece of Python that no code of the suite may hold, each with its line."""
    tree = ast.parse(source)
    full_names = {}  # what an imported name stands for: {"np": "numpy", "load": "torch.load"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full_names.update({alias.asname or alias.name: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            full_names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    problems = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            problems += [(node.lineno, text) for text in _bad_call(node, full_names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            problems += [
                (node.lineno, why) for pattern, why in FORBIDDEN_TEXTS.items() if re.search(pattern, node.value)
            ]
    return [f"line {line}: {text}" for line, text in sorted(problems)]


def _bad_call(node, full_names):
    first, _, rest = ast.unparse(node.func).partition(".")
    name = full_names.get(first, first)
    if rest:
        name = f"{name}.{rest}"
    keywords = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
    if name in FORBIDDEN_CALLS:
        yield f"{name} {FORBIDDEN_CALLS[name]}"
    if name == "torch.load" and keywords.get("weights_only") is not True:
        yield "torch.load without weights_only=True runs whatever the file says"
    if name == "numpy.load" and keywords.get("allow_pickle"):
        yield "numpy.load with allow_pickle=True runs whatever the file says"
    if name.endswith(".extractall"):
        yield "extractall writes wherever the archive says: read the members that are wanted"
    if keywords.get("shell") is True:
        yield "shell=True runs any text in a shell"
    if keywords.get("token") == "":
        yield "an empty token lets anybody in"


def main(arguments):
    """Print what is wrong with the named notebooks, or with all of them and the code."""
    named = [Path(word) for word in arguments]
    problems = [f"{path.name}: {problem}" for path in named or notebooks.paths() for problem in check(path)]
    if not named:
        modules = sorted((ROOT / "utils").rglob("*.py"))
        problems += defined_twice(notebooks.paths(), modules)
        for path in [*modules, *sorted((ROOT / "tools").rglob("*.py"))]:
            problems += [f"{path.relative_to(ROOT)}: {text}" for text in forbidden(path.read_text(encoding="utf-8"))]
    print("\n".join(problems) or "The notebooks and the code keep every rule.")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
