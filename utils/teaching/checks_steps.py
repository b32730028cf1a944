"""Notebook 03: examinations of the optimizers' steps and of a schedule."""

from __future__ import annotations

import math

import torch

from utils.teaching.exercises import exercise
from utils.teaching.expect import call, compare, ensure, is_close, number_of, tensor_of

# The hints for all steps of optimizers, sgd_step(w, g, state, lr) and so on.
STEP_HINTS = {
    "in_place": "The weights are the same afterwards. `w = w - ...` makes a new tensor; the caller's w must change.",
    "uphill": "The step goes up. The gradient points to where the loss grows.",
    "no_rate": "The step does not depend on the learning rate as it should.",
    "shared": "Two weights share their state. Numbers for the next step belong in `state`.",
}
GRADIENTS = torch.tensor([[1.0, -2.0, 0.5], [0.5, -2.0, -3.0], [-1.0, -2.0, 0.1], [0.2, 4.0, 0.1]])


def places_of(answer, **settings):
    """Return the weights after each of four steps with given gradients."""
    w, state, places = torch.ones(3), {}, []
    for g in GRADIENTS:
        call(answer, w, g.clone(), state, 0.1, may_change=True, may_be_none=True, **settings)
        places.append(w.clone())
    return torch.stack(places)


def torch_places(optimizer, lr=0.1, **settings):
    """Return the same for an optimizer of PyTorch."""
    w, places = torch.ones(3, requires_grad=True), []
    steps = optimizer([w], lr=lr, **settings)
    for g in GRADIENTS:
        w.grad = g.clone()
        steps.step()
        places.append(w.detach().clone())
    return torch.stack(places)


def compare_steps(answer, right, mistakes, **settings):
    """Require the weights of the four steps, name a mistake, and require that the rule keeps its state in `state`."""
    places = places_of(answer, **settings)
    ensure(not is_close(places, torch.ones(4, 3)), "in_place")
    compare(tensor_of(places, (4, 3)), right, {"uphill": 2 - right} | mistakes)
    ensure(is_close(places_of(answer, **settings), right), "shared")  # a second weight, with its own state


@exercise("03.sgd", "a step of SGD", **STEP_HINTS)
def examine_sgd(answer):
    right = torch_places(torch.optim.SGD)
    compare_steps(answer, right, {"no_rate": torch_places(torch.optim.SGD, lr=1.0)})


@exercise(
    "03.momentum",
    "a step with momentum",
    no_memory="Each step uses the newest gradient only. What is kept in `state` between two steps?",
    dampened="The new gradient is multiplied by 1 - beta. Compare with the formula.",
    beta_on_gradient="beta multiplies the sum of the old gradients, not the new one.",
    late="The step uses the v of the step before. First compute the new v, then step with it.",
    wrong_start="v is 0 before the first step, so after it v is g.",
    never_forgets="Old gradients should count less and less.",
    **STEP_HINTS,
)
def examine_momentum(answer):
    sgd = torch.optim.SGD
    right, sums = torch_places(sgd, momentum=0.9), GRADIENTS.cumsum(0)
    swapped, v = [], torch.zeros(3)
    for g in GRADIENTS:
        v = v + 0.9 * g
        swapped.append(v)
    mistakes = {
        "no_memory": torch_places(sgd),
        "dampened": 1 - 0.1 * (1 - right),
        "never_forgets": 1 - 0.1 * sums.cumsum(0),
        "beta_on_gradient": 1 - 0.1 * torch.stack(swapped).cumsum(0),
        "no_rate": torch_places(sgd, lr=1.0, momentum=0.9),
        "late": torch.cat([torch.ones(1, 3), right[:-1]]),
        "wrong_start": right - 0.1 * GRADIENTS[0] * torch.tensor([0.9**t for t in range(1, 5)]).cumsum(0)[:, None],
    }
    compare_steps(answer, right, mistakes)


def _adam(
    *,
    beta1=0.9,
    beta2=0.999,
    corrected=True,
    kept=True,
    square=True,
    root=True,
    first=1,
    step=1,
    decay=0.0,
    late=False,
    scale=1.0,
):
    """Return the weights after each of the four steps of Adam, with switches for mistakes."""
    w, m, s, places = torch.ones(3), torch.zeros(3), torch.zeros(3), []
    for number, g in enumerate(GRADIENTS):
        t = first + step * number
        m, s = beta1 * m + (1 - beta1) * g, beta2 * s + (1 - beta2) * (g**2 if square else g.abs())
        m_hat, s_hat = (m / (1 - beta1**t), s / (1 - beta2**t)) if corrected else (m, s)
        change = 0.1 * scale * m_hat / ((s_hat.sqrt() if root else s_hat) + 1e-8)
        w = (w - change) * (1 - decay) if late else w * (1 - decay) - change
        m, s = (m, s) if kept else (m_hat, s_hat)
        places.append(w)
    return torch.stack(places)


