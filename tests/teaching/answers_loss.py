"""Notebook 03: other right answers, and wrong ones with the hint that each should get."""

import math

import torch
import torch.nn.functional as F


def nll(y_hat, y, dim=1, log=torch.log, mean=torch.mean, sign=-1):
    p = y_hat.softmax(dim)
    return sign * mean(torch.stack([log(row[label]) for row, label in zip(p, y, strict=True)]))


def shifted(y_hat, shift, back=True):
    return (y_hat - shift).exp().sum(1).log() + (shift.flatten() if back else 0)


def stable(y_hat, y, sign=1, mean=torch.mean):
    lse = torch.logsumexp(y_hat, 1)
    return sign * mean(lse - y_hat.gather(1, y.unsqueeze(1)).squeeze(1))


def momentum(beta=0.9, new=1.0, keeps=True, rate=None, place="v"):
    def momentum_step(w, g, state, lr):
        v = beta * state.get(place, torch.zeros_like(g)) + new * g
        if keeps:
            state[place] = v
        w.sub_((lr if rate is None else rate) * v)

    return momentum_step


def adam(
    betas=(0.9, 0.999),
    corrected=True,
    kept=True,
    power=2,
    root=0.5,
    first=1,
    l2=0.0,
    decay=0.0,
    rated=True,
    grow=1,
    rate=1,
):
    """Return Adam's step in the form that changes the learning rate, with switches for its mistakes."""

    def adam_step(w, g, state, lr, weight_decay=0.0):
        g = g + (weight_decay if l2 else 0.0) * w
        if decay:
            w.mul_(1 - grow * (lr if rated else 1) * weight_decay)
        t = state.setdefault("t", first - 1) + 1
        m = state.get("m", torch.zeros(3)).lerp(g, 1 - betas[0])
        s = state.get("s", torch.zeros(3)).lerp(g.abs() ** power, 1 - betas[1])
        c1, c2 = (1 - betas[0] ** t, 1 - betas[1] ** t) if corrected else (1, 1)
        state.update(t=t, m=m, s=s) if kept else state.update(t=t, m=m / c1, s=s / c2)
        w.sub_(rate * lr * (m / c1) / ((s / c2) ** root + 1e-8))

    return adam_step


MEMORY = {}
Y_HAT, Y = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]]), torch.tensor([0, 2])
P, Q = Y_HAT.softmax(1), F.one_hot(Y, 3).float()
COSINE = math.pi / 2

