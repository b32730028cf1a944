"""How long tests wait for what must happen: far longer than an idle machine needs, because a busy one is slow."""

import time

PATIENCE = 1800.0  # seconds


def wait_until(condition):
    """Wait until condition() is true; fail only when patience has run out."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
