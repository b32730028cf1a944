"""Notebook 04: examinations of a step, averaged weights, a checkpoint, and what two reports draw and print."""

from __future__ import annotations

import math
import types

import torch
from torch import nn

from utils.teaching.exercises import Wrong, exercise
from utils.teaching.expect import call, compare, ensure, hint_is, is_close, kind_of, number_of
from utils.teaching.loops import LOSS, Watched


class Precise(Watched):
    """A network that notes in which type its layer computes."""

    def forward(self, X):
        y_hat = super().forward(X)
        self.dtype = y_hat.dtype
        return y_hat


class Certain(nn.Module):
    """A network that returns its input as scores."""

    def forward(self, X):
        return X


@exercise(
    "04.confidence",
    "the confidence of wrong answers",
    all_answers="The right answers are counted, too. For which images is the mean wanted?",
    right_answers="You take the mean of the right answers.",
    all_counted="By how many images do you divide? Only those with a wrong answer count.",
    all_classes="You add up the probabilities of all classes. Only that of the network's answer is wanted.",
    logits="The mean of probabilities is expected. What turns scores into probabilities?",
    true_class="You take the probability of the right class. The confidence belongs to the network's answer.",
    batch_means="The batches have different numbers of wrong answers. Add up, and divide once.",
    no_mistakes="If no answer is wrong, your code divides by zero. Return 0 then.",
    training_mode="The network is in training mode while you measure.",
)
def examine_confidence(answer):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(11, 3, generator=generator)
    y = torch.randint(0, 3, (11,), generator=generator)
    net, batches = Certain().train(), list(zip(X.split(4), y.split(4), strict=True))
    modes = []
    hook = net.register_forward_hook(lambda net, inputs, output: modes.append(net.training))
    result = number_of(call(answer, net, batches, may_change=True))
    hook.remove()
    p, predicted = X.softmax(1).max(1)
    is_wrong = predicted != y
    parts = [part[wrong].mean() for part, wrong in zip(p.split(4), is_wrong.split(4), strict=True) if wrong.any()]
    mistakes = {
        "all_answers": p.mean(),
        "right_answers": p[~is_wrong].mean(),
        "all_counted": p[is_wrong].sum() / len(y),
        "all_classes": 1.0,
        "logits": X.max(1).values[is_wrong].mean(),
        "true_class": X.softmax(1).gather(1, y[:, None])[:, 0][is_wrong].mean(),
        "batch_means": torch.stack(parts).mean(),
    }
    compare(result, p[is_wrong].mean(), mistakes)
    ensure(not any(modes), "training_mode")
    with hint_is("no_mistakes"):
        compare(number_of(call(answer, net, [(X, predicted)], may_change=True)), 0.0)


@exercise(
    "04.step",
    "a step in mixed precision with a clipped gradient",
    no_autocast="The layers compute with 32 bits. Under which `with` line are 16 bits used?",
    other_half="These 16 bits are of the type float16. Which `dtype` is bfloat16?",
    half_weights="Now the weights themselves have 16 bits, and the next steps, too. `autocast` converts copies only.",
    half_loss="The loss is computed with 16 bits, which are too few for a sum. Which conversion comes before the loss?",
    no_clip="The update is too long: the gradient is not clipped, or clipped before `backward` has computed it.",
    late_clip="You clip the gradient after the step has used it.",
    by_value="The gradient is clipped number by number. Clipping by norm keeps its direction.",
    no_zero_grad="The step uses the gradient of an earlier batch, too.",
    no_step="The weights are the same afterwards.",
    graph="The loss and the scores are returned with their graph, which fills the memory. Look at `detach`.",
    two_results="The loss and the scores are expected: (batch_loss, y_hat).",
)
def examine_my_step(answer):
    net, dtypes = Precise(), []
    X, y = 20 * torch.randn(8, 4), torch.randint(0, 3, (8,))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def loss(y_hat, y):
        dtypes.append(y_hat.dtype)
        return LOSS(y_hat.float(), y)

    earlier = 100 * torch.randn(3, 4)
    net.linear.weight.grad = earlier.clone()
    before = net.linear.weight.detach().clone()
    result = call(answer, net, X, y, loss, optimizer, may_change=True)
    ensure(isinstance(result, tuple) and len(result) == 2, "two_results")
    ensure(net.linear.weight.dtype == torch.float32, "half_weights")
    ensure(net.dtype != torch.float16, "other_half")
    ensure(net.dtype == torch.bfloat16, "no_autocast")
    ensure(dtypes == [torch.float32], "half_loss")
    ensure(not any(isinstance(value, torch.Tensor) and value.requires_grad for value in result), "graph")
    update = (net.linear.weight.detach() - before) / 0.1
    ensure(float(update.norm()) > 0, "no_step")
    _examine_update(update, net, X, y, earlier)


