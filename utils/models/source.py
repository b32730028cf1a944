"""Where the code of a network is: the import path of its class or function, and its source text."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import linecache
import sys
from collections.abc import Callable

from torch import nn

LIBRARIES = ("torch", "torchvision", "utils")  # whose code is not recorded: their version is


def import_path(code: Callable) -> str:
    """Return where a class or function can be imported from, such as "my_network.MyNet"."""
    if isinstance(code, functools.partial):
        return import_path(code.func)
    if not hasattr(code, "__qualname__"):
        code = type(code)
    return f"{code.__module__}.{code.__qualname__}"


def is_library(code: Callable) -> bool:
    """Tell whether a class or function belongs to torch, torchvision or the suite itself."""
    return getattr(code, "__module__", "").partition(".")[0] in LIBRARIES


def find_by_path(path: str) -> Callable | None:
    """Return the class or function at an import path, or None where it cannot be had.

    The path may come from somebody else's record, so only what is certain to be a network is taken: a class that is an
    nn.Module, or a function of torchvision's models, of the suite's or of the notebook itself. No other module is
    imported for it.
    """
    module_name, _, name = path.rpartition(".")
    while module_name and module_name not in sys.modules and "." in module_name:
        module_name, _, outer = module_name.rpartition(".")  # a class inside a class
        name = f"{outer}.{name}"
    if module_name.startswith("torchvision.models"):
        pass  # only for a network from there: it takes seconds
    if module_name == "my_network" and module_name not in sys.modules:
        try:
            __import__(module_name)
        except ImportError:
            return None
    found = sys.modules.get(module_name)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type):
        return found if issubclass(found, nn.Module) else None
    is_known = module_name.startswith(("__main__", "my_network", "torchvision.models", "utils.models"))
    return found if inspect.isfunction(found) and is_known else None


def source_of(code: Callable) -> str | None:
    """Return the source text of a class or function, also of one that was typed in a notebook cell; None if unknown."""
    if isinstance(code, functools.partial):
        code = code.func
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        return _from_cell(code) if isinstance(code, type) else None


def _from_cell(kind: type) -> str | None:
    """Find a class by one of its methods, which know the cell they were typed in."""
    for method in vars(kind).values():
        if not inspect.isfunction(method):
            continue
        text = "".join(linecache.getlines(method.__code__.co_filename))
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
                return ast.get_source_segment(text, node)
    return None


def sources_of(net: nn.Module, make: Callable | None = None) -> dict[str, str]:
    """Return {import path: source text} of all code of a network that does not belong to a library."""
    codes = [] if make is None else [make]
    codes += sorted({type(module) for module in net.modules()}, key=import_path)
    sources = {}
    for code in codes:
        text = None if is_library(code) else source_of(code)
        if text is not None:
            sources[import_path(code)] = text
    return sources


def code_digest(sources: dict[str, str]) -> str | None:
    """Return 8 hexadecimal digits of source texts that comments, docstrings and spacing do not change."""
    if not sources:
        return None
    digest = hashlib.sha256()
    for path, text in sorted(sources.items()):
        digest.update(f"{path}\n{_meaning(text)}\n".encode())
    return digest.hexdigest()[:8]


def _meaning(text: str) -> str:
    try:
        tree = ast.parse(inspect.cleandoc(text))
    except SyntaxError:  # a lambda in the middle of a line
        return text.strip()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree)
