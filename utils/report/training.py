"""Owns what the report says of the training: curves, time, attempts, faults, hyperparameters. Reads records only."""

from __future__ import annotations

from utils.report import figures
from utils.report.blocks import figure, paragraph, table
from utils.report.words import duration, many, number, percent, said
from utils.runs.run import row
from utils.training.budget import BUDGETS

PARTS = ("loss", "optimizer", "schedule")  # of a recipe, with settings of their own
NAMES = {"train": "training", "val": "validation", "test": "test"}


def training(run):
    """Draw the curves; say what they show, what it took, and what went wrong; list all hyperparameters."""
    history, record = run.history(), run.record
    blocks = [paragraph(*_curves_in_words(history, record))]
    if history.rows or history.points:
        images = f" ({run.data})"
        caption = f"Loss, accuracy and learning rate{images}."
        alt = f"Curves over {many(len(history), 'epoch')} of loss, accuracy and learning rate. " + _ends(history)
        blocks.append(figure(figures.curves(history, record.get("num_epochs")), alt, caption))
    blocks.append(paragraph(*_time(run), *_attempts(record), *_faults(run)))
    blocks.append(
        table(
            _hyperparameters(record),
            caption="All hyperparameters and circumstances.",
            fold=3,
            align="ll",
            widths=[0, 1],
        )
    )
    return blocks


def _watched(history):
    """Return ("val", "validation") or ("test", "test"), as the rows have it; or None."""
    return next(
        ((key, NAMES[key]) for key in ("val", "test") if history.rows and f"{key}_acc" in history.rows[-1]), None
    )


def _ends(history):
    if not history.rows:
        return "No epoch was finished."
    first, last = history.rows[0], history.rows[-1]
    ends = [
        f"{NAMES[key]} accuracy from {percent(first[f'{key}_acc'])} to {percent(last[f'{key}_acc'])}"
        for key in NAMES
        if f"{key}_acc" in first and f"{key}_acc" in last
    ]
    return "; ".join(ends) + "."


def _curves_in_words(history, record):
    """Say how it ended, the best epoch, and how far training and watched accuracy lie apart."""
    if not history.rows:
        return ["No epoch was finished, so that there is nothing to read from its curves."]
    last, watched = history.rows[-1], _watched(history)
    found = [f"After {many(len(history), 'epoch')} the training loss was {number(last.get('train_loss'))}"]
    found[0] += f" and the training accuracy {percent(last.get('train_acc'))}."
    if watched is None:
        return [*found, "No other images were watched."]
    key, name = watched
    best = history.best(f"{key}_acc")
    where = "the last epoch" if best is last else f"epoch {best['epoch']} of {len(history)}"
    found.append(f"The {name} accuracy was best in {where}, with {percent(best[f'{key}_acc'])}")
    found[-1] += "." if best is last else f", and {percent(last[f'{key}_acc'])} at the end."
    gap = 100 * (last.get("train_acc", float("nan")) - last[f"{key}_acc"])
    if gap == gap:
        side = "below" if gap >= 0 else "above"
        how = " on augmented images" if (record.get("recipe") or {}).get("augment") else ""
        found.append(
            f"It ended {abs(gap):.1f} points {side} the training accuracy, counted{how} while the net changes."
        )
    return found


def _time(run):
    figures = row(run)
    seconds, step, settled = (figures[name] for name in ("seconds", "ms_per_iteration", "settled_s"))
    seconds = run.record.get("seconds") or seconds
    took = f"took {duration(seconds)}" if seconds == seconds else "took a time that is unknown"
    yield f"The training {took} on {run.record.get('device') or 'an unknown device'}."
    if step == step:
        yield f"An iteration took {number(step, 3)} ms, measuring after the epochs included."
    if settled == settled:
        yield f"From {duration(settled)} on its accuracy stayed within one point of its best."
    elif len(run.history()):
        yield "When it ended, its accuracy was not within one point of its best."


def _attempts(record):
    attempts = record.get("attempts") or []
    if len(attempts) < 2:
        return ["It ran in one go."] if attempts else []
    places = [attempt.get("from") or [0, 0] for attempt in attempts[1:]]
    resumed = ", ".join(f"in epoch {epoch + 1} after {many(batch, 'batch', 'batches')}" for epoch, batch in places)
    return [f"It ran in {len(attempts)} attempts and was taken up again {resumed}."]


def _faults(run):
    if not run.faults:
        return ["Nothing went wrong."] if run.record.get("attempts") else []
    shown = [f"{f.get('what', '?')} (epoch {f.get('epoch', '?')}, batch {f.get('batch', '?')})" for f in run.faults[:3]]
    more = f" And {many(len(run.faults) - 3, 'more entry', 'more entries')} in its record." * (len(run.faults) > 3)
    return [f"What went wrong: {' '.join(shown)}{more}"]


def _hyperparameters(record):
    """List name and value of all that was set, and of the circumstances."""
    recipe, settings_ = record.get("recipe"), record.get("settings") or {}
    if recipe:
        names = ("batch_size", "loss", "optimizer", "lr", "schedule", "clip_norm", "clip_value", "average")
        chosen = {name: recipe[name] for name in names if recipe.get(name) is not None}
        chosen |= {f"{part} settings": recipe[f"{part}_settings"] for part in PARTS if recipe.get(f"{part}_settings")}
    else:
        chosen = {name: value for name, value in settings_.items() if name not in ("step", "augment")}
    git = record.get("git") or {}
    commit = git.get("commit") and git["commit"] + (", changed since" if git.get("changed") else "")
    budget = record.get("budget")
    around = {
        "epochs": record.get("num_epochs"),
        "seed": record.get("seed"),
        "protocol": record.get("protocol"),
        "budget": budget if budget in BUDGETS or budget is None else f"{budget} (the user's own)",
        "precision": record.get("precision"),
        "torch": record.get("torch"),
        "Python": record.get("python"),
        "code": commit,
        "begun": (record.get("created") or "unknown").replace("T", " ").replace("+00:00", " UTC"),
    }
    around = {name: "unknown" if value is None else value for name, value in around.items()}
    return [[name.replace("_", " "), said(value)] for name, value in (chosen | around).items()]