def _examine_update(update, net, X, y, earlier):
    twin = Watched()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y_hat = twin(X)
    LOSS(y_hat.float(), y).backward()
    gradients = [weight.grad for weight in twin.parameters()]
    g, length = gradients[0], math.sqrt(sum(float(gradient.norm()) ** 2 for gradient in gradients))
    mixed = g + earlier
    clipped = g.clamp(-1, 1)
    if is_close(update, -mixed / math.hypot(float(mixed.norm()), float(gradients[1].norm())), 1e-2):
        raise Wrong("no_zero_grad")
    left = net.linear.weight.grad
    is_late = left is not None and float(left.norm()) < 1.01 < float(update.norm())
    mistakes = {"late_clip" if is_late else "no_clip": -g, "by_value": -clipped, "no_zero_grad": -mixed}
    compare(update, -g / max(1.0, length), mistakes, tolerance=1e-2)


@exercise(
    "04.average",
    "an exponential moving average of the weights",
    same_object="The average is the network itself. Which module makes a copy?",
    exchanged="The new weights count too much: which of the two gets the factor d?",
    from_zero="In the first batch the average begins with the weights of this batch.",
    never="The average does not change after the first batch. Which methods change a tensor itself, as `mul_` does?",
    no_net="Keep the averaged network in the attribute `net`: a later cell reads it.",
    not_measured="`training.measured_net` should be the averaged network, so that it is measured.",
    changes_net="The weights of the network that is trained have changed.",
)
def examine_my_average(answer):
    average, net = call(answer, 0.9), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    training = types.SimpleNamespace(net=net, measured_net=net, batch=0, epoch=0)
    values = []
    for value in (1.0, 2.0, 4.0):
        with torch.no_grad():
            net[0].weight.fill_(value)
        training.batch += 1
        call(average.after_batch, training, may_change=True, may_be_none=True)
        ensure(is_close(net[0].weight, torch.full((2, 2), value)), "changes_net")
        kept = getattr(average, "net", None)
        ensure(isinstance(kept, nn.Module), "no_net")
        ensure(training.measured_net is not net, "same_object" if kept is net else "not_measured")
        values.append(float(training.measured_net[0].weight.detach()[0, 0]))
    mistakes = {
        "same_object": [1.0, 2.0, 4.0],
        "exchanged": [1.0, 1.9, 3.79],
        "from_zero": [0.1, 0.29, 0.661],
        "never": [1.0, 1.0, 1.0],
    }
    compare(values, [1.0, 1.1, 1.39], mistakes, tolerance=1e-3)


