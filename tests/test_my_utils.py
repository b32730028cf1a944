"""The heart: counts, sums, evaluation and the loop, against figures worked out by hand and a loop written out."""

import functools
import signal

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_parts import Note, StopAfter, images, parts, same

from utils.data.loader import BatchLoader
from utils.errors import CourseworkError
from utils.my_utils import Accumulator, accuracy, evaluate_accuracy, loss_and_accuracy, train_ch3, train_epoch_ch3
from utils.training.history import History
from utils.training.state import points_every

REDUCTIONS = {
    "mean": nn.CrossEntropyLoss(),
    "none": nn.CrossEntropyLoss(reduction="none"),
    "function": F.cross_entropy,
    "partial none": functools.partial(F.cross_entropy, reduction="none"),
}


def test_accuracy_counts_what_is_right_in_a_batch():
    y_hat = torch.tensor([[0.1, 0.3, 0.6], [0.3, 0.2, 0.5]])
    assert accuracy(y_hat, torch.tensor([0, 2])) == 1
    assert accuracy(y_hat, torch.tensor([2, 2])) / 2 == 1.0
    assert isinstance(accuracy(y_hat, torch.tensor([2, 2])), torch.Tensor)


def test_an_accumulator_sums_numbers_and_tensors_and_begins_again():
    sums = Accumulator(2)
    sums.add(1, 2.5)
    sums.add(torch.tensor(3), 1)
    assert (float(sums[0]), sums[1], len(sums)) == (4.0, 3.5, 2)
    sums.reset()
    assert sums.data == [0, 0]


@pytest.mark.parametrize("values", [(), (1,), (1, 2, 3)])
def test_an_accumulator_refuses_another_number_of_values_and_keeps_its_sums(values):
    sums = Accumulator(2)
    sums.add(5, 6)
    with pytest.raises(CourseworkError, match="2 sums"):
        sums.add(*values)
    assert sums.data == [5, 6]


def test_accumulated_tensors_do_not_change_the_tensors_that_were_added():
    first, sums = torch.tensor(1.0), Accumulator(1)
    sums.add(first)
    kept = sums[0]
    sums.add(torch.tensor(2.0))
    assert (float(first), float(kept), float(sums[0])) == (1.0, 1.0, 3.0)


@pytest.mark.parametrize("batch_size", [1, 7, 30, 60, 100])
@pytest.mark.parametrize("loss", REDUCTIONS.values(), ids=REDUCTIONS)
def test_evaluation_gives_the_same_figures_for_any_batch_and_any_reduction(batch_size, loss):
    net, split = parts()[0], images(60, seed=1)
    X, y = BatchLoader(split, 60).batch(0, 0)
    net.eval()
    right = F.cross_entropy(net(X), y).item(), (net(X).argmax(1) == y).float().mean().item()
    found = loss_and_accuracy(net, BatchLoader(split, batch_size), loss)
    assert found == pytest.approx(right, rel=1e-5)
    assert evaluate_accuracy(net, BatchLoader(split, batch_size)) == found[1]


@pytest.mark.parametrize("loss", REDUCTIONS.values(), ids=REDUCTIONS)
def test_any_reduction_trains_by_the_gradient_of_the_mean(loss):
    net, train_iter, _, optimizer = parts()
    torch.manual_seed(5)
    found = train_epoch_ch3(net, train_iter, loss, optimizer)
    other, train_iter, _, optimizer = parts()
    torch.manual_seed(5)
    right = train_epoch_ch3(other, train_iter, nn.CrossEntropyLoss(), optimizer)
    assert found == pytest.approx(right, rel=1e-5)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(reduction="sum"), functools.partial(F.cross_entropy, reduction="sum")]
)
def test_a_sum_is_refused(loss):
    net, train_iter, test_iter, optimizer = parts()
    with pytest.raises(CourseworkError, match="sum"):
        train_epoch_ch3(net, train_iter, loss, optimizer)
    with pytest.raises(CourseworkError, match="sum"):
        loss_and_accuracy(net, test_iter, loss)


