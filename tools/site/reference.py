"""The library's public names as pages: one for each room, made from its docstrings and its source.

The names are imported, since rooms import many of theirs only when they are used; everything else is read from the
source, so that signatures stand as their authors wrote them.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import os
import re
import textwrap
from pathlib import Path, PurePosixPath

import utils
from tools.site import text
from tools.site.places import ROOT

VALUE_LINES = 12  # of the source of a constant
SIGNATURE_WIDTH = 84


def rooms() -> dict[str, PurePosixPath]:
    """Return {room: its path in the repository}, in the order of the rooms."""
    paths = {room: PurePosixPath("utils") / room for room in utils.ROOMS}
    return {room: path if (ROOT / path).is_dir() else path.with_suffix(".py") for room, path in paths.items()}


def public_names(room: str) -> list[str]:
    """Return the names that a room offers: those of its __all__, or what its one module defines."""
    module = importlib.import_module(f"utils.{room}")
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.lower)
    return [name for name in _definitions(Path(module.__file__)) if not name.startswith("_")]


def overview() -> tuple[str, list]:
    """Return the page that lists all rooms with their names, as (HTML, headings)."""
    parts = ["# The library\n\nEach notebook uses some of these rooms. A room imports only from rooms above it."]
    for room, path in rooms().items():
        address = f"{room}/" if path.suffix == "" else f"{room}.py"
        links = (f'<li><a href="{address}#{name}"><code>{name}</code></a></li>' for name in public_names(room))
        names = f'<ul class="names">{"".join(links)}</ul>'
        sentence = _docstring(importlib.import_module(f"utils.{room}")).split("\n\n")[0]
        parts.append(f"## [`utils.{room}`]({address})\n\n{sentence}\n\n{names}")
    body, headings = text.render("\n\n".join(parts))
    return body, headings


def room_page(room: str) -> tuple[str, list]:
    """Return the page of a room, as (HTML, headings)."""
    module = importlib.import_module(f"utils.{room}")
    head, headings = text.render(f"# `utils.{room}`\n\n{_as_markdown(_docstring(module))}", escape=True)
    parts = [head]
    for name in public_names(room):
        parts.append(_entry(room, name))
        headings.append((2, name, f"<code>{name}</code>"))
    return "\n".join(parts), headings


def _entry(room, name):
    """Return a public name with its signature, its docstring, its methods, and a link to its source."""
    path, node = _find(room, name)
    folder = rooms()[room] if rooms()[room].suffix == "" else rooms()[room].parent
    address = f"{os.path.relpath(path, ROOT / folder).replace(os.sep, '/')}#line-{node.lineno}"
    anchor = f'<a class="anchor" href="#{name}" aria-label="Link to {name}">#</a>'
    title = f'<h2 id="{name}"><code>{name}</code> {anchor}</h2>'
    source = f'<a class="source" href="{address}" aria-label="Source of {name}">source</a>'
    return f'<section class="entry">{source}{title}\n{_described(node, path)}</section>'


def _described(node, path):
    if isinstance(node, ast.ClassDef):
        return _class(node, path)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return text.code(signature(node)) + _explained(node)
    lines = path.read_text(encoding="utf-8").splitlines()[node.lineno - 1 : node.end_lineno]
    shown = lines[:VALUE_LINES] + ["    ..."] * (len(lines) > VALUE_LINES)
    return text.code("\n".join(shown))


def _class(node, path):
    """Return how a class is made, its docstring, and its public methods and properties that have one."""
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    if "__init__" in methods:
        head = signature(methods["__init__"], node.name, is_method=True)
    else:
        lines = path.read_text(encoding="utf-8").splitlines()
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        shown = textwrap.dedent("\n".join(line for item in fields for line in lines[item.lineno - 1 : item.end_lineno]))
        head = f"class {node.name}{f'({bases})' if bases else ''}:\n" + textwrap.indent(shown or "...", "    ")
    parts = [text.code(head), _explained(node, methods.get("__init__"))]
    for name, method in methods.items():
        if not name.startswith("_") and ast.get_docstring(method):
            is_property = any(ast.unparse(decorator).endswith("property") for decorator in method.decorator_list)
            shown = name if is_property else signature(method, is_method=True)
            parts.append(f'<div class="members">{text.code(shown)}{_explained(method)}</div>')
    return "\n".join(parts)


def signature(node, name="", is_method=False) -> str:
    """Return how a function is called, as its source says it; a long one has a line for each parameter."""
    parameters = [re.sub(r"'([^'\"]*)'", r'"\1"', parameter) for parameter in _split(ast.unparse(node.args))]
    if is_method and parameters and parameters[0] in ("self", "cls"):
        parameters = parameters[1:]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{name or node.name}({', '.join(parameters)}){returns}"
    if len(line) <= SIGNATURE_WIDTH:
        return line
    return "\n".join([f"{name or node.name}(", *(f"    {parameter}," for parameter in parameters), f"){returns}"])


def _split(parameters):
    """Split parameters at the commas that stand outside brackets and quotes."""
    pieces, depth, quote = [""], 0, ""
    for letter in parameters:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        depth += (letter in "([{") - (letter in ")]}") if not quote else 0
        if letter == "," and not depth and not quote:
            pieces.append("")
        else:
            pieces[-1] += letter
    return [piece.strip() for piece in pieces if piece.strip()]


def _explained(node, maker=None):
    """Return a docstring as HTML; lines such as `lr: the learning rate` become a list of parameters."""
    arguments = (maker or node).args if hasattr(maker or node, "args") else None
    names = {argument.arg for argument in ast.walk(arguments) if isinstance(argument, ast.arg)} if arguments else set()
    fields = {item.target.id for item in getattr(node, "body", []) if isinstance(item, ast.AnnAssign)}
    return text.render(_as_markdown(ast.get_docstring(node) or "", names | fields), escape=True)[0]


def _as_markdown(docstring, names=frozenset()):
    paragraphs = docstring.split("\n\n")
    for number, paragraph in enumerate(paragraphs):
        if _is_code(paragraph):
            paragraphs[number] = textwrap.indent(paragraph, "    ")
        elif any(re.match(rf"{name}: ", line) for line in paragraph.splitlines() for name in names):
            pattern = rf"^({'|'.join(sorted(names, key=len, reverse=True))}): "
            paragraphs[number] = re.sub(pattern, r"- `\1`: ", paragraph, flags=re.MULTILINE)
    return "\n\n".join(paragraphs)


def _is_code(paragraph):
    """Tell whether a paragraph is Python rather than a sentence."""
    if paragraph.startswith(" ") or not re.search(r"^import |^from |[=(]", paragraph):
        return False
    try:
        return bool(ast.parse(paragraph).body)
    except SyntaxError:
        return False


def _docstring(module):
    return inspect.cleandoc(module.__doc__ or "")


def _find(room, name):
    """Return (file, node) of the definition of a public name."""
    value = getattr(importlib.import_module(f"utils.{room}"), name)
    if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("utils."):
        path = Path(inspect.getsourcefile(inspect.unwrap(value)))
        if name in _definitions(path):
            return path, _definitions(path)[name]
    place = ROOT / rooms()[room]
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    return next((path, _definitions(path)[name]) for path in files if name in _definitions(path))


@functools.cache
def _definitions(path):
    """Return {name: node} of what a module defines at its top level."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node
    return found
