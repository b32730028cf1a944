"""Marks one submission: runs its notebook, judges its parts, measures its network, and returns the result as data."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import time
from pathlib import Path

import torch

from tools.grading import judge, source_checks, submissions
from tools.grading.mark_run import TEST, TestSet, mark_accuracy, mark_run
from tools.grading.scheme import MARKS, MEASURED, PARTS
from tools.grading.session import ChildEnded, Nursery, Session

FUNCTIONS = ("accuracy", "train_epoch", "evaluate")
MOST_ERRORS = 20  # of the notebook's cells that are kept
MODEL = ("gate", "weighted_sum", "structure", "scores")


class Marking:
    """The marking of one submission; `marks` are {part: (points or None, reason)}, and the first mark of a part counts.

    None leaves the part open: a person marks it.
    """

    def __init__(self, nursery: Nursery, test_set: TestSet):
        self.nursery, self.test_set = nursery, test_set
        self.marks, self.trees = {}, []
        self.claims, self.notes, self.errors = [], [], []
        self.folder = self.run = self.measured = None
        self.place = ""  # where the notebook is just run, for messages
        self.start = time.monotonic()
        torch.seed()  # nobody can guess the inputs that are drawn from now on

    def mark(self, folder: Path):
        """Mark the submission whose files are in this folder."""
        self.folder, self.run = folder, submissions.find_run(folder)
        notebook = submissions.find_notebook(folder)
        cells = submissions.read_cells(notebook)
        self._check_source(cells)
        if not any(path.suffix.lower() == ".pdf" for path in submissions.regular_files(folder)):
            self.notes.append("There is no report as PDF.")
        mark_run(self)
        with Session(self.nursery, folder, self.test_set.folder, notebook.parent) as session:
            try:
                self._run_notebook(session, cells)
                for name in ("loaders", *FUNCTIONS):
                    self._judge(name, getattr(judge, name), session)
                self._judge_network(session)
                self._measure_network(session)
            except ChildEnded as error:
                self.notes.append(f"Marking was ended{self.place}: {error}.")
                self.refuse(MEASURED, f"Not reached: marking was ended{self.place}, because {error}.")

    def result(self) -> dict:
        """Return what is known so far as the result that is stored."""
        self.refuse(MEASURED, "It could not be judged.")
        parts = []
        for part in PARTS:
            points, reason = self.marks.get(part.name, (None, "your teacher marks this part"))
            parts.append(dataclasses.asdict(part) | {"points": points, "reason": reason})
        return {
            "parts": parts,
            "claims": self.claims,
            "notes": self.notes,
            "errors": self.errors[:MOST_ERRORS],
            "measured": self.measured,
            "weights": self.run and self.run.checkpoint and self.run.checkpoint.name,  # with a hash of its content
            "code": self._code_hash(),
            "seconds": round(time.monotonic() - self.start, 1),
            "is_confined": self.nursery.is_confined,
        }

    def give(self, name: str, points: float | None, reason: str):
        """Give a part its points, unless it has a mark already."""
        self.marks.setdefault(name, (points, reason))

    def refuse(self, names, reason: str):
        """Give no points to these parts, unless they have a mark already."""
        for name in names:
            self.give(name, 0, reason)

    def _code_hash(self) -> str | None:
        """Return a hash of the notebook's code without comments and spacing, or None if it has almost none."""
        text = "\n".join(ast.unparse(tree) for tree in self.trees)
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16] if len(text) > 500 else None

    def _check_source(self, cells):
        for number, tree in enumerate(map(source_checks.syntax_tree, cells), 1):
            self.trees.append(tree or ast.Module([], []))
            if tree is None:
                self.notes.append(f"Code cell {number} can't be read as Python, and was not searched: look at it.")
        for name, cell in list(source_checks.forbidden_names(self.trees).items())[:1]:
            reason = f"Task 2 is refused: code cell {cell} uses {name}, but the block is to be your own."
            self.refuse(MODEL, reason)
            self.notes.append(f"Code cell {cell} uses {name}.")

    def _run_notebook(self, session, cells):
        for number, source in enumerate(cells, 1):
            self.place = f" in code cell {number}"
            try:
                session.ask("run_cell", session.limits.cell_seconds, source=source)
            except ValueError as error:
                self.errors.append(f"Code cell {number}: {error}")
        session.look()  # what a cell has started may run on
        self.place = ""

    def _judge(self, name: str, question, *arguments):
        """Give a part its marks if the question finds no mistake."""
        if name in self.marks:
            return
        try:
            if name in FUNCTIONS:
                reason = source_checks.not_written_here(self.trees, name)
                judge.ensure(not reason, f"It is not handed in as your own code: {reason}.")
            self.give(name, MARKS[name], question(*arguments))
        except judge.Unclear as error:
            self.give(name, None, f"{error}, so your teacher marks this part")
        except judge.FAULTS as error:
            self.refuse([name], judge.reason_of(error))

    def _judge_network(self, session):
        if all(name in self.marks for name in MODEL):
            return
        try:
            reason = source_checks.not_written_here(self.trees, "network")
            judge.ensure(not reason, f"{reason}.")
            summary = session.ask("make_network")
            foreign = [str(name) for name in summary["classes"] if str(name).startswith(source_checks.FOREIGN)]
            judge.ensure(not foreign, f"Task 2 is refused: the network contains {', '.join(foreign[:3])}.")
            gates = dict(summary["gates"])
            judge.ensure(gates, "The network has no submodule called `gate` that gives a weight for each branch.")
        except judge.FAULTS as error:
            self.refuse(MODEL, judge.reason_of(error))
            return
        self._judge("structure", judge.structure, summary)
        self._judge("scores", judge.scores, session)
        self._judge("gate", judge.each_block, judge.gate, session, gates)
        self._judge("weighted_sum", judge.each_block, judge.weighted_sum, session, gates)

    def _measure_network(self, session):
        if "test_accuracy" in self.marks:
            return
        paths = {"folder": session.path(self.run.folder), "images": session.path(self.test_set.folder / TEST)}
        try:
            mark_accuracy(self, session.ask("predict", session.limits.seconds, **paths))
        except judge.FAULTS as error:
            self.refuse(["test_accuracy"], f"The run's weights can't be measured: {judge.reason_of(error)}")
