"""The codebook: which codeword a key is nearest to, and how codewords follow the keys.

Codewords are moved by an exponential average of the keys assigned to them (van den Oord et al., Neural Discrete
Representation Learning, 2017, appendix A.1), outside autograd and after the backward pass: changing a buffer that the
graph still needs breaks it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

EMA_DECAY = 0.99
# A code is dead when its share of the keys stays under this fraction of an even share.
DEAD_SHARE = 0.1
_KMEANS_ROUNDS = 10


def nearest_code(keys: Tensor, codebook: Tensor) -> Tensor:
    """Assign each key to its nearest codeword.

    Args:
        keys: (b, h, l, k), any float dtype.
        codebook: (h, s, k), treated as constant.

    Returns:
        (b, h, l) int64 in [0, s). Of codewords equally near the first wins.
    """
    keys, codebook = keys.detach(), codebook.detach().to(keys.dtype)
    # argmin |key - c|^2 = argmax key.c - |c|^2 / 2
    return (keys @ codebook.transpose(-1, -2) - 0.5 * codebook.square().sum(-1)[:, None]).argmax(-1)


def codewords(codes: Tensor, codebook: Tensor) -> Tensor:
    """Return the codeword of every code: codes (b, h, l), codebook (h, s, k) -> (b, h, l, k)."""
    index = codes[..., None].expand(*codes.shape, codebook.shape[-1])
    return codebook.expand(codes.shape[0], *codebook.shape).gather(2, index)


class Quantizer(nn.Module):
    """One codebook a head, learned from the keys.

    Buffers: `codebook` (h, s, k), `ema_count` (h, s), `ema_sum` (h, s, k), float32.
    """

    codebook: Tensor
    ema_count: Tensor
    ema_sum: Tensor

    def __init__(self, heads: int, codes: int, head_width: int) -> None:
        super().__init__()
        start = torch.randn(heads, codes, head_width)
        start = start * torch.rsqrt(start.square().mean(-1, keepdim=True))
        self.register_buffer("codebook", start)
        self.register_buffer("ema_count", torch.ones(heads, codes))
        self.register_buffer("ema_sum", start.clone())

    def commitment(self, keys: Tensor, codes: Tensor, weight: Tensor) -> Tensor:
        """Return the mean squared distance of keys to their (constant) codewords, over positions of weight 1.

        Args:
            keys: (b, h, l, k).
            codes: (b, h, l).
            weight: (b, l), 0 for padding.
        """
        distance = (keys - codewords(codes, self.codebook).to(keys.dtype)).square().sum(-1).mean(1)
        return (distance * weight).sum() / weight.sum().clamp(min=1)

    @torch.no_grad()
    def update(self, keys: Tensor, codes: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        """Move the codewords towards the keys assigned to them, and give dead codes a new place.

        Args:
            keys: (b, h, l, k), detached.
            codes: (b, h, l).
            weight: (b, l), 0 for padding, which moves nothing.
            generator: chooses the keys that dead codes move to.
        """
        count, total = self._totals(keys.float(), codes, weight.float())
        self.ema_count = EMA_DECAY * self.ema_count + (1 - EMA_DECAY) * count
        self.ema_sum = EMA_DECAY * self.ema_sum + (1 - EMA_DECAY) * total
        self._revive(keys.float(), weight, generator)
        self.codebook = self.ema_sum / self.ema_count.clamp(min=1e-6)[..., None]

    def _totals(self, keys: Tensor, codes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        heads, size, width = self.codebook.shape
        flat = (codes + torch.arange(heads, device=codes.device)[:, None] * size).reshape(-1)
        weights = weight[:, None].expand(codes.shape).reshape(-1)
        count = torch.zeros(heads * size, device=keys.device).index_add_(0, flat, weights)
        total = torch.zeros(heads * size, width, device=keys.device)
        total.index_add_(0, flat, keys.reshape(-1, width) * weights[:, None])
        return count.view(heads, size), total.view(heads, size, width)

    def _revive(self, keys: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        share = self.ema_count / self.ema_count.sum(-1, keepdim=True)
        dead = share < DEAD_SHARE / share.shape[-1]
        where = weight.reshape(-1).nonzero()[:, 0]
        if not bool(dead.any()) or not len(where):
            return
        heads, size, width = self.codebook.shape
        flat = keys.transpose(0, 1).reshape(heads, -1, width)
        chosen = where[torch.randint(len(where), (heads, size), generator=generator).to(where.device)]
        fresh = flat.gather(1, chosen[..., None].expand(-1, -1, width))
        # A revived code begins at the mean count: it has as long to prove itself as the average code.
        level = self.ema_count.mean(-1, keepdim=True).expand_as(self.ema_count)
        self.ema_count = torch.where(dead, level, self.ema_count)
        self.ema_sum = torch.where(dead[..., None], fresh * level[..., None], self.ema_sum)

    @torch.no_grad()
    def init_from(self, keys: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        """Place the codewords by k-means.

        Args:
            keys: (b, h, l, k), detached.
            weight: (b, l), 0 for padding, which places nothing.
            generator: chooses the keys that the codewords begin at.
        """
        heads, size, width = self.codebook.shape
        real = weight.reshape(-1) > 0
        if not bool(real.any()):
            return
        flat = keys.float().transpose(0, 1).reshape(heads, -1, width)[:, real]
        order = torch.randperm(flat.shape[1], generator=generator)[:size].to(flat.device)
        if len(order) < size:
            order = order.repeat(math.ceil(size / len(order)))[:size]
        centres = flat[:, order].clone()
        alike = torch.ones(1, flat.shape[1], device=flat.device)
        for _ in range(_KMEANS_ROUNDS):
            codes = nearest_code(flat[None], centres)
            count, total = self._totals(flat[None], codes, alike)
            centres = torch.where(count[..., None] > 0, total / count.clamp(min=1)[..., None], centres)
        self.codebook = centres
        self.ema_count = count.clamp(min=1e-3)
        self.ema_sum = centres * self.ema_count[..., None]

    def perplexity(self) -> Tensor:
        """Return exp of the entropy of code use, mean over heads: s when all codes are used alike, 1 when one is."""
        share = self.ema_count / self.ema_count.sum(-1, keepdim=True)
        return torch.exp(-(share * share.clamp(min=1e-12).log()).sum(-1)).mean()
