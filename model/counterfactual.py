"""What an event would have been like had its attention not reached a code.

The last block's attention at an event decides nothing but that event's own prediction: keys, values and codes come from
below. Taking a code out of it there is therefore exact, and costs a softmax without one entry and the rest of the
block, for the events it is asked for. The slow form hides the code from a whole stream (`Scorer.score`, `without`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.block import Block, LayerOutput

# An event less surprising than one chance in a hundred is not asked about.
SURPRISING_NATS = math.log(100)
# So many of a block's surprising events are asked about, its first: a flood costs no more than an eighth of its events.
ASKED = 4
# Events are computed in multiples of so many: a row then keeps its bits beside any others (decision 0002).
_ROWS = 32
# Divides where attention reaches nothing else.
_NOTHING = 1e-30


def asked(surprisal: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Return which events to ask about, by row and step (n,); surprisal (b, l) begins at a block boundary.

    No event's being asked about depends on those after it, so that it does not depend on how a stream was cut.
    """
    high = surprisal >= SURPRISING_NATS
    padded = torch.nn.functional.pad(high, (0, -high.shape[1] % block)).view(len(high), -1, block)
    first = (padded & (padded.cumsum(-1) <= ASKED)).view(len(high), -1)[:, : high.shape[1]]
    row, step = first.nonzero(as_tuple=True)
    return row, step


def without_code(module: Block, layer: LayerOutput, row: Tensor, step: Tensor, head: Tensor, code: Tensor) -> Tensor:
    """Return what leaves a block at some events when one head's attention does not reach one code.

    Args:
        module: the block.
        layer: what it did, with weights.
        row: (n,) of the event.
        step: (n,) of the event.
        head: (n,) whose attention is changed.
        code: (n,) that it does not reach.

    Returns:
        (n, d).
    """
    attended, gates = layer.attended, layer.gates
    assert attended is not None
    assert attended.weights is not None
    assert attended.values is not None
    assert gates is not None
    count = len(row)
    row, step, head, code = (_filled(index) for index in (row, step, head, code))
    place = torch.arange(len(row), device=row.device)
    far, near = attended.values
    block = step // (near.shape[3] // 2)
    weights = attended.weights[row, head, step].float()
    weights[place, code] = 0.0
    size = far.shape[3]
    brought = torch.einsum("ns,nsk->nk", weights[:, :size], far[row, head, block].float())
    brought = brought + torch.einsum("nw,nwk->nk", weights[:, size:], near[row, head, block].float())
    out = attended.out.transpose(1, 2)[row, step].clone()
    out[place, head] = (brought / weights.sum(-1, keepdim=True).clamp(min=_NOTHING)).to(out.dtype)
    return module.join(out.flatten(1), gates.rows(row, step))[:count]


def _filled(index: Tensor) -> Tensor:
    """Fill up with the last event to a whole number of `_ROWS`."""
    return torch.cat([index, index[-1:].expand(-len(index) % _ROWS)])
