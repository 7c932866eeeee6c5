"""The local part: a short causal convolution and a selective state-space layer in chunked-matmul form.

h_t = a_t h_{t-1} + s_t B_t x_t^T,  y_t = C_t h_t + D x_t, with a step s_t > 0 and a decay a_t = exp(-s_t) per head and
a skip D per channel, computed chunk by chunk (state-space duality, Dao & Gu, ICML 2024, listing 1; the scan there is
given s_t x_t as its input). Decays stay in float32: in bfloat16 the largest number below 1 caps the half-life at 177
events.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CONV_TAPS = 4
# Half-lives at the start, in events, log-spaced over the heads: from a reflex to a shift.
HALF_LIVES = (2.0, 16_384.0)
# Events computed at once, at most: within a chunk, decays are differences of sums over it, which lose digits as sums
# grow. With random steps up to 3, chunks of 256 are 1.3e-5 of the largest value off the recurrence, those of 64 3.3e-6
# and those of 32 2.1e-6; with steps up to 20, 1.1e-4, 1.6e-5 and 1.3e-5. Shorter chunks are more, one after another.
MOST_AT_ONCE = 64


class CausalConv(nn.Module):
    """Depthwise convolution over the last `CONV_TAPS` events."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CONV_TAPS, width) * CONV_TAPS**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve x (b, l, d) after tail (b, taps - 1, d); return the result and the new tail."""
        full = torch.cat([tail, x], 1)
        length = x.shape[1]
        out = torch.addcmul(self.bias, full[:, :length], self.weight[0])
        for tap in range(1, CONV_TAPS):
            out.addcmul_(full[:, tap : tap + length], self.weight[tap])
        return nn.functional.silu(out, inplace=True), full[:, length:]


class SelectiveSSM(nn.Module):
    """Selective state-space layer with scalar decays.

    Args:
        width: d.
        heads: decay rates; each serves d / heads channels.
        state: N.
    """

    def __init__(self, width: int, heads: int, state: int) -> None:
        super().__init__()
        self.heads, self.state = heads, state
        self.project = nn.Linear(width, 2 * state + heads)
        self.skip = nn.Parameter(torch.ones(width))
        low, high = (math.log(value) for value in HALF_LIVES)
        half_lives = torch.exp(torch.linspace(low, high, heads))
        step = math.log(2) / half_lives
        # softplus(bias) = step: with no input a head halves its memory in its half-life.
        self.step_bias = nn.Parameter(torch.log(torch.expm1(step)))

    def forward(self, x: Tensor, hidden: Tensor, block: int) -> tuple[Tensor, Tensor]:
        """Run the layer.

        Args:
            x: (b, l, d); l a multiple of `block`.
            hidden: (b, heads, N, d / heads), float32.
            block: is cut into chunks of one length; the result does not depend on it beyond rounding.

        Returns:
            (b, l, d) and the hidden state after the last event.
        """
        batch, length, width = x.shape
        into, out_of, step = self.project(x).split([self.state, self.state, self.heads], -1)
        step = nn.functional.softplus(step.float() + self.step_bias.float())
        inputs = x.float().view(batch, length, self.heads, -1) * step[..., None]
        chunk = next(size for size in range(min(block, MOST_AT_ONCE), 0, -1) if block % size == 0)
        with torch.autocast(x.device.type, enabled=False):
            y, hidden = chunked_scan(inputs, -step, into.float(), out_of.float(), hidden, chunk)
        return (self.skip * x).add_(y.reshape(batch, length, width).to(x.dtype)), hidden


def chunked_scan(
    inputs: Tensor, decay: Tensor, into: Tensor, out_of: Tensor, hidden: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """Run h_t = exp(decay_t) h_{t-1} + B_t x_t^T, y_t = C_t h_t, in products over chunks.

    Args:
        inputs: (b, l, h, p), x; l a multiple of `chunk`.
        decay: (b, l, h) logarithm of a, <= 0, so that no exponential here can overflow.
        into: (b, l, N), B.
        out_of: (b, l, N), C.
        hidden: (b, h, N, p) before the first event.
        chunk: events computed at once.

    Returns:
        (b, l, h, p) and the hidden state after the last event.
    """
    batch, length, heads, _ = inputs.shape
    parts = length // chunk
    inputs = inputs.view(batch, parts, chunk, heads, -1).permute(0, 1, 3, 2, 4).contiguous()
    decay = decay.view(batch, parts, chunk, heads).transpose(-1, -2).cumsum(-1)
    into = into.reshape(batch, parts, 1, chunk, -1)
    out_of = out_of.reshape(batch, parts, 1, chunk, -1)
    # The future alone is above 0, and the product beside it is 0 there: exponentials of -inf take twice as long.
    between = (decay[..., :, None] - decay[..., None, :]).clamp(max=0).exp_()
    within = (between * (out_of @ into.transpose(-1, -2)).tril()) @ inputs
    total = decay[..., -1]
    added = (into * (total[..., None] - decay).exp()[..., None]).transpose(-1, -2) @ inputs
    before = []
    for kept, new in zip(total.exp()[..., None, None].unbind(1), added.unbind(1), strict=True):
        before.append(hidden)
        hidden = torch.addcmul(new, kept, hidden)
    carried = (out_of * decay.exp()[..., None]) @ torch.stack(before, 1)
    return carried.add_(within).permute(0, 1, 3, 2, 4).flatten(1, 2), hidden
