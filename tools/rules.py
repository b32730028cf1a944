"""Owns the rules that committed notebooks and the suite's code keep, as functions that list what breaks them."""

from __future__ import annotations

import ast
import collections
import re
import statistics
import sys
from pathlib import Path

from tools import notebooks, publish

ROOT = Path(__file__).resolve().parents[1]
LONGEST_CELL, MEDIAN_CELL = 20, 5  # lines of code
PROSE = (500, 900)  # words in a notebook
NEVER_CALLED = {
    "pickle.load": "runs whatever the file says: use an Unpickler with a list of what it may load",
    "pickle.loads": "runs whatever the bytes say: use an Unpickler with a list of what it may load",
    "eval": "runs any text",
    "exec": "runs any text",
    "os.system": "runs any text in a shell",
}
NEVER_SAID = {  # in any text, so in the words of a command, too
    r"(?<![\d.])0\.0\.0\.0(?![\d.])": "listening on every address opens it to the network",
    r"\btoken\s*=\s*(''|\"\"|$)": "an empty token lets anybody in",
}


def check(path):
    """List what is wrong with a committed notebook, each with the cell it is in."""
    nb = notebooks.read(path)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    found = [*notebooks.refused(nb), *_file(path), *_skeleton(nb), *_sizes(nb, code), *_run(code), *_images(nb)]
    for number, cell in enumerate(nb.cells, 1):
        if cell.cell_type == "code":
            found += [f"cell {number}: {problem}" for problem in forbidden(plain(cell.source))]
    return found


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
    before = "\n".join(cell.source for cell in nb.cells[: setups[0] if setups else 0])
    if not re.search(r"(?i)\bgoals?\b[^\n]*\n+\s*([-*]|1\.) ", before):
        yield "no list of goals before the set-up cell"


def _sizes(nb, code):
    lengths = [len(cell.source.splitlines()) for cell in code]
    for number, cell in enumerate(nb.cells, 1):
        lines = len(cell.source.splitlines())
        if cell.cell_type == "code" and lines > LONGEST_CELL:
            yield f"cell {number}: {lines} lines of code, at most {LONGEST_CELL}"
    if lengths and statistics.median(lengths) > MEDIAN_CELL:
        yield f"half of the code cells have over {MEDIAN_CELL} lines (median {statistics.median(lengths):g})"
    count = words(nb)
    if not PROSE[0] <= count <= PROSE[1]:
        yield f"{count} words of prose, wanted {PROSE[0]} to {PROSE[1]}"


def words(nb):
    """Count a notebook's words of prose: without code blocks, badges, formulas and the addresses of links."""
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    not_prose = (publish.BADGES.pattern, r"<!--.*?-->", r"```.*?```", r"\$\$?[^$]+\$\$?", r"\]\([^)]*\)")
    for pattern in not_prose:
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    return len(re.findall(r"[^\W\d_][\w'’-]*", text))


def _run(code):
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        yield f"its execution counts are not 1 to {len(code)}: run make notebooks"
    if not any(cell.outputs for cell in code):
        yield "no cell has an output: run make notebooks"


def _images(nb):
    """Every figure is said in words: text that its cell prints after it, or the next cell's prose."""
    for number, cell in enumerate(nb.cells, 1):
        outputs = cell.get("outputs", [])
        images = [index for index, output in enumerate(outputs) if "image/png" in output.get("data", {})]
        if not images:
            continue
        says = any(
            output.get("text", "").strip() or "text/plain" in output.get("data", {})
            for output in outputs[images[-1] + 1 :]
        )
        following = nb.cells[number] if number < len(nb.cells) else None
        is_prose = following is not None and following.cell_type == "markdown" and not following.source.startswith("#")
        if not says and not is_prose:
            yield f"cell {number}: a figure without a line of text after it"


def plain(source):
    """Return a cell's source as Python: IPython's own lines, %magic and !command, become comments."""
    return re.sub(r"(?m)^(\s*)([%!])", r"\1pass  # \2", source)


def definitions(source):
    """Return the names of the functions and classes that a piece of source defines at its top."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.parse(source).body if isinstance(node, kinds)}


def defined_twice(paths, modules):
    """List the names that two notebooks define, or a notebook and a module."""
    places = collections.defaultdict(set)
    for path in paths:
        for cell in notebooks.read(path).cells:
            if cell.cell_type == "code":
                for name in definitions(plain(cell.source)):
                    places[name].add(path.name)
    shared = {name: module.name for module in modules for name in definitions(module.read_text(encoding="utf-8"))}
    for name, owner in shared.items():
        if name in places:
            places[name].add(owner)
    return [
        f"{name} is defined in {' and '.join(sorted(owners))}" for name, owners in places.items() if len(owners) > 1
    ]


def forbidden(source):
    """List the calls and texts in a piece of Python that no code of the suite may hold, each with its line."""
    tree = ast.parse(source)
    full = {}  # what an imported name stands for: {"np": "numpy", "load": "torch.load"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full.update({alias.asname or alias.name: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            full.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += [(node.lineno, text) for text in _bad_call(node, full)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [(node.lineno, what) for pattern, what in NEVER_SAID.items() if re.search(pattern, node.value)]
    return [f"line {line}: {text}" for line, text in sorted(found)]


def _bad_call(node, full):
    first, _, rest = ast.unparse(node.func).partition(".")
    name = full.get(first, first) + (f".{rest}" if rest else "")
    given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
    if name in NEVER_CALLED:
        yield f"{name} {NEVER_CALLED[name]}"
    if name == "torch.load" and given.get("weights_only") is not True:
        yield "torch.load without weights_only=True runs whatever the file says"
    if name == "numpy.load" and given.get("allow_pickle"):
        yield "numpy.load with allow_pickle=True runs whatever the file says"
    if name.endswith(".extractall"):
        yield "extractall writes wherever the archive says: read the members that are wanted"
    if given.get("shell") is True:
        yield "shell=True runs any text in a shell"
    if given.get("token") == "":
        yield "an empty token lets anybody in"


def main(words):
    """Print what is wrong with the named notebooks, or with all of them and the code."""
    named = [Path(word) for word in words]
    problems = [f"{path.name}: {problem}" for path in named or notebooks.paths() for problem in check(path)]
    if not named:
        problems += defined_twice(notebooks.paths(), sorted((ROOT / "utils").rglob("*.py")))
        for path in sorted([*(ROOT / "utils").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]):
            problems += [f"{path.relative_to(ROOT)}: {text}" for text in forbidden(path.read_text(encoding="utf-8"))]
    print("\n".join(problems) or "The notebooks and the code keep every rule.")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
