"""Notebook 03: examinations of the loss, of its gradient, and of backpropagation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from utils.teaching.exercises import Wrong, exercise
from utils.teaching.expect import call, compare, ensure, is_close, number_of, numbers_of, tensor_of

LOSS_HINTS = {
    "summed": "You add up the losses of the images. The mean is expected.",
    "wrong_dimension": "The probabilities of one image add up to 1. Over which dimension do you add?",
    "wrong_index": "Of each image, the entry of its own label is wanted. Which entries does your index pick?",
    "sign": "The sign is wrong: the logarithm of a probability is negative.",
    "no_log": "This is minus the probability, or one minus it. Where is the logarithm?",
    "other_log": "Which logarithm do you use? The loss needs the natural one.",
    "softmax_twice": "The softmax is applied twice. Which of the functions you use contains one already?",
}


@exercise("03.cross-entropy", "cross-entropy from probabilities", **LOSS_HINTS)
def examine_cross_entropy(answer):
    y_hat, y = torch.randn(4, 3), torch.tensor([0, 2, 1, 0])
    right = F.cross_entropy(y_hat, y)
    p = y_hat.softmax(1).gather(1, y[:, None])
    mistakes = {
        "summed": 4 * right,
        "wrong_dimension": F.nll_loss(y_hat.log_softmax(0), y),
        "sign": -right,
        "no_log": -p.mean(),
        "other_log": right / math.log(10),
        "softmax_twice": F.cross_entropy(y_hat.softmax(1), y),
    }
    result = number_of(call(answer, y_hat, y))
    ensure(not is_close(result, -(y_hat.exp() / y_hat.exp().sum())[torch.arange(4), y].log().mean()), "wrong_dimension")
    ensure(
        not any(is_close(result, -y_hat.log_softmax(1)[index].mean()) for index in [(slice(None), y), y]), "wrong_index"
    )
    ensure(not is_close(result, right / math.log(2)), "other_log")
    ensure(not is_close(result, 1 - p.mean()), "no_log")
    compare(result, right, mistakes)


@exercise(
    "03.log-sum-exp",
    "log-sum-exp without overflow",
    overflow="With logits of 300 the result is not finite. Subtract something before you take exp.",
    one_maximum="With two images whose logits differ much, one is wrong. Each image needs its own largest logit.",
    not_added_back="The largest logit is subtracted, but it must be added again at the end.",
    wrong_dimension="One number for each image is expected.",
    no_log="Where is the logarithm?",
)
def examine_log_sum_exp(answer):
    y_hat = torch.randn(3, 4)
    right = y_hat.logsumexp(1)
    result = call(answer, y_hat)
    if isinstance(result, torch.Tensor) and result.shape in ((4,), ()):
        raise Wrong("wrong_dimension")
    mistakes = {"not_added_back": right - y_hat.amax(1), "no_log": right.exp()}
    compare(tensor_of(result, (3,)), right, mistakes)
    large = torch.tensor([[300.0, 200, 0]])
    ensure(is_close(call(answer, large), large.logsumexp(1)), "overflow")
    mixed = torch.tensor([[500.0, 499, 0], [-500, -501, -502]])
    ensure(is_close(call(answer, mixed), mixed.logsumexp(1)), "one_maximum")


@exercise(
    "03.stable",
    "cross-entropy from logits, without overflow",
    overflow="With large logits the result is not finite. Does your code take exp or log of something without care?",
    summed=LOSS_HINTS["summed"],
    sign="Compare the signs of the two terms, log-sum-exp and the logit of the right class.",
    wrong_logit="The logit of the right class of each image is subtracted. Which numbers does your index pick?",
    no_gradient="The loss has no gradient. Look for `detach`, `item` and `no_grad`.",
)
def examine_stable(answer):
    y_hat, y = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 2, 1, 0])
    right = F.cross_entropy(y_hat, y)
    loss = call(answer, y_hat, y)
    mistakes = {
        "summed": 4 * right,
        "sign": -right,
        "wrong_logit": (y_hat.logsumexp(1)[:, None] - y_hat[:, y]).mean(),
    }
    ensure(not is_close(number_of(loss), y_hat.logsumexp(1).mean()), "wrong_logit")
    compare(number_of(loss), right, mistakes)
    ensure(isinstance(loss, torch.Tensor) and loss.requires_grad, "no_gradient")
    for large in (100 * y_hat.detach(), torch.tensor([[0.0, 400, -400]] * 4)):
        value = call(answer, large, y)
        ensure(is_close(value, F.cross_entropy(large, y)), "overflow")


@exercise(
    "03.gradient",
    "the gradient with respect to the logits",
    not_divided="The loss is a mean over two images. What does this do to the gradient?",
    sign="A step against the gradient should raise the logit of the right class. Look at the sign.",
    no_truth="The truth is missing: each image has a 1 at its label.",
    logits="The prediction is a probability, not a logit.",
    wrong_place="The ones are not at the labels.",
    wrong_dimension=LOSS_HINTS["wrong_dimension"],
)
def examine_gradient(answer):
    y_hat, y = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]]), torch.tensor([0, 2])
    p, q = y_hat.softmax(1), F.one_hot(y, 3)
    inputs = y_hat.clone().requires_grad_()
    F.cross_entropy(inputs, y).backward()
    mistakes = {
        "not_divided": p - q,
        "sign": (q - p) / 2,
        "no_truth": p / 2,
        "logits": (y_hat - q) / 2,
        "wrong_place": (p - q.flip(0)) / 2,
        "wrong_dimension": (y_hat.softmax(0) - q) / 2,
    }
    ensure(not (isinstance(answer, torch.Tensor) and is_close(answer, y_hat.softmax(0) - q)), "wrong_dimension")
    compare(tensor_of(answer, (2, 3)), inputs.grad, mistakes)


@exercise(
    "03.smoothing",
    "smoothed targets",
    sums="The targets of an image should add up to 1.",
    others_only="The share epsilon is spread over all classes, also over the right one.",
    one_hot="The right class has the target 1 still. What does epsilon change?",
    wrong_class="The largest target is not that of the right class.",
    too_strong="Compare the target of the right class with the formula: what is added to 1 - epsilon?",
)
def examine_smoothing(answer):
    q = tensor_of(answer).flatten()
    tensor_of(q, (3,))
    epsilon, classes = 0.1, torch.eye(3)[0]
    ensure(abs(float(q.sum()) - 1) < 1e-4, "sums")
    mistakes = {
        "others_only": torch.tensor([1 - epsilon, epsilon / 2, epsilon / 2]),
        "one_hot": classes,
    }
    ensure(int(q.argmax()) == 0, "wrong_class")
    compare(q, (1 - epsilon) * classes + epsilon / 3, mistakes, otherwise="too_strong")


@exercise(
    "03.backward",
    "backpropagation by hand",
    no_square="The loss is a square. What is its derivative?",
    exchanged="The gradients of w and x are exchanged: a product passes on the gradient times the other factor.",
    sign="One of the signs is wrong. What does the minus in r = h - q do to q?",
    no_product="A product does not pass the gradient on unchanged.",
    blocked="The ReLU's input is positive, so it passes the gradient on.",
    local="These are local derivatives. Each must be multiplied by the gradient of the operation's result.",
    one_wrong="{name} is not right yet. What is the local derivative, and which gradient arrives there?",
)
def examine_backward(answer):
    values = numbers_of(answer, 4, what="The list [d_w, d_x, d_b, d_q]")
    w, x, b, q = (torch.tensor(value, requires_grad=True) for value in (3.0, 2.0, -1.0, 2.0))
    (torch.relu(w * x + b) - q).square().backward()
    d_w, d_x, d_b, d_q = (value.grad.item() for value in (w, x, b, q))
    mistakes = {
        "no_square": [d_w / 2, d_x / 2, d_b / 2, d_q / 2],
        "exchanged": [d_x, d_w, d_b, d_q],
        "no_product": [d_b, d_b, d_b, d_q],
        "blocked": [0, 0, 0, d_q],
        "local": [2, 3, 1, -1],
    }
    ensure(
        not is_close([abs(value) for value in values], [d_w, d_x, d_b, -d_q]) or values[3] < 0 < min(values[:3]), "sign"
    )
    right = {"d_q": d_q, "d_b": d_b, "d_w": d_w, "d_x": d_x}  # from the loss back
    found = dict(zip(["d_w", "d_x", "d_b", "d_q"], values, strict=True))
    for name, value in right.items():
        is_known = any(is_close(values, wrong) for wrong in mistakes.values())
        ensure(is_known or is_close(found[name], value), "one_wrong", name=name)
    compare(values, [d_w, d_x, d_b, d_q], mistakes)
