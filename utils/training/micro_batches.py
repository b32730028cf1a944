"""Micro-batches: a batch that goes through the network a few images at a time, fewer each time memory runs out."""

from __future__ import annotations

import warnings

import torch

from utils.errors import CourseworkError

# What torch.OutOfMemoryError is not raised for: the CPU's allocator (on Linux, on Windows), MPS, cuBLAS and cuDNN.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


class MicroBatches:
    """How many images go through the network at a time: `size`, or None for whole batches."""

    def __init__(self, size=None):
        self.size = size

    def run(self, X, work, free_memory):
        """Return work(size) for the batch X; where memory runs out, halve the size and do the batch again.

        free_memory() may free other memory first; where it returns True, the same size is tried again.
        """
        while True:
            size = min(self.size or len(X), len(X))
            try:
                return work(size)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not ran_out_of_memory(error):
                    raise
                message = str(error).splitlines()[0]
            # Outside the except block, as the error holds the tensors that filled the memory.
            has_freed_memory = free_memory()
            if X.is_cuda:
                torch.cuda.empty_cache()
            if has_freed_memory:
                continue
            if size == 1:
                next_step = "Choose a smaller network, or free the memory that other programs hold."
                raise CourseworkError(f"Not even one image fits into memory: {message}", next_step=next_step)
            self.size = -(-size // 2)
            warnings.warn(f"Memory ran out: {self.size} images at a time from here on.", stacklevel=3)


def split(batch, size):
    """Return a batch in micro-batches of equal length, up to this size: a norm can't use a last one of a single image.

    An undivided batch is returned as is: every extra kernel launch costs time on a GPU.
    """
    return [batch] if size >= len(batch) else batch.tensor_split(-(-len(batch) // size))


def joined(micro_batches):
    """Return the micro-batches' scores as one tensor."""
    return micro_batches[0] if len(micro_batches) == 1 else torch.cat(micro_batches)


def ran_out_of_memory(error) -> bool:
    """Tell a lack of memory, on a GPU or on the CPU, from other errors."""
    return isinstance(error, torch.OutOfMemoryError) or any(phrase in str(error) for phrase in NO_MEMORY)
