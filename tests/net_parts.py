"""Owns what the tests of networks share: images of noise. Holds no tests."""

import torch


def images(channels=3, size=8, count=4):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))