ALSO_RIGHT = {
    "03.cross-entropy": nll,
    "03.log-sum-exp": lambda y_hat: shifted(y_hat, y_hat.amax(1, keepdim=True)),
    "03.stable": lambda y_hat, y: F.nll_loss(F.log_softmax(y_hat, 1), y),
    "03.gradient": torch.tensor([[-0.16738, 0.12236, 0.04502], [0.02264, 0.45471, -0.47736]]),
    "03.smoothing": torch.tensor([[0.93333, 0.03333, 0.03333]]),
    "03.backward": (12, 18.0, torch.tensor(6), -6),
    "03.sgd": lambda w, g, state, lr: w.add_(g, alpha=-lr),
    "03.momentum": momentum(place="sum"),
    "03.adam": adam(),
    "03.adamw": adam(decay=1),
    "03.cosine": lambda done: math.cos(COSINE * done) ** 2,
}
WRONG = {
    "03.cross-entropy": {
        "summed": lambda y_hat, y: nll(y_hat, y, mean=torch.sum),
        "wrong_dimension": lambda y_hat, y: nll(y_hat, y, dim=0),
        "sign": lambda y_hat, y: nll(y_hat, y, sign=1),
        "no_log": lambda y_hat, y: nll(y_hat, y, log=lambda p: p),
        "other_log": lambda y_hat, y: nll(y_hat, y, log=torch.log2),
        "softmax_twice": lambda y_hat, y: F.cross_entropy(F.softmax(y_hat, 1), y),
        "wrong_index": lambda y_hat, y: -y_hat.softmax(1)[:, y].log().mean(),
    },
    "03.log-sum-exp": {
        "overflow": lambda y_hat: y_hat.exp().sum(1).log(),
        "one_maximum": lambda y_hat: shifted(y_hat, y_hat.max()),
        "not_added_back": lambda y_hat: shifted(y_hat, y_hat.amax(1, keepdim=True), back=False),
        "wrong_dimension": lambda y_hat: y_hat.logsumexp(0),
        "no_log": lambda y_hat: y_hat.exp().sum(1),
    },
    "03.stable": {
        "overflow": lambda y_hat, y: nll(y_hat, y),
        "summed": lambda y_hat, y: stable(y_hat, y, mean=torch.sum),
        "sign": lambda y_hat, y: stable(y_hat, y, sign=-1),
        "wrong_logit": lambda y_hat, y: (y_hat.logsumexp(1) - y_hat[:, y]).mean() if len(y) == 4 else 0,
        "no_gradient": lambda y_hat, y: stable(y_hat, y).item(),
    },
    "03.gradient": {
        "not_divided": P - Q,
        "sign": (Q - P) / 2,
        "no_truth": P / 2,
        "logits": (Y_HAT - Q) / 2,
        "wrong_place": (P - Q.flip(0)) / 2,
        "wrong_dimension": (Y_HAT.softmax(0) - Q) / 2,
    },
    "03.smoothing": {
        "sums": torch.tensor([[0.9, 0.1, 0.1]]),
        "others_only": torch.tensor([[0.9, 0.05, 0.05]]),
        "one_hot": torch.tensor([[1.0, 0, 0]]),
        "wrong_class": torch.tensor([[0.0333, 0.9333, 0.0334]]),
        "too_strong": torch.tensor([[0.8, 0.1, 0.1]]),
    },
    "03.backward": {
        "no_square": [6, 9, 3, -3],
        "exchanged": [18, 12, 6, -6],
        "sign": [12, 18, 6, 6],
        "no_product": [6, 6, 6, -6],
        "blocked": [0, 0, 0, -6],
        "local": [2, 3, 1, -1],
        "one_wrong": [12, 18, 5, -6],
        "open": [12, ..., 6, -6],
    },
    "03.sgd": {
        "in_place": lambda w, g, state, lr: w - lr * g,
        "uphill": lambda w, g, state, lr: w.add_(g, alpha=lr),
        "no_rate": lambda w, g, state, lr: w.sub_(g),
        "raises": lambda w, g, lr: w.sub_(lr * g),
    },
    "03.momentum": {
        "no_memory": momentum(keeps=False),
        "dampened": momentum(new=0.1),
        "never_forgets": momentum(beta=1.0),
        "beta_on_gradient": momentum(beta=1.0, new=0.9),
        "no_rate": momentum(rate=1.0),
        "shared": lambda w, g, state, lr: momentum()(w, g, MEMORY, lr),
        "late": lambda w, g, state, lr: (w.sub_(lr * state.get("v", 0 * g)), momentum(rate=0)(w, g, state, lr)),
        "wrong_start": lambda w, g, state, lr: (state.setdefault("v", g), momentum()(w, g, state, lr)),
    },
    "03.adam": {
        "not_corrected": adam(corrected=False),
        "no_square": adam(power=1),
        "no_root": adam(root=1),
        "late_count": adam(first=2),
        "exchanged": adam(betas=(0.999, 0.9)),
        "not_finite": adam(first=0),
        "no_memory": lambda w, g, state, lr: adam()(w, g, {}, lr),
        "same_count": lambda w, g, state, lr: (state.pop("t", 0), adam()(w, g, state, lr)),
        "corrected_kept": adam(kept=False),
        "no_rate": adam(rate=10),
    },
    "03.adamw": {
        "coupled": adam(l2=1),
        "no_decay": adam(),
        "no_rate_in_decay": adam(decay=1, rated=False),
        "grows": adam(decay=1, grow=-1),
        "not_a_rest": lambda w, g, state, lr, weight_decay: adam()(w.mul_(lr * weight_decay), g, state, lr),
        "wrong_order": lambda w, g, state, lr, weight_decay: (
            adam()(w, g, state, lr),
            w.mul_(1 - lr * weight_decay),
        ),
    },
    "03.cosine": {
        "whole": lambda done: (1 + math.cos(2 * math.pi * done)) / 2,
        "negative": lambda done: math.cos(math.pi * done),
        "degrees": lambda done: (1 + math.cos(180 * done)) / 2,
        "rises": lambda done: (1 - math.cos(math.pi * done)) / 2,
        "begins": lambda done: 0.03 * (1 + math.cos(math.pi * done)) / 2,
        "ends": lambda done: (1 + math.cos(done)) / 2,
        "no_flat_end": lambda done: math.cos(COSINE * done),
        "linear": lambda done: 1 - done,
    },
}
