"""Saves the weights of a finished run in results/weights/, for load_pretrained.

    python -m tools.weights RUN

The run must be trained with the effort `full` and a validation split, so that images remain that the network has never
seen. The weights are halved, loaded again, and measured beside the original ones on the validation images.
"""

from __future__ import annotations

import argparse
import sys

import torch

from tools.command import command
from utils.data import load_cifar10, make_iters
from utils.errors import CourseworkError
from utils.evaluation import evaluate
from utils.recipes import load_pretrained, load_run
from utils.recipes.pretrained import save_pretrained
from utils.recipes.recipe import num_held_out
from utils.runs import find


@command
def main(arguments=None):
    """Save the weights of a run and print what they reach."""
    parser = argparse.ArgumentParser(prog="python -m tools.weights", description=main.__doc__)
    parser.add_argument("run", help="a run's name or its unique beginning")
    args = parser.parse_args(arguments)
    try:
        print(save(find(args.run)))
    except CourseworkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def save(run):
    """Save the weights of a run; return the path of the file."""
    record = run.record
    held_out = record.get("watched_images")
    if run.state != "finished" or record.get("effort") != "full" or record.get("watched") != "val" or not held_out:
        raise CourseworkError(
            "Only a finished training of full effort with a validation split can be saved.",
            where=run.folder,
            next_step="Train it: python -m tools.train NAME --effort full",
        )
    data = load_cifar10()
    trained = load_run(run, data)
    test = evaluate(trained)
    facts = {
        "run": run.name,
        "seed": record["seed"],
        "images": record["images"],
        "validation_images": held_out,
        "epochs": len(trained.history),
        "device": record["device"],
        "git": record["git"],
        "test": {name: test[name] for name in ("accuracy", "interval", "loss")},
    }
    save_pretrained(trained, facts)
    _, val_iter, _ = make_iters(data, 500, val=num_held_out(data, record["protocol"]), seed=record["seed"])
    halved = load_pretrained(trained.recipe.name, device="cpu")
    original, y = _predictions(trained.net.cpu(), val_iter)
    predicted, _ = _predictions(halved, val_iter)
    facts["validation"] = {
        "accuracy": float((original == y).float().mean()),
        "halved": float((predicted == y).float().mean()),
        "same_predictions": float((original == predicted).float().mean()),
    }
    print(facts["validation"])
    return save_pretrained(trained, facts)


@torch.no_grad()
def _predictions(net, data_iter):
    batches = [(net.eval()(X).argmax(1), y) for X, y in data_iter]
    return torch.cat([predicted for predicted, _ in batches]), torch.cat([y for _, y in batches])


if __name__ == "__main__":
    sys.exit(main())
