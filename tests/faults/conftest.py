"""Owns what all fault tests share: one thread, which is fastest for so small a network."""

import pytest


@pytest.fixture(autouse=True)
def in_one_thread(one_thread):
    """Ask for the fixture of all tests."""
