"""The gated convolution: one formula, four forms of it that give the same outputs, gradients and parameters."""

import pytest
import torch
from torch import nn

from utils.errors import CourseworkError
from utils.models import convolution as convolutions
from utils.models import gated
from utils.models.convolution import MANY, as_matrix
from utils.models.gated import FASTEST, FORMS, GatedConv, aggregated, choose_form, join, loop

MERGED = [name for name in FORMS if name != "loop"]
KERNELS = [(3,), (3, 3, 3, 3, 3), (1, 1), (5, 3, 1), (1, 3, 3, 1)]


def make(kernel_sizes=(3, 3, 3), inside=4, out=6, size=8, count=5, dtype=torch.float32, form="loop"):
    torch.manual_seed(0)
    layer = GatedConv(inside, out, kernel_sizes, form=form).to(dtype)
    X = torch.randn(count, inside, size, size, dtype=dtype, requires_grad=True)
    a = torch.randn(count, len(kernel_sizes), dtype=dtype).softmax(1).requires_grad_()
    return layer, X, a


def results(layer, X, a):
    """Return the output and all gradients of a fixed function of it."""
    total = layer(X, a)
    weighting = torch.linspace(-1, 2, total.numel(), dtype=total.dtype).sin().view_as(total)
    return [total, *torch.autograd.grad((total * weighting).sum(), [X, a, *layer.parameters()])]


