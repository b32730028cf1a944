"""Owns a copy of a training's figures for TensorBoard. The ledger needs none of it, and nothing here is read back."""

from __future__ import annotations

from pathlib import Path

from utils.errors import CourseworkError
from utils.ledger import Ledger


class TensorBoard:
    """A watcher that writes each epoch's figures for TensorBoard, by default beside the run's record.

    Look at all runs with `tensorboard --logdir runs`.
    """

    def __init__(self, folder=None):
        self.folder, self._make, self._writer, self._points = folder and Path(folder), None, None, 0

    def on_start(self, training):
        """Require the package now, not after an epoch; the file waits until a resumed training knows its place."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            what = f"The mirror needs the package tensorboard: {error}."
            next_step = "pip install -r requirements-extra.txt, or leave the TensorBoard watcher out."
            raise CourseworkError(what, next_step=next_step) from None
        self._make, self._writer, self._points = SummaryWriter, None, 0

    def after_epoch(self, training):
        """Write the epoch's row, and the points of the loss since the last one."""
        row = training.history.rows[-1]
        writer = self._open(training, row["epoch"])
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name.replace("_", "/", 1), value, row["epoch"])
        for point in training.history.points[self._points :]:
            writer.add_scalar("points/loss", point["loss"], round(1000 * point["epoch"]))
        self._points = len(training.history.points)
        writer.flush()

    def on_end(self, training):
        """Close the file."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, training, epoch):
        if self._writer is None:
            ledger = next((watcher for watcher in training.watchers if isinstance(watcher, Ledger)), None)
            folder = self.folder or (ledger.folder / "tensorboard" if ledger else Path("runs") / "tensorboard")
            self._writer = self._make(str(folder), purge_step=epoch)  # what is done again is shown once
        return self._writer
