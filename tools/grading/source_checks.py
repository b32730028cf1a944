"""Finds in a notebook's source what may not be handed in as one's own work. Nothing is run."""

from __future__ import annotations

import ast
import re

FOREIGN = ("utils.", "torchvision.models.", "timm.", "transformers.")  # modules whose layers are no work of a student
# Networks and blocks of other people: using any of them refuses task 2. Importing a package is no use of it yet.
PACKAGES = ("utils.models", "torchvision.models")
RECIPES = ("find_system", "SYSTEMS", "load_pretrained", "ours", "reported", "tables", "pretrained")
FORBIDDEN = (*PACKAGES, *(f"utils.recipes.{name}" for name in RECIPES), "torch.hub", "timm", "transformers")
DRAWING = ("depth", "draw_block", "draw_network", "draw_networks", "find_gates", "macs", "network_table", "parameters")
ALLOWED = tuple(f"utils.models.{name}" for name in (*DRAWING, "sources_of", "summarise"))
# The library's functions in place of which students write their own.
REPLACED = ("accuracy", "evaluate_accuracy", "loss_and_accuracy", "train_epoch_ch3", "train_ch3", "train_batch")
REPLACED = [f"utils.my_utils.{name}" for name in REPLACED]
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


def syntax_tree(source: str) -> ast.Module | None:
    """Return the syntax tree of a cell, or None if it can't be read as Python."""
    text = re.sub(r"(?m)^(\s*)([%!?].*)$", r"\1pass", source)
    try:
        tree = ast.parse(text)
        ast.unparse(tree)  # a tree that is nested too deeply for this can't be searched either
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree


def statements(trees: list[ast.Module], kinds) -> list[ast.stmt]:
    """List a notebook's statements of these kinds, without those inside other statements."""
    return [node for tree in trees for node in tree.body if isinstance(node, kinds)]


def full_names(trees: list[ast.Module]) -> list[tuple[int, str]]:
    """List (cell, name) of all that a notebook imports or reaches by dots, such as utils.models.GatedBlock."""
    nodes = [(cell, node) for cell, tree in enumerate(trees, 1) for node in ast.walk(tree)]
    imported, found = {}, []
    for cell, node in nodes:
        for alias in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            name = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            found.append((cell, name))
            if isinstance(node, ast.ImportFrom) or alias.asname:
                imported[alias.asname or alias.name] = name
    for definition in statements(trees, DEFINITIONS):
        imported.pop(definition.name, None)  # the notebook's own definition replaces an import
    for cell, node in nodes:
        if isinstance(node, (ast.Attribute, ast.Name)):
            first, dot, rest = ast.unparse(node).partition(".")
            found.append((cell, f"{imported.get(first, first)}{dot}{rest}"))
    return found


def uses(trees: list[ast.Module], packages) -> dict[str, int]:
    """Return {name: first cell} of what is one of these packages or functions, or something in one."""
    found = {}
    for cell, name in full_names(trees):
        if any(f"{name}.".startswith(f"{package}.") for package in packages):
            found.setdefault(name, cell)
    return found


def forbidden_names(trees: list[ast.Module]) -> dict[str, int]:
    """Return {name: cell} of the blocks and networks of other people that a notebook uses."""
    allowed = {*uses(trees, ALLOWED), *PACKAGES}
    return {name: cell for name, cell in uses(trees, FORBIDDEN).items() if name not in allowed}


def not_written_here(trees: list[ast.Module], part: str) -> str | None:
    """Return why a part of `hand_in` is not the student's own code, or None."""
    hand_ins = [node.value for node in statements(trees, ast.Assign) if "hand_in" in map(ast.unparse, node.targets)]
    last = hand_ins[-1] if hand_ins and isinstance(hand_ins[-1], ast.Dict) else ast.Dict([], [])
    entries = {ast.unparse(key): value for key, value in zip(last.keys, last.values, strict=True) if key}
    value = entries.get(repr(part))
    if value is None:
        return f"the notebook has no cell hand_in = {{..., {part!r}: ...}}"
    if not isinstance(value, (ast.Name, ast.Lambda)):
        return f"the entry {part!r} of hand_in is neither the name of a function or class, nor a lambda"
    definitions = [node for node in statements(trees, DEFINITIONS) if node.name == ast.unparse(value)]
    if isinstance(value, ast.Name) and not definitions:
        return f"{value.id} is not defined in the notebook"
    code = [*trees, ast.Module([value, *definitions[-1:]], [])]
    taken = [name for cell, name in full_names(code) if cell == len(code) and name in REPLACED]
    return f"it calls the library's {taken[0].rpartition('.')[2]}" if taken else None
