"""Runs that differ only in their seed are one group; two runs differ in the settings that were changed."""

import math
import statistics

import pytest

from utils.errors import CourseworkError
from utils.experiments.compare import (
    differences,
    find_ablations,
    group_runs,
    only_difference,
    percent_text,
)
from utils.recipes import SYSTEMS
from utils.runs.labels import label_runs
from utils.runs.run import Run, all_runs, find


def varied(**changes):
    return SYSTEMS["plain_cnn"].change(**changes)


def network(name, **settings):
    """Return how a recipe of any nn.Module describes its network."""
    return {"network": name, "network_settings": settings}


def test_runs_that_differ_only_in_their_seed_are_one_group_with_mean_and_spread(add):
    for seed, acc in enumerate((0.70, 0.72, 0.77)):
        add(f"s{seed}", acc, seed=seed, device=f"machine {seed}", git={"commit": str(seed)})
    add("other", 0.9, recipe=varied(lr=0.1))
    one, other = group_runs()
    assert [run.name for run in one.runs] == ["s0", "s1", "s2"] and len(other.runs) == 1
    assert one.mean == pytest.approx(0.73) and one.std == pytest.approx(statistics.stdev([0.70, 0.72, 0.77]))
    assert one.best[0].name == "s2"
    assert math.isnan(other.std)


@pytest.mark.parametrize(
    "change",
    [
        {"data": None},
        {"effort": "demo"},
        {"images": 10},
        {"protocol": "watch_test"},
        {"precision": "x"},
        {"parent": "p"},
    ],
)
def test_other_images_effort_protocol_precision_or_parent_make_another_group(add, change):
    add("a")
    add("b", seed=1, **change)
    assert len(group_runs()) == 2


def test_unfinished_seeds_do_not_count_beside_finished_ones(add):
    add("done", 0.8)
    add("cut", 0.1, seed=1, state="stopped")
    (group,) = group_runs()
    assert group.accuracies == [0.8] and len(group.runs) == 2


def test_a_group_is_of_test_accuracies_only_if_all_of_its_runs_have_one(add):
    add("a", 0.6, tests=[{"accuracy": 0.58, "views": "plain"}])
    assert (group_runs()[0].kind, group_runs()[0].mean) == ("test", 0.58)
    add("b", 0.7, seed=1)
    (group,) = group_runs()
    assert group.kind == "validation" and group.accuracies == [0.6, 0.7]


def test_runs_by_hand_are_grouped_with_no_other_run_and_their_settings_are_compared(add):
    add("a", 0.5, recipe=None, settings={"lr": 0.1, "batch_size": 8})
    add("b", 0.5, recipe=None, settings={"lr": 0.2, "optimizer": {"name": "SGD", "momentum": 0.9}}, seed=1)
    assert len(group_runs()) == 2 and find("b").settings["optimizer.momentum"] == 0.9
    table = differences("a", "b")
    assert list(table.columns) == ["a", "b"]
    assert table.loc["lr"].tolist() == ["0.1", "0.2"] and table.loc["seed"].tolist() == ["0", "1"]
    assert table.loc["batch_size"].tolist() == ["8", "none"]
    with pytest.raises(CourseworkError, match="base"):
        find_ablations("a")
    assert only_difference(*group_runs()) is None
    add("c", 0.5, recipe=None, settings={"lr": 0.1, "batch_size": 8})
    assert only_difference(group_runs([find("a")])[0], group_runs([find("c")])[0]) is None


def test_networks_are_called_by_their_name_path_or_class(add, monkeypatch):
    run = add("named", described=network("gated", width=32))
    assert run.network_name == "gated"
    summaries = {"path": {"class": "Net", "path": "package.Net"}, "class": {"class": "MyNet", "path": None}}
    monkeypatch.setattr(Run, "network", property(lambda run: summaries.get(run.name)), raising=False)
    names = [add(name, recipe=None).network_name for name in ("path", "class", "neither")]
    assert names == ["package.Net", "MyNet", ""]


def test_another_network_brings_its_own_settings_and_a_setting_of_one_is_a_change_of_its_own(add):
    add("base", 0.5, described=network("gated", width=32, gate="softmax"))
    add("wider", 0.6, described=network("gated", width=64, gate="softmax"), images=300)
    add("other", 0.7, described=network("my_package.MyNet", depth=3), images=300)
    add("both", 0.8, described=network("gated", width=64, gate="constant"))
    changes = find_ablations("base")[1]
    assert [str(change) for change in changes] == ["network: my_package.MyNet", "width: 64"]
    assert [change.before for change in changes] == ["gated", "32"]
    assert list(differences("base", "both").index) == ["network_settings.width", "network_settings.gate"]
    assert label_runs([find("base"), find("other")]) == {"base": "network gated", "other": "network my_package.MyNet"}


def test_an_ablation_is_one_change_with_its_spread(add):
    add("base", 0.80)
    add("lr0", 0.70, recipe=varied(lr=0.1))
    add("lr1", 0.74, recipe=varied(lr=0.1), seed=1)
    add("decay", 0.82, recipe=varied(optimizer_settings={"weight_decay": 5e-4}))
    add("other images", 0.9, data={"checksum": "other"})
    add("continued", 0.9, parent="base")
    add("not finished", 0.1, recipe=varied(batch_size=8), state="stopped")
    add("two changes", 0.99, recipe=varied(lr=0.1, batch_size=7))
    add("lr and images", 0.6, recipe=varied(lr=0.3), images=300)
    add("images", 0.6, images=300)
    add("test", 0.6, recipe=varied(lr=0.2), watched="test")
    add("another name", 0.81, recipe=varied(name="mine"), seed=5)
    base, changes = find_ablations("base")
    assert base.accuracies == [0.80, 0.81]
    assert [str(change) for change in changes] == ["images: 300", "lr: 0.1", "weight decay: 0.0005"]
    assert [change.before for change in changes] == ["45000", "0.0005", "none"]
    assert changes[1].group.mean == pytest.approx(0.72)
    assert only_difference(base, base) is None


@pytest.mark.parametrize("changes", [{"accuracies": ()}, {"recipe": None}, {"state": "stopped"}])
def test_a_run_without_accuracy_recipe_or_end_is_refused_as_a_base(add, changes):
    add("base", *changes.pop("accuracies", (0.5,)), **changes)
    with pytest.raises(CourseworkError, match="base"):
        find_ablations("base")


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
def test_damaged_records_are_runs_without_accuracies(add, record):
    whole = add("whole", 0.5)
    (add.top / "broken").mkdir()
    (add.top / "broken" / "run.json").write_text(record)
    assert len(all_runs()) == 2 and [group.kind for group in group_runs()].count(None) == 1
    assert len(differences(whole, "broken")) > 3 and set(label_runs(all_runs())) == {"whole", "broken"}


def test_percentages_are_empty_without_a_value_and_have_a_spread_if_there_is_one():
    assert [percent_text(value) for value in (None, math.nan, 0.5)] == ["", "", "50.00 %"]
    assert percent_text(0.5, 0.01, 3) == "50.00 % ± 1.00 over 3 seeds"
