"""Finds in a notebook's source what may not be handed in as one's own work. Nothing is run."""

from __future__ import annotations

import ast

FOREIGN = ("utils.", "torchvision.models.", "timm.", "transformers.")  # modules whose layers are no work of a student
# Networks and blocks of other people: using any of them refuses task 2. Importing a package is no use of it yet.
PACKAGES = ("utils.models", "torchvision.models")
RECIPES = ("find_system", "SYSTEMS", "load_pretrained", "ours", "reported", "tables", "pretrained")
FORBIDDEN = (*PACKAGES, *(f"utils.recipes.{name}" for name in RECIPES), "torch.hub", "timm", "transformers")
DRAWING = ("depth", "draw_block", "draw_network", "draw_networks", "find_gates", "macs", "network_table", "parameters")
ALLOWED = tuple(f"utils.models.{name}" for name in (*DRAWING, "sources_of", "summarise"))
# What can hide an import.
HIDING = ("exec", "eval", "compile", "get_ipython", "__import__", "importlib.import_module", "sys.modules", "ctypes")
HIDING = (*HIDING, "globals")
REPLACED = ("accuracy", "evaluate_accuracy", "loss_and_accuracy", "train_epoch_ch3", "train_ch3", "train_batch")


def full_names(trees: list[ast.Module]) -> list[tuple[int, str]]:
    """List (cell, name) of all that a notebook imports or reaches by dots, such as utils.models.GatedBlock."""
    imported, found = {}, []
    for cell, tree in enumerate(trees, 1):
        for node in ast.walk(tree):
            for alias in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
                name = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
                found.append((cell, name))
                if isinstance(node, ast.ImportFrom) or alias.asname:
                    imported[alias.asname or alias.name] = name
                else:  # `import a.b` binds the name a
                    imported[name.partition(".")[0]] = name.partition(".")[0]
    for tree in trees:
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                imported.pop(node.name, None)  # the notebook's own definition replaces an import
    for cell, tree in enumerate(trees, 1):
        for node in ast.walk(tree):
            if isinstance(node, (ast.Attribute, ast.Name)):
                first, _, rest = ast.unparse(node).partition(".")
                name = imported.get(first, first)
                found.append((cell, f"{name}.{rest}" if rest else name))
    return found


def forbidden_names(trees: list[ast.Module]) -> list[tuple[int, str]]:
    """List (cell, name) of the blocks and networks of other people that a notebook uses."""
    allowed = {name for _, name in _uses(trees, ALLOWED)} | set(PACKAGES)
    return [(cell, name) for cell, name in _uses(trees, FORBIDDEN) if name not in allowed]


def hidden_code(trees: list[ast.Module]) -> list[tuple[int, str]]:
    """List (cell, name) of what can hide an import, for a person to look at; the course's set-up cell may use it."""
    from tools import publish  # a child does not see it, and need not

    set_up = ast.unparse(ast.parse(publish.setup_cell()))
    texts = [ast.unparse(tree).replace("use_drive = True", "use_drive = False") for tree in trees]
    return [(cell, name) for cell, name in _uses(trees, HIDING) if texts[cell - 1] != set_up]


def _uses(trees, packages) -> list[tuple[int, str]]:
    """List (first cell, name) of what is one of these packages or functions, or something in one."""
    found = {}
    for cell, name in full_names(trees):
        if any(name == package or name.startswith(f"{package}.") for package in packages):
            found.setdefault(name, cell)
    return [(cell, name) for name, cell in found.items()]


def hand_in_entries(trees: list[ast.Module]) -> dict[str, ast.expr]:
    """Return {key: expression} of the last assignment of a dict to `hand_in`."""
    entries = {}
    for tree in trees:
        for node in tree.body:
            is_hand_in = isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == "hand_in" for target in node.targets
            )
            if is_hand_in and isinstance(node.value, ast.Dict):
                pairs = zip(node.value.keys, node.value.values, strict=True)
                entries = {key.value: value for key, value in pairs if isinstance(key, ast.Constant)}
    return entries


def not_written_here(trees: list[ast.Module], part: str) -> str | None:
    """Return why a part of `hand_in` is not the student's own code, or None."""
    value = hand_in_entries(trees).get(part)
    if value is None:
        return f"the notebook has no cell hand_in = {{..., {part!r}: ...}}"
    if isinstance(value, ast.Lambda):
        return _uses_library(value, trees)
    if not isinstance(value, ast.Name):
        return f"the entry {part!r} of hand_in is neither the name of a function or class, nor a lambda"
    kinds = (ast.FunctionDef, ast.ClassDef)
    definitions = [node for tree in trees for node in tree.body if isinstance(node, kinds) and node.name == value.id]
    if not definitions:
        return f"{value.id} is not defined in the notebook"
    return _uses_library(definitions[-1], trees)


def _uses_library(definition, trees):
    """Return which of the library's functions a definition calls in place of its own work, or None."""
    used = [name for cell, name in full_names([*trees, ast.Module([definition], [])]) if cell > len(trees)]
    taken = [name for name in used if name.startswith("utils.my_utils.") and name.rpartition(".")[2] in REPLACED]
    return f"it calls the library's {taken[0].rpartition('.')[2]}" if taken else None
