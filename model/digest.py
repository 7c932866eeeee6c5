"""What tells that saved tensors are those that were written."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def digest(told: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of contiguous tensors on the CPU, and of what is told beside them."""
    found = hashlib.sha256(told.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
