"""Run an answer so that it can't hang the notebook, end it, fill its output, or change its random state and modes.

with guarded(seconds=10):
    answer(X)
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import itertools
import random
import signal
import sys
import threading
import warnings

import numpy as np
import torch
from torch import nn

# Seconds between two attempts to stop an answer, whose own `except:` may catch the first one. The next attempt comes
# soon after it, so that it meets the line after the `except:`, which nothing protects.
REPEATS = (1e-6, 1e-5, 1e-4, 1e-3, 0.1)
# The code that ends a time limit is in these files. If an attempt interrupted it, the alarm would go on afterwards.
OWN_FILES = (__file__, contextlib.__file__)


class TimeUp(BaseException):
    """The answer took too long. It is no Exception, so that `except Exception` in an answer does not catch it."""


class Silence(io.TextIOBase):
    """A file that forgets what is written to it: an endless print must not fill the memory."""

    def writable(self):
        return True

    def write(self, text):
        return len(text)


@contextlib.contextmanager
def guarded(seconds, answer=None):
    """Run a block quietly and for at most these seconds; afterwards, restore what it may have changed."""
    with _restored(), _modes_kept(answer), _no_exit(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        silence = Silence()
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence), time_limit(seconds):
            yield


def time_limit(seconds):
    """Return a context that raises TimeUp inside its block after these seconds.

    A single long call of C code, such as the product of two huge matrices, is stopped only when it returns.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and hasattr(signal, "setitimer"):
        return _limit_by_signal(seconds)
    return _limit_by_thread(seconds)  # on Windows, or in another thread; it can't stop a `time.sleep`


@contextlib.contextmanager
def _limit_by_signal(seconds):
    is_armed = True
    pauses = itertools.cycle(REPEATS)

    def stop(number, frame):
        if is_armed:
            signal.setitimer(signal.ITIMER_REAL, next(pauses))
            if frame is None or frame.f_code.co_filename not in OWN_FILES:
                raise TimeUp

    def disarm():
        nonlocal is_armed
        is_armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier or signal.SIG_DFL)  # None: the handler is not Python's

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        try:
            yield
        finally:
            is_armed = False
    finally:
        disarm()  # not above: a signal may still arrive in the line that ends the alarm


@contextlib.contextmanager
def _limit_by_thread(seconds):
    """Let another thread raise TimeUp in this one, which Python allows from one line of code to the next."""
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    thread = ctypes.c_ulong(threading.get_ident())
    finished, lock = threading.Event(), threading.Lock()

    def raise_when_over():
        pause = seconds
        while not finished.wait(pause):
            with lock:
                if not finished.is_set():
                    raise_in(thread, ctypes.py_object(TimeUp))
            pause = REPEATS[-1]

    def disarm():
        finished.set()
        try:
            with lock:  # from here on, the timer sends nothing
                raise_in(thread, ctypes.py_object(TimeUp))  # takes the place of one that has not been raised yet
            while True:  # until it is raised: only then does Python 3.11 stop looking for it at every step
                pass
        except TimeUp:
            pass

    timer = threading.Thread(target=raise_when_over, daemon=True)
    timer.start()
    try:
        try:
            yield
        finally:
            disarm()
    finally:
        disarm()
        timer.join()


@contextlib.contextmanager
def _restored():
    """Restore the random generators and torch's settings, and close the figures that an answer opens."""
    figures = _open_figures()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    gradients, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    try:
        torch.manual_seed(0)  # the same check gives the same result each time
        with torch.enable_grad():
            yield
    finally:
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(dtype)
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        for number in _open_figures() - figures:  # a notebook would show them below the check
            sys.modules["matplotlib.pyplot"].close(number)


def _open_figures():
    pyplot = sys.modules.get("matplotlib.pyplot")
    return set(pyplot.get_fignums()) if pyplot else set()


@contextlib.contextmanager
def _modes_kept(answer):
    """Put all networks of the notebook, and the answer if it is one, back into their modes."""
    names = {**sys.modules["__main__"].__dict__, **getattr(answer, "__globals__", {})}
    networks = [value for value in [answer, *names.values()] if isinstance(value, nn.Module)]
    modes = [(module, module.training) for network in networks for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def _no_exit():
    """Let `exit()` in a notebook raise SystemExit: by itself it would end the kernel after the cell."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        yield
        return
    ask_exit = shell.ask_exit
    shell.ask_exit = sys.exit
    try:
        yield
    finally:
        shell.ask_exit = ask_exit
