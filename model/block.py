"""One LongVQ block.

It follows LongVQ (Liu et al., IJCAI 2024, doi 10.24963/ijcai.2024/510) as far as its abstract and reviews tell it,
completed by MEGA (Ma et al., ICLR 2023) for the gates and Transformer-VQ for the attention:

    X~ = norm(X);  M = silu(ssm(conv(X~)))
    Q = norm(M Wq);  K = norm(M Wk);  V = silu(X~ Wv)
    O = attention(Q, K, V);  H = silu(M Wh + (O * silu(M Wr)) Wo);  U = sigmoid(M Wu)
    Y = X + U (H - X);  Y = Y + ffn(norm(Y))

MEGA makes Q and K of one projection, each with a gain and a bias per dimension, so that a query can look for what its
own event is only in the dimension that holds what the event before was. Two projections take 6 % more weights. Recall
was learned with them alone, and then in two of the four ways to begin that were tried (decision 0003).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.attention import Mixed, State
from model.config import EncoderConfig
from model.mixers import MIXERS
from model.ssm import CONV_TAPS, CausalConv, SelectiveSSM


@dataclass(frozen=True)
class LayerOutput:
    """What one layer did, for losses, codebooks and explanations.

    Attributes:
        keys: (b, h, l, k) before quantising.
        codes: (b, h, l); None where the mixer has no codebook.
        weights: (b, h, l, s + 2 block) attention mass, or None.
    """

    keys: Tensor
    codes: Tensor | None
    weights: Tensor | None


class Block(nn.Module):
    """One LongVQ block; see the module's docstring.

    Its state is the mixer's, and `tail` (b, 3, d), the convolution's last inputs, and `hidden` (b, ssm heads, N,
    d / ssm heads) of the state-space layer, float32.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, inner = config.width, config.heads * config.head_width
        self.config = config
        self.norm = nn.RMSNorm(width)
        self.conv = CausalConv(width)
        self.ssm = SelectiveSSM(width, config.ssm_heads, config.ssm_state)
        self.value = nn.Linear(width, inner)
        # Q, K, R, H and U of the module's docstring, in one product.
        self.gates = nn.Linear(width, 3 * inner + 2 * width)
        self.out = nn.Linear(inner, width, bias=False)
        # Scores are multiplied by its exponential. Twice the usual scale: keys are normed, and sharper from the start.
        self.log_temperature = nn.Parameter(torch.full((config.heads,), math.log(2.0)))
        self.attention = MIXERS[config.mixer](config)
        self.ffn_norm = nn.RMSNorm(width)
        self.ffn_in = nn.Linear(width, config.ffn_factor * width)
        self.ffn_out = nn.Linear(config.ffn_factor * width, width)
        self.dropout = nn.Dropout(config.dropout)

    def initial_state(self, batch: int) -> State:
        """Return the state before the first event."""
        config, like = self.config, self.out.weight
        shape = (batch, config.ssm_heads, config.ssm_state, config.width // config.ssm_heads)
        attention: State = self.attention.initial_state(batch)  # type: ignore[operator]
        return attention | {
            "tail": like.new_zeros(batch, CONV_TAPS - 1, config.width),
            "hidden": torch.zeros(shape, device=like.device),
        }

    def forward(
        self,
        x: Tensor,
        state: State,
        position: Tensor,
        *,
        keep_weights: bool = False,
        without: Tensor | None = None,
    ) -> tuple[Tensor, State, LayerOutput]:
        """Run the block.

        Args:
            x: (b, l, d); l a multiple of the attention block.
            state: where the streams stand; left as it is.
            position: (b,) events before.
            keep_weights: also return where the attention went.
            without: (b, h, s) bool, codes that no event sees; for attention over codes alone.
        """
        config = self.config
        inner = config.heads * config.head_width
        normed = self.norm(x)
        mixed, tail = self.conv(normed, state["tail"])
        mixed, hidden = self.ssm(mixed, state["hidden"], config.block)
        # In place where a tensor has one reader: a write elsewhere costs a CPU as much as the function.
        mixed = functional.silu(mixed, inplace=True)
        sizes = [2 * inner, inner, config.width, config.width]
        both, reset, candidate, update = self.gates(mixed).split(sizes, -1)
        both = both.view(*x.shape[:2], 2, config.heads, config.head_width)
        query, key = functional.rms_norm(both, (config.head_width,), eps=1e-6).permute(2, 0, 3, 1, 4)
        scale = config.head_width**-0.5 * self.log_temperature.exp()
        query = query * scale[:, None, None].to(query.dtype)
        value = self._heads(functional.silu(self.value(normed), inplace=True))
        lacking = {} if without is None else {"without": without}
        attended: Mixed = self.attention(query, key, value, state, position, keep_weights=keep_weights, **lacking)
        out = attended.out.transpose(1, 2).flatten(2)
        candidate = functional.silu(self.out(out * functional.silu(reset)).add_(candidate), inplace=True)
        y = (self.dropout(candidate) - x).mul_(torch.sigmoid(update)).add_(x)
        y = y + self.dropout(self.ffn_out(functional.silu(self.ffn_in(self.ffn_norm(y)), inplace=True)))
        after = attended.state | {"tail": tail, "hidden": hidden}
        return y, after, LayerOutput(key, attended.codes, attended.weights)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.config.heads, self.config.head_width).transpose(1, 2)