def test_an_epoch_is_the_plain_loop():
    net, train_iter, _, optimizer = parts()
    torch.manual_seed(5)
    found = train_epoch_ch3(net, train_iter, nn.CrossEntropyLoss(), optimizer)
    other, train_iter, _, optimizer = parts()
    torch.manual_seed(5)
    total, right, count = 0.0, 0, 0
    other.train()
    for X, y in train_iter:
        y_hat = other(X)
        loss = F.cross_entropy(y_hat, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total, right, count = total + loss.item() * len(y), right + (y_hat.argmax(1) == y).sum().item(), count + len(y)
    assert same(net.state_dict(), other.state_dict())
    assert found == pytest.approx((total / count, right / count), rel=1e-6)


def test_every_part_is_in_the_mode_it_was_in_afterwards_even_after_an_error():
    net, train_iter, test_iter, optimizer = parts()
    net.train()
    net[1].eval()  # a frozen norm, say
    modes = [module.training for module in net.modules()]
    evaluate_accuracy(net, test_iter)
    train_epoch_ch3(net, train_iter, nn.CrossEntropyLoss(), optimizer)
    with pytest.raises(RuntimeError):
        evaluate_accuracy(net, [(torch.zeros(2, 5), torch.tensor([0, 1]))])
    assert [module.training for module in net.modules()] == modes


def test_evaluation_turns_dropout_off_and_changes_nothing():
    net, _, test_iter, _ = parts()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert loss_and_accuracy(net, test_iter, nn.CrossEntropyLoss()) == loss_and_accuracy(
        net, test_iter, nn.CrossEntropyLoss()
    )
    assert same(before, net.state_dict())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_sums_wait_on_the_device_until_the_end_of_the_epoch(monkeypatch):
    read = []
    net, train_iter, _, optimizer = parts()
    for name in ("item", "tolist", "__float__", "__bool__", "__int__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, f=original, n=name: read.append(n) or f(self))
    train_epoch_ch3(net, train_iter, nn.CrossEntropyLoss(), optimizer, after_batch=lambda metric: read.append("batch"))
    last = len(read) - read[::-1].index("batch")
    assert read[:last] == ["batch"] * len(train_iter)
    assert len(read) - last == 3  # the extreme labels, the loss and the count of right answers


def test_plain_lists_and_data_loaders_serve_as_iterators():
    net, _, _, optimizer = parts()
    X, y = BatchLoader(images(60), 60).batch(0, 0)
    pairs = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), batch_size=13)
    as_list = [(X[i : i + 13], y[i : i + 13]) for i in range(0, 60, 13)]
    assert loss_and_accuracy(net, pairs, F.cross_entropy) == loss_and_accuracy(net, as_list, F.cross_entropy)
    history = train_ch3(net, pairs, as_list, F.cross_entropy, 1, optimizer, curves=False)
    assert len(history) == 1


@pytest.mark.parametrize("call", ["evaluate", "train"])
def test_no_batch_at_all_is_an_error_that_says_so(call):
    net, _, _, optimizer = parts()
    with pytest.raises(CourseworkError, match="no batch"):
        loss_and_accuracy(net, [], F.cross_entropy) if call == "evaluate" else train_epoch_ch3(
            net, [], F.cross_entropy, optimizer
        )


def test_a_history_holds_each_epochs_figures_under_the_names_of_what_was_watched():
    net, train_iter, test_iter, optimizer = parts()
    history = train_ch3(net, train_iter, test_iter, F.cross_entropy, 3, optimizer, watched="val", curves=False)
    assert list(history.rows[0]) == [
        "epoch", "train_loss", "train_acc", "val_loss", "val_acc", "lr", "seconds",
    ]  # fmt: skip
    assert history["epoch"] == [1, 2, 3]
    assert history["lr"] == [0.05] * 3
    assert history["seconds"] == sorted(history["seconds"])
    assert (history["val_loss"][-1], history["val_acc"][-1]) == loss_and_accuracy(net, test_iter, F.cross_entropy)
    assert history["train_loss"][-1] < history["train_loss"][0]
    assert history.best("train_loss")["epoch"] == 1 + min(range(3), key=history["train_loss"].__getitem__)


def test_without_test_images_only_the_training_is_measured():
    net, train_iter, _, optimizer = parts()
    history = train_ch3(net, train_iter, None, F.cross_entropy, 1, optimizer, curves=False)
    assert set(history.rows[0]) == {"epoch", "train_loss", "train_acc", "lr", "seconds"}


@pytest.mark.parametrize("every", [1, 2, 5, 50])
def test_the_points_are_means_over_the_batches_since_the_last_one(every):
    losses = []

    def step(net, X, y, loss, optimizer):
        losses.append((float(len(losses)), len(y)))
        return torch.tensor(losses[-1][0]), torch.zeros(len(y), 10)

    net, train_iter, _, optimizer = parts()  # 100 images in batches of 24: the last one has 4
    history = train_ch3(net, train_iter, None, None, 2, optimizer, step=step, curves=False, every=every)
    expected = []
    for epoch in (0, 1):
        mine = losses[5 * epoch : 5 * epoch + 5]
        for start in range(0, 5, every):
            group = mine[start : start + every]
            mean = sum(value * count for value, count in group) / sum(count for _, count in group)
            expected.append((epoch + min(start + every, 5) / 5, mean))
    assert [(p["epoch"], p["loss"]) for p in history.points] == [pytest.approx(pair) for pair in expected]


