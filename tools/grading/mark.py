"""Marks one submission: starts its child, judges its parts, measures its network, and returns the result as data."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import time
from pathlib import Path

import numpy as np

from tools.grading import images, judge, source_checks, submissions
from tools.grading.mark_run import mark_accuracy, mark_run
from tools.grading.nursery import ChildEnded, Limits, Nursery
from tools.grading.scheme import NAMES, NOT_MARKED, PARTS, Mark
from tools.grading.session import SUBMISSION, Session
from utils.report.marking import backbone_faults
from utils.runs.schema import NETWORK_FIELDS, network_disagreement, type_problem

MOST_BLOCKS = 12
FUNCTIONS = ("accuracy", "train_epoch", "evaluate")
MODEL = ("gate", "weighted_sum", "structure", "scores")
SHOWN_FACTS = ("name", "state", "network", "data", "claims", "settings")


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What all submissions of a call have in common."""

    nursery: Nursery
    test_set: images.TestSet
    limits: Limits
    is_confined: bool = True
    is_replayed: bool = False

    def identity(self) -> list:
        """Return what a result depends on, apart from the submission."""
        return [self.test_set.data.checksum, self.limits, self.is_confined, self.is_replayed]


class Marking:
    """The marking of one submission."""

    def __init__(self, conditions: Conditions):
        self.given, self.test_set, self.limits = conditions, conditions.test_set, conditions.limits
        self.marks = {part.name: Mark(None if part.is_by_hand else 0) for part in PARTS}
        self.claims, self.notes, self.errors, self.facts = [], [], [], {}
        self.folder = self.run = self.measured = self.weights = None
        self.trees = []
        self.start = time.monotonic()
        self.rng = np.random.default_rng()

    def mark(self, folder: Path):
        """Mark the submission whose files are in this folder."""
        self.folder, self.run = folder, submissions.find_run(folder)
        notebook = submissions.find_notebook(folder)
        cells = submissions.read_cells(notebook)
        self._check_source(cells)
        if not any(path.suffix.lower() == ".pdf" for path in submissions.regular_files(folder)):
            self.notes.append("There is no report as PDF.")
        predicted = mark_run(self)
        with self.session(notebook.parent) as session:
            try:
                self._run_notebook(session, cells)
                self._judge("loaders", judge.loaders, session, self.rng)
                for name in FUNCTIONS:
                    self._judge(name, getattr(judge, name), session, self.rng)
                self._judge_network(session)
                if predicted is None:
                    predicted = self._predict_own(session)
            except ChildEnded as error:
                at = f" in code cell {session.last_cell + 1}" if session.last_cell is not None else ""
                self.notes.append(f"Marking was ended{at}: {error}.")
                self.close(f"Not reached: marking was ended{at}, because {error}.")
        self.errors += session.cell_errors
        mark_accuracy(self, predicted)
        self.close("It could not be judged.")

    def result(self) -> dict:
        """Return what is known so far as the result that is stored."""
        parts = [dataclasses.asdict(part) | dataclasses.asdict(self.marks[part.name]) for part in PARTS]
        return {
            "parts": parts,
            "claims": self.claims,
            "notes": self.notes,
            "errors": self.errors,
            "measured": self.measured,
            "weights": self.weights,
            "code": self._code_hash(),
            "facts": {name: self.facts.get(name) for name in SHOWN_FACTS},
            "seconds": round(time.monotonic() - self.start, 1),
            "is_confined": self.given.is_confined,
        }

    def is_open(self, name: str) -> bool:
        """Tell whether a part is not judged yet."""
        return self.marks[name].reason == NOT_MARKED

    def refuse(self, names, reason: str):
        """Give no points to these parts, for this reason."""
        self.marks |= {name: Mark(0, reason) for name in names}

    def close(self, reason: str):
        """Give no points to what is measured here and not judged yet, for this reason."""
        self.refuse([part.name for part in PARTS if self.is_open(part.name) and not part.is_by_hand], reason)

    def session(self, notebook_folder: Path | None = None) -> Session:
        """Start a child that sees the submission and the images."""
        shown = {images.SHOWN: str(self.test_set.folder)}
        return Session(self.given.nursery, self.folder, shown, self.limits, self.given.is_confined, notebook_folder)

    def path_of_run(self) -> str:
        """Return where a child finds the run's folder, before Session.path."""
        return "/".join((SUBMISSION, *self.run.relative_to(self.folder).parts))

    def _code_hash(self) -> str | None:
        """Return a hash of the notebook's code without comments and spacing, or None if it has almost none."""
        text = "\n".join(ast.unparse(tree) for tree in self.trees)
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16] if len(text) > 500 else None

    # Before any code of the student runs.

    def _check_source(self, cells):
        trees = submissions.syntax_trees(cells)
        for number, tree in enumerate(trees, 1):
            if tree is None:
                self.notes.append(f"Code cell {number} can't be read as Python, and was not searched: look at it.")
        self.trees = [tree or ast.Module([], []) for tree in trees]
        for cell, name in source_checks.forbidden_names(self.trees)[:1]:
            reason = f"Task 2 is refused: code cell {cell} uses {name}, but the block is to be your own."
            self.refuse(MODEL, reason)
            self.notes.append(f"Code cell {cell} uses {name}.")
        for cell, name in source_checks.hidden_code(self.trees):
            self.notes.append(f"Code cell {cell} uses {name}. It can hide an import: look at it.")

    # The student's code.

    def _run_notebook(self, session, cells):
        pictures = session.path(f"{images.SHOWN}/{images.SYNTHETIC}")
        settings = {"seconds_each": min(self.limits.cell_seconds, self.limits.seconds), "pictures": pictures}
        try:
            session.ask("child_code.run_cells", self.limits.seconds, cells=cells, **settings)
            session.look()  # what a cell has started may run on
        except judge.FAULTS as error:
            self.errors.append(f"The notebook could not be run: {error}")

    def _judge(self, name: str, question, *arguments):
        """Give a part its marks if the question finds no mistake."""
        if not self.is_open(name):
            return
        try:
            reason = source_checks.not_written_here(self.trees, name) if name in FUNCTIONS else None
            judge.ensure(not reason, f"It is not handed in as your own code: {reason}.")
            self.marks[name] = Mark(NAMES[name].marks, question(*arguments))
        except judge.Unclear as error:
            self.marks[name] = Mark(None, f"{error}, so your teacher marks this part")
        except judge.FAULTS as error:
            is_mistake = isinstance(error, (judge.Mistake, ValueError))
            self.refuse([name], str(error) if is_mistake else "The values that came back can't be used.")

    def _judge_network(self, session):
        if not any(map(self.is_open, MODEL)):
            return
        try:
            reason = source_checks.not_written_here(self.trees, "network")
            judge.ensure(not reason, f"{reason}.")
            summary = session.ask("child_code.make_network", seed=int(self.rng.integers(2**31)))
            problem = type_problem(summary, NETWORK_FIELDS) or network_disagreement(summary)
            judge.ensure(problem is None, f"The summary of the network is damaged: {problem}")
            foreign = [str(name) for name in summary["modules"] if str(name).startswith(source_checks.FOREIGN)]
            judge.ensure(not foreign, f"Task 2 is refused: the network contains {', '.join(foreign[:3])}.")
            gates = list(summary["gates"] or ())
            judge.ensure(gates, "The network has no submodule called `gate` that gives a weight for each branch.")
            judge.ensure(len(gates) <= MOST_BLOCKS, f"The network has {len(gates)} gates.")
        except judge.FAULTS as error:
            self.refuse(MODEL, str(error))
            return
        self._judge("structure", judge.structure, backbone_faults(summary))
        self._judge("scores", judge.scores, session, self.rng)
        looks = {name: {} for name in gates}
        self._judge("gate", judge.each_block, judge.gate, session, self.rng, looks)
        self._judge("weighted_sum", judge.each_block, judge.weighted_sum, session, self.rng, looks)

    def _predict_own(self, session):
        if self.run is None or not self.is_open("test_accuracy"):
            return None
        constants = {name: self.facts.get(name) for name in ("mean", "std")}
        settings = {"folder": session.path(self.path_of_run()), "images": images.shown_to(session), **constants}
        try:
            return session.ask("child_code.predict_own_network", self.limits.seconds, **settings)
        except ValueError as error:
            self.refuse(["test_accuracy"], f"The run's weights can't be measured: {error}")
        return None
