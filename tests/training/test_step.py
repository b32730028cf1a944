"""Tests utils.training.step: what stops before a step, parts and lack of memory, clipping, precision."""

import copy
import gc
import warnings

import pytest
import torch
from torch import nn

from utils.errors import CourseworkError, DivergedError
from utils.my_utils import loss_and_accuracy, train_batch
from utils.optim.losses import make_loss
from utils.training.micro_batches import NO_MEMORY, ran_out_of_memory
from utils.training.step import Step

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]),
]
NAN, INF = float("nan"), float("inf")


def make(batch=12, dtype=torch.float32, device="cpu", norm=False):
    """Return (net, X, y, loss, optimizer): a small network and a batch, the same each time."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), *[nn.BatchNorm2d(4)] * norm, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)]
    net = nn.Sequential(*layers).to(device, dtype)
    X, y = torch.randn(batch, 3, 8, 8, dtype=dtype, device=device), torch.arange(batch, device=device) % 10
    return net, X, y, make_loss("cross_entropy"), torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)


def tensors(net):
    """Return copies of a network's parameters."""
    return [parameter.detach().clone() for parameter in net.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def gradients(net):
    return [parameter.grad.clone() for parameter in net.parameters()]


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_that_is_asked_for_nothing_is_the_plain_one(device, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)  # a sum in any order is another sum
    plain, ours = make(device=device), make(device=device)
    for _ in range(3):
        assert same(train_batch(*plain), Step()(*ours))
    assert same(tensors(plain[0]), tensors(ours[0]))


def spoil_loss(net, X, y, loss, optimizer, value):
    return net, X, y, lambda y_hat, y: loss(y_hat, y) * value, optimizer


def spoil_gradient(net, X, y, loss, optimizer, value):
    def hook(gradient):
        gradient = gradient.clone()
        gradient.view(-1)[7] = value
        return gradient

    net[0].weight.register_hook(hook)
    return net, X, y, loss, optimizer


def spoil_images(net, X, y, loss, optimizer, value):
    X = X.clone()
    X[3, 1, 2, 2] = value
    return net, X, y, loss, optimizer


SPOILT = {
    spoil_loss: "The loss is",
    spoil_gradient: "The gradient is not finite",
    spoil_images: "The images of this batch",
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("step", [Step(), Step(clip_norm=1.0), Step(clip_value=0.1), Step(micro_batch=5), Step("bf16")])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("spoil", SPOILT)
def test_what_is_not_finite_stops_before_the_step(spoil, value, step, device):
    net, *rest = make(device=device)
    Step()(net, *rest)  # so that there is momentum to spoil
    before, momenta = tensors(net), copy.deepcopy(rest[-1].state_dict())
    with pytest.raises(DivergedError, match=SPOILT[spoil]):
        step(*spoil(net, *rest, value))
    assert same(before, tensors(net))
    for old, new in zip(momenta["state"].values(), rest[-1].state_dict()["state"].values(), strict=True):
        assert torch.equal(old["momentum_buffer"], new["momentum_buffer"])


def test_fp16_leaves_out_a_step_that_overflows_and_halves_its_scale():
    net, *rest = make()
    step = Step("fp16")
    step(net, *rest)
    before, scale = tensors(net), step.state_dict()["scaler"]["scale"]
    step(*spoil_gradient(net, *rest, INF))
    assert same(before, tensors(net)) and step.state_dict()["scaler"]["scale"] == scale / 2


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_step_that_diverged_serves_the_next_training(precision):
    net, *rest = make()
    step = Step(precision)
    step(net, *rest)
    state = step.state_dict()
    with pytest.raises(DivergedError):
        step(*spoil_loss(net, *rest, NAN))
    assert step.state_dict() == state
    before = tensors(net)
    step(net, *rest)
    assert not same(before, tensors(net))


def test_an_unknown_precision_is_refused():
    with pytest.raises(CourseworkError, match="fp32, bf16, fp16"):
        Step("int8")


@pytest.mark.parametrize("norm_type", ["norm", "value"])
@pytest.mark.parametrize("limit", [1e-3, 0.05, 1e3])
def test_clipping_is_torchs_own(norm_type, limit):
    net, X, y, loss, optimizer = make()
    reference = make()[0]
    loss(reference(X), y).backward()
    clip = {"norm": nn.utils.clip_grad_norm_, "value": nn.utils.clip_grad_value_}[norm_type]
    whole = gradients(reference)
    clip(reference.parameters(), limit)
    Step(**{f"clip_{norm_type}": limit})(net, X, y, loss, optimizer)
    assert same(gradients(net), gradients(reference)) and same(gradients(net), whole) == (limit == 1e3)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("part", [1, 5, 11, 12, 100])
def test_parts_give_the_gradient_of_the_whole_batch(part, reduction):
    net, X, y, _, optimizer = make(dtype=torch.float64)
    loss, reference = make_loss("cross_entropy", reduction=reduction), make(dtype=torch.float64)
    average, y_hat = Step(micro_batch=part)._gradients(net, X, y, loss, optimizer, part)
    expected = reference[3](reference[0](X), y)
    expected.backward()
    torch.testing.assert_close(gradients(net), gradients(reference[0]), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(average, expected.detach(), rtol=1e-14, atol=0)
    assert y_hat.shape == (12, 10)


def test_a_layer_outside_the_optimizer_does_not_count():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 10))
    frozen = copy.deepcopy(net)
    frozen[0].requires_grad_(False)
    X, y = torch.randn(16, 20), torch.randint(0, 10, (16,))
    for other in (net, frozen):
        step, optimizer = Step(clip_norm=0.1), torch.optim.SGD(other[2].parameters(), lr=0.1)
        for _ in range(5):
            step(other, X, y, nn.CrossEntropyLoss(), optimizer)
    assert same(tensors(net), tensors(frozen))
    whole = net[0].weight.grad.clone()
    step(net, X, y, nn.CrossEntropyLoss(), optimizer)
    assert net[0].weight.grad.norm() < 1.5 * whole.norm()


class Starved(nn.Module):
    """A layer that finds no memory for more than so many images, in the forward or in the backward pass."""

    def __init__(self, most, where, error):
        super().__init__()
        self.most, self.where, self.error, self.sizes = most, where, error, []

    def forward(self, X):
        self.sizes.append(len(X))
        assert len(self.sizes) < 100, "it tries again and again"
        if len(X) > self.most and self.where == "forward":
            self.refuse()
        if X.requires_grad and self.where == "backward":
            X = X.clone()
            if len(X) > self.most:
                X.register_hook(self.refuse)
        return X

    def refuse(self, gradient=None):
        raise type(self.error)(*self.error.args)  # a new one: an error keeps the tensors of all that it passed


OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
CPU_OUT = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12")


def starve(net, most, where, error=OUT):
    net.insert(2, Starved(most, where, error))
    return net[2]


@pytest.mark.parametrize("error", [OUT, CPU_OUT])
@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize(("most", "part"), [(12, None), (11, 6), (6, 6), (5, 3), (2, 2), (1, 1)])
def test_where_memory_runs_out_the_part_halves_and_the_step_stays_the_same(most, part, where, error):
    net, *rest = make()
    plain, *plain_rest = make()
    starved, step = starve(net, most, where, error), Step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        average, y_hat = step(net, *rest)
    halvings = 0 if part is None else len({*starved.sizes} - {12 % part}) - 1
    assert step.micro_batch == part and len(caught) == halvings
    expected = train_batch(plain, *plain_rest)
    torch.testing.assert_close((average, y_hat), expected)
    torch.testing.assert_close(gradients(net), gradients(plain), rtol=1e-4, atol=1e-6)


def test_where_not_even_one_image_fits_there_is_a_clear_error_and_no_step():
    net, *rest = make()
    starve(net, 0, "forward")
    before = tensors(net)
    with pytest.warns(UserWarning, match="Memory ran out"), pytest.raises(CourseworkError, match="Not even one image"):
        Step()(net, *rest)
    assert same(before, tensors(net))


def test_measuring_halves_its_part_too():
    net, X, y, loss, _ = make()
    expected = loss_and_accuracy(net, [(X, y)], loss)
    starve(net, 4, "forward")
    step = Step()
    with pytest.warns(UserWarning, match="parts of [36] images"):
        found = loss_and_accuracy(net, [(X, y)], loss, predict=step.predict)
    assert step.micro_batch == 3 and found == pytest.approx(expected)


def test_another_error_is_passed_on_at_once():
    net, *rest = make()
    starve(net, 0, "forward", RuntimeError("shapes do not fit"))
    step = Step()
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        step(net, *rest)
    assert step.micro_batch is None


def test_ten_retries_leave_no_more_tensors_than_one():
    net, *rest = make()
    starved, counts = starve(net, 6, "backward"), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for retry in range(10):
            Step()(net, *rest)
            if retry in (0, 9):
                gc.collect()
                counts.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
    assert starved.sizes == [12, 6, 6] * 10
    assert counts[0] == counts[1]


def test_a_real_lack_of_memory_is_known_as_one():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert ran_out_of_memory(caught.value) and any(words in str(caught.value) for words in NO_MEMORY)
    assert not ran_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_a_real_lack_of_memory_halves_the_part():
    net, X, y, loss, optimizer = make(256, device="cuda")
    expected = train_batch(*make(256, device="cuda"))[0]
    torch.cuda.empty_cache()

    class Greedy(nn.Module):
        def forward(self, X):
            share = len(X) / 256 * 1.5  # of what is free
            torch.empty(int(share * torch.cuda.mem_get_info()[0]), dtype=torch.uint8, device="cuda")
            return X

    net.insert(2, Greedy())
    step = Step()
    with pytest.warns(UserWarning, match="Memory ran out"):
        average, _ = step(net, X, y, loss, optimizer)
    assert step.micro_batch == 128 and float(average) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_gives_float32_scores_and_nearly_the_same_loss(precision, device):
    net, *rest = make(device=device, norm=True)
    step, inside = Step(precision), []
    net[-1].register_forward_hook(lambda module, args, y_hat: inside.append(y_hat.dtype))
    expected = train_batch(*make(device=device, norm=True))[0]
    average, y_hat = step(net, *rest)
    assert float(average) == pytest.approx(float(expected), rel=0.02)
    assert y_hat.dtype == step.predict(net, rest[0]).dtype == torch.float32
    assert {*inside} == {{"bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())


def test_norms_keep_no_statistics_of_a_batch_that_stopped_a_training():
    net, X, y, loss, optimizer = make(norm=True)
    step = Step()
    step(net, X, y, loss, optimizer)
    X[0, 0, 0, 0] = INF
    with pytest.raises(DivergedError):
        step(net, X, y, loss, optimizer)
    assert all(buffer.isfinite().all() for buffer in net.buffers())


def test_norms_keep_no_statistics_of_batches_that_no_scale_of_fp16_suits():
    net, X, y, loss, optimizer = make(norm=True)
    spoil_gradient(net, X, y, loss, optimizer, INF)
    step, wide = Step("fp16"), X * 1e19  # its variance is beyond float32, and the loss is made finite
    with pytest.raises(DivergedError, match="No scale"):
        for _ in range(30):
            step(net, wide, y, lambda y_hat, y: loss(y_hat.nan_to_num(), y), optimizer)
    assert all(tensor.isfinite().all() for tensor in net.state_dict().values())


@pytest.mark.parametrize(("batch", "part"), [(13, 4), (13, 12), (9, 8), (17, 16)])
def test_no_part_is_left_with_a_single_image(batch, part):
    net, X, y, loss, optimizer = make(batch, norm=True)
    sizes = []
    net[0].register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    Step(micro_batch=part)(net, X, y, loss, optimizer)
    assert sum(sizes) == batch and max(sizes) <= part and max(sizes) - min(sizes) <= 1
    assert min(sizes) > 1