@pytest.mark.parametrize(("batches", "every"), [(1, 1), (9, 1), (45, 4), (351, 35), (500, 50), (5000, 50), (None, 50)])
def test_a_short_epoch_has_points_enough_for_a_curve(batches, every):
    assert points_every(batches) == every


def test_callbacks_hear_every_event_in_order():
    net, train_iter, test_iter, optimizer = parts()
    note = Note()
    train_ch3(net, train_iter, test_iter, F.cross_entropy, 2, optimizer, callbacks=[note], curves=False)
    batches = [("batch", 0, n) for n in range(1, 6)], [("batch", 1, n) for n in range(1, 6)]
    assert note.events == [
        ("start", 0, 0), *batches[0], ("epoch", 1, 0), *batches[1], ("epoch", 2, 0), ("end", 2, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("batches", [1, 4, 5, 6, 9])
def test_a_callback_can_stop_the_training_between_two_batches(batches, capsys):
    net, train_iter, test_iter, optimizer = parts()
    note, stop = Note(), StopAfter(batches)
    history = train_ch3(net, train_iter, test_iter, F.cross_entropy, 2, optimizer, callbacks=[note, stop], curves=False)
    assert [event for event in note.events if event[0] == "batch"][-1] == ("batch", *divmod(batches - 1, 5))[:2] + (
        (batches - 1) % 5 + 1,
    )
    assert history.stopped
    assert len(history) == (batches - 1) // 5
    assert note.events[-1][0] == "end"
    assert "Stopped after" in capsys.readouterr().out


def test_a_handler_of_interrupts_that_is_not_pythons_does_not_matter(monkeypatch):
    handlers = [signal.getsignal(signal.SIGINT)]

    def set_handler(number, handler):
        handlers.append(handler)
        original(number, handler)  # returns None in place of the earlier handler, if that was not set from Python

    original = signal.signal
    monkeypatch.setattr(signal, "signal", set_handler)
    net, train_iter, _, optimizer = parts()
    try:
        train_ch3(net, train_iter, None, F.cross_entropy, 1, optimizer, curves=False)
    finally:
        original(signal.SIGINT, handlers[0])
    assert handlers[-1] == signal.SIG_DFL


def test_an_error_reaches_the_caller_after_the_callbacks_heard_of_the_end():
    net, train_iter, test_iter, optimizer = parts()
    note = Note()

    def step(*_):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        train_ch3(net, train_iter, test_iter, None, 1, optimizer, step=step, callbacks=[note], curves=False)
    assert note.events == [("start", 0, 0), ("end", 0, 0)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_whole_training_waits_for_the_gpu_a_few_times_an_epoch_only():
    net, _, _, _ = parts()
    train_iter = BatchLoader(images(2000), 10, shuffle=True, device="cuda")
    optimizer = torch.optim.SGD(net.to("cuda").parameters(), lr=0.01)
    train_epoch_ch3(net, train_iter, nn.CrossEntropyLoss(), optimizer, "cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = []
        train_epoch_ch3(net, train_iter, nn.CrossEntropyLoss(), optimizer, "cuda", after_batch=batches.append)
    except RuntimeError:
        assert len(batches) == 200  # only the sums at the end may wait
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_loss_that_is_not_a_number_is_never_the_best():
    history = History()
    for loss in (float("nan"), 2.0, 1.0, float("nan")):
        history.add_row(epoch=len(history) + 1, val_loss=loss)
    assert history.best("val_loss")["epoch"] == 3


def test_a_dataloader_over_a_stream_is_trained_on_without_knowing_its_length():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            generator = torch.Generator().manual_seed(0)
            return iter([(torch.randn(4, generator=generator), i % 3) for i in range(10)])

    net = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    batches = torch.utils.data.DataLoader(Stream(), batch_size=4)
    history = train_ch3(net, batches, None, nn.CrossEntropyLoss(), 2, optimizer, curves=False, record=False, every=1)
    assert len(history) == 2
    points = [(point["epoch"], point["loss"]) for point in history.points]
    assert points == [(1.0, history["train_loss"][0]), (2.0, pytest.approx(history["train_loss"][1]))]


def test_a_loss_that_a_step_returns_with_its_graph_does_not_keep_the_graph(recwarn):
    def step(net, X, y, loss, optimizer):
        optimizer.zero_grad()
        y_hat = net(X)
        batch_loss = loss(y_hat, y)
        batch_loss.backward()
        optimizer.step()
        return batch_loss, y_hat  # neither is detached

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    batches = [(torch.randn(4, 3, 2, 2), torch.randint(0, 3, (4,))) for _ in range(3)]
    metric = Accumulator(3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train_epoch_ch3(net, batches, nn.CrossEntropyLoss(), optimizer, step=step, metric=metric)
    assert not metric[0].requires_grad and not list(recwarn)
