"""Tests counter_rng: evenness, independence of seeds, epochs, indices and names, purity, other RNGs left alone."""

import random

import numpy as np
import pytest
import torch

from utils.data import counter_rng as randomness
from utils.data.counter_rng import Draws, derive_seed, epoch_order, integers, random_bits, uniform

INDEX = torch.arange(1 << 16)


def surprise(counts, expected):
    """Return how many standard deviations chi-square lies from what even counts give."""
    freedom = counts.numel() - 1
    return ((((counts - expected) ** 2) / expected).sum() - freedom) / (2 * freedom) ** 0.5


def joint_surprise(a, b, bins=32):
    """Return the surprise of two sequences of uniform numbers taken as pairs."""
    cells = (a * bins).long() * bins + (b * bins).long()
    return surprise(torch.bincount(cells, minlength=bins * bins).double(), len(a) / bins**2)


def test_the_numbers_are_the_same_on_every_platform_and_in_every_version():
    # Written down from this code once. If they change, no saved run can be resumed or repeated: a decision, not a slip.
    assert random_bits(7, 3, torch.tensor([0, 1, 49999]), "order").tolist() == [3202703240, 354348882, 997305620]
    assert derive_seed(7, 3, "item", 0) == 13613153785973098438
    assert epoch_order(7, 3, 8).tolist() == [3, 1, 6, 4, 7, 0, 5, 2]


@pytest.mark.parametrize("bins", [2, 10, 256, 4096])
def test_uniform_numbers_fill_every_bin_evenly(bins):
    counts = torch.bincount((uniform(0, 0, INDEX, "x") * bins).long(), minlength=bins)
    assert len(counts) == bins
    assert abs(surprise(counts.double(), len(INDEX) / bins)) < 4


@pytest.mark.parametrize("start", range(3))
@pytest.mark.parametrize(
    "neighbour", [(1, 0, "x", 0), (0, 1, "x", 0), (0, 0, "y", 0), (0, 0, "x", 1), (0, 0, "x", 64), (0, 0, "x", 4096)]
)
def test_neighbouring_seeds_epochs_streams_and_indices_are_unrelated(start, neighbour):
    seed, epoch, stream, step = neighbour
    here = uniform(start, start, INDEX, "x")
    there = uniform(start + seed, start + epoch, INDEX + step, stream)
    assert abs(joint_surprise(here, there)) < 4


def test_the_largest_bits_do_not_round_up_to_the_end_of_a_range(monkeypatch):
    monkeypatch.setattr(randomness, "random_bits", lambda *_: torch.tensor([0, 2**32 - 1]))
    assert uniform(0, 0, INDEX, "x").tolist() == [0.0, 1 - 2**-24]
    assert integers(0, 0, INDEX, "x", 0, 9).tolist() == [0, 8]


@pytest.mark.parametrize(("low", "high"), [(0, 2), (0, 9), (-3, 4), (0, 33)])
def test_integers_take_every_value_of_their_range_equally_often(low, high):
    values = integers(1, 2, INDEX, "x", low, high)
    assert values.min() == low and values.max() == high - 1
    assert abs(surprise(torch.bincount(values - low).double(), len(INDEX) / (high - low))) < 4


@pytest.mark.parametrize("n", [1, 2, 10, 50_000])
def test_an_epoch_order_has_every_index_once(n):
    assert torch.equal(epoch_order(0, 0, n).sort().values, torch.arange(n))


def test_a_number_depends_on_its_own_index_only():
    alone = torch.cat([uniform(5, 6, INDEX[i : i + 1], "x") for i in range(20)])
    assert torch.equal(alone, uniform(5, 6, INDEX, "x")[:20])
    assert torch.equal(uniform(5, 6, INDEX.flip(0), "x").flip(0), uniform(5, 6, INDEX, "x"))


def test_the_parts_of_a_path_do_not_run_into_each_other():
    paths = [(1, 23), (12, 3), (123,), (1, "23"), ("1", 23), (1, 2, 3), (-1, 23), (1, "2", "3"), (1, "2, 3")]
    assert len({derive_seed(0, *path) for path in paths}) == len(paths)


def test_numbers_of_every_integer_type_mean_the_same_and_others_are_refused():
    assert derive_seed(np.int64(3), np.int32(1)) == derive_seed(3, 1)
    assert derive_seed(2**80, -1) != derive_seed(2**80, 1)
    with pytest.raises(TypeError):
        derive_seed(1.5)


def test_draws_of_different_names_purposes_and_epochs_differ():
    draws = Draws(0, 0, INDEX[:50], "0 Crop")
    others = [
        draws.uniform("left"),
        Draws(0, 0, INDEX[:50], "1 Crop").uniform("top"),
        draws.at_epoch(1).uniform("top"),
        Draws(1, 0, INDEX[:50], "0 Crop").uniform("top"),
    ]
    assert not any(torch.equal(draws.uniform("top"), other) for other in others)
    assert torch.equal(draws.at_epoch(1).at_epoch(0).uniform("top"), draws.uniform("top"))


def test_no_other_random_state_is_read_or_changed():
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    first = uniform(0, 0, INDEX, "x"), epoch_order(0, 0, 100)
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        assert torch.equal(uniform(0, 0, INDEX, "x"), first[0]) and torch.equal(epoch_order(0, 0, 100), first[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_makes_the_same_numbers():
    assert torch.equal(uniform(3, 4, INDEX.cuda(), "x", -1, 2).cpu(), uniform(3, 4, INDEX, "x", -1, 2))
    assert torch.equal(integers(3, 4, INDEX.cuda(), "x", 0, 9).cpu(), integers(3, 4, INDEX, "x", 0, 9))
    assert torch.equal(epoch_order(3, 4, 50_000, "cuda").cpu(), epoch_order(3, 4, 50_000))
