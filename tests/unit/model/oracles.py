"""What mixers must equal, query by query as their definitions read; gradients reach every argument."""

from __future__ import annotations

import torch
from torch import Tensor


def softmax_attention(
    query: Tensor, key: Tensor, value: Tensor, *, block: int | None = None, bias: Tensor | None = None
) -> Tensor:
    """Attend to every event up to one's own, or to those of its block and the block before.

    Args:
        query: (b, h, l, k), scaled.
        key: (b, h, l, k).
        value: (b, h, l, k).
        block: events in a block; None to see all.
        bias: (h, 2 block) score added at each distance.
    """
    out = []
    for t in range(query.shape[2]):
        first = 0 if block is None else max(0, (t // block - 1) * block)
        seen = torch.arange(first, t + 1)
        scores = (query[:, :, t, None] * key[:, :, seen]).sum(-1)
        if bias is not None:
            scores = scores + bias[:, t - seen]
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        out.append((weights[..., None] * value[:, :, seen]).sum(2))
    return torch.stack(out, 2)


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend with weights f(q) f(k), f = x + 1 above 0 and exp x below: the whole (l, l) matrix of them."""
    query, key = (torch.where(x > 0, x + 1, x.exp()) for x in (query, key))
    weights = torch.einsum("bhtk,bhjk->bhtj", query, key).tril()
    return torch.einsum("bhtj,bhjk->bhtk", weights / weights.sum(-1, keepdim=True), value)


def static_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, block: int, keep: float) -> Tensor:
    """Attend over quantised keys (b, h, l, k), with gradients for those inside a query's window only."""
    now, then = torch.arange(query.shape[2])[:, None], torch.arange(query.shape[2])[None]
    blocks = now // block - then // block
    near = query @ key.transpose(-1, -2) + bias[:, (now - then).clamp(0, 2 * block - 1)]
    far = query @ key.detach().transpose(-1, -2) + (blocks - 2) * torch.tensor(keep, dtype=bias.dtype).log()
    scores = torch.where(blocks < 2, near, far).masked_fill(then > now, float("-inf"))
    return torch.softmax(scores, -1) @ value
