"""Marks one submission: starts its child, judges its parts, measures its network, and returns the result as data."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import time
from pathlib import Path

import numpy as np

from tools.grading import images, judge, source_checks, submissions
from tools.grading.scheme import PARTS, Mark, open_marks
from tools.grading.session import SUBMISSION, ChildEnded, Limits, Nursery, Session
from utils.report.marking import backbone_faults, band
from utils.runs.schema import NETWORK_FIELDS, network_disagreement, type_problem

IMAGES = "/images"
CLAIM_TOLERANCE = 0.002  # an accuracy may differ by so much from one device to another
LOOKED_UP = 0.15  # an accuracy that falls by more if images are mirrored and shifted by a pixel
MOST_BLOCKS = 12
JUDGED = ("loaders", "accuracy", "train_epoch", "evaluate")
MODEL = ("gate", "weighted_sum", "structure", "scores")
SHOWN_FACTS = ("name", "state", "network", "data", "claims", "settings")
FAULTS = (judge.Mistake, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError)


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
        self.__dict__ |= vars(conditions)
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
        predicted = self._mark_run()
        with self._session(notebook.parent) as session:
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

    def _session(self, notebook_folder=None):
        shown = {IMAGES: str(self.test_set.folder)}
        return Session(self.nursery, self.folder, shown, self.limits, self.is_confined, notebook_folder)

    def _ended(self, error, session):
        at = f" in code cell {session.last_cell + 1}" if session.last_cell is not None else ""
        self.notes.append(f"Marking was ended{at}: {error}.")
        self._close(f"The notebook did not get so far{at}: {error}.")

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

    def _mark_run(self):
        """Read the run and measure a network of the library; return its predictions, or None."""
        if self.run is None:
            self.marks["curves"] = self.marks["test_accuracy"] = Mark(0, "There is no run folder.")
            return None
        where = "/".join((SUBMISSION, *self.run.relative_to(self.folder).parts))
        with self._session() as session:  # a child of its own, in which no code of the student ever runs
            try:
                self.facts = session.ask("read_run", folder=session.path(where))
                self._judge_record()
                if not self._is_measurable():
                    return None
                files = [session.path(f"{IMAGES}/{name}") for name in (images.TEST, images.CHANGED_TEST)]
                if self.is_replayed:
                    self._replay(session, where)
                if self.facts["is_library"]:
                    self.notes.append(f"The run's network is {self.facts['network']} of the library.")
                    return session.ask(
                        "predict_library_network", self.limits.seconds, folder=session.path(where), images=files
                    )
            except (ChildEnded, *FAULTS) as error:
                self.marks["test_accuracy"] = Mark(0, f"The run can't be measured: {error}")
        return None

    def _judge_record(self):
        facts = self.facts
        if facts.get("problem"):
            self.marks["curves"] = self.marks["test_accuracy"] = Mark(0, f"The run can't be read: {facts['problem']}")
            self.claims.append(f"The record of the run is damaged: {facts['problem']}")
            return
        self.weights = facts.get("weights")
        rows, names = facts["rows"], ("train_loss", "train_acc", "val_acc")
        missing = [name for name in names if not rows or any(name not in row for row in rows)]
        is_complete = not missing and len(rows) > 1
        lacks = "" if is_complete else f"; missing: {', '.join(missing) or 'more epochs'}"
        self.marks["curves"] = Mark(2 if is_complete else 0, f"{len(rows)} epochs in the record{lacks}")
        if facts["state"] != "finished":
            self.notes.append(f"The run is not finished: it is {facts['state']}.")
        if facts["tests"] > 1:
            self.notes.append(f"The test images were measured {facts['tests']} times. The first accuracy counts.")
        if facts["watched"] == "test":
            self.notes.append("The test images were watched during the training.")

    def _is_measurable(self) -> bool:
        facts, data = self.facts, self.test_set.data
        if facts.get("problem"):
            return False
        reason = None
        if facts.get("no_weights"):
            reason = f"The run has no weights that can be loaded: {facts['no_weights']}"
            self.claims.append(reason)
        elif facts["checksum"] not in (None, data.checksum):
            reason = f"The run was trained on {facts['data']}, but the test images here are those of {data.name}."
        if reason:
            self.marks["test_accuracy"] = Mark(0, reason)
        return reason is None

    def _replay(self, session, where):
        if not self.facts["is_library"]:
            self.notes.append("Not replayed: the network is the student's own, so its training would run their code.")
            return
        names = {
            "folder": session.path(where),
            "scratch": session.home,
            "train": session.path(f"{IMAGES}/{images.TRAIN}"),
        }
        data = self.test_set.data
        try:
            replayed = session.ask("replay", self.limits.seconds, **names, checksum=data.checksum, name=data.name)
        except ValueError as error:
            self.notes.append(f"Not replayed: {error}")
            return
        text = f"The training was replayed from {replayed['from']} to {replayed['to']}"
        if replayed["is_exact"]:
            self.notes.append(f"{text}: the weights are equal, bit by bit.")
        else:
            difference = f"the weights differ by {replayed['difference']:.1e} of the largest one in their tensor"
            at = f"{text} on this CPU (the run: {replayed['device']})"
            is_close = replayed["difference"] < judge.TOLERANCE
            (self.notes if is_close else self.claims).append(f"{at}: {difference}.")

    # The student's code.

    def _run_notebook(self, session, cells):
        pictures = session.path(f"{IMAGES}/{images.SYNTHETIC}")
        each = min(self.limits.cell_seconds, self.limits.seconds)
        try:
            session.ask("run_cells", self.limits.seconds, cells=cells, seconds_each=each, pictures=pictures)
        except FAULTS as error:
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
        except FAULTS as error:
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
        except FAULTS as error:
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
        where = "/".join((SUBMISSION, *self.run.relative_to(self.folder).parts))
        files = [session.path(f"{IMAGES}/{name}") for name in (images.TEST, images.CHANGED_TEST)]
        constants = {name: self.facts.get(name) for name in ("mean", "std")}
        settings = {"folder": session.path(where), "images": files, **constants}
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
        except FAULTS as error:
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
