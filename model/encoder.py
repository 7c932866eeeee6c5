"""LongVQ: an encoder of event streams with a vector-quantised global memory and a state-space local one.

Axis letters, everywhere: b batch, l length, h head, k key width, s codebook size, d width, N state.

At step t the input is the event before, x_{t-1}, and the time since it; the output is the distribution of x_t. What is
attended to at step t is therefore the *situation* in which x_t came, and its code is the situation's nearest codeword.

The block follows LongVQ (Liu et al., IJCAI 2024, doi 10.24963/ijcai.2024/510) as far as its abstract and reviews tell
it, completed by MEGA (Ma et al., ICLR 2023) for the gates and Transformer-VQ for the attention:

    X~ = norm(X);  M = silu(ssm(conv(X~)))
    Z = silu(M Wz);  Q = norm(g_q Z + b_q);  K = norm(g_k Z + b_k);  V = silu(X~ Wv)
    O = attention(Q, K, V);  H = silu(M Wh + (O * silu(M Wr)) Wo);  U = sigmoid(M Wu)
    Y = X + U (H - X);  Y = Y + ffn(norm(Y))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from model.attention import AttentionOutput, AttentionState, VQAttention
from model.config import EncoderConfig
from model.errors import BadConfig, EmptyBatch, TokenOutOfRange
from model.ssm import CONV_TAPS, CausalConv, SelectiveSSM

START = 0
# Gaps are seen as log-spaced buckets, 0.1 s apart at first and e-fold apart later: bounded whatever the clock says.
GAP_BUCKETS = 18
_GAP_SCALE = 10.0


@dataclass
class LayerState:
    """What one layer remembers of a stream, at a block boundary.

    Attributes:
        attention: cache and block before.
        tail: (b, 3, d) the convolution's last inputs.
        hidden: (b, ssm heads, N, d / ssm heads) of the state-space layer, float32.
    """

    attention: AttentionState
    tail: Tensor
    hidden: Tensor


@dataclass
class EncoderState:
    """What the encoder remembers of a stream, at a block boundary.

    Attributes:
        layers: one state a layer.
        last: (b,) the last event's token.
    """

    layers: list[LayerState]
    last: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor by name, for saving."""
        found = {"last": self.last}
        for index, layer in enumerate(self.layers):
            found |= {f"{index}.tail": layer.tail, f"{index}.hidden": layer.hidden}
            for field in fields(AttentionState):
                found[f"{index}.{field.name}"] = getattr(layer.attention, field.name)
        return found

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], layers: int) -> EncoderState:
        """Undo `tensors`."""
        names = [field.name for field in fields(AttentionState)]
        return cls(
            [
                LayerState(
                    AttentionState(**{name: tensors[f"{index}.{name}"] for name in names}),
                    tensors[f"{index}.tail"],
                    tensors[f"{index}.hidden"],
                )
                for index in range(layers)
            ],
            tensors["last"],
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> EncoderState:
        """Return a state with `change` applied to every tensor."""
        return EncoderState.from_tensors(
            {name: change(tensor) for name, tensor in self.tensors().items()}, len(self.layers)
        )


@dataclass(frozen=True)
class LayerOutput:
    """What one layer did, for losses, codebooks and explanations.

    Attributes:
        keys: (b, h, l, k) before quantising.
        codes: (b, h, l).
        weights: (b, h, l, s + 2 block) attention mass, or None.
    """

    keys: Tensor
    codes: Tensor
    weights: Tensor | None


@dataclass(frozen=True)
class EncoderOutput:
    """What the encoder returns.

    Attributes:
        logits: (b, l, vocabulary); token 0 has -inf.
        state: after the last block; None where `l` is no multiple of the block.
        layers: what each layer did.
    """

    logits: Tensor
    state: EncoderState | None
    layers: list[LayerOutput]


class Block(nn.Module):
    """One LongVQ block; see the module's docstring."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, inner = config.width, config.heads * config.head_width
        self.config = config
        self.norm = nn.RMSNorm(width)
        self.conv = CausalConv(width)
        self.ssm = SelectiveSSM(width, config.ssm_heads, config.ssm_state)
        self.value = nn.Linear(width, inner)
        # Z, R, H and U of the module's docstring, in one product.
        self.gates = nn.Linear(width, 2 * inner + 2 * width)
        self.out = nn.Linear(inner, width, bias=False)
        self.query_gain = nn.Parameter(torch.ones(inner) + 0.1 * torch.randn(inner))
        self.query_bias = nn.Parameter(torch.zeros(inner))
        self.key_gain = nn.Parameter(torch.ones(inner) + 0.1 * torch.randn(inner))
        self.key_bias = nn.Parameter(torch.zeros(inner))
        self.attention = VQAttention(config)
        self.ffn_norm = nn.RMSNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, config.ffn_factor * width), nn.SiLU(), nn.Linear(config.ffn_factor * width, width)
        )
        self.dropout = nn.Dropout(config.dropout)

    def initial_state(self, batch: int) -> LayerState:
        """Return the state before the first event."""
        config, like = self.config, self.out.weight
        return LayerState(
            self.attention.initial_state(batch),
            like.new_zeros(batch, CONV_TAPS - 1, config.width),
            torch.zeros(
                batch, config.ssm_heads, config.ssm_state, config.width // config.ssm_heads, device=like.device
            ),
        )

    def forward(self, x: Tensor, state: LayerState, *, keep_weights: bool) -> tuple[Tensor, LayerState, LayerOutput]:
        """Run the block over x (b, l, d), l a multiple of the attention block."""
        config = self.config
        inner = config.heads * config.head_width
        normed = self.norm(x)
        mixed, tail = self.conv(normed, state.tail)
        mixed, hidden = self.ssm(mixed, state.hidden, config.block)
        mixed = nn.functional.silu(mixed)
        shared, reset, candidate, update = self.gates(mixed).split([inner, inner, config.width, config.width], -1)
        shared = nn.functional.silu(shared)
        query = _unit(self._heads(shared * self.query_gain + self.query_bias))
        key = _unit(self._heads(shared * self.key_gain + self.key_bias))
        value = self._heads(nn.functional.silu(self.value(normed)))
        attended: AttentionOutput = self.attention(query, key, value, state.attention, keep_weights=keep_weights)
        out = attended.out.transpose(1, 2).flatten(2)
        candidate = nn.functional.silu(candidate + self.out(out * nn.functional.silu(reset)))
        y = x + torch.sigmoid(update) * (self.dropout(candidate) - x)
        y = y + self.dropout(self.ffn(self.ffn_norm(y)))
        return (
            y,
            LayerState(attended.state, tail, hidden),
            LayerOutput(key, attended.codes, attended.weights),
        )

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.config.heads, self.config.head_width).transpose(1, 2)


class Encoder(nn.Module):
    """The whole encoder: events in, the distribution of each next event out."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.vocab_size, config.width)
        self.gap = nn.Embedding(GAP_BUCKETS, config.width)
        nn.init.normal_(self.token.weight, std=0.5)
        nn.init.normal_(self.gap.weight, std=0.2)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width)
        self.head = nn.Linear(config.width, config.vocab_size)

    def initial_state(self, batch: int) -> EncoderState:
        """Return the state before the first event of `batch` streams."""
        layers = [block.initial_state(batch) for block in self.layer_blocks()]
        return EncoderState(layers, torch.full((batch,), START, device=self.head.weight.device))

    def layer_blocks(self) -> list[Block]:
        """Return the blocks, typed."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def check(self, tokens: Tensor) -> None:
        """Refuse what the encoder cannot read.

        Raises:
            EmptyBatch: there are no tokens.
            TokenOutOfRange: a token is not in the vocabulary, or is the start of a stream, which never comes.
        """
        if tokens.numel() == 0:
            raise EmptyBatch("there are no events to encode")
        low, high = int(tokens.min()), int(tokens.max())
        if low <= START or high >= self.config.vocab_size:
            wrong = low if low <= START else high
            raise TokenOutOfRange(f"token {wrong} is not in 1 to {self.config.vocab_size - 1}, the model's vocabulary")

    def forward(
        self, tokens: Tensor, gaps: Tensor, state: EncoderState | None = None, *, keep_weights: bool = False
    ) -> EncoderOutput:
        """Predict every event from those before it.

        Args:
            tokens: (b, l) int64, the events; the shift to inputs happens inside.
            gaps: (b, l) float32, seconds from each event to the one before, >= 0.
            state: where the streams stand, at a block boundary; None at their beginning.
            keep_weights: also return where the attention went.
        """
        state = state or self.initial_state(tokens.shape[0])
        length, block = tokens.shape[1], self.config.block
        if length == 0:
            raise BadConfig("a sequence has at least one event")
        inputs = torch.cat([state.last[:, None], tokens[:, :-1]], 1)
        x = self.token(inputs) + self.gap(gap_bucket(gaps))
        padding = -length % block
        if padding:
            x = nn.functional.pad(x, (0, 0, 0, padding))
        layers, outputs = [], []
        for module, before in zip(self.layer_blocks(), state.layers, strict=True):
            x, after, output = module(x, before, keep_weights=keep_weights)
            layers.append(after)
            outputs.append(output)
        logits = self.head(self.norm(x[:, :length]))
        logits[..., START] = float("-inf")
        return EncoderOutput(logits, None if padding else EncoderState(layers, tokens[:, -1]), outputs)


def gap_bucket(gaps: Tensor) -> Tensor:
    """Return the bucket of each gap: 0 for none or NaN, then log-spaced; gaps (b, l) seconds -> (b, l) int64."""
    bucket = torch.log1p(gaps.nan_to_num(0.0).clamp(min=0) * _GAP_SCALE).ceil()
    return bucket.clamp(max=GAP_BUCKETS - 1).long()


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6).to(x.dtype)
