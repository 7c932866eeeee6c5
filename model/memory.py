"""Whether an error says that memory did not suffice; torch has a type for a GPU's, and words for everything else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from model.errors import OutOfMemory

# Of a CPU's allocator, of C++, of cuBLAS and cuSOLVER, of cuDNN, and of CUDA outside of torch's allocator.
_WORDS = ("can't allocate memory", "bad_alloc", "_ALLOC_FAILED", "_ALLOCATION_FAILED", "CUDA error: out of memory")


def is_shortage(error: Exception) -> bool:
    """Return whether an error says that memory did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


@contextmanager
def shortage_suppressed() -> Iterator[None]:
    """Leave the clause where memory does not suffice.

    It is handled after the clause: until that ends, the error holds the tensors that did not fit.
    """
    try:
        yield
    except Exception as error:
        if not is_shortage(error):
            raise


@contextmanager
def shortage_told(message: str) -> Iterator[None]:
    """Say what there was no memory for.

    Raises:
        OutOfMemory: memory did not suffice.
    """
    try:
        yield
    except Exception as error:
        if not is_shortage(error):
            raise
        raise OutOfMemory(message) from error
