"""Find the code of a network: the import path of its class or function, and its source text."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import inspect
import linecache
import sys
from collections.abc import Callable

from torch import nn

LIBRARIES = ("torch", "torchvision", "utils")  # their code is not recorded, but their version is
PACKAGES = ("my_network", "torchvision.models", "utils.models")  # functions in these packages can be found by path


def import_path(code: Callable) -> str:
    """Return the import path of a class or function, such as "my_network.MyNet"."""
    code = _class_or_function(code)
    return f"{code.__module__}.{code.__qualname__}"


def is_library(code: Callable) -> bool:
    """Return True if a class or function belongs to torch, torchvision or the suite itself."""
    return (getattr(_class_or_function(code), "__module__", None) or "").partition(".")[0] in LIBRARIES


def _class_or_function(code: Callable) -> Callable:
    """Return a class or function itself, the function in a functools.partial, or the class of a callable object."""
    if isinstance(code, functools.partial):
        return _class_or_function(code.func)
    return code if hasattr(code, "__qualname__") else type(code)


def find_by_path(path: str) -> Callable | None:
    """Return the class or function at an import path, or None if it cannot be found.

    The path may come from another person's record, so only code that makes a network is returned: a class that is an
    nn.Module, or a function that is defined in one of PACKAGES or in the notebook. No other module is imported.
    """
    package = next((name for name in PACKAGES if path.startswith(f"{name}.")), None)
    if package is not None:
        try:
            importlib.import_module(package)
        except ImportError:
            return None
    module_name, _, name = path.rpartition(".")
    while module_name not in sys.modules and "." in module_name:
        module_name, _, outer = module_name.rpartition(".")  # a class inside a class
        name = f"{outer}.{name}"
    code = sys.modules.get(module_name)
    for attribute in name.split("."):
        code = getattr(code, attribute, None)
    if isinstance(code, type):
        return code if issubclass(code, nn.Module) else None
    # A module that is imported in one of PACKAGES is an attribute of it, so where the function is defined counts.
    defined_in = getattr(code, "__module__", None) or ""
    is_known = any(f"{defined_in}.".startswith(f"{name}.") for name in ("__main__", *PACKAGES))
    return code if inspect.isfunction(code) and is_known else None


def unwrapped(net: nn.Module) -> nn.Module:
    """Return the network inside torch.compile(net), nn.DataParallel(net) and DistributedDataParallel(net)."""
    while hasattr(net, "_orig_mod") or isinstance(net, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        net = net._orig_mod if hasattr(net, "_orig_mod") else net.module
    return net


def source_of(code: Callable) -> str | None:
    """Return the source text of a class or function, also of one defined in a notebook cell; None if unknown."""
    code = _class_or_function(code)
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        return _from_cell(code) if isinstance(code, type) else None


def _from_cell(kind: type) -> str | None:
    """Find the source of a class through one of its methods, whose code object names the notebook cell."""
    for method in vars(kind).values():
        if not inspect.isfunction(method):
            continue
        text = "".join(linecache.getlines(method.__code__.co_filename))
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            is_class = isinstance(node, ast.ClassDef) and node.name == kind.__name__
            if is_class and node.lineno <= method.__code__.co_firstlineno <= node.end_lineno:
                return ast.get_source_segment(text, node)
    return None


def sources_of(net: nn.Module, make_net: Callable | None = None) -> dict[str, str]:
    """Return {import path: source text} of the network's classes, and of make_net, without those of LIBRARIES."""
    codes = [] if make_net is None else [make_net]
    codes += sorted({type(module) for module in net.modules()}, key=import_path)
    sources = {}
    for code in codes:
        text = None if is_library(code) else source_of(code)
        if text is not None:
            sources[import_path(code)] = text
    return sources


def code_digest(sources: dict[str, str]) -> str | None:
    """Return a hash of source texts, 8 hexadecimal digits; comments, docstrings and spacing do not change it."""
    if not sources:
        return None
    digest = hashlib.sha256()
    for path, text in sorted(sources.items()):
        digest.update(f"{path}\n{_normalised(text)}\n".encode())
    return digest.hexdigest()[:8]


def _normalised(text: str) -> str:
    """Return source text without comments and docstrings, and with Python's standard spacing."""
    is_indented = text[:1].isspace()  # such as a class inside a function
    try:
        tree = ast.parse(f"if True:\n{text}" if is_indented else text)
    except SyntaxError:  # a lambda in the middle of a line
        return text.strip()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        starts_with_expression = isinstance(body, list) and body and isinstance(body[0], ast.Expr)
        if starts_with_expression and isinstance(body[0].value, ast.Constant):
            node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree.body[0].body if is_indented else tree)
