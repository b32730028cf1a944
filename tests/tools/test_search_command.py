"""The command of a search: words become a space, and the search ends with its table and its figures."""

import pytest
from networks import bare_cnn

from tools import search as command
from utils.errors import CourseworkError
from utils.experiments import linear_range, log_range
from utils.recipes import Recipe

RECIPE = Recipe("tiny", bare_cnn, {"channels": 4}, batch_size=50, num_epochs=2, optimizer="sgd", lr=0.01)


def test_words_become_a_space():
    words = ["lr=log:1e-3..0.1", "network_settings.width=8..32", "batch_size=64,128", "optimizer=sgd,adam"]
    assert command.space_of(words, RECIPE) == {
        "lr": log_range(1e-3, 0.1),
        "network_settings.width": linear_range(8, 32),
        "batch_size": [64, 128],
        "optimizer": ["sgd", "adam"],
    }
    assert command.space_of([], RECIPE)["lr"] == log_range(0.001, 0.1)


@pytest.mark.parametrize("word", ["lr", "lr=", "lr=log:0..1", "lr=1..a"])
def test_words_without_values_are_refused(word):
    with pytest.raises(CourseworkError):
        command.space_of([word], RECIPE)


def test_a_search_from_the_command_line_ends_with_figures(ledger_folder, monkeypatch, capsys):
    monkeypatch.setattr(command, "find_system", lambda name: RECIPE)
    words = ["tiny", "lr=log:0.01..0.1", "--trials", "2", "--effort", "check", "--device", "cpu"]
    assert command.main(words) == 0
    (folder,) = ledger_folder.glob("search-*")
    assert {path.name for path in folder.iterdir()} >= {"search.jsonl", *(f"{name}.png" for name in command.FIGURES)}
    assert command.main([*words, "--cpus", "2"]) == 1  # they are those of a Ray task
    assert "Best: trial" in capsys.readouterr().out
