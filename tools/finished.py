"""Owns what a run that was cut off had finished: those notebooks are not run again. Judges no result."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from tools import notebooks

ROOT = Path(__file__).resolve().parents[1]


class Finished:
    """The notebooks that the last run finished, kept in a file until a run has finished all of them.

    They count only while nothing has changed that they depend on: their cells, the library, the images, the budget.
    """

    def __init__(self, file, images):
        self.file, self.key, self.done = file, self._key(images), {}
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # no file, or not one of ours
            kept = json.loads(file.read_text(encoding="utf-8"))
            if kept["key"] == self.key:
                self.done = {str(name): dict(of) for name, of in kept["done"].items()}

    def find(self, path, nb, page):
        """Return {"cells", "seconds"} of a notebook that was finished and whose page is still there, or None."""
        found = self.done.get(path.name, {})
        return found if found.get("source") == _hash_of(nb) and page.exists() else None

    def add(self, path, nb, cells, seconds):
        """Keep that a notebook was finished."""
        self.done[path.name] = {"source": _hash_of(nb), "cells": cells, "seconds": seconds}
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps({"key": self.key, "done": self.done}, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.file)

    def clear(self):
        """Forget them: the next run begins with the first notebook."""
        self.done = {}
        self.file.unlink(missing_ok=True)

    def _key(self, images):
        digest = hashlib.sha256(repr((images, os.environ.get("COURSEWORK_BUDGET"))).encode())
        for path in sorted((ROOT / "utils").rglob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()


def _hash_of(nb):
    cells = [(cell.id, cell.source) for cell in nb.cells if notebooks.is_run(cell)]
    return hashlib.sha256(repr(cells).encode()).hexdigest()
