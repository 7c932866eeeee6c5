"""Slow oracles: what the fast forms must equal, written as their definitions read.

They loop, hold whole matrices, and are used by tests only. Axis letters as in `stack.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.attention import FORGOTTEN
from model.quantizer import nearest_code


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    codebook: Tensor,
    bias: Tensor,
    *,
    block: int,
    keep: float,
    count_share: Tensor | None,
) -> Tensor:
    """Attend query by query, rebuilding the memory from all keys before its window each time.

    Args:
        query: (b, h, l, k), scaled.
        key: (b, h, l, k), not quantised.
        value: (b, h, l, k).
        codebook: (h, s, k).
        bias: (h, 2 block) score added at each distance inside the window.
        block: events in a block; `l` need not be a multiple.
        keep: share of its weight that a key outside the window keeps from one block to the next.
        count_share: (h,) how much a code's count counts, beyond one, and a code's key outside the window is the mean of
            its keys; None where keys are their codewords, and counts count in full.

    Returns:
        (b, h, l, k) float64.
    """
    codes = nearest_code(key.float(), codebook.float())
    query, key, value, codebook, bias = (x.double() for x in (query, key, value, codebook, bias))
    batch, heads, length, _ = query.shape
    out = torch.zeros_like(query)
    for b in range(batch):
        for h in range(heads):
            keys = codebook[h, codes[b, h]] if count_share is None else key[b, h]
            for t in range(length):
                first = max(0, (t // block - 1) * block)
                window = torch.arange(first, t + 1)
                scores = [keys[window] @ query[b, h, t] + bias[h, t - window]]
                values = [value[b, h, window]]
                age = t // block - 2 - torch.arange(first) // block
                weight = keep ** age.double()
                for code in sorted(set(codes[b, h, :first].tolist())):
                    of_code = torch.where(codes[b, h, :first] == code, weight, 0.0)
                    count = of_code.sum()
                    if count <= FORGOTTEN:
                        continue
                    mean_key = codebook[h, code] if count_share is None else of_code @ key[b, h, :first] / count
                    share = 1.0 if count_share is None or count < 1 else count_share[h].double()
                    scores.append((mean_key @ query[b, h, t] + share * count.log())[None])
                    values.append((of_code @ value[b, h, :first] / count)[None])
                out[b, h, t] = torch.softmax(torch.cat(scores), 0) @ torch.cat(values)
    return out


def dense_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, block: int, keep: float) -> Tensor:
    """Attend over every key before, one softmax over the whole triangle: what `static` memory must equal.

    Args:
        query: (b, h, l, k), scaled.
        key: (b, h, l, k), quantised.
        value: (b, h, l, k).
        bias: (h, 2 block) score added at each distance inside the window.
        block: events in a block.
        keep: share of its weight that a key outside the window keeps from one block to the next.

    Returns:
        (b, h, l, k), in the dtype given; gradients reach every key.
    """
    length = query.shape[2]
    now, then = torch.arange(length)[:, None], torch.arange(length)[None]
    blocks = now // block - then // block
    near = bias[:, (now - then).clamp(0, 2 * block - 1)]
    faded = (blocks - 2).to(bias.dtype) * torch.tensor(keep, dtype=bias.dtype).log()
    scores = query @ key.transpose(-1, -2) + torch.where(blocks < 2, near, faded)
    return torch.softmax(scores.masked_fill(then > now, float("-inf")), -1) @ value


def state_space(inputs: Tensor, decay: Tensor, into: Tensor, out_of: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Step through h_t = exp(decay_t) h_{t-1} + B_t x_t^T, y_t = C_t h_t.

    Args:
        inputs: (b, l, h, p), x.
        decay: (b, l, h) logarithm of a, <= 0.
        into: (b, l, N), B.
        out_of: (b, l, N), C.
        hidden: (b, h, N, p) before the first event.

    Returns:
        (b, l, h, p) float64, and the hidden state after the last event.
    """
    inputs, decay, into, out_of, hidden = (x.double() for x in (inputs, decay, into, out_of, hidden))
    out = []
    for t in range(inputs.shape[1]):
        added = torch.einsum("bn,bhp->bhnp", into[:, t], inputs[:, t])
        hidden = decay[:, t].exp()[..., None, None] * hidden + added
        out.append(torch.einsum("bn,bhnp->bhp", out_of[:, t], hidden))
    return torch.stack(out, 1), hidden
