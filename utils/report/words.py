"""Owns how the report says numbers, and its first line: what a reader has to know before any figure. Reads records."""

from __future__ import annotations

from utils.data.sources import is_synthetic
from utils.runs.run import tested_accuracy

ALL_TEST_IMAGES, MOST_IMAGES = 10_000, 45_000  # of CIFAR-10: to test on, and to train on when a tenth is held out
NB = "\u00a0"  # a space at which no line is broken


def percent(fraction, digits=2):
    """Say a fraction as a percentage, or that it is unknown."""
    return "unknown" if _no_number(fraction) else f"{100 * fraction:.{digits}f}{NB}%"


def number(value, digits=4):
    """Say a number in a few digits, a whole one with its thousands; and all else as it is."""
    if value is None:
        return "unknown"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or 10**digits - 0.5 <= abs(value) < 1e9:
        return f"{value:,.0f}"  # a float as large as this would be said with an exponent
    return f"{value:.{digits}g}"


def many(count, one, several=None):
    """Say a count with its noun: 1 epoch, 2 epochs."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def duration(seconds):
    """Say seconds as hours, minutes and seconds, the two largest that are there."""
    if _no_number(seconds):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def settings(values):
    """Say a dict of settings in one line."""
    return ", ".join(f"{name} = {said(value)}" for name, value in values.items())


def said(value):
    """Say a setting: numbers short, lists and dicts in a line, None as none."""
    if isinstance(value, dict):
        return settings(value) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(said(item) for item in value) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return number(value) if isinstance(value, float) else str(value)


def _no_number(value):
    return not isinstance(value, (int, float)) or value != value


def first_line(run):
    """List in plain sentences what makes this run's figures less than they look; without any, say what they are."""
    warnings = [*_ending(run), *_images(run), *_effort(run), *_test(run), *_record(run)]
    return warnings or ["A finished run, measured on test images that it never saw."]


def _ending(run):
    done, planned = len(run.history()), run.record.get("num_epochs")
    place = f"after {many(done, 'epoch')}" + (f" of {planned}" if planned else "")
    what = next((fault.get("what") for fault in reversed(run.faults) if fault.get("kind") == run.state), None)
    why = f": {what}" if what else "."
    words = {
        "running": f"Unfinished: it is still training, {place}.",
        "interrupted": f"Interrupted: it ended without a word {place}.",
        "stopped": f"Stopped by its user {place}.",
        "diverged": f"Diverged {place}{why}",
        "failed": f"Failed {place}{why}",
        "unreadable": "Its record cannot be read: what it held is missing here.",
    }
    return [words[run.state]] if run.state in words else []


def _images(run):
    data = run.record.get("data") or {}
    source, name = data.get("source"), data.get("name") or "unknown images"
    if source == "official":
        return []
    if is_synthetic(source):
        return ["Made with drawn images, not with CIFAR-10: no figure here says anything about CIFAR-10."]
    if not data:
        return ["Which images it was made with is not recorded."]
    return [f"Made with {name}, not with the original files of CIFAR-10."]


def _effort(run):
    record, recipe = run.record, run.record.get("recipe")
    found = []
    if not recipe:
        found.append("Trained by hand, without a recipe: what was not recorded is said to be unknown.")
    budget, asked = record.get("budget"), (recipe or {}).get("num_epochs")
    images, epochs = record.get("images"), record.get("num_epochs")
    whole = asked == epochs and (images or 0) >= MOST_IMAGES
    if budget and budget != "full" and not whole:
        less = f" where its recipe says {asked}" if asked and asked != epochs else ""
        left = f": {images:,} training images, {many(epochs, 'epoch')}{less}" if images and epochs else ""
        found.append(f"Cut to the budget {budget}{left}.")
    return found


def _test(run):
    evaluation, accuracy = run.evaluation, tested_accuracy(run)
    watched = run.record.get("protocol") == "report" or run.record.get("watched") == "test"
    found = ["The test images were watched after every epoch: its test accuracy is not independent."] if watched else []
    times = len(run.record.get("tests") or ())
    if times > 1:
        choice = "a choice between the figures would be one made on the test images"
        found.append(f"Measured on the test images {times} times: {choice}.")
    if (times or evaluation) and run.state not in ("finished", "unreadable"):
        found.append("Measured on the test images before its training was finished.")
    if accuracy is None:
        return [*found, "Not measured on the test images."]
    if not evaluation:
        return found
    images, data = evaluation.get("images"), evaluation.get("data") or {}
    if images and images < ALL_TEST_IMAGES:
        found.append(f"Measured on {images:,} test images only.")
    trained_on = (run.record.get("data") or {}).get("fingerprint")
    if trained_on and data.get("fingerprint") not in (None, trained_on):
        found.append(f"Tested on other images than it was trained with: {data.get('name')}, {data['fingerprint']}.")
    newest = run.checkpoint and run.checkpoint.name
    if newest and evaluation.get("checkpoint") not in (None, newest):
        found.append("Tested before its training ended: the test figures are those of an earlier checkpoint.")
    return found


def _record(run):
    found = [f"{many(run.bad_lines, 'line')} of its metrics cannot be read and left gaps."] if run.bad_lines else []
    unsaved = run.record.get("unsaved")
    return found + ([f"Its newest weights are not saved: {unsaved}"] if unsaved else [])
