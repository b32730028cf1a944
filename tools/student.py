"""Cuts the solutions out of a notebook's cells, for the student edition.

The complete edition in notebooks/ is the only source. Its cells are marked by tags, which cleaning keeps:

- `solution:NAME` on a code cell: the cell defines NAME, and the student is to write it. A cell may have several of
  these tags; what they do not name stays as it is. `stub` below makes the student's text of the cell:
    - of a function, the signature, the docstring and the comments beside the signature stay; the body becomes
      `...  # YOUR CODE`. Decorators stay.
    - of a class, each method is treated in this way; `super().__init__()` stays, and so do the class's own lines;
    - of an assignment `NAME = value`, the value becomes `...`. In `a, b = value`, each name needs a tag.
- `check` on a code cell: it calls `check("02.gate", NAME)` with names that have such a tag, and stays. After `stub` the
  check prints the hint "not solved yet", or what the answer lacks. Its answer may be a list of names.
- `predict` on a code cell: in the complete edition its answer is `...` as well, so it stays.
- `hidden` on a text cell: it gives an answer away, so the student edition does not have it.

The cell of the check comes right after the solution's. What shows the solution at work stands in a cell after the
check, because it fails in the student edition until the exercise is solved.

The outputs of all cells are cleared. All other text stays, also where it answers a question of the text before. So one
line of a solution may occur in it, such as `net.eval()`, but no body of a solution.
"""

from __future__ import annotations

import ast

MARK = "solution:"
YOUR_CODE = "...  # YOUR CODE"


def solutions(cell) -> list[str]:
    """List the names that a student is to define in a cell."""
    return [tag.removeprefix(MARK) for tag in cell["metadata"].get("tags", []) if tag.startswith(MARK)]


def stub(source: str, names) -> str:
    """Return a cell's source with the solutions of these names cut out."""
    lines = source.split("\n")
    found = set()
    # From the last line to the first, so that the numbers of the lines above stay right.
    for node in reversed(ast.parse(source).body):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in names:
            found.add(node.name)
            methods = node.body if isinstance(node, ast.ClassDef) else [node]
            for method in reversed([item for item in methods if isinstance(item, ast.FunctionDef)]):
                _cut_body(lines, method)
        elif isinstance(node, ast.Assign) and (targets := _names(node)) & set(names):
            found |= targets
            first = lines[node.lineno - 1]
            is_on_first = node.value.lineno == node.lineno
            before = first.encode()[: node.value.col_offset].decode() if is_on_first else first
            count = len(node.targets[0].elts) if isinstance(node.targets[0], ast.Tuple) else 1
            text = f"{before.rstrip(' (')} {', '.join(['...'] * count)}  # YOUR CODE"
            lines[node.lineno - 1 : node.end_lineno] = [text]
    if missing := set(names) - found:
        raise ValueError(f"The cell does not define {', '.join(sorted(missing))}.")
    return "\n".join(lines)


def _names(node) -> set[str]:
    """Return the names that an assignment sets."""
    return {item.id for target in node.targets for item in ast.walk(target) if isinstance(item, ast.Name)}


def _cut_body(lines, function):
    """Replace a function's body, but for its docstring and the call of the base class's __init__."""
    kept = 0
    if ast.get_docstring(function) is not None:
        kept = 1
    if kept < len(function.body) and ast.unparse(function.body[kept]) == "super().__init__()":
        kept += 1
    if kept == len(function.body):
        return
    body = function.body[kept:]
    indent = " " * body[0].col_offset
    first = function.body[kept - 1].end_lineno if kept else _header_end(lines, function)
    lines[first : body[-1].end_lineno] = [indent + YOUR_CODE]


def _header_end(lines, function):
    """Return the number of the line on which a function's header ends: comments before the first statement go."""
    arguments = [*ast.walk(function.args), *([function.returns] if function.returns else [])]
    last = max([node.end_lineno for node in arguments if hasattr(node, "end_lineno")], default=function.lineno)
    while not lines[last - 1].split("#")[0].rstrip().endswith(":"):
        last += 1
    return last
