"""The variants of the reports' tables: with default settings the reported networks, with others what a row says."""

import pytest
import torch
from torch import nn

from utils.models import REPORTED_NETWORKS, TABLE_NETWORKS, depth

plain_cnn_variant = TABLE_NETWORKS["plain_cnn_variant"]
sigmoid_gated_variant = TABLE_NETWORKS["sigmoid_gated_variant"]


def kinds_of(net):
    return [type(layer).__name__ for layer in net.modules()]


@pytest.mark.parametrize("name", ["plain_cnn", "sigmoid_gated"])
def test_a_variant_with_default_settings_is_the_reported_network(name):
    torch.manual_seed(0)
    reported = REPORTED_NETWORKS[name]()
    torch.manual_seed(0)
    variant = TABLE_NETWORKS[f"{name}_variant"]()
    assert repr(variant) == repr(reported)
    for (key, value), (reported_key, right) in zip(
        variant.state_dict().items(), reported.state_dict().items(), strict=True
    ):
        assert key == reported_key and torch.equal(value, right)


@pytest.mark.parametrize("convolutions", [4, 5, 8, 12])
@pytest.mark.parametrize("linear_layers", [1, 2, 4])
def test_plain_variants_have_as_many_layers_as_they_are_asked_for(convolutions, linear_layers):
    with torch.device("meta"):
        net = plain_cnn_variant(convolutions, linear_layers, batch_norm=False, num_classes=7)
        kinds = kinds_of(net)
        assert (kinds.count("Conv2d"), kinds.count("Linear")) == (convolutions, linear_layers)
        assert depth(net) == convolutions + linear_layers and "BatchNorm2d" not in kinds
        assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert "Dropout" not in kinds_of(plain_cnn_variant(dropout=False))


@pytest.mark.parametrize(
    ("settings", "channels", "size"),  # rows of report D's appendix, with the sizes of the maps that it gives
    [
        ({"blocks": ((3, 16), (16, 32), (32, 64), (64, 128)), "kernel_size": 5, "k": 4}, 128, 16),
        ({"blocks": ((3, 5), (5, 7), (7, 9), (9, 11)), "kernel_size": 7, "k": 5}, 11, 8),
        ({"blocks": ((3, 32), (32, 64), (64, 128), (128, 256), (256, 512)), "relu": True, "pool": "overlap"}, 512, 17),
        ({"blocks": ((3, 64), (64, 128, 512)), "relu": True, "pool": "half"}, 512, 2),
    ],
)
def test_sigmoid_variants_have_the_maps_of_the_appendix(settings, channels, size):
    bare = {"padded": False, "batch_norm": False, "relu": False, "pool": "none", "dropout": 0.0}
    with torch.device("meta"):
        net = sigmoid_gated_variant(**bare | settings)
        X = torch.zeros(2, 3, 32, 32)
        assert net[: len(settings["blocks"])](X).shape == (2, channels, size, size) and net(X).shape == (2, 10)
        assert net.block1.gate(X).shape == (2, settings.get("k", 3))
    assert {"BatchNorm2d", "Dropout"}.isdisjoint(kinds_of(net)) and ("ReLU" in kinds_of(net)) == ("relu" in settings)


def test_hidden_layers_and_residuals_are_added():
    with torch.device("meta"):
        net = sigmoid_gated_variant(hidden=(64, 32), residual=True, num_classes=3)
        assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    assert [layer.out_features for layer in net if isinstance(layer, nn.Linear)] == [64, 32, 3]
    assert net.block1.shortcut[0].kernel_size == (1, 1) and net.block2.shortcut is not None