@pytest.mark.parametrize("kernel_sizes", KERNELS)
def test_the_loop_is_the_formula_with_torch_convolutions(kernel_sizes):
    layer, X, a = make(kernel_sizes)
    expected = 0
    for j, (weight, bias) in enumerate(layer.branches()):
        conv = nn.Conv2d(4, 6, weight.shape[-1], padding="same")
        conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
        expected = expected + a[:, j, None, None, None] * conv(X)
    torch.testing.assert_close(layer(X, a), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", MERGED)
@pytest.mark.parametrize("kernel_sizes", KERNELS)
@pytest.mark.parametrize("shape", [{}, {"size": 1}, {"size": 2, "out": 1}, {"count": 1}, {"inside": 1}], ids=str)
def test_every_form_gives_the_loops_outputs_and_gradients(form, kernel_sizes, shape):
    layer, X, a = make(kernel_sizes, **shape)
    expected = results(layer, X, a)
    layer.form = form
    for found, right in zip(results(layer, X, a), expected, strict=True):
        assert (found - right).abs().max() <= 1e-5 * right.abs().max()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kernel_sizes", [(3, 3), (3, 1)])
def test_gradients_are_those_of_finite_differences(form, kernel_sizes):
    layer, X, a = make(kernel_sizes, inside=2, out=2, size=3, count=2, dtype=torch.float64)
    parameters = list(layer.parameters())

    def function(X, a, *parameters):
        return FORMS[form](X, a, parameters[1:], parameters[0])

    names = [name for name, _ in layer.named_parameters()]
    assert names[0] == "bias"
    assert torch.autograd.gradcheck(function, (X, a, *parameters))


@pytest.mark.parametrize("form", FORMS)
def test_a_network_trained_in_one_form_loads_into_any_other(form):
    layer, X, a = make((3, 3, 1))
    other = GatedConv(4, 6, (3, 3, 1), form=form)
    assert {k: v.shape for k, v in layer.state_dict().items()} == {k: v.shape for k, v in other.state_dict().items()}
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(X, a), layer(X, a), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_maps_keep_their_precision_where_the_gate_has_more(form):
    """A GPU's autocast gives softmax's weights as float32; the CPU's does not, so they are given so here."""
    layer, X, a = make(form=form)
    with torch.autocast("cpu", torch.bfloat16):
        total = layer(X.bfloat16(), a)
    assert a.dtype == torch.float32 and total.dtype == torch.bfloat16
    torch.testing.assert_close(total.float(), loop(X, a, list(layer.weights), layer.bias), rtol=0.05, atol=0.02)


def test_images_do_not_see_each_others_gates():
    for form in FORMS:
        layer, X, a = make(form=form)
        alone = torch.cat([layer(X[i : i + 1], a[i : i + 1]) for i in range(len(X))])
        torch.testing.assert_close(layer(X, a), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("at_a_time", [0, 1, 2, 4, 5])  # 0: even one image has too many kernels
def test_aggregating_some_images_at_a_time_changes_nothing(monkeypatch, at_a_time):
    layer, X, a = make((3, 3))
    expected = results(layer, X, a)
    monkeypatch.setattr(gated, "CPU_KERNELS", at_a_time * 6 * 4 * 9)
    layer.form = "aggregated"
    for found, right in zip(results(layer, X, a), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-5)


def test_a_constant_gate_is_one_plain_convolution():
    layer, X, _ = make()
    W, b = join(list(layer.weights)).mean(0), layer.bias.mean(0)
    expected = nn.functional.conv2d(X, W, b, padding=1)
    torch.testing.assert_close(layer(X, torch.full((5, 3), 1 / 3)), expected, rtol=1e-5, atol=1e-6)


def test_parameters_are_counted_once_and_small_kernels_stay_small():
    layer, _, _ = make((5, 3, 3, 1))
    assert sum(p.numel() for p in layer.parameters()) == 6 * 4 * (25 + 9 + 9 + 1) + 4 * 6
    assert [tuple(w.shape) for w in layer.weights] == [(1, 6, 4, 5, 5), (2, 6, 4, 3, 3), (1, 6, 4, 1, 1)]
    assert join(list(layer.weights)).shape == (4, 6, 4, 5, 5)


def test_each_branch_starts_within_the_bounds_of_torchs_own_convolution():
    torch.manual_seed(0)
    layer = GatedConv(16, 32, (3, 5))
    for (weight, bias), size in zip(layer.branches(), (3, 5), strict=True):
        bound = (16 * size * size) ** -0.5
        assert 0.9 * bound < weight.abs().max() <= bound and 0.5 * bound < bias.abs().max() <= bound


def test_branches_are_views_so_an_initialisation_reaches_the_parameters():
    layer, _, _ = make((3, 3, 1))
    for weight, bias in layer.branches():
        nn.init.zeros_(weight)
        nn.init.ones_(bias)
    assert all(not parameter.any() for parameter in layer.weights) and (layer.bias == 1).all()


@pytest.mark.parametrize("kernel_sizes", [(), (2,), (3, 4), (0,), (3.0,), (-1,)])
def test_kernels_that_cannot_keep_the_size_are_refused(kernel_sizes):
    with pytest.raises(CourseworkError, match="odd kernel size"):
        GatedConv(3, 8, kernel_sizes)


def test_an_unknown_form_is_refused_with_the_known_ones():
    with pytest.raises(CourseworkError, match="auto, loop, stacked, scaled, aggregated"):
        GatedConv(3, 8, (3,), form="fast")


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 64, 8, 8), (2, 512, 4, 4), (2, 512, 2, 2)], ids=str)
def test_auto_names_a_form_and_gives_its_output(shape):
    layer = GatedConv(shape[1], 16, (3, 3))
    X, a = torch.randn(shape), torch.rand(2, 2)
    name = choose_form(X, 2)
    torch.testing.assert_close(layer(X, a), FORMS[name](X, a, list(layer.weights), layer.bias))


def test_the_rule_knows_devices_kernels_and_maps():
    small, large = torch.empty(2, 8, 7, 7), torch.empty(2, 8, 16, 16)
    assert [choose_form(X, 3) for X in (small, large)] == ["loop", "aggregated"]
    elsewhere = large.to("meta")  # any device but the CPU
    assert [choose_form(elsewhere, 3, size) for size in (1, 3, 5)] == ["aggregated", "scaled", "scaled"]
    few_pixels = torch.empty(2, 256, 7, 7, device="meta")
    assert choose_form(few_pixels, 2, 1) == "loop"
    assert {choose_form(X, 1) for X in (small, large, elsewhere)} == {"loop"}


