"""Owns what all fault tests share: one thread, which is fastest for so small a network. Puts the setting back."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
