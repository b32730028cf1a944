"""Marks one submission: starts its child, judges its parts, measures its network, and returns the result as data."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import time
from pathlib import Path

import numpy as np

from tools.grading import images, judge, source_checks, submissions
from tools.grading.mark_run import mark_run
from tools.grading.scheme import PARTS, Mark, open_marks
from tools.grading.session import SUBMISSION, ChildEnded, Limits, Nursery, Session
from utils.report.marking import backbone_faults, band
from utils.runs.schema import NETWORK_FIELDS, network_disagreement, type_problem

CLAIM_TOLERANCE = 0.002  # an accuracy may differ by so much from one device to another
LOOKED_UP = 0.15  # an accuracy that falls by more if images are mirrored and shifted by a pixel
MOST_BLOCKS = 12
JUDGED = ("loaders", "accuracy", "train_epoch", "evaluate")
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

    def __init__(self, folder: Path, conditions: Conditions):
        """`folder` holds the unpacked submission."""
        self.folder = folder
        self.nursery, self.test_set, self.limits = conditions.nursery, conditions.test_set, conditions.limits
        self.is_confined, self.is_replayed = conditions.is_confined, conditions.is_replayed
        self.marks = open_marks()
        self.claims, self.notes, self.errors, self.facts = [], [], [], {}
        self.measured = self.weights = None
        self.trees = []
        self.start = time.monotonic()
        self.rng = np.random.default_rng()

    def result(self) -> dict:
        """Mark the submission; return the result."""
        self._mark()
        return self.stored()

    def unusable(self, reason: str) -> dict:
        """Return the result of a submission that can't be marked."""
        self.notes.append(reason)
        self._close(reason)
        return self.stored()

    def stored(self) -> dict:
        """Return what is known so far as the result that is stored."""
        parts = [dataclasses.asdict(part) | dataclasses.asdict(self.marks[part.name]) for part in PARTS]
        return {
            "parts": parts,
            "claims": self.claims,
            "notes": self.notes,
            "errors": self.errors,
            "measured": self.measured,
            "weights": self.weights,
            "facts": {name: self.facts.get(name) for name in SHOWN_FACTS},
            "seconds": round(time.monotonic() - self.start, 1),
            "is_confined": self.is_confined,
        }

    def code_hash(self) -> str | None:
        """Return a hash of the notebook's code without comments and spacing, or None if it has almost none."""
        text = "\n".join(ast.unparse(tree) for tree in self.trees)
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16] if len(text) > 500 else None

    def _close(self, reason: str):
        """Give no points to what is not judged yet, for this reason."""
        for name, mark in self.marks.items():
            if mark.points is not None and mark.reason == "not marked yet":
                self.marks[name] = Mark(0, reason)

    def _mark(self):
        notebook = submissions.find_notebook(self.folder)
        cells = submissions.read_cells(notebook)
        trees = submissions.syntax_trees(cells)
        for number, tree in enumerate(trees, 1):
            if tree is None:
                self.notes.append(f"Code cell {number} can't be read as Python, and was not searched: look at it.")
        self.trees = [tree or ast.Module([], []) for tree in trees]
        self.run = submissions.find_run(self.folder)
        self._check_source()
        if not any(path.suffix.lower() == ".pdf" for path in submissions.regular_files(self.folder)):
            self.notes.append("There is no report as PDF.")
        predicted = mark_run(self)
        with self.session(notebook.parent) as session:
            try:
                self._run_notebook(session, cells)
                self._judge_functions(session)
                self._judge_network(session)
                if predicted is None:
                    predicted = self._predict_own(session)
            except ChildEnded as error:
                self._ended(error, session)
        self.errors += session.cell_errors
        self._mark_accuracy(predicted)
        self._close("It could not be judged.")

    def session(self, notebook_folder: Path | None = None) -> Session:
        """Start a child that sees the submission and the images."""
        shown = {images.SHOWN: str(self.test_set.folder)}
        return Session(self.nursery, self.folder, shown, self.limits, self.is_confined, notebook_folder)

    def path_of_run(self) -> str:
        """Return where a child finds the run's folder, before Session.path."""
        return "/".join((SUBMISSION, *self.run.relative_to(self.folder).parts))

    def _ended(self, error, session):
        at = f" in code cell {session.last_cell + 1}" if session.last_cell is not None else ""
        self.notes.append(f"Marking was ended{at}: {error}.")
        self._close(f"Not reached: marking was ended{at}, because {error}.")

    # Before any code of the student runs.

    def _check_source(self):
        for cell, name in source_checks.forbidden_names(self.trees):
            for part in MODEL:
                reason = f"Task 2 is refused: code cell {cell} uses {name}, but the block is to be your own."
                self.marks[part] = Mark(0, reason)
            self.notes.append(f"Code cell {cell} uses {name}.")
            break
        for cell, name in source_checks.hidden_code(self.trees):
            self.notes.append(f"Code cell {cell} uses {name}. It can hide an import: look at it.")

    # The student's code.

    def _run_notebook(self, session, cells):
        pictures = session.path(f"{images.SHOWN}/{images.SYNTHETIC}")
        each = min(self.limits.cell_seconds, self.limits.seconds)
        try:
            session.ask("run_cells", self.limits.seconds, cells=cells, seconds_each=each, pictures=pictures)
        except judge.FAULTS as error:
            self.errors.append(f"The notebook could not be run: {error}")

    def _judge(self, name: str, question, *arguments):
        """Give a part its marks if the question finds no mistake."""
        part = next(part for part in PARTS if part.name == name)
        if self.marks[name].reason != "not marked yet":
            return
        reason = source_checks.not_written_here(self.trees, part.needs) if name in JUDGED[1:] else None
        if reason:
            self.marks[name] = Mark(0, f"It is not handed in as your own code: {reason}.")
            return
        try:
            self.marks[name] = Mark(part.marks, question(*arguments))
        except judge.Unclear as error:
            self.marks[name] = Mark(None, f"{error}, so your teacher marks this part")
        except judge.FAULTS as error:
            is_mistake = isinstance(error, (judge.Mistake, ValueError))
            self.marks[name] = Mark(0, str(error) if is_mistake else "The values that came back can't be used.")

    def _judge_functions(self, session):
        for name in JUDGED:
            self._judge(name, getattr(judge, name), session, self.rng)

    def _judge_network(self, session):
        if all(self.marks[name].reason != "not marked yet" for name in MODEL):
            return
        reason = source_checks.not_written_here(self.trees, "network")
        try:
            if reason:
                raise judge.Mistake(f"{reason}.")
            summary = session.ask("make_network", seed=int(self.rng.integers(2**31)))
            problem = type_problem(summary, NETWORK_FIELDS) or network_disagreement(summary)
            judge.ensure(problem is None, f"The summary of the network is damaged: {problem}")
            foreign = [name for name in summary["modules"] if str(name).startswith(source_checks.FOREIGN)]
            judge.ensure(not foreign, f"Task 2 is refused: the network contains {', '.join(map(str, foreign[:3]))}.")
            gates = list(summary["gates"] or ())
            judge.ensure(gates, "The network has no submodule called `gate` that gives a weight for each branch.")
            judge.ensure(len(gates) <= MOST_BLOCKS, f"The network has {len(gates)} gates.")
        except judge.FAULTS as error:
            for name in MODEL:
                self.marks[name] = Mark(0, str(error))
            return
        self._judge("structure", judge.structure, backbone_faults(summary))
        self._judge("scores", judge.scores, session, self.rng)
        looks = {name: {} for name in gates}
        self._judge("gate", judge.each_block, judge.gate, session, self.rng, looks)
        self._judge("weighted_sum", judge.each_block, judge.weighted_sum, session, self.rng, looks)

    def _predict_own(self, session):
        if self.run is None or self.marks["test_accuracy"].reason != "not marked yet":
            return None
        constants = {name: self.facts.get(name) for name in ("mean", "std")}
        settings = {"folder": session.path(self.path_of_run()), "images": images.shown_to(session), **constants}
        try:
            return session.ask("predict_own_network", self.limits.seconds, **settings)
        except ValueError as error:
            self.marks["test_accuracy"] = Mark(0, f"The run's weights can't be measured: {error}")
        return None

    # The accuracy, from predictions.

    def _mark_accuracy(self, predicted):
        if self.marks["test_accuracy"].reason != "not marked yet" or predicted is None:
            return
        labels = self.test_set.labels
        try:
            plain, changed = (
                judge.array(values, (count,), "The predictions")
                for values, count in zip(predicted, (len(labels), min(len(labels), images.CHANGED)), strict=True)
            )
        except judge.FAULTS as error:
            self.marks["test_accuracy"] = Mark(0, str(error))
            return
        self.measured = float((plain == labels).mean())
        text = f"{self.measured:.2%} of {len(labels):,} test images of {self.test_set.data.name}"
        same = slice(len(changed))
        fall = float((plain[same] == labels[same]).mean() - (changed == labels[same]).mean())
        if fall > LOOKED_UP:
            what = f"The accuracy falls by {100 * fall:.0f} points if images are mirrored and shifted by one pixel."
            self.notes.append(f"{what} Are the answers stored in the submission?")
        for file, claimed in self.facts["claims"].items():
            if abs(claimed - self.measured) > max(CLAIM_TOLERANCE, 1.5 / len(labels)):
                self.claims.append(f"{file} claims an accuracy of {claimed:.2%}, but it is {self.measured:.2%}.")
        if not self.test_set.has_bands:
            self.marks["test_accuracy"] = Mark(None, f"{text}, which belong to no band")
            return
        found = band(self.measured)
        self.marks["test_accuracy"] = Mark(found.marks, f"{text}: {found.name}")
