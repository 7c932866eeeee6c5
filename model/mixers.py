"""What LongVQ is compared with, behind the interface of `attention.py` and inside the same block.

Full attention keeps every event; linear attention (Katharopoulos et al., ICML 2020, arXiv 2006.16236) keeps sums; the
window keeps two blocks; and the state-space layer alone keeps nothing here. `lstm.py` replaces the block itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from model.attention import Mixed, State, VQAttention, Window
from model.config import EncoderConfig, Mixer


class FullAttention(nn.Module):
    """Causal softmax attention to every event, of earlier calls the latest `horizon` ones.

    State: `keys`, `values` (b, h, m, k), m <= horizon.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads, self.width, self.horizon = config.heads, config.head_width, config.horizon
        # Nothing to learn; tells where the module is.
        self.register_buffer("like", torch.zeros(()), persistent=False)

    like: Tensor

    def initial_state(self, batch: int) -> State:
        """Return the state before the first event."""
        empty = self.like.new_zeros(batch, self.heads, 0, self.width)
        return {"keys": empty, "values": empty}

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, state: State, position: Tensor, *, keep_weights: bool = False
    ) -> Mixed:
        """Attend; see `VQAttention.forward`. An event of an earlier stream in the same row is hidden."""
        before, length = state["keys"].shape[2], query.shape[2]
        keys, values = torch.cat([state["keys"], key], 2), torch.cat([state["values"], value], 2)
        mask = None
        if before:
            slots = torch.arange(before + length, device=query.device)
            causal = slots <= before + torch.arange(length, device=query.device)[:, None]
            real = slots >= before - position[:, None].clamp(max=before)
            mask = causal & real[:, None, None]
        out = nn.functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, is_causal=mask is None, scale=1.0
        )
        return Mixed(out, {"keys": keys[:, :, -self.horizon :], "values": values[:, :, -self.horizon :]})


class LinearAttention(nn.Module):
    """Attention with the feature map elu + 1 in place of the exponential, block by block.

    State: `sums` (b, h, k, k) of key features and values, `normaliser` (b, h, k).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads, self.width, self.block = config.heads, config.head_width, config.block
        self.register_buffer("future", torch.ones(self.block, self.block, dtype=torch.bool).triu(1), persistent=False)
        self.register_buffer("like", torch.zeros(()), persistent=False)

    future: Tensor
    like: Tensor

    def initial_state(self, batch: int) -> State:
        """Return the state before the first event."""
        sums = self.like.new_zeros(batch, self.heads, self.width, self.width)
        return {"sums": sums, "normaliser": sums[..., 0].clone()}

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, state: State, position: Tensor, *, keep_weights: bool = False
    ) -> Mixed:
        """Attend; see `VQAttention.forward`."""
        query, key = nn.functional.elu(query) + 1, nn.functional.elu(key) + 1
        queries, keys, values = (x.view(*x.shape[:2], -1, self.block, self.width) for x in (query, key, value))
        sums, normalisers = [state["sums"]], [state["normaliser"]]
        for added, total in zip((keys.transpose(-1, -2) @ values).unbind(2), keys.sum(3).unbind(2), strict=True):
            sums.append(sums[-1] + added)
            normalisers.append(normalisers[-1] + total)
        scores = (queries @ keys.transpose(-1, -2)).masked_fill(self.future, 0.0)
        weight = scores.sum(-1) + (queries @ torch.stack(normalisers[:-1], 2)[..., None])[..., 0]
        out = (scores @ values + queries @ torch.stack(sums[:-1], 2)) / weight.clamp(min=1e-6)[..., None]
        return Mixed(out.flatten(2, 3), {"sums": sums[-1], "normaliser": normalisers[-1]})


class WindowAttention(nn.Module):
    """The window of `VQAttention` without its cache: this block and the block before.

    State: `last` (b, h, block, 2k), keys and values of the block before.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads, self.width, self.block = config.heads, config.head_width, config.block
        self.window = Window(config.heads, config.block)

    def initial_state(self, batch: int) -> State:
        """Return the state before the first event."""
        return {"last": self.window.distance_bias.new_zeros(batch, self.heads, self.block, 2 * self.width)}

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, state: State, position: Tensor, *, keep_weights: bool = False
    ) -> Mixed:
        """Attend; see `VQAttention.forward`."""
        queries = query.view(*query.shape[:2], -1, self.block, self.width)
        pair = torch.cat([key, value], -1)
        near = torch.cat(self.window.split(state["last"], pair), 3)
        scores = queries @ near[..., : self.width].transpose(-1, -2) + self.window.bias(position, queries.shape[2])
        out = torch.softmax(scores, -1) @ near[..., self.width :]
        return Mixed(out.flatten(2, 3), {"last": pair[:, :, -self.block :].clone()})


class NoAttention(nn.Module):
    """The state-space layer alone: an event gets its own value. Without a state.

    Nothing reads the block's queries and keys: their projections, a tenth of the weights of the default encoder and
    from a tenth to a sixth in `tests/benchmark/sequences.py`, learn nothing. This encoder is as large as the others by
    count only.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()

    def initial_state(self, batch: int) -> State:
        """Return the state before the first event."""
        return {}

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, state: State, position: Tensor, *, keep_weights: bool = False
    ) -> Mixed:
        """Return the values."""
        return Mixed(value, {})


MIXERS: dict[Mixer, Callable[[EncoderConfig], nn.Module]] = {
    "centroid": VQAttention,
    "static": VQAttention,
    "full": FullAttention,
    "linear": LinearAttention,
    "window": WindowAttention,
    "ssm": NoAttention,
}
