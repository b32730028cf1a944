"""A training by hand with record="by hand", as a program that a test kills and starts again.

    python by_hand.py RESULT LOADER SEED KILL_AT

trains in the folder that COURSEWORK_RUNS names and writes the outcome to RESULT. After KILL_AT batches it kills itself
with SIGKILL; 0 lets it finish. SEED differs in each attempt, so that only the checkpoints can make ends equal.
"""

import os
import pathlib
import signal
import sys

import torch
from torch import nn

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))
sys.path.append(str(pathlib.Path(__file__).resolve().parent))

from victim import BATCHES, images, make_loader, timeless

from utils.data.loader import BatchLoader
from utils.my_utils import train_ch3
from utils.runs import recorder
from utils.training.best_epoch import EarlyStopping, KeepBest
from utils.training.state import LAST

EPOCHS = 3


class KillAt:
    """Kill this process after so many batches."""

    order = LAST

    def __init__(self, batches):
        self.batches = batches

    def after_batch(self, training):
        if training.epoch * BATCHES + training.batch == self.batches:
            os.kill(os.getpid(), signal.SIGKILL)


def main(result, loader, seed, kill_at):
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    if loader == "device":
        recorder.SAVE_EVERY = 0.0  # a checkpoint after each batch
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten())
    net.append(nn.Linear(4 * 36, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    callbacks = [
        torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=EPOCHS * BATCHES),
        EarlyStopping("val_loss", patience=3),
        KeepBest(restore=True),
        KillAt(int(kill_at)),
    ]
    val_iter = BatchLoader(images(40, seed=1), 32)
    train_iter = make_loader(loader, "cpu")
    history = train_ch3(
        net, train_iter, val_iter, nn.CrossEntropyLoss(), EPOCHS, optimizer,
        callbacks=callbacks, watched="val", curves=False, record="by hand",
    )  # fmt: skip
    state = {
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rows": timeless(history.rows),
        "points": history.points,
        "random": torch.get_rng_state(),
    }
    torch.save(state, result)


if __name__ == "__main__":
    main(*sys.argv[1:])
