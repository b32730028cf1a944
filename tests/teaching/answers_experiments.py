"""Notebook 06: other right answers, and wrong ones with the hint that each should get."""

import math
import statistics

import torch
from torch import nn

from utils.experiments import sign_test, t_interval
from utils.models import ConstantGate


def half_of(factor=None, freedom=0, root=0.5, correction=1, result=lambda mean, half: (mean, half)):
    def interval(x):
        values = torch.as_tensor(x, dtype=torch.float64)
        n = len(values)
        plain = torch.arange(n + freedom, dtype=torch.float64)
        t = factor or t_interval(plain)[1] / (plain.std() / len(plain) ** 0.5)
        return result(values.mean(), t * values.std(correction=correction) / n**root)

    return interval


class Equal(nn.Module):
    value, per_image, scale, tilt = None, True, 1.0, 0.0

    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, X):
        weights = torch.ones(self.k, device=X.device) * self.scale / self.k
        weights[0] += self.tilt
        weights[1] -= self.tilt
        return weights.repeat(X.shape[0], 1) if self.per_image else weights[None]


class LearnedEqual(Equal):
    def __init__(self, k):
        super().__init__(k)
        self.weights = nn.Parameter(torch.ones(k))


class OnCPU(Equal):
    def forward(self, X):
        return torch.full((len(X), self.k), 1 / self.k)


def equal(**switches):
    return type("Changed", (Equal,), switches)


def bootstrap(*, replace=True, of=torch.median, levels=(2.5, 97.5), size=None, both=True):
    def interval(d, samples=4000):
        n = size or len(d)
        rows = [torch.randint(len(d), (n,)) if replace else torch.randperm(len(d)) for _ in range(samples)]
        values = torch.stack([of(d[row]) for row in rows]) if of else d
        ordered = values.sort().values
        ends = [ordered[min(len(ordered) - 1, int(level / 100 * len(ordered)))].item() for level in levels]
        return ends if both else ends[0]

    return interval


def coin(*, sides=2, most=1.0, single=False, pick=min, divided=True, short=0):
    def coin_test(a, b):
        n, m = a + b, pick(a, b)
        tail = sum(math.comb(n, i) for i in range(m if single else 0, m + 1 - short))
        return min(most, sides * tail / (2**n if divided else 1))

    return coin_test


def power(*, factor=None, error=True, spread_used=True, missed=False, experiments=6000, known=False, share=True):
    def found(difference, spread, n):
        t = factor or t_interval(range(n))[1] / (statistics.stdev(range(n)) / n**0.5)
        d = torch.randn(experiments, n) * (spread if spread_used else 1) + difference
        is_found = d.mean(1) - t * (spread if known else d.std(1)) / (n**0.5 if error else 1) > 0
        if not share:
            return is_found.sum()
        found_in = is_found.float().mean().item()
        return 1 - found_in if missed else found_in

    return found


def peeking(*, looks=range(3, 11), factor=None, fresh=False, counts="any", sides=2):
    def false_alarms(experiments=6000):
        d, alarms = torch.randn(experiments, 10), []
        for n in looks:
            x = torch.randn(experiments, n) if fresh else d[:, :n]
            t = factor or t_interval(range(n))[1] / (statistics.stdev(range(n)) / n**0.5)
            z = x.mean(1) / x.std(1) * n**0.5
            alarms.append((z.abs() if sides == 2 else z) > t)
        alarms = torch.stack(alarms).float()
        share = alarms.amax(0).mean() if counts != "all" else alarms.sum(0).mean()
        return 1 - share if counts == "none" else share

    return false_alarms


ALSO_RIGHT = {
    "06.std": lambda x: statistics.stdev(x.tolist()),
    "06.interval": t_interval,
    "06.by-hand": (83, 4.11),
    "06.equal-weights": ConstantGate,
    "06.bootstrap": bootstrap(),
    "06.coin": sign_test,
    "06.power": power(),
    "06.peeking": peeking(),
    "06.control": (4, 2),
}
WRONG = {
    "06.std": {
        "population": lambda x: x.std(correction=0),
        "no_root": lambda x: x.var(),
        "outside": lambda x: (x - x.mean()).square().sum().sqrt() / (len(x) - 1),
        "absolute": lambda x: (x - x.mean()).abs().mean(),
        "no_mean": lambda x: (x.square().sum() / (len(x) - 1)).sqrt(),
        "error": lambda x: x.std() / len(x) ** 0.5,
    },
    "06.interval": {
        "normal": half_of(factor=1.96),
        "freedom": half_of(freedom=1),
        "no_error": half_of(root=0),
        "population": half_of(correction=0),
        "by_n": half_of(root=1),
        "no_factor": half_of(factor=1),
        "spread": half_of(factor=1, root=0),
        "full_width": half_of(result=lambda mean, half: (mean, 2 * half)),
        "ends": half_of(result=lambda mean, half: (mean - half, mean + half)),
        "raises": lambda x: half_of()(x) if torch.as_tensor(x).is_floating_point() else torch.tensor(x).mean(),
    },
    "06.by-hand": {
        "normal": [83, 2.53],
        "freedom": [83.0, 3.584],
        "no_error": [83, 8.22],
        "mean": [84, 4.11],
        "by_n": [83, 2.05],
        "no_factor": [83, 1.29],
        "spread": [83, 2.58],
        "ends": [78.89, 87.11],
        "open": [83, ...],
    },
    "06.equal-weights": {
        "no_share": equal(scale=2.0),
        "one_row": equal(per_image=False),
        "learns": LearnedEqual,
        "not_equal": equal(tilt=0.1),
        "wrong_device": OnCPU,
    },
    "06.bootstrap": {
        "no_replacement": bootstrap(replace=False),
        "of_means": bootstrap(of=torch.mean),
        "of_values": bootstrap(of=None),
        "ninety": bootstrap(levels=(5, 95)),
        "wrong_size": bootstrap(size=20),
        "two_ends": bootstrap(both=False),
    },
    "06.coin": {
        "one_sided": coin(sides=1),
        "above_one": coin(most=9),
        "one_result": coin(single=True),
        "wrong_tail": coin(pick=lambda a, b: b),
        "one_short": coin(short=1),
        "not_divided": coin(divided=False, most=1e99),
    },
    "06.power": {
        "missed": power(missed=True),
        "normal": power(factor=1.96),
        "no_error": power(error=False),
        "no_spread": power(spread_used=False),
        "single": power(experiments=1),
        "known": power(known=True),
        "counts": power(share=False),
    },
    "06.peeking": {
        "last_look": peeking(looks=[10]),
        "too_often": peeking(fresh=True),
        "all_looks": peeking(counts="all"),
        "one_side": peeking(sides=1),
        "no_alarm": peeking(counts="none"),
    },
    "06.control": {
        "two_rows": [2],
        "same": [2, 2],
        "unknown": [2, 3],
        "row_1": [1, 2],
        "convolutions": [6, 9],
    },
}
