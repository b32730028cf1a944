"""Owns what the report says of the final accuracy and of the assignment's five tasks. Reads records only."""

from __future__ import annotations

import json

from utils.models.blocks import plan_from
from utils.recipes import SYSTEMS
from utils.report import figures
from utils.report.blocks import figure, paragraph, row, strong, table
from utils.report.marking import BANDS, TASKS, backbone_faults, band, plain_gates
from utils.report.words import NB, duration, many, number, percent
from utils.runs.run import row as figures_of
from utils.runs.run import tested_accuracy

SHORT = {"airplane": "plane", "automobile": "auto"}
DAMAGES = {"shift": "a shift by {:g} pixels", "noise": "noise of {:g} levels of 255", "jpeg": "JPEG of quality {:g}"}
MISTAKES = 5  # most confident ones that are told
REPORTED = {  # what reports give: its name here, and where a run has it
    "test_acc": "test accuracy",
    "best_test_acc": "best test accuracy",
    "train_acc": "training accuracy",
    "train_loss": "training loss",
    "test_loss": "test loss",
    "epochs": "epochs",
    "seconds": "training time",
}


def accuracy(run):
    """Say how many test images it got right, which classes it took for which, and how sure it was."""
    evaluation, known = run.evaluation or {}, tested_accuracy(run)
    if known is None:
        figure_of_merit = [paragraph(strong("It has not been measured on the test images."), *_watched_instead(run))]
        return [*figure_of_merit, *_reported(run), *_left_open(run)]
    blocks = [paragraph(*_headline(run, evaluation, known)), paragraph(*_other_figures(run, evaluation, known))]
    if evaluation.get("confusion"):
        said = [paragraph(*_confusions(evaluation)), paragraph(*_mistakes(evaluation)), *_left_open(run)]
        right = [*_calibration(evaluation, run), *_reported(run)]
        blocks.append(row([_confusion(evaluation, run), *said], right, widths=(68, 32)))
        blocks += [*_gates(evaluation, run), *_damaged(evaluation, run)]
    else:
        unknown = paragraph("Its confusion matrix and calibration were not recorded.")
        blocks += [unknown, *_reported(run), *_left_open(run)]
    return blocks


def _watched_instead(run):
    rows = run.history().rows
    if rows and "val_acc" in rows[-1]:
        yield f"What is known is the validation accuracy after its last epoch, {percent(rows[-1]['val_acc'])}."


def _headline(run, evaluation, known):
    """Say the accuracy with its interval, the loss, the accuracy of the top few and of test-time views."""
    images = f"{evaluation['images']:,} test images" if evaluation.get("images") else "test images"
    low, high = evaluation.get("interval") or (None, None)
    sure = f", with a 95{NB}% interval from {percent(low)} to {percent(high)}" if low is not None else ""
    yield strong(f"{percent(known)} of the {images} were named right")
    yield f"({run.data}){sure}."
    if evaluation.get("loss") is not None:
        yield f"The mean loss is {number(evaluation['loss'])}."
    top = {k: share for k, share in (evaluation.get("top") or {}).items() if k != "1"}
    if top:
        yield "The true class is among its " + ", ".join(f"{k} likeliest for {percent(top[k], 1)}" for k in top) + "."
    views = {name: share for name, share in (evaluation.get("views") or {}).items() if name != "plain"}
    if views:
        said = ", ".join(f"{percent(share)} with {name}" for name, share in views.items())
        yield f"Averaged over changed views of each image it names {said} right."


def _other_figures(run, evaluation, known):
    """Say the four figures by which report E judges a network, and what damage to the images costs."""
    figures = figures_of(run)
    yield f"Error rate {percent(1 - known)}, {number(figures['parameters'])} parameters,"
    step, settled = figures["ms_per_iteration"], figures["settled_s"]
    yield f"{number(step, 3) if step == step else 'unknown'} ms an iteration,"
    yield f"{f'settled after {duration(settled)}' if settled == settled else 'not settled'}: the four figures by which"
    yield "report E judges a network."
    yield from _robustness(evaluation.get("robustness") or {})


def _robustness(measured):
    """Say what the strongest shift, noise and compression that were tried cost."""
    said = []
    for name, words in DAMAGES.items():
        tried = measured.get(name) or {}
        pairs = [(s, a) for s, a in zip(tried.get("strengths", ()), tried.get("accuracy", ()), strict=False) if s]
        if pairs:
            strength, share = min(pairs, key=lambda pair: pair[1])
            said.append(f"{percent(share, 1)} under {words.format(strength)}")
    if said:
        yield f"Of {number(measured.get('images'))} test images it still names {', '.join(said)} right."


def _names(evaluation):
    return evaluation.get("classes") or [str(i) for i in range(len(evaluation["confusion"]))]


