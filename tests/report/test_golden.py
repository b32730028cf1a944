"""Whole reports, as the Markdown that the template yields, compared with the files in golden/.

After a change of the template or of the facts, write them anew and read what changed:

    RENEW_GOLDEN=1 python -m pytest tests/report/test_golden.py
    git diff tests/report/golden
"""

import copy
import os
import types
from pathlib import Path

import pytest
from report_parts import (
    PLAIN,
    RECIPE,
    SYNTHETIC,
    evaluation,
    fake_run,
    metrics,
    plain_network,
    record,
    record_by_hand,
)

from utils.report.facts import facts
from utils.report.template import render

GOLDEN = Path(__file__).with_name("golden")
FAULTS = [{"kind": "memory", "what": f"Memory ran out (fault {i}).", "epoch": 2, "batch": i} for i in range(5)]
DIVERGED = {"kind": "diverged", "what": "The loss is NaN.", "epoch": 4, "batch": 7}
ATTEMPTS = [{"from": [0, 0], "how": None}, {"from": [1, 40], "how": None}]
RUNS = {
    "finished": {},
    "synthetic": {
        "about": record(data=SYNTHETIC, effort="demo", images=180, num_epochs=2, tests=[{}, {}]),
        "tested": evaluation(500, images=1000, data=SYNTHETIC, interval=None),
    },
    "by_hand": {
        "about": record_by_hand(settings={"augment": ["Flip(p=0.5)", "Crop(padding=4, mode='zero')"]}),
        "net": {},
        "tested": {},
    },
    "plain_diverged": {
        "about": record(PLAIN, state="diverged", protocol="watch_test", watched="test", effort="demo")
        | {"attempts": ATTEMPTS, "git": {"commit": "abc1234", "changed": True}},
        "lines": metrics(3, watched="test"),
        "faults": [*FAULTS, DIVERGED],
        "net": plain_network(),
        "tested": {},
    },
    "unknown_layers": {
        "about": record_by_hand(seed=7),
        "net": {**plain_network(layers=[]), "problem": "TypeError: forward() takes two images", "source": None},
        "lines": [],
        "tested": {},
    },
    "twenty_classes": {
        "about": record(data={"name": "birds", "source": "image folder", "checksum": "12ab"}),
        "tested": evaluation(
            classes=[f"bird {i}" for i in range(20)], images=2000, views=None, robustness=None, mistakes=[]
        ),
    },
}


@pytest.fixture
def one_system(monkeypatch):
    """Let the reports know one made-up system, so that no change of a recipe changes the golden files."""
    described = {**copy.deepcopy(RECIPE), "lr": 2e-3}
    system = types.SimpleNamespace(
        report='report Z, "A network"',
        reported={"test_acc": 0.8565, "train_loss": 0.1, "seconds": 2023},
        not_stated=("Momentum (0.9 is used).", "The number of epochs."),
        describe=lambda: described,
    )
    monkeypatch.setattr("utils.report.facts.SYSTEMS", {"gated_small": system})


@pytest.mark.parametrize("name", RUNS)
def test_a_report_says_what_its_golden_file_says(tmp_path, one_system, name):
    text = render(facts(fake_run(tmp_path / name, **RUNS[name])))
    file = GOLDEN / f"{name}.md"
    if os.environ.get("RENEW_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_every_golden_file_belongs_to_a_run():
    assert {file.stem for file in GOLDEN.glob("*")} == set(RUNS)
