"""Propose the next trial of a search: a pure function of the space, the trials so far and a seed.

settings, proposer = propose(space, earlier, seed=0)  # by Optuna, or at random where it is not installed
"""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings

import numpy as np

from utils.data.counter_rng import derive_seed
from utils.errors import need_package, require
from utils.experiments.space import Range

SAMPLERS = ("auto", "tpe", "random")


@dataclasses.dataclass(frozen=True)
class Tried:
    """What a proposal knows of an earlier trial: its settings, its state, and its accuracies after each epoch."""

    settings: dict
    state: str
    accuracies: dict


def check_sampler(sampler: str) -> str:
    """Return "tpe" or "random" for a sampler; "auto" is tpe where Optuna is installed."""
    require(sampler in SAMPLERS, f"There is no sampler {sampler!r}.", None, f"Choose one of {', '.join(SAMPLERS)}.")
    if sampler == "auto":
        return "tpe" if importlib.util.find_spec("optuna") else "random"
    if sampler == "tpe":
        need_package("optuna", "The sampler tpe")
    return sampler


def propose(space: dict, earlier: list[Tried], seed: int, sampler: str = "auto") -> tuple[dict, str]:
    """Return the settings of the next trial, and who has proposed them; equal arguments give equal settings."""
    seed = derive_seed(seed, "search", len(earlier))
    if check_sampler(sampler) == "random":
        return _random_settings(space, seed), "random"
    return _settings_of_tpe(space, earlier, seed)


def _random_settings(space, seed):
    generator, settings = np.random.default_rng(seed), {}
    for axis, values in space.items():
        fraction = float(generator.random())
        labels = None if isinstance(values, Range) else list(values)
        settings[axis] = values.at(fraction) if labels is None else labels[int(fraction * len(labels))]
    return settings


def _settings_of_tpe(space, earlier, seed):
    """Let Optuna's tree-structured Parzen estimator propose; it gets all earlier trials anew each time."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {axis: _distribution(values, optuna.distributions) for axis, values in space.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # constant_liar: trials that other processes are training count as bad ones, so that none is proposed twice.
        sampler = optuna.samplers.TPESampler(seed=seed % 2**32, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for tried in earlier:
        study.add_trial(_optuna_trial(tried, space, distributions, optuna.trial))
    proposed = study.ask(fixed_distributions=distributions).params
    settings = {}
    for axis, values in space.items():
        is_range = isinstance(values, Range)
        settings[axis] = values.rounded(proposed[axis]) if is_range else list(values)[proposed[axis]]
    return settings, f"optuna {optuna.__version__}"


def _distribution(values, distributions):
    if not isinstance(values, Range):
        return distributions.CategoricalDistribution(tuple(range(len(values))))
    kind = distributions.IntDistribution if values.is_whole else distributions.FloatDistribution
    return kind(values.low, values.high, log=values.is_log)


def _optuna_trial(tried, space, distributions, trial):
    """Return an earlier trial in Optuna's form; one that diverged has the accuracy 0, so that its region is left."""
    states = {"finished": "COMPLETE", "diverged": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    state = trial.TrialState[states.get(tried.state, "RUNNING")]
    params = {}
    for axis, label in tried.settings.items():
        params[axis] = label if isinstance(space[axis], Range) else list(space[axis]).index(label)
    value = None
    if state == trial.TrialState.COMPLETE:
        value = tried.accuracies[max(tried.accuracies)] if tried.state == "finished" else 0.0
    pruned = tried.accuracies if tried.state == "pruned" else {}
    about = {"params": params, "distributions": distributions, "intermediate_values": pruned}
    return trial.create_trial(state=state, value=value, **about)
