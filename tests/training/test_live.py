"""What is seen while a training runs: renewed in place in a notebook, one line in a terminal, the end alone in CI."""

import re
import types

import pytest
import torch.nn.functional as F
from training_parts import StopAfter, parts

from utils.my_utils import train_ch3
from utils.training import live
from utils.training.live import LiveCurves, progress, row_text


class Screen:
    """Stands in for a notebook's page: what was displayed, and what each place shows now."""

    def __init__(self):
        self.shown, self.updates = [], 0

    def display(self, thing, display_id):
        self.shown.append(thing)
        place = len(self.shown) - 1
        return types.SimpleNamespace(update=lambda new: self.update(place, new))

    def update(self, place, thing):
        self.updates += 1
        self.shown[place] = thing


@pytest.fixture
def screen(monkeypatch):
    """Return the page of a notebook in which drawing is renewed after every batch."""
    page = Screen()
    monkeypatch.setattr("IPython.display.display", page.display)
    monkeypatch.setattr(live, "in_notebook", lambda: True)
    monkeypatch.setattr(live, "LINE_EVERY", 0.0)
    monkeypatch.setattr(live, "FIGURE_EVERY", 0.0)
    monkeypatch.setattr(live, "SHARE", 1e9)
    monkeypatch.delenv("CI", raising=False)
    return page


def train(num_epochs=2, callbacks=(), every=1):
    net, train_iter, test_iter, optimizer = parts()
    return train_ch3(
        net, train_iter, test_iter, F.cross_entropy, num_epochs, optimizer, callbacks=callbacks, every=every
    )


def test_one_figure_and_one_line_are_renewed_in_place(screen):
    train()
    kinds = [type(thing).__name__ for thing in screen.shown]
    assert kinds == ["Figure", "_Line"]
    assert screen.updates > 15  # 10 batches, a figure and a line each


def test_the_last_line_tells_the_last_epoch_and_shows_no_bar(screen):
    history = train()
    line = next(repr(thing) for thing in screen.shown if type(thing).__name__ == "_Line")
    assert line == row_text(history.rows[-1])
    assert f"test accuracy {100 * history['test_acc'][-1]:.2f} %" in line
    assert "[" not in line


def test_in_ci_only_the_end_is_shown(screen, monkeypatch):
    monkeypatch.setenv("CI", "true")
    train()
    assert len(screen.shown) == 2
    assert screen.updates == 0


def test_an_interrupted_training_leaves_what_it_measured(screen, capsys):
    train(callbacks=[StopAfter(7)])
    figure, line = screen.shown
    assert len(figure.axes[0].lines) == 3  # points, training, test
    assert "after epoch 1" in repr(line)


@pytest.mark.parametrize(("tty", "ci"), [(True, False), (False, False), (True, True)])
def test_a_terminal_gets_one_line_and_a_file_or_ci_none(tty, ci, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: tty)
    monkeypatch.setattr(live, "in_notebook", lambda: False)
    monkeypatch.setenv("CI", "1") if ci else monkeypatch.delenv("CI", raising=False)
    train()
    out = capsys.readouterr().out
    assert bool(out) == (tty and not ci)
    assert out.count("\n") == int(tty and not ci)


def test_a_terminals_line_is_never_wider_than_the_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(live, "in_notebook", lambda: False)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COLUMNS", "50")
    train()
    lines = re.split(r"[\r\n]+", capsys.readouterr().out.replace("\x1b[K", ""))
    assert max(map(len, lines)) == 49


def test_progress_tells_place_and_time_left():
    history = types.SimpleNamespace(rows=[])
    training = types.SimpleNamespace(epoch=1, batch=50, batches=100, num_epochs=3, complete=False)
    training.history = history
    (line,) = progress(training, 75, final=False)
    assert line == "[##########..........] epoch 2 of 3, batch 50 of 100; 1 min 15 s left"
    training.batches = None
    (line,) = progress(training, 3720, final=False)
    assert "batch 50;" in line and line.endswith("1 h 2 min left")


def test_a_training_that_was_complete_before_is_in_no_epoch():
    row = {"epoch": 3, "train_loss": 1.5, "train_acc": 0.5, "seconds": 61}
    training = types.SimpleNamespace(epoch=3, batch=0, batches=100, num_epochs=3, complete=True)
    training.history = types.SimpleNamespace(rows=[row])
    assert progress(training, None, final=False) == [row_text(row)]


def test_the_time_left_follows_the_pace_of_this_attempt(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    history = types.SimpleNamespace(rows=[], points=[])
    training = types.SimpleNamespace(epoch=5, batch=0, batches=10, num_epochs=10, history=history)
    curves = LiveCurves()
    curves.on_start(training)  # resumed in the middle
    clock[0], training.epoch = 110.0, 6
    assert curves._time_left(training) == pytest.approx(40.0)


def test_drawing_takes_a_small_share_of_the_time(screen, monkeypatch):
    monkeypatch.setattr(live, "SHARE", 0.02)
    clock, drawn = [0.0], []
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])

    def draw(*_, **__):
        clock[0] += 0.5
        drawn.append(clock[0])
        import matplotlib.pyplot as plt

        return plt.figure()

    monkeypatch.setattr("utils.figures.basics.show_history", draw)
    history = types.SimpleNamespace(rows=[], points=[1])
    training = types.SimpleNamespace(epoch=0, batch=1, batches=1000, num_epochs=1, complete=False)
    training.history = history
    curves = LiveCurves()
    for _ in range(1000):
        clock[0] += 0.1
        curves.after_batch(training)
    assert len(drawn) == pytest.approx(clock[0] * 0.02 / 0.5, abs=1.5)
