"""The weights that come with the suite: loaded whole or refused, and those of the recipe's own network."""

import json
import shutil

import pytest
import torch

from utils.errors import CourseworkError
from utils.recipes import find_system, load_pretrained, pretrained_record
from utils.recipes.pretrained import WEIGHTS, save_pretrained
from utils.training import Effort

SHIPPED = sorted(path.stem for path in WEIGHTS.glob("*.json"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_fit_their_recipe_and_are_of_cifar10(name):
    net, record = load_pretrained(name, device="cpu"), pretrained_record(name)
    assert not net.training
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, len(record["classes"]))
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())
    assert all(value.dtype == torch.float32 for value in net.parameters())
    assert record["data"]["name"] == "CIFAR-10"
    assert record["images"] + record["validation_images"] == 50_000
    low, high = record["test"]["interval"]
    assert low < record["test"]["accuracy"] < high
    assert record["validation"]["same_predictions"] > 0.99


def test_loading_changes_no_random_state():
    state = torch.get_rng_state()
    load_pretrained(device="cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_saved_weights_give_the_predictions_of_the_trained_network(tmp_path, data):
    trained = find_system("quick").train(
        data, effort=Effort("tiny", images=1000, epochs=1), device="cpu", folder=None, curves=False
    )
    save_pretrained(trained, {"seed": 0}, tmp_path)
    net = load_pretrained("quick", device="cpu", folder=tmp_path)
    assert pretrained_record("quick", tmp_path)["seed"] == 0
    X, _ = trained.test_iter.batch(0, 0)
    with torch.no_grad():
        expected = trained.net.eval()(X)
        torch.testing.assert_close(net(X), expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))


@pytest.fixture
def copied(tmp_path):
    for path in WEIGHTS.glob("quick.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_damaged_or_missing_weights_are_refused(copied):
    path = copied / "quick.pt"
    content = path.read_bytes()
    for damaged in (content[:-1], content[:1000] + b"?" + content[1001:], b""):
        path.write_bytes(damaged)
        with pytest.raises(CourseworkError, match="git checkout"):
            load_pretrained("quick", folder=copied)
    path.unlink()
    with pytest.raises(CourseworkError, match="git checkout"):
        load_pretrained("quick", folder=copied)


def test_weights_of_another_network_are_refused(copied):
    record = json.loads((copied / "quick.json").read_text())
    record["network"]["settings"]["channels"] = [1, 2, 3]
    (copied / "quick.json").write_text(json.dumps(record))
    with pytest.raises(CourseworkError, match=r"tools\.weights"):
        load_pretrained("quick", folder=copied)


def test_a_recipe_without_weights_names_those_that_have_some(tmp_path):
    for name in ("best_gated", "nonsense"):
        with pytest.raises(CourseworkError, match="quick"):
            load_pretrained(name)
    with pytest.raises(CourseworkError, match="none"):
        load_pretrained("quick", folder=tmp_path)
