"""Micro-batches: compute a batch in several parts, and in smaller parts each time memory runs out."""

from __future__ import annotations

import warnings

import torch

from utils.errors import CourseworkError, check_count

# Other errors than torch.OutOfMemoryError: of the CPU's allocator (on Linux, on Windows), MPS, cuBLAS and cuDNN.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


class MicroBatches:
    """Compute batches in micro-batches of `size` images; None means whole batches."""

    def __init__(self, size=None):
        self.size = size if size is None else check_count("micro_batch", size, 1)

    def run(self, X, work, free_memory):
        """Return work(size) for the batch X; if memory runs out, halve the size and compute the batch again.

        free_memory() may free other memory first; if it returns True, the same size is tried again.
        """
        while True:
            size = min(self.size or len(X), len(X))
            try:
                return work(size)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not ran_out_of_memory(error):
                    raise
                message = str(error).splitlines()[0]
            # Outside the except block, because the error refers to the tensors that fill the memory.
            has_freed_memory = free_memory()
            if X.is_cuda:
                torch.cuda.empty_cache()
            if has_freed_memory:
                continue
            if size == 1:
                next_step = "Choose a smaller network, or free the memory that other programs use."
                raise CourseworkError(f"Not even one image fits into memory: {message}", next_step=next_step)
            self.size = -(-size // 2)
            message = f"Memory ran out: each batch is now computed in parts of {self.size} images."
            warnings.warn(message, stacklevel=3)


def split(batch, size):
    """Return a batch as a list of micro-batches of at most this size.

    Their lengths differ by one at most, because batch norm can do little with a short last one. A batch that fits is
    returned itself, because every extra kernel launch costs time on a GPU.
    """
    return [batch] if size >= len(batch) else batch.tensor_split(-(-len(batch) // size))


def joined(micro_batches):
    """Return the micro-batches' scores as one tensor."""
    return micro_batches[0] if len(micro_batches) == 1 else torch.cat(micro_batches)


def ran_out_of_memory(error) -> bool:
    """Return True if an error means that the GPU or the CPU has not enough memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(phrase in str(error) for phrase in NO_MEMORY)
