"""Labels tell runs apart by what differs between them."""

import pytest

from utils.recipes import SYSTEMS
from utils.runs.labels import label_runs
from utils.runs.run import Run, all_runs, find


def varied(**changes):
    return SYSTEMS["plain_cnn"].change(**changes)


def network(name, **settings):
    """Return how a recipe of any nn.Module describes its network."""
    return {"network": name, "network_settings": settings}


def test_networks_are_called_by_their_name_path_or_class(add, monkeypatch):
    run = add("named", described=network("gated", width=32))
    assert run.network_name == "gated"
    summaries = {"path": {"class": "Net", "path": "package.Net"}, "class": {"class": "MyNet", "path": None}}
    monkeypatch.setattr(Run, "network", property(lambda run: summaries.get(run.name)), raising=False)
    names = [add(name, recipe=None).network_name for name in ("path", "class", "neither")]
    assert names == ["package.Net", "MyNet", ""]


def test_another_network_is_told_by_its_name_without_its_settings(add):
    add("base", 0.5, described=network("gated", width=32, gate="softmax"))
    add("other", 0.7, described=network("my_package.MyNet", depth=3), images=300)
    assert label_runs([find("base"), find("other")]) == {"base": "network gated", "other": "network my_package.MyNet"}


def test_runs_are_told_apart_by_their_system_and_by_what_differs_within_it(add):
    for seed in (0, 1):
        add(f"a{seed}", 0.5, recipe=varied(lr=0.1), seed=seed)
    add("b", 0.5, recipe=varied(lr=0.02), seed=1)
    assert label_runs(all_runs()) == {"a0": "lr 0.1, seed 0", "a1": "lr 0.1, seed 1", "b": "lr 0.02, seed 1"}
    assert label_runs([find("a0"), find("a1")]) == {"a0": "seed 0", "a1": "seed 1"}
    assert label_runs([find("b")]) == {"b": "plain_cnn"} and label_runs([]) == {}
    add("other", 0.5, recipe=SYSTEMS["dropout_cnn"], seed=3)
    add("by hand", recipe=None)
    assert label_runs([find("b"), find("other")]) == {"b": "plain_cnn", "other": "dropout_cnn"}
    assert label_runs([find("b"), find("by hand")]) == {"b": "plain_cnn", "by hand": "by hand"}
    assert label_runs(all_runs())["a1"] == "plain_cnn, lr 0.1, seed 1"


def test_if_much_differs_a_label_has_what_is_unusual_and_equal_runs_have_their_names(add):
    for i in range(3):
        add(f"usual{i}", seed=i)
    add("odd", recipe=varied(lr=0.5, batch_size=7, clip_norm=1.0, average=0.5), seed=0)
    labels = label_runs(all_runs())
    assert labels["usual1"] == "seed 1" and labels["odd"].startswith("batch size 7, lr 0.5") and "..." in labels["odd"]
    add("again")
    assert label_runs([find("usual0"), find("again")]) == {"usual0": "usual0", "again": "again"}
    assert label_runs(all_runs())["again"] == "seed 0 (again)"


@pytest.mark.parametrize("record", ["{}", "[]", '{"recipe": 3, "data": null, "state": 4, "settings": 1}', "no json"])
def test_damaged_records_are_runs_with_a_label(add, record):
    add("whole", 0.5)
    (add.top / "broken").mkdir()
    (add.top / "broken" / "run.json").write_text(record)
    assert len(all_runs()) == 2
    assert set(label_runs(all_runs())) == {"whole", "broken"}
