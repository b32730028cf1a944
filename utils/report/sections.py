"""Owns what the report says of data, model, loss and optimizer. Reads records; measures and trains nothing."""

from __future__ import annotations

import math

import torch

from utils.data import augment
from utils.data.loader import MEAN, STD
from utils.models.blocks import build, plan_from
from utils.models.count import depth, describe, layer_table
from utils.optim.schedules import SCHEDULES
from utils.report import figures
from utils.report.blocks import code, figure, paragraph, strong, table
from utils.report.words import NB, many, settings

WATCHED = {
    "honest": "Of the training images one in ten was held out, the classes in proportion, and measured after every "
    "epoch: that is the validation. The test images are for one look when the training is over.",
    "report": "Nothing was held out: all training images were trained on and the test images measured after every "
    "epoch, as the reports did. An epoch chosen by such a curve is chosen on the test images.",
    "final": "Nothing was held out and nothing watched: all training images were trained on, and the test images are "
    "for one look when the training is over.",
}
LOSSES = {
    "cross_entropy": "Cross-entropy: the negative logarithm of the probability that the softmax of the ten scores "
    "gives to the true class, averaged over a batch's images. It takes the scores as they are, before any softmax.",
    "softmax_cross_entropy": "Cross-entropy of scores that were softmaxed already, so that the softmax is taken twice "
    "and the loss cannot fall below 1.46.",
}
OPTIMIZERS = {
    "sgd": "Stochastic gradient descent steps against the gradient of each batch",
    "adam": "Adam divides a running mean of the gradients by the root of a running mean of their squares, so that every"
    " number gets a step size of its own",
    "adamw": "AdamW steps as Adam does, by running means of the gradients and of their squares, but takes the weight "
    "decay from the weights themselves and not through the gradient",
    "muon": "Muon orthogonalises the momentum of every weight matrix, so that a step moves all its directions alike, "
    "and leaves norms and biases to SGD",
}
STARTS = ("block", "conv", "linear")  # words that begin a row of the model's table
COUNTED = {"parameters": "parameters", "macs": "multiply-adds an image"}
LONG = 8  # rows from which on the model's table is cut in two
BRIDGES = ("mean", "average", "flatten")


def data(run):
    """Say which images, how they were divided, changed and normalised, and how they were batched."""
    record, recipe = run.record, run.record.get("recipe") or {}
    source, images = record.get("data") or {}, record.get("images")
    name = [strong(source.get("name", "unknown images")), f", fingerprint {source.get('fingerprint', 'unknown')}."]
    trained = f"It was trained on {images:,} of them." if images else "On how many it was trained is unknown."
    watched = WATCHED.get(record.get("protocol")) or {
        "val": "Held-out images were measured after every epoch.",
        "test": "The test images were measured after every epoch.",
    }.get(record.get("watched"), "Which images were watched is unknown.")
    blocks = [paragraph("Colour images of ten classes, 32x32 pixels:", name, trained, watched)]
    return [*blocks, paragraph(*_normalised(recipe), _batched(record, recipe)), *_augmented(record, recipe)]


def _normalised(recipe):
    if not (recipe.get("mean") and recipe.get("std")):
        return ["How pixels were normalised is unknown."]
    own = tuple(recipe["mean"]) == tuple(MEAN) and tuple(recipe["std"]) == tuple(STD)
    whose = ", the statistics of CIFAR-10's own training images" if own else ""
    mean, std = (", ".join(f"{value:.4f}" for value in recipe[part]) for part in ("mean", "std"))
    return [f"Pixels from 0 to 1 are normalised channel by channel with mean ({mean}) and deviation ({std}){whose}."]


def _batched(record, recipe):
    size = recipe.get("batch_size") or (record.get("settings") or {}).get("batch_size")
    if not size:
        return "The size of its batches is unknown."
    batches = f", {record['batches']:,} an epoch." if record.get("batches") else "."
    if not recipe:
        return f"Batches held {size:,} images{batches}"
    return (
        f"The loader shuffles them anew in each epoch and gives batches of {size:,}{batches} Order and changes of the "
        "images follow from seed, epoch and image alone: a training that was interrupted goes on with the same batches."
    )


def _augmented(record, recipe):
    known = recipe.get("augment", (record.get("settings") or {}).get("augment"))
    if known is None:
        return [paragraph("Whether images were changed at random is unknown.")]
    if not known:
        return [paragraph("No augmentation: every epoch shows the same pixels.")]
    kinds = [getattr(augment, text.partition("(")[0], None) for text in known]
    words = [kind.__doc__.partition("\n")[0] if kind else "A change of the user's own." for kind in kinds]
    return [
        table(
            [[code(t), w] for t, w in zip(known, words, strict=True)],
            ["augmentation", "what it does"],
            align="ll",
            widths=[2, 3],
        )
    ]


def model(run):
    """Draw the network from its plan, and list its parts; without a plan say what is counted."""
    record = run.record
    if not (record.get("recipe") or {}).get("network"):
        counted = [f"{record[name]:,} {words}" for name, words in COUNTED.items() if record.get(name)]
        has = f"It has {' and '.join(counted)}." if counted else "How large it is is unknown, too."
        return [paragraph("The network was built by hand, and its layers are unknown.", has)]
    plan = plan_from(record["recipe"]["network"])
    with torch.device("meta"):  # shapes only: no memory, no random numbers
        net = build(plan)
    parts = _parts(net)
    totals = [sum(part[name] for part in parts) for name in ("parameters", "macs")]
    rows = [[p["words"], p["size"], f"{p['parameters']:,}", f"{p['macs']:,}"] for p in parts]
    rows.append([strong("all"), "", strong(f"{totals[0]:,}"), strong(f"{totals[1]:,}")])
    head = ["part", "map or vector", "parameters", "multiply-adds"]
    alt = "The network from left to right: " + "; ".join(f"{p['words']} to {p['size']}" for p in parts) + "."
    caption = "The network, drawn from its plan: heights show the map's size, bold numbers the channels."
    return [
        paragraph(*_sentences(plan)),
        figure(figures.diagram(net), alt, caption, full=figures.FULL),
        table(rows, head, fold=2 if len(rows) > LONG else 1),
    ]