@exercise(
    "04.checkpoint",
    "what a checkpoint holds",
    missing="A part of the table is missing. Compare its five rows with your keys.",
    object="Network, optimizer and schedule are kept as what `state_dict()` returns, not as objects or single numbers.",
    position="The position is the number of the batches that are done.",
    random_state="The random state is that of torch's generator, not the seed.",
    no_weights="The part `network` does not hold the weights.",
)
def examine_checkpoint(answer):
    if not isinstance(answer, dict):
        raise Wrong("wrong_type", what="The checkpoint", kind=kind_of(answer), expected="a dictionary")
    ensure({"network", "optimizer", "schedule", "position", "random state"} <= set(answer), "missing")
    states = [answer[name] for name in ("network", "optimizer", "schedule")]
    ensure(all(isinstance(state, dict) for state in states), "object")
    ensure(any(name.endswith("weight") for name in answer["network"]), "no_weights")
    ensure({"state", "param_groups"} <= set(answer["optimizer"]), "object")
    ensure(answer["position"] in (6, (0, 6), [0, 6]), "position")
    state = answer["random state"]
    ensure(isinstance(state, torch.Tensor) and state.dtype == torch.uint8 and state.numel() > 1000, "random_state")


@exercise(
    "04.plot",
    "report B's figure of two curves",
    no_figure="The figure is expected as the result: `return figure`.",
    two_curves="Two lines in one panel are expected, one for each list.",
    no_legend="Nobody can tell which line is which. Which call shows the labels?",
    no_labels="The axes have no labels.",
    from_zero="The first value belongs to epoch 1.",
    other_values="A line does not show the accuracies of its list.",
)
def examine_plot(answer):
    figure = call(answer, [0.3, 0.5, 0.6], [0.4, 0.45, 0.5])
    figure = getattr(figure, "figure", figure)  # axes know their figure
    ensure(hasattr(figure, "savefig") and hasattr(figure, "axes") and not callable(figure.axes), "no_figure")
    ensure(len(figure.axes) == 1, "two_curves")
    (ax,) = figure.axes
    lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
    ensure(len(lines) == 2, "two_curves")
    values = sorted(list(map(float, line.get_ydata())) for line in lines)
    compare(values, [[0.3, 0.5, 0.6], [0.4, 0.45, 0.5]], otherwise="other_values")
    ensure(all(list(line.get_xdata()) == [1, 2, 3] for line in lines), "from_zero")
    ensure(ax.get_legend() is not None, "no_legend")
    ensure(ax.get_xlabel() and ax.get_ylabel(), "no_labels")


@exercise(
    "04.running-loss",
    "report C's running loss, as a callback",
    no_losses="The means are expected in a list `losses` of the callback.",
    whole_epoch="A value is the mean since the epoch began. Only the last `every` batches count.",
    last_only="A value is that of a single batch. The mean of the last `every` batches is wanted.",
    not_reset="The second epoch begins with new sums. Which batch is the first of an epoch?",
    per_batch="`training.metric` adds up the losses of images, not of batches. By which number do you divide?",
    every_batch="A value is added too often. After which batches is it due?",
)
def examine_running_loss(answer):
    callback = call(answer, 2)
    losses = {0: [4.0, 2.0, 1.0, 3.0, 9.0], 1: [5.0, 7.0]}
    for epoch, values in losses.items():
        for batch in range(1, len(values) + 1):
            metric = [torch.tensor(10 * sum(values[:batch])), torch.tensor(0), 10 * batch]
            training = types.SimpleNamespace(epoch=epoch, batch=batch, metric=metric)
            call(callback.after_batch, training, may_change=True, may_be_none=True)
    result = getattr(callback, "losses", None)
    ensure(isinstance(result, list), "no_losses")
    ensure(len(result) == 3, "every_batch")
    mistakes = {"whole_epoch": [3.0, 2.5, 6.0], "last_only": [2.0, 3.0, 7.0]}
    result = [number_of(value) for value in result]
    ensure(not is_close(result[0], 30.0), "per_batch")
    ensure(not is_close(result[:2], [3.0, 2.0]) or is_close(result, [3.0, 2.0, 6.0]), "not_reset")
    compare(result, [3.0, 2.0, 6.0], mistakes)
