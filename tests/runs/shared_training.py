"""A small training that one process does alone, or several share: batch norm, averaged weights, ragged batches.

    torchrun --standalone --nproc-per-node 2 shared_training.py FOLDER RUN [--epochs N] [--dropout]

Every process writes its number to FOLDER/pid-RANK, and what it has at the end to FOLDER/result-RANK.pt. The last batch
of each epoch has a single image, so that one of two processes has none.
"""

import argparse
import os
import pathlib
import socket
import sys
import time
import traceback

import torch
from torch import nn

sys.path.extend(str(pathlib.Path(__file__).resolve().parents[level]) for level in (1, 2))  # as its own program

from loader_parts import make_split

from utils.data import BatchLoader, Crop, Flip, Mixup
from utils.models import GatedBlock
from utils.my_utils import evaluate_accuracy, train_ch3
from utils.runs.checkpoints import Checkpoints
from utils.runs.processes import Processes, several_processes
from utils.training import Average, KeepBest, Step

BATCH = 16
TRAIN = 6 * BATCH + 1  # seven batches in each epoch


class Double(nn.Module):
    """The same images in float64, so that sums in another order differ by far less than 1e-6."""

    def forward(self, X):
        return X.double()


def make_net(dropout=False):
    after = nn.Sequential(nn.BatchNorm2d(8), nn.LeakyReLU(), *[nn.Dropout(0.2)] * dropout)
    block = GatedBlock(3, 8, (1, 3), after=after)
    return nn.Sequential(Double(), block, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)).double()


class FirstClass:
    """A metric like torchmetrics': the share of predictions of class 0."""

    def reset(self):
        self.sums = [0, 0]

    def update(self, y_hat, y):
        self.sums = [self.sums[0] + int((y_hat.argmax(1) == 0).sum()), self.sums[1] + len(y)]

    def compute(self):
        return self.sums[0] / self.sums[1]


def shared_training(processes, folder=None, epochs=3, dropout=False, pause=0.0):
    """Train, or resume in the folder; return everything that two such trainings can differ in."""
    torch.manual_seed(processes.rank if dropout else 0)  # other processes start with other weights, until they get ours
    net = make_net(dropout)
    settings = {"seed": 1}
    augment = (Flip(), Crop(2), *([] if dropout else [Mixup()]))
    train_iter = BatchLoader(make_split(TRAIN, size=8), BATCH, augment=augment, shuffle=True, **settings)
    val_iter = BatchLoader(make_split(2 * BATCH + 1, seed=1, size=8), BATCH, **settings)
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    average = Average(0.8)
    callbacks = [average, KeepBest(), FirstClass(), Pause(pause)]
    if folder is not None:
        callbacks.append(Checkpoints(folder, every=0.0))  # after each batch
    step = Step(clip_norm=1.0)
    options = processes.options(step=step, callbacks=callbacks, record=folder is not None, curves=False)
    history = train_ch3(net, train_iter, val_iter, nn.CrossEntropyLoss(), epochs, optimizer, watched="val", **options)
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history.rows]
    result = {
        "net": net.state_dict(),
        "average": average.net.state_dict(),
        "optimizer": optimizer.state_dict()["state"],
    }
    accuracy = evaluate_accuracy(average.net, val_iter)  # by each process alone
    return result | {"rows": rows, "points": history.points, "accuracy": accuracy, "random": torch.get_rng_state()}


class Pause:
    """A callback that makes every batch take longer, so that a kill finds it under way."""

    def __init__(self, seconds):
        self.seconds = seconds

    def after_batch(self, training):
        time.sleep(self.seconds)


def numbers(result):
    """Return all numbers of a result as one tensor, for a comparison with a tolerance."""
    if isinstance(result, dict):
        return torch.cat([numbers(value) for name, value in result.items() if name != "random"])
    if isinstance(result, list):
        return torch.cat([numbers(value) for value in result])
    return torch.as_tensor(result, dtype=torch.float64).flatten()


def alone(**settings):
    """Return the result of a single process."""
    with torch.random.fork_rng():
        return shared_training(Processes(torch.device("cpu")), **settings)


def main(arguments):
    """Train in one of the processes that torchrun has started, and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--dropout", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with several_processes("cpu") as processes:
        (args.folder / f"pid-{processes.rank}").write_text(str(os.getpid()), encoding="utf-8")
        result = shared_training(processes, args.run, args.epochs, args.dropout, pause=args.pause)
    torch.save(result, args.folder / f"result-{processes.rank}.pt")


def fork(work, count):
    """Call work() in this many processes, with the environment that torchrun gives them; return their exit codes.

    A fork needs no second import of torch, which takes longer than the training.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    variables = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    children = []
    for rank in range(count):
        children.append(os.fork())
        if not children[-1]:
            code = 1
            try:
                os.environ |= {name: str(value) for name, value in variables.items()}
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


if __name__ == "__main__":
    torch.set_num_threads(1)  # before anything is computed: a process with threads must not fork
    if sys.argv[1] == "fork":
        sys.exit(max(fork(lambda: main(sys.argv[3:]), int(sys.argv[2]))))
    main(sys.argv[1:])