@pytest.mark.parametrize(
    ("device", "channels", "kernel_size", "last_loop", "first_merged"),
    [("cpu", 8, 3, 7, 8), ("cpu", 8, 1, 9, 10), ("meta", 256, 1, 7, 8), ("meta", 1024, 1, 15, 16)],
)
def test_the_rule_has_its_borders_where_the_benchmark_found_them(
    device, channels, kernel_size, last_loop, first_merged
):
    maps = [torch.empty(2, channels, side, side, device=device) for side in (last_loop, first_merged)]
    assert [choose_form(X, 3, kernel_size) for X in maps] == ["loop", "aggregated"]


def test_a_printed_layer_tells_its_widths_kernels_and_form():
    assert "GatedConv(\n  3, 8, kernel_sizes=(3, 3, 3), form='auto'" in repr(GatedConv(3, 8))


@pytest.mark.parametrize("kernel_sizes", KERNELS)
@pytest.mark.parametrize("size", [4, 16])
def test_auto_merges_branches_of_one_size_only_and_gives_the_loops_results(monkeypatch, kernel_sizes, size):
    layer, X, a = make(kernel_sizes, size=size)
    expected, groups = results(layer, X, a), []
    for name, form in FASTEST.items():
        monkeypatch.setitem(FASTEST, name, lambda *given, form=form: groups.append(given[2]) or form(*given))
    layer.form = "auto"
    for found, right in zip(results(layer, X, a), expected, strict=True):
        assert (found - right).abs().max() <= 1e-5 * right.abs().max()
    assert [len(group) for group in groups] == [1] * len(layer.weights)


@pytest.mark.parametrize("count", [MANY - 1, MANY])
@pytest.mark.parametrize("kernel_sizes", [(3, 3), (3, 1, 1)])
def test_auto_convolves_the_smallest_maps_of_many_images_by_matrices(monkeypatch, kernel_sizes, count):
    layer, X, a = make(kernel_sizes, size=2, count=count, dtype=torch.float64)
    expected, products = results(layer, X, a), []
    monkeypatch.setattr(convolutions, "as_matrix", lambda *given: products.append(given) or as_matrix(*given))
    layer.form = "auto"
    for found, right in zip(results(layer, X, a), expected, strict=True):
        torch.testing.assert_close(found, right)
    assert len(products) == (kernel_sizes.count(3) if count == MANY else 0)


@pytest.mark.parametrize(
    ("kernel_sizes", "merges"), [((3, 3), True), ((5, 3, 3), True), ((3, 1, 1), False), ((3,), False)]
)
def test_a_layer_tells_whether_it_merges_kernels_of_several_pixels(kernel_sizes, merges):
    assert make(kernel_sizes)[0].merges == merges


def test_the_forms_named_here_are_distinct_functions():
    assert FORMS["loop"] is loop and FORMS["aggregated"] is aggregated and len(set(FORMS.values())) == 4


def kept_for_backward(form, batch_size=8):
    """Return the bytes that ten blocks of widths 3 to 1024 keep for the backward pass, without weights and inputs."""
    widths, total = (3, 32, 64, 64, 128, 128, 256, 256, 512, 512, 1024), 0
    for i, (inside, out) in enumerate(zip(widths, widths[1:], strict=False)):
        layer, X, a = make((3,) * 5, inside, out, size=32 >> i // 2, count=batch_size, form=form)
        known = {tensor.untyped_storage().data_ptr() for tensor in (*layer.parameters(), X, a)}
        kept = {}

        def note(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            layer(X, a)
        total += sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in known)
    return total


def test_the_chosen_forms_keep_less_memory_than_the_loop():
    assert kept_for_backward("auto") < kept_for_backward("loop")
