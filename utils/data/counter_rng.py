"""Random numbers that are a pure function of (seed, epoch, index, stream), the same on any device.

For example:

    shift = integers(seed=0, epoch=3, index=torch.arange(128), stream="shift", low=-4, high=5)
"""

from __future__ import annotations

import dataclasses
import hashlib
import operator

import torch

_LOW_32 = 0xFFFFFFFF


def derive_seed(seed, *path):
    """Return a 64-bit integer that depends on the seed and on each element of the path, such as an epoch."""
    key = [element if isinstance(element, str) else operator.index(element) for element in (seed, *path)]
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")


def _mix(x):
    """Scramble 32-bit values in an int64 tensor; different values stay different."""
    # Both multipliers are odd, so different values stay different; both are below 2**31, so no product overflows.
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _LOW_32
    x = ((x ^ (x >> 15)) * 0x5B2C9ED5) & _LOW_32
    return x ^ (x >> 16)


def random_bits(seed, epoch, index, stream):
    """Return 32 random bits, as int64, for each index (an int64 tensor of values below 2**32)."""
    key = derive_seed(seed, epoch, stream)
    return _mix(_mix(index ^ (key & _LOW_32)) ^ (key >> 32))


def uniform(seed, epoch, index, stream, low=0.0, high=1.0):
    """Return a float32 between low and high for each index; from 0 to 1 it never reaches 1."""
    # A float32 has a precision of 24 bits, so the value from 0 to 1 is exact and the same on every device.
    unit = (random_bits(seed, epoch, index, stream) >> 8).to(torch.float32) * 2.0**-24
    return unit * (high - low) + low


def integers(seed, epoch, index, stream, low, high):
    """Return an int64 with low <= value < high for each index; the range may span at most 2**31 values."""
    return ((random_bits(seed, epoch, index, stream) * (high - low)) >> 32) + low


def epoch_order(seed, epoch, n, device=None):
    """Return the order of the examples in an epoch, an int64 permutation of range(n)."""
    # Different indices get different bits, so the sort has no ties and has the same result on every device.
    return random_bits(seed, epoch, torch.arange(n, device=device), "order").argsort(stable=True)


@dataclasses.dataclass(frozen=True)
class Draws:
    """Random numbers for one purpose, such as one augmentation, for a batch of image indices in one epoch."""

    seed: int
    epoch: int
    index: torch.Tensor
    purpose: str = ""

    def uniform(self, name, low=0.0, high=1.0):
        """Return a float32 between low and high for each image; each name has its own random stream."""
        return uniform(self.seed, self.epoch, self.index, f"{self.purpose}/{name}", low, high)

    def integers(self, name, low, high):
        """Return an int64 with low <= value < high for each image."""
        return integers(self.seed, self.epoch, self.index, f"{self.purpose}/{name}", low, high)

    def at_epoch(self, epoch):
        """Return the same Draws for another epoch."""
        return dataclasses.replace(self, epoch=epoch)
