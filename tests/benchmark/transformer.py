"""What LongVQ is timed against, a causal Transformer of the same width, and both behind one call.

The Transformer is the usual pre-norm one: RMSNorm, one product for queries, keys and values, torch's fused
`scaled_dot_product_attention`, a projection back; RMSNorm and a feed-forward layer of the same factor and the same
SiLU. It has no positions and no biases, which only makes it quicker.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from model import EncoderConfig
from model.stack import Stack


class TransformerLayer(nn.Module):
    """One causal layer, (b, l, d) to (b, l, d), of the width and feed-forward factor of `config`.

    Args:
        config: shape of the encoder it stands beside.
        heads: of its attention.
        inner: width of its queries, keys and values, of all heads together; the usual one is the layer's own.
    """

    def __init__(self, config: EncoderConfig, heads: int, inner: int) -> None:
        super().__init__()
        hidden = config.ffn_factor * config.width
        self.heads = (heads, inner // heads)
        self.norm = nn.RMSNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, config.width, bias=False)
        self.ffn_norm = nn.RMSNorm(config.width)
        self.ffn_in = nn.Linear(config.width, hidden, bias=False)
        self.ffn_out = nn.Linear(hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer; no tensor is named that is not needed any more, so that none lives longer than it must."""
        x = x + self.out(self._attend(self.norm(x)))
        return x + self.ffn_out(functional.silu(self.ffn_in(self.ffn_norm(x))))

    def _attend(self, x: Tensor) -> Tensor:
        query, key, value = (part.view(*x.shape[:2], *self.heads).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)


class Transformer(nn.Sequential):
    """As many layers as `config` has, as a rule with heads of 64 that share the width."""

    def __init__(self, config: EncoderConfig, inner: int | None = None) -> None:
        inner = inner or config.width
        super().__init__(*(TransformerLayer(config, max(1, config.width // 64), inner) for _ in range(config.layers)))


class Swept(nn.Module):
    """LongVQ, or a mixer it is compared with, run by `Stack.sweep`."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.stack = Stack(config)

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks over x (b, l, d) from the beginning."""
        y, _ = self.stack.sweep(x)
        return y
