"""The gated convolution: one formula, and three forms of it that give the same outputs, gradients and parameters."""

import pytest
import torch
from networks import small_gated
from torch import nn

from utils.errors import CourseworkError
from utils.models import convolution, gated
from utils.models.convolution import MIN_IMAGES, as_matrix
from utils.models.gated import FORMS, GatedConv, loop, set_form

MERGED = [name for name in FORMS if name != "loop"]
KERNELS = [(3,), (3, 3, 3, 3, 3), (1, 1), (3, 5, 1), (1, 3, 3, 1)]


def make(kernel_sizes=(3, 3, 3), in_channels=4, out_channels=6, size=8, count=5, dtype=torch.float64, form="loop"):
    torch.manual_seed(0)
    layer = GatedConv(in_channels, out_channels, kernel_sizes, form=form).to(dtype)
    X = torch.randn(count, in_channels, size, size, dtype=dtype, requires_grad=True)
    a = torch.randn(count, len(kernel_sizes), dtype=dtype).softmax(1).requires_grad_()
    return layer, X, a


def results(layer, X, a):
    """Return the output and all gradients of a fixed function of it."""
    O = layer(X, a)  # noqa: E741
    weighting = torch.linspace(-1, 2, O.numel(), dtype=O.dtype).sin().view_as(O)
    return [O, *torch.autograd.grad((O * weighting).sum(), [X, a, *layer.parameters()])]


@pytest.mark.parametrize("kernel_sizes", KERNELS)
def test_the_loop_is_the_formula_with_torch_convolutions(kernel_sizes):
    layer, X, a = make(kernel_sizes)
    expected = 0
    for j, (weight, bias) in enumerate(layer.kernels()):
        conv = nn.Conv2d(4, 6, weight.shape[-1], padding="same")
        conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
        expected = expected + a[:, j, None, None, None] * conv(X)
    torch.testing.assert_close(layer(X, a), expected)


@pytest.mark.parametrize("form", [*MERGED, "auto"])
@pytest.mark.parametrize("kernel_sizes", KERNELS)
@pytest.mark.parametrize(
    "shape", [{}, {"size": 1}, {"size": 2, "out_channels": 1}, {"count": 1}, {"in_channels": 1}], ids=str
)
def test_every_form_gives_the_loops_outputs_and_gradients(form, kernel_sizes, shape):
    layer, X, a = make(kernel_sizes, **shape)
    expected = results(layer, X, a)
    layer.form = form
    for value, right in zip(results(layer, X, a), expected, strict=True):
        torch.testing.assert_close(value, right)


@pytest.mark.parametrize("form", FORMS)
def test_maps_keep_their_precision_where_the_gate_has_more(form):
    """A GPU's autocast gives softmax's weights as float32; a CPU's does not, so they are given as float32 here."""
    layer, X, a = make(form=form, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        O = layer(X.bfloat16(), a)  # noqa: E741
    assert a.dtype == torch.float32 and O.dtype == torch.bfloat16
    torch.testing.assert_close(O.float(), loop(X, a, layer.weights[0], layer.bias), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("images_at_a_time", [0, 1, 2, 5])  # 0: even one image has too many kernels
def test_aggregating_a_few_images_at_a_time_changes_nothing(monkeypatch, images_at_a_time):
    layer, X, a = make((3, 3))
    expected = results(layer, X, a)
    monkeypatch.setattr(gated, "CPU_KERNELS", images_at_a_time * 6 * 4 * 9)
    layer.form = "aggregated"
    for value, right in zip(results(layer, X, a), expected, strict=True):
        torch.testing.assert_close(value, right)


def test_small_kernels_stay_small():
    layer, _, _ = make((5, 3, 3, 1))
    assert sum(p.numel() for p in layer.parameters()) == 6 * 4 * (25 + 9 + 9 + 1) + 4 * 6
    assert [tuple(w.shape) for w in layer.weights] == [(1, 6, 4, 5, 5), (2, 6, 4, 3, 3), (1, 6, 4, 1, 1)]


def test_each_branch_starts_within_the_bounds_of_torchs_own_convolution():
    torch.manual_seed(0)
    layer = GatedConv(16, 32, (3, 5))
    for (weight, bias), size in zip(layer.kernels(), (3, 5), strict=True):
        bound = (16 * size * size) ** -0.5
        assert 0.9 * bound < weight.abs().max() <= bound and 0.5 * bound < bias.abs().max() <= bound


@pytest.mark.parametrize("kernel_sizes", [(), (2,), (3, 4), (0,), (3.0,), (-1,)])
def test_kernels_that_cannot_keep_the_size_are_refused(kernel_sizes):
    with pytest.raises(CourseworkError, match="odd kernel size"):
        GatedConv(3, 8, kernel_sizes)


def test_an_unknown_form_is_refused_with_the_known_ones():
    for attempt in (lambda: GatedConv(3, 8, (3,), form="fast"), lambda: set_form(small_gated(), "fast")):
        with pytest.raises(CourseworkError, match="auto, loop, scaled, aggregated"):
            attempt()


@pytest.mark.parametrize("form", FORMS)
def test_a_network_that_was_trained_in_one_form_runs_in_any_other(form):
    torch.manual_seed(0)
    net = small_gated().double().eval()
    X = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    expected, state = net(X), set(net.state_dict())
    assert set_form(net, form) is net
    assert net.block1.branches.form == net.block2.branches.form == form and set(net.state_dict()) == state
    torch.testing.assert_close(net(X), expected)


@pytest.mark.parametrize("kernel_sizes", KERNELS)
def test_auto_merges_only_branches_of_one_size(monkeypatch, kernel_sizes):
    layer, X, a = make(kernel_sizes, size=16, form="auto")
    groups = []
    choose = gated.choose_form
    monkeypatch.setattr(gated, "choose_form", lambda X, W: groups.append(W) or choose(X, W))
    layer(X, a)
    assert [len(W) for W in groups] == [len(W) for W in layer.weights]


@pytest.mark.parametrize("count", [MIN_IMAGES - 1, MIN_IMAGES])
@pytest.mark.parametrize("kernel_sizes", [(3, 3), (3, 1, 1)])
def test_auto_convolves_the_smallest_maps_of_many_images_by_matrices(monkeypatch, kernel_sizes, count):
    layer, X, a = make(kernel_sizes, size=2, count=count)
    expected, products = results(layer, X, a), []
    monkeypatch.setattr(convolution, "as_matrix", lambda *given: products.append(given) or as_matrix(*given))
    layer.form = "auto"
    for value, right in zip(results(layer, X, a), expected, strict=True):
        torch.testing.assert_close(value, right)
    assert len(products) == (kernel_sizes.count(3) if count == MIN_IMAGES else 0)


@pytest.mark.parametrize(
    ("kernel_sizes", "merges"), [((3, 3), True), ((5, 3, 3), True), ((3, 1, 1), False), ((3,), False)]
)
def test_a_layer_tells_whether_it_merges_kernels_of_several_pixels(kernel_sizes, merges):
    assert GatedConv(3, 8, kernel_sizes).merges_kernels == merges
