"""Causal attention over a codebook: exact, linear in length, and with a state of fixed size.

A query sees the events of its own block up to itself, the block before in full, and everything older through the
cache: per code how many keys it was assigned (n, fading over `horizon` events), their mean (`centroid`) or the codeword
(`static`), and the mean of their values. The score of a cached code is q.key + ln n, because n equal keys
weigh n times one (Transformer-VQ, Lingle, ICLR 2024, arXiv 2309.16354, theorem 3.7).

The cache of means (`centroid`) follows a measurement: on multi-query recall it finds .91 where codewords find .135,
and its gradients are exact, because no straight-through estimator is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.config import EncoderConfig
from model.quantizer import Quantizer, codewords, nearest_code

NEGATIVE = float("-inf")
# A cached code whose count has fallen this low answers no query any more.
FORGOTTEN = 1e-3
# Divides what no key was ever folded into.
_NOTHING = 1e-30


@dataclass
class AttentionState:
    """What attention remembers of a stream, at a block boundary.

    Attributes:
        count: (b, h, s) keys folded into each code, older ones counting less.
        key: (b, h, s, k) mean of those keys, weighted alike; unused in `static` memory.
        value: (b, h, s, k) mean of their values.
        last_key: (b, h, l, k) keys of the block before.
        last_value: (b, h, l, k) values of the block before.
        last_code: (b, h, l) codes of the block before.
        has_last: (b,) 1.0 where there is a block before, else 0.0.
    """

    count: Tensor
    key: Tensor
    value: Tensor
    last_key: Tensor
    last_value: Tensor
    last_code: Tensor
    has_last: Tensor


@dataclass(frozen=True)
class AttentionOutput:
    """What attention returns.

    Attributes:
        out: (b, h, l, k).
        state: after the last block.
        codes: (b, h, l) code of every key.
        weights: (b, h, l, s + 2 block) attention mass into codes, the block before and this block; None in training.
    """

    out: Tensor
    state: AttentionState
    codes: Tensor
    weights: Tensor | None


class VQAttention(nn.Module):
    """Block-linear attention with a codebook cache.

    Args:
        config: the encoder's shape.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        heads, block = config.heads, config.block
        self.head_width, self.block, self.memory = config.head_width, block, config.memory
        self.quantizer = Quantizer(heads, config.codes, config.head_width)
        self.keep = math.exp(-block / config.horizon)
        # Scores are multiplied by its exponential. Twice the usual scale: keys are normed, and sharper from the start.
        self.log_temperature = nn.Parameter(torch.full((heads,), math.log(2.0)))
        # One bias per head and distance inside the window: a compressed cache cannot tell near from far. It begins with
        # weights of 1 / (1 + distance) that sum to those of a full cache. From zero, the window's hundred keys stay at
        # 1 % of the mass beside the thousands that the cache counts, and training does not leave that corner.
        weights = 1 / torch.arange(1.0, 2 * block + 1)
        self.distance_bias = nn.Parameter((weights * (config.horizon / weights.sum())).log().repeat(heads, 1))
        rows, columns = torch.arange(block)[:, None], torch.arange(2 * block)[None]
        distance = rows + block - columns
        self.register_buffer("distance", distance.clamp(min=0), persistent=False)
        self.register_buffer("future", distance < 0, persistent=False)

    distance: Tensor
    future: Tensor

    def initial_state(self, batch: int) -> AttentionState:
        """Return the state before the first event."""
        codebook = self.quantizer.codebook
        heads, size, width = codebook.shape
        means = codebook.new_zeros(batch, heads, size, width)
        last = codebook.new_zeros(batch, heads, self.block, width)
        return AttentionState(
            count=codebook.new_zeros(batch, heads, size),
            key=means,
            value=means.clone(),
            last_key=last,
            last_value=last.clone(),
            last_code=torch.zeros(batch, heads, self.block, dtype=torch.long, device=codebook.device),
            has_last=codebook.new_zeros(batch),
        )

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, state: AttentionState, *, keep_weights: bool = False
    ) -> AttentionOutput:
        """Attend.

        Args:
            query: (b, h, l, k); l a multiple of `block`.
            key: (b, h, l, k).
            value: (b, h, l, k).
            state: where the stream stands.
            keep_weights: also return where the attention went.
        """
        codes = nearest_code(key.float(), self.quantizer.codebook)
        if self.memory == "static":
            # Straight-through: forward the codeword, backward to the key. In the cache the codeword is a constant, so
            # gradients reach keys through the window only.
            key = key + (codewords(codes, self.quantizer.codebook).to(key.dtype) - key).detach()
        query = query * (self.head_width**-0.5 * self.log_temperature.exp())[:, None, None]
        bias = self.distance_bias[:, self.distance].masked_fill(self.future, NEGATIVE)
        outs, kept = [], []
        for start in range(0, query.shape[2], self.block):
            part = slice(start, start + self.block)
            out, weights = self._attend(query[:, :, part], key[:, :, part], value[:, :, part], state, bias)
            state = self._shift(key[:, :, part], value[:, :, part], codes[:, :, part], state)
            outs.append(out)
            if keep_weights:
                kept.append(weights)
        return AttentionOutput(torch.cat(outs, 2), state, codes, torch.cat(kept, 2) if kept else None)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, state: AttentionState, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        cached = self.quantizer.codebook.to(key.dtype).expand_as(state.key) if self.memory == "static" else state.key
        log_count = torch.where(state.count > FORGOTTEN, state.count.clamp(min=FORGOTTEN).log(), NEGATIVE)
        absent = torch.where(state.has_last > 0, 0.0, NEGATIVE)[:, None, None, None]
        size = log_count.shape[-1]
        keys = torch.cat([cached, state.last_key, key], 2)
        values = torch.cat([state.value, state.last_value, value], 2)
        scores = query @ keys.transpose(-1, -2)
        # In place, on a product that no gradient needs: joining three products would copy the widest tensor here.
        scores[..., :size] += log_count[:, :, None]
        scores[..., size:] += bias
        scores[..., size : size + self.block] += absent
        weights = torch.softmax(scores, -1)
        return weights @ values, weights

    def _shift(self, key: Tensor, value: Tensor, codes: Tensor, state: AttentionState) -> AttentionState:
        """Fold the block that leaves the window into the cache; `key`, `value`, `codes` become the block before."""
        size = state.count.shape[-1]
        member = nn.functional.one_hot(state.last_code, size).to(key.dtype) * state.has_last[:, None, None, None]
        member = member.transpose(-1, -2)
        added = member.sum(-1)
        old = state.count * self.keep
        count = old + added
        # Means are merged, never sums: sums of an endless stream lose digits.
        share = count.clamp(min=_NOTHING)
        keep = (old / share)[..., None]
        member = member / share[..., None]
        return AttentionState(
            count=count,
            key=keep * state.key + member @ state.last_key,
            value=keep * state.value + member @ state.last_value,
            # One memory layout for every state, restored ones too: the layout of a factor can change a last bit.
            last_key=key.contiguous(),
            last_value=value.contiguous(),
            last_code=codes.contiguous(),
            has_last=torch.ones_like(state.has_last),
        )
