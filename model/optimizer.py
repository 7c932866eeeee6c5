"""The optimizer's recipe: what decays, and how the learning rate rises and falls."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CLIP = 1.0
_BETAS = (0.9, 0.98)
_LEAST_RATE = 0.02


def adamw(
    module: nn.Module, learning_rate: float, weight_decay: float, embeddings: tuple[str, ...]
) -> torch.optim.AdamW:
    """Return AdamW over a module: matrices decay; decays, temperatures, gains, biases and embeddings do not.

    Args:
        module: what to train.
        learning_rate: peak.
        weight_decay: share of a matrix that a step at rate 1 takes away.
        embeddings: how the names of its embeddings begin.
    """
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in module.named_parameters():
        is_matrix = parameter.dim() >= 2 and not name.startswith(embeddings) and "distance_bias" not in name
        (decayed if is_matrix else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=_BETAS)


def rate(step: int, steps: int, warm_up_share: float) -> float:
    """Return the share of the peak learning rate: a linear rise, then half a cosine."""
    warm = max(1, round(warm_up_share * steps))
    fall = 0.5 + 0.5 * math.cos(math.pi * max(0, step - warm) / max(1, steps - warm))
    return max(_LEAST_RATE, min(1.0, (step + 1) / warm) * fall)