def _confusion(evaluation, run):
    """Make the confusion matrix, a row for each true class, with recall, precision and F1 at its right."""
    names, counts = _names(evaluation), evaluation["confusion"]
    scores = evaluation.get("per_class") or {}
    columns = [name for name in ("recall", "precision", "f1") if len(scores.get(name) or ()) == len(counts)]
    rows, shade = [], []
    for i, line in enumerate(counts):
        cells = [strong(f"{n:,}") if i == j else f"{n:,}" if n else "·" for j, n in enumerate(line)]
        rows.append([names[i], *cells, *(f"{100 * scores[name][i]:.0f}" for name in columns)])
        shade.append([None, *(n / max(1, sum(line)) for n in line), *(None for _ in columns)])
    titles = {"recall": "rec.", "precision": "prec.", "f1": "F1"}
    head = ["true \\ said", *(SHORT.get(name, name) for name in names), *(titles[name] for name in columns)]
    caption = f"Rows are the true classes, columns what it said; recall, precision and F1 in % ({run.data})."
    return table(rows, head, caption=caption, shade=shade, widths=[0] + [1] * (len(head) - 1))


def _calibration(evaluation, run):
    calibration = evaluation.get("calibration") or {}
    if not calibration.get("count"):
        return [paragraph("Its calibration was not recorded.")]
    kept = [i for i, count in enumerate(calibration["count"]) if count]
    said = (
        f"{percent(calibration['confidence'][i], 0)} sure, {percent(calibration['accuracy'][i], 0)} right" for i in kept
    )
    ece = calibration.get("ece")
    gap = f" On average the two differ by {100 * ece:.1f} points." if ece is not None else ""
    caption = f"How sure it was of its answers, and how often they were right ({run.data}).{gap}"
    alt = f"Calibration on {run.data}: " + "; ".join(said) + "."
    return [figure(figures.calibration(calibration), alt, caption)]


def _gates(evaluation, run):
    """Draw what the gates of the last blocks do with each class, and say how much they care."""
    names = _names(evaluation)
    tables = {name: table for name, table in (evaluation.get("gates") or {}).items() if table and table[0]}
    known = [i for i in range(len(names)) if all(None not in table[i] for table in tables.values())]
    if not tables or not known:
        return []
    tables = {name: [table[i] for i in known] for name, table in tables.items()}
    svg, shown = figures.gates(tables, [names[i] for i in known])
    spreads = {
        name: max(max(column) - min(column) for column in zip(*table, strict=True)) for name, table in tables.items()
    }
    said = f"From class to class the mean weight of a branch differs by up to {max(spreads.values()):.2f}"
    said += f", most in {max(spreads, key=spreads.get)}."
    which = "every block" if len(shown) == len(tables) else f"the last {many(len(shown), 'block')} of {len(tables)}"
    caption = f"The gates' mean weights by class in {which} ({run.data})."
    if len(known) < len(names):
        caption += " A class of which no mean is recorded is left out."
    return [paragraph(said), figure(svg, f"A table of mean gate weights. {said}", caption, full=figures.FULL)]


def _damaged(evaluation, run):
    """Draw what shifts, noise and compression of the test images cost."""
    measured = evaluation.get("robustness") or {}
    if not any(measured.get(name) for name in DAMAGES):
        return []
    alt = f"Accuracy against the strength of the damage. {' '.join(_robustness(measured))}"
    caption = f"Accuracy on {number(measured.get('images'))} test images that were damaged ({run.data})."
    return [figure(figures.robustness(measured), alt, caption)]


def _confusions(evaluation):
    """Say the best and the worst class, and the commonest confusions."""
    names, counts = _names(evaluation), evaluation["confusion"]
    shares = {names[i]: line[i] / sum(line) for i, line in enumerate(counts) if sum(line)}
    if shares:
        best, worst = (pick(shares, key=shares.get) for pick in (max, min))
        if shares[best] > shares[worst]:
            yield f"It knows {best} best ({percent(shares[best], 1)} right)"
            yield f"and {worst} worst ({percent(shares[worst], 1)})."
    pairs = [(n, names[i], names[j]) for i, line in enumerate(counts) for j, n in enumerate(line) if n and i != j]
    if pairs:
        pairs.sort(key=lambda pair: -pair[0])
        said = ", ".join(f"{true} for {taken} ({n:,})" for n, true, taken in pairs[:4])
        yield f"Most often it took {said}."
    else:
        yield "It made no mistake."


def _mistakes(evaluation):
    """Say its most confident mistakes, by the row of the test set."""
    names, mistakes = _names(evaluation), (evaluation.get("mistakes") or [])[:MISTAKES]
    if mistakes:
        said = (
            f"{names[m['label']]} for {names[m['said']]}, {percent(m['confidence'], 1)} sure (image {m['row']:,})"
            for m in mistakes
        )
        yield f"Its most confident mistakes: {'; '.join(said)}."