def _sentences(plan):
    """Say what a plan is made of: its blocks by formula and words, its depth, how its weights start."""
    init = "as torch starts a layer" if plan.init == "default" else f"by {plan.init}"
    init += " in the linear layers" if plan.init_of == "linear" else ""
    end = f"Its longest way holds {many(depth(plan), 'convolution or linear layer', 'convolutions and linear layers')}"
    end += f", and its weights start {init}."
    if not plan.blocks:
        return ["A plain network without gated blocks.", end]
    first = describe(plan.blocks[0])
    same = all(describe(block) == first for block in plan.blocks)
    yield f"{many(len(plan.blocks), 'gated block')} and a classifier on the mean over the map."
    yield "A block gives O = after(a₁ branch₁(X) + … + aₖ branchₖ(X) + shortcut(X)) with a = gate(mean of X)."
    whose = "Every block has" if same else "The first block has"
    yield f"{whose} {first['branches']}; gate: {first['gate']}; shortcut: {first['shortcut']}; after: {first['after']}."
    yield end


def _parts(net):
    """List words, size, parameters and macs of a network's parts: what has weights, with what follows it."""
    parts = []
    for layer in layer_table(net):
        kind = layer["name"].rstrip("0123456789")
        words = _block_words(layer["name"], net) if kind == "block" else layer["what"]
        bridge = kind in BRIDGES and not (parts and parts[-1]["kind"] in BRIDGES)
        if kind in STARTS or bridge or not parts:
            parts.append({"kind": kind, "words": words, "parameters": 0, "macs": 0})
        else:
            parts[-1]["words"] += f", {words}"
        parts[-1]["size"] = "×".join(f"{side:,}" for side in layer["shape"])
        for name in ("parameters", "macs"):
            parts[-1][name] += layer[name]
    return parts


def _block_words(name, net):
    block = getattr(net, name).plan
    widths = " → ".join(f"{width:,}" for width in block.widths)
    return f"block {name[5:]}: {widths}, k{NB}={NB}{len(block.kernels)}"


def loss_and_optimizer(run):
    """Say which loss, optimizer and schedule, with their settings."""
    recipe, flat = run.record.get("recipe"), run.record.get("settings") or {}
    if not recipe:
        known = {name: flat[name] for name in ("loss", "optimizer", "lr", "schedule") if flat.get(name) is not None}
        return [paragraph(f"Recorded were: {settings(known)}." if known else "Loss and optimizer are unknown.")]
    loss = LOSSES.get(recipe.get("loss"), f"The loss is {recipe.get('loss') or 'unknown'}.")
    loss += f" Its settings: {settings(recipe['loss_settings'])}." if recipe.get("loss_settings") else ""
    name = recipe.get("optimizer")
    optimizer = OPTIMIZERS.get(name, f"The optimizer is {name or 'unknown'}")
    more = settings({"learning rate": recipe.get("lr", "unknown"), **(recipe.get("optimizer_settings") or {})})
    optimizer += f" ({more.replace('_', ' ')}; all else at its default)."
    return [
        paragraph(strong("Loss. "), loss),
        paragraph(strong("Optimizer. "), optimizer, *_extras(run.record, recipe)),
        paragraph(strong("Learning rate. "), *_schedule(recipe, run.history())),
    ]


def _extras(record, recipe):
    if recipe.get("clip_norm"):
        yield f"A gradient longer than {recipe['clip_norm']:g} is scaled down to that length."
    if recipe.get("clip_value"):
        yield f"Every number of the gradient is held between -{recipe['clip_value']:g} and {recipe['clip_value']:g}."
    if recipe.get("average"):
        kept = recipe["average"]
        yield f"Measured and kept is a running average of the weights, of which {kept:g} stays at each batch."
    if record.get("precision"):
        yield f"It computed in {record['precision']}."


def _schedule(recipe, history):
    """Say a schedule in words, and what the learning rate really did."""
    name = recipe.get("schedule", "constant")
    words = SCHEDULES[name][2] if name in SCHEDULES else "a schedule of the user's own"
    more = f" ({settings(recipe['schedule_settings'])})" if recipe.get("schedule_settings") else ""
    yield f"{name.replace('_', ' ').capitalize()}: {words}{more}."
    seen = history.points or history.rows
    rates = [(point["epoch"], point["lr"]) for point in seen if "lr" in point]
    if not rates:
        yield "What it did in this run is not recorded."
        return
    first, last, top = rates[0][1], rates[-1][1], max(rates, key=lambda rate: rate[1])
    if min(rate for _, rate in rates) == top[1]:
        yield f"In this run it was {top[1]:.3g} throughout."
    else:
        yield f"In this run it was {first:.3g} where first noted, highest with {top[1]:.3g} in epoch {_epoch(top[0])}"
        yield f"and {last:.3g} at the end."


def _epoch(part):
    """Return in which epoch, counted from 1, a point lies."""
    return max(1, math.ceil(part))
