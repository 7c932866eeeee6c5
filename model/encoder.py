"""LongVQ: an encoder of event streams with a vector-quantised global memory and a state-space local one.

At step t the input is the event before, x_{t-1}, and the time since it; the output is the distribution of x_t. What is
attended to at step t is therefore the *situation* in which x_t came, and its code is the situation's nearest codeword.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.attention import State
from model.block import LayerOutput
from model.config import EncoderConfig
from model.errors import EmptyBatch, TokenOutOfRange
from model.stack import Stack, StackState, rows_of

START = 0
# Gaps are seen as buckets that end at 0, 0.17, 0.64, 1.9 seconds and so on, e-fold later, and the last begins at ten
# days: bounded whatever the clock says.
GAP_BUCKETS = 18
_GAP_SCALE = 10.0


@dataclass
class EncoderState:
    """What the encoder remembers of streams. All zeros before the first event.

    Attributes:
        stack: of the blocks.
        last: (b,) int64, the last event's token.
    """

    stack: StackState
    last: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor by name, for saving."""
        found = {"last": self.last, "position": self.stack.position}
        for index, layer in enumerate(self.stack.layers):
            found |= {f"{index}.{name}": tensor for name, tensor in layer.items()}
        return found

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> EncoderState:
        """Undo `tensors`."""
        layers: dict[int, State] = {}
        for name, tensor in tensors.items():
            index, dot, part = name.partition(".")
            if dot:
                layers.setdefault(int(index), {})[part] = tensor
        stack = StackState([layers[index] for index in sorted(layers)], tensors["position"])
        return cls(stack, tensors["last"])

    @classmethod
    def joined(cls, states: Sequence[EncoderState]) -> EncoderState:
        """Return one state of many streams, copied."""
        return cls(StackState.joined([state.stack for state in states]), torch.cat([state.last for state in states]))

    def rows(self) -> list[EncoderState]:
        """Return the state of each stream, copied."""
        return [EncoderState(*row) for row in zip(self.stack.rows(), rows_of(self.last), strict=True)]

    def to(self, device: torch.device) -> EncoderState:
        """Return the state on a device: itself where it is there."""
        return self if self.last.device == device else self.map(lambda tensor: tensor.to(device))

    def map(self, change: Callable[[Tensor], Tensor]) -> EncoderState:
        """Return a state with `change` applied to every tensor."""
        return EncoderState(self.stack.map(change), change(self.last))


@dataclass(frozen=True)
class EncoderOutput:
    """What the encoder returns.

    Attributes:
        logits: (b, l, vocabulary); token 0 has -inf.
        state: after the last event; see `StackOutput`.
        layers: what each layer did; see `StackOutput`.
    """

    logits: Tensor
    state: EncoderState | None
    layers: list[LayerOutput]


class Encoder(nn.Module):
    """The whole encoder: events in, the distribution of each next event out."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.vocab_size, config.width)
        self.gap = nn.Embedding(GAP_BUCKETS, config.width)
        nn.init.normal_(self.token.weight, std=0.5)
        nn.init.normal_(self.gap.weight, std=0.2)
        self.dropout = nn.Dropout(config.dropout)
        self.stack = Stack(config)
        self.norm = nn.RMSNorm(config.width)
        self.head = nn.Linear(config.width, config.vocab_size)

    def initial_state(self, batch: int) -> EncoderState:
        """Return the state before the first event of `batch` streams."""
        return EncoderState(
            self.stack.initial_state(batch), torch.full((batch,), START, device=self.head.weight.device)
        )

    def check(self, tokens: Tensor) -> None:
        """Refuse what the encoder cannot read.

        Raises:
            EmptyBatch: there are no tokens.
            TokenOutOfRange: a token is not in the vocabulary, or is the start of a stream, which never comes.
        """
        if tokens.numel() == 0:
            raise EmptyBatch("there are no events to encode")
        self.check_range(int(tokens.min()), int(tokens.max()))

    def check_range(self, low: int, high: int) -> None:
        """Refuse tokens of which these are the lowest and the highest, where the encoder cannot read one of them.

        Raises:
            TokenOutOfRange: see `check`.
        """
        if low <= START or high >= self.config.vocab_size:
            wrong = low if low <= START else high
            raise TokenOutOfRange(f"token {wrong} is not in 1 to {self.config.vocab_size - 1}, the model's vocabulary")

    def forward(
        self,
        tokens: Tensor,
        gaps: Tensor,
        state: EncoderState | None = None,
        *,
        keep_weights: bool = False,
        without: Tensor | None = None,
    ) -> EncoderOutput:
        """Predict every event from those before it.

        Args:
            tokens: (b, l) int64, the events; the shift to inputs happens inside.
            gaps: (b, l) float32, seconds from each event to the one before, >= 0.
            state: where the streams stand, at a block boundary; None at their beginning.
            keep_weights: also return where the attention went.
            without: (b, h, s) bool, codes that no event sees in the last block.

        Raises:
            EmptyBatch: sequences have no events.
        """
        state = state or self.initial_state(tokens.shape[0])
        if tokens.shape[1] == 0:
            raise EmptyBatch("there are no events to encode")
        inputs = self._inputs(tokens, gaps, state.last)
        out = self.stack(inputs, state.stack, keep_weights=keep_weights, without=without)
        after = None if out.state is None else EncoderState(out.state, tokens[:, -1])
        return EncoderOutput(self._logits(out.y), after, out.layers)

    def _inputs(self, tokens: Tensor, gaps: Tensor, last: Tensor) -> Tensor:
        embedded = self.token(torch.cat([last[:, None], tokens[:, :-1]], 1)) + self.gap(gap_bucket(gaps))
        return self.dropout(embedded)  # type: ignore[no-any-return]

    def _logits(self, y: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(y))
        logits[..., START] = float("-inf")
        return logits


def gap_bucket(gaps: Tensor) -> Tensor:
    """Return the bucket of each gap: 0 for none or NaN, then log-spaced; gaps (b, l) seconds -> (b, l) int64."""
    bucket = torch.log1p(gaps.nan_to_num(0.0).clamp(min=0) * _GAP_SCALE).ceil()
    return bucket.clamp(max=GAP_BUCKETS - 1).long()