def _reported(run):
    """Set what was reported of this system beside what this run has, with what the report leaves open."""
    system = SYSTEMS.get(run.record.get("system"))
    if system is None or not system.reported:
        return []
    rows, last = run.history().rows, (run.history().rows or [{}])[-1]
    tests = [row["test_acc"] for row in rows if "test_acc" in row]
    ours = {
        "test_acc": tested_accuracy(run),
        "best_test_acc": max(tests, default=None),
        "train_acc": last.get("train_acc"),
        "train_loss": last.get("train_loss"),
        "test_loss": (run.evaluation or {}).get("loss", last.get("test_loss")),
        "epochs": len(rows),
        "seconds": run.record.get("seconds") or last.get("seconds"),
    }
    lines = [[REPORTED[k], _say(k, system.reported[k]), _say(k, ours[k])] for k in system.reported if k in REPORTED]
    caption = f"{system.report}, which used CIFAR-10 itself; this run: {run.data}."
    if run.record.get("recipe") != json.loads(json.dumps(system.describe())):
        caption += " The recipe of this run is not the report's."
    return [table(lines, ["", "reported", "this run"], caption=caption)]


def _left_open(run):
    """Say what a system's report does not state, so that it was chosen here."""
    system = SYSTEMS.get(run.record.get("system"))
    if system is None or not system.not_stated:
        return []
    return [paragraph(f"What {system.report.partition(',')[0]} leaves open or contradicts:", *system.not_stated)]


def _say(kind, value):
    if value is None:
        return "not measured"
    return percent(value) if kind.endswith("_acc") else duration(value) if kind == "seconds" else number(value)


def tasks(run):
    """Say for each task of the assignment what this run shows, and into which band its accuracy falls."""
    shown = (_data_shown, _model_shown, _loss_shown, _training_shown, _accuracy_shown)
    rows = [
        [f"{task.number}. {task.title} ({task.marks})", task.asks, " ".join(show(run))]
        for task, show in zip(TASKS, shown, strict=True)
    ]
    note = "Only whoever marks the work gives marks; this table says what the run's record can show."
    return [
        table(rows, ["task (marks)", "asked for", "shown by this run"], align="lll", widths=[20, 36, 44], caption=note)
    ]


def _data_shown(run):
    images, batches = run.record.get("images"), run.record.get("batches")
    if not images:
        return ["Its images are not recorded."]
    return [f"{images:,} training images ({run.data}) in {number(batches)} batches an epoch (section 1)."]


def _model_shown(run):
    record = (run.record.get("recipe") or {}).get("network")
    if not record:
        return ["Unknown: a network built by hand leaves no plan in the record."]
    plan = plan_from(record)
    faults = backbone_faults(plan)
    if faults:
        return [f"Not the assigned backbone, which alone gets marks here: {'; '.join(faults)}."]
    ks = sorted({len(block.kernels) for block in plan.blocks})
    k = f"k = {ks[0]}" if len(ks) == 1 else f"k from {ks[0]} to {ks[-1]}"
    said = [f"The assigned backbone: {many(len(plan.blocks), 'gated block')}, {k}, classifier on the mean (section 2)."]
    if plain := plain_gates(plan):
        blocks = ", ".join(map(str, plain))
        said.append(
            f"The gate of block {blocks} has no activation at its end: a later edition allows it, 2023's does not."
        )
    return said


def _loss_shown(run):
    recipe, flat = run.record.get("recipe") or {}, run.record.get("settings") or {}
    loss, optimizer = (recipe.get(name) or flat.get(name) for name in ("loss", "optimizer"))
    said = [f"Loss: {loss.partition(' ')[0].replace('_', ' ')}." if loss else "Its loss is not recorded."]
    said += [f"Optimizer: {optimizer} (section 3)." if optimizer else "Its optimizer is not recorded."]
    return said


def _training_shown(run):
    history = run.history()
    last = history.rows[-1] if history.rows else {}
    if not last:
        return ["No epoch was finished, so there are no curves."]
    lacks = "" if "val_acc" in last else " The brief wants a validation curve: this one is not of held-out images."
    return [f"Curves of {many(len(history), 'epoch')} and all hyperparameters (section 4).{lacks}"]


def _accuracy_shown(run):
    """Say the accuracy's band, on CIFAR-10 itself only; and whether its interval reaches into another one."""
    known, source = tested_accuracy(run), (run.record.get("data") or {}).get("source")
    bands = f"Bands: {', '.join(f'{b.words} → {b.marks}' for b in BANDS)}."
    if known is None:
        return ["Not measured on the test images, so it falls in no band.", bands]
    if source == "drawn":
        return [f"{percent(known)} on drawn images: no accuracy on CIFAR-10, and in no band.", bands]
    here = band(known)
    if source != "official":
        words = (
            f"{percent(known)} on {run.data}: the bands are for CIFAR-10's own test images, on which it has not been"
        )
        return [f"{words} measured. Read all the same, {here.words} → {here.marks}.", bands]
    said = f"{percent(known)}: in the band {here.words} → {here.marks}."
    low, high = (run.evaluation or {}).get("interval") or (known, known)
    others = [b for b in dict.fromkeys((band(low), band(high))) if b != here]
    if others:
        said += f" Its interval reaches into {' and '.join(other.words for other in others)}."
    return [said, bands]