@exercise(
    "03.adam",
    "a step of Adam",
    not_corrected="Both means begin at zero. The divisions that correct this in the first steps are missing.",
    no_square="s is the running mean of the squared gradient.",
    no_root="The step is divided by the root of s.",
    late_count="t is the number of the present step: it is 1 in the first one.",
    not_finite="The weights contain `nan` or `inf`. Is t really 1 in the first step? With 0, 1 - beta**t is zero.",
    same_count="t stays 1. What must `state` keep from one step to the next?",
    no_memory="Each step uses the newest gradient only. What must `state` keep from one step to the next?",
    corrected_kept="`state` should keep m and s themselves. The corrected ones are for this step only.",
    exchanged="beta1 belongs to the gradient and beta2 to its square.",
    **STEP_HINTS,
)
def examine_adam(answer):
    mistakes = {
        "not_corrected": _adam(corrected=False),
        "no_square": _adam(square=False),
        "no_root": _adam(root=False),
        "late_count": _adam(first=2),
        "exchanged": _adam(beta1=0.999, beta2=0.9),
        "no_rate": _adam(scale=10.0),
        "same_count": _adam(step=0),
        "no_memory": 1 - 0.1 * GRADIENTS.sign().cumsum(0),
        "corrected_kept": _adam(kept=False),
    }
    compare_steps(answer, torch_places(torch.optim.Adam), mistakes)


@exercise(
    "03.adamw",
    "a step of AdamW",
    coupled="The decay goes through the gradient, so Adam divides it. In AdamW it acts on the weights alone.",
    no_decay="The weights do not decay.",
    wrong_order="The weights shrink before Adam's step, not after it.",
    not_a_rest="Almost nothing is left of the weights. The decay is what a step takes away, not what it leaves.",
    no_rate_in_decay="The decay of a step is the learning rate times `weight_decay`.",
    grows="The weights grow. Should the factor be above or below 1?",
    **STEP_HINTS,
)
def examine_adamw(answer):
    decay = 0.5  # large, so that it is visible
    mistakes = {
        "coupled": torch_places(torch.optim.Adam, weight_decay=decay),
        "no_decay": torch_places(torch.optim.Adam),
        "no_rate_in_decay": _adam(decay=decay),
        "grows": _adam(decay=-0.1 * decay),
        "not_a_rest": _adam(decay=1 - 0.1 * decay),
        "wrong_order": _adam(decay=0.1 * decay, late=True),
    }
    compare_steps(answer, torch_places(torch.optim.AdamW, weight_decay=decay), mistakes, weight_decay=decay)


@exercise(
    "03.cosine",
    "half a cosine",
    whole="The curve should go down once, from 1 to 0. Half a period of the cosine is enough.",
    negative="The curve goes below zero: a learning rate can't be negative. Shift and scale the cosine.",
    degrees="`math.cos` takes radians. What is half a turn?",
    rises="The learning rate should be 1 at the beginning and 0 at the end.",
    linear="This is a straight line.",
    begins="The factor should be 1 at the beginning, whatever the peak is.",
    ends="The factor should be 0 at the end. Which angle has a half period of the cosine?",
    no_flat_end="Beginning and end are right. Half a period of the cosine is flat at both.",
)
def examine_cosine(answer):
    done = [0.0, 0.1, 0.25, 0.5, 0.8, 1.0]
    values = [number_of(call(answer, part)) for part in done]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    rates = [schedule.get_last_lr()[0]]
    for _ in range(20):
        optimizer.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    right = [rates[round(20 * part)] for part in done]
    mistakes = {
        "whole": [(1 + math.cos(2 * math.pi * part)) / 2 for part in done],
        "negative": [math.cos(math.pi * part) for part in done],
        "degrees": [(1 + math.cos(180 * part)) / 2 for part in done],
        "rises": right[::-1],
        "linear": [1 - part for part in done],
    }
    ensure(not is_close(values, [1 - value for value in right]), "rises")
    if not any(is_close(values, wrong) for wrong in mistakes.values()):
        ensure(is_close(values[0], 1), "begins")
        ensure(is_close(values[-1], 0), "ends")
    compare(values, right, mistakes, otherwise="no_flat_end")
