"""The measurements of a training: one row per epoch, and a finer curve of the training loss."""

from __future__ import annotations


class History:
    """A list of rows, one per epoch, and of points, one every few batches; history["train_loss"] is a column of rows.

    A row has epoch, train_loss, train_acc (a fraction), the same two for the watched images (test_loss, test_acc, or
    val_), lr, and seconds since the training began. A point has epoch (as a fraction), loss (the mean over the batches
    since the last point) and lr.
    """

    def __init__(self, every=50):
        self.rows, self.every = [], every  # every: batches between two points
        self.stopped = False  # whether the user stopped the training before the last epoch
        self.ended_early = None  # why a callback ended it: {"epoch", "column", "best", "best_epoch", ...}
        self._points, self._unread = [], []
        self._last = (0.0, 0)  # the sum of losses and the number of examples at the last point of this epoch

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, column):
        return [row[column] for row in self.rows]

    def __repr__(self):
        if not self.rows:
            return "History without a complete epoch"
        figures = ", ".join(f"{name} {_short(value)}" for name, value in self.rows[-1].items() if name != "epoch")
        epochs = "1 epoch" if len(self) == 1 else f"{len(self)} epochs"
        return f"History of {epochs}; the last: {figures}"

    def best(self, column):
        """Return the row in which a column is best: lowest for a loss, highest for all other columns.

        Rows without the column are ignored. A row with NaN is returned only if there is no other.
        """
        with_column = [row for row in self.rows if column in row]
        rows = [row for row in with_column if row[column] == row[column]] or with_column
        if not rows:
            raise KeyError(column)
        return (min if column.endswith("loss") else max)(rows, key=lambda row: row[column])

    def add_row(self, **figures):
        """Append the row of a complete epoch."""
        self._read()
        self._last = (0.0, 0)
        self.rows.append(figures)

    def add_point(self, epoch, metric, lr):
        """Add a point with the current epoch's sums; these may be tensors, which are read only if `points` is used."""
        self._unread.append((epoch, metric[0], metric[2], lr))

    @property
    def points(self):
        """The points as a list of dicts; reading them waits for the GPU."""
        self._read()
        return self._points

    def _read(self):
        for epoch, total, count, lr in self._unread:
            total, (last_total, last_count) = float(total), self._last
            self._points.append({"epoch": epoch, "loss": (total - last_total) / (count - last_count), "lr": lr})
            self._last = total, count
        self._unread = []

    def state_dict(self):
        """Return the content as plain lists and numbers."""
        points = [dict(point) for point in self.points]
        return {
            "rows": [dict(row) for row in self.rows],
            "points": points,
            "every": self.every,
            "last": self._last,
            "ended_early": self.ended_early,
        }

    def load_state_dict(self, state):
        """Continue with the state that state_dict returned."""
        self.rows, self._points = [dict(row) for row in state["rows"]], [dict(point) for point in state["points"]]
        self.every, self._last, self._unread = state["every"], tuple(state["last"]), []
        self.ended_early = state.get("ended_early")


def _short(value):
    """Return a number with four digits; a callback may have added something else to a row."""
    try:
        return f"{value:.4g}"
    except (TypeError, ValueError):
        return str(value)
