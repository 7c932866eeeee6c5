"""The blocks of an encoder, one after another: a sequence of vectors in, a sequence of vectors out.

Axis letters, everywhere: b batch, l length, h head, k key width, s codebook size, d width, N state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.attention import State, VQAttention
from model.block import Block, LayerOutput
from model.config import EncoderConfig
from model.lstm import LSTM
from model.quantizer import Quantizer

# Weight of the commitment loss; the cache of means needs keys near their codewords less than codewords themselves do.
COMMITMENT = {"centroid": 1e-3, "static": 1e-4}
# Keys have a shape worth clustering only after some training.
_KMEANS_SHARE = 0.1
# Events of a sequence that a sweep takes at once: enough to keep the products busy, few enough to stay in a processor's
# cache. A GPU wants large products: of the large shape of `tests/benchmark/gpu.py` these take some 6 GiB, as counted
# from the sizes of attention weights and caches, not measured.
SEGMENT = {"cpu": 2048, "cuda": 65_536}


@dataclass
class StackState:
    """Where streams stand. All zeros before the first event.

    Attributes:
        layers: one state a layer; see `attention.py`, `mixers.py` and `block.py` for the tensors by name.
        position: (b,) int64, events so far.
    """

    layers: list[State]
    position: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> StackState:
        """Return a state with `change` applied to every tensor."""
        layers = [{name: change(tensor) for name, tensor in layer.items()} for layer in self.layers]
        return StackState(layers, change(self.position))

    @classmethod
    def joined(cls, states: Sequence[StackState]) -> StackState:
        """Return one state of many streams, copied; of `full`, streams of one age only."""
        layers = [
            {name: torch.cat([state.layers[index][name] for state in states]) for name in layer}
            for index, layer in enumerate(states[0].layers)
        ]
        return cls(layers, torch.cat([state.position for state in states]))

    def rows(self) -> list[StackState]:
        """Return the state of each stream, copied: a view would keep the memory of all of them."""
        layers = [{name: rows_of(tensor) for name, tensor in layer.items()} for layer in self.layers]
        return [
            StackState([{name: rows[index] for name, rows in layer.items()} for layer in layers], position)
            for index, position in enumerate(rows_of(self.position))
        ]


def rows_of(tensor: Tensor) -> list[Tensor]:
    """Return each row (1, ...) of a tensor, copied."""
    # Contiguous whatever they were cut from: the layout of a factor can change a last bit of a product.
    return [row.clone(memory_format=torch.contiguous_format) for row in tensor.chunk(len(tensor))]


@dataclass(frozen=True)
class StackOutput:
    """What the blocks return.

    Attributes:
        y: (b, l, d).
        state: after the last event; None where `l` is no multiple of the block, but for an LSTM, which has no blocks.
        layers: what each layer did, with `l` filled up to whole blocks; empty for an LSTM.
    """

    y: Tensor
    state: StackState | None
    layers: list[LayerOutput]


class Stack(nn.Module):
    """The blocks, or what they are compared with.

    Args:
        config: the encoder's shape.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        if config.mixer == "lstm":
            like = Stack(replace(config, mixer="centroid"))
            self.lstm: LSTM | None = LSTM(config, sum(parameter.numel() for parameter in like.parameters()))
            self.blocks = nn.ModuleList()
        else:
            self.lstm = None
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def initial_state(self, batch: int) -> StackState:
        """Return the state before the first event of `batch` streams."""
        device = next(self.parameters()).device
        parts = self._blocks() if self.lstm is None else [self.lstm]
        return StackState(
            [part.initial_state(batch) for part in parts], torch.zeros(batch, dtype=torch.long, device=device)
        )

    def forward(
        self,
        x: Tensor,
        state: StackState | None = None,
        *,
        keep_weights: bool = False,
        without: Tensor | None = None,
    ) -> StackOutput:
        """Run the blocks over x (b, l, d), from `state`, which is at a block boundary, or from the beginning.

        `without` is for the last block alone, whose codes explain; see `Block.forward`.
        """
        state = state or self.initial_state(x.shape[0])
        length, block = x.shape[1], self.config.block
        if self.lstm is not None:
            y, after = self.lstm(x, state.layers[0])
            return StackOutput(y, StackState([after], state.position + length), [])
        padding = -length % block
        if padding:
            x = functional.pad(x, (0, 0, 0, padding))
        layers, outputs = [], []
        blocks = self._blocks()
        for module, before in zip(blocks, state.layers, strict=True):
            lacking = without if module is blocks[-1] else None
            x, layer, output = module(x, before, state.position, keep_weights=keep_weights, without=lacking)
            layers.append(layer)
            outputs.append(output)
        after_all = None if padding else StackState(layers, state.position + length)
        return StackOutput(x[:, :length], after_all, outputs)

    def sweep(self, x: Tensor, state: StackState | None = None) -> tuple[Tensor, StackState]:
        """Run the blocks over a long x (b, l, d), segment after segment: memory beside the result does not grow with l.

        The result is that of `forward`, except for `full` beyond `horizon`; l is a multiple of the block.
        """
        state = state or self.initial_state(x.shape[0])
        segment = max(1, SEGMENT[x.device.type] // self.config.block) * self.config.block
        parts = []
        y = torch.empty_like(x) if not torch.is_grad_enabled() else None
        # Split, not sliced: the gradient of a slice is as long as the whole, and there are as many as segments.
        for index, part in enumerate(torch.split(x, segment, 1)):
            out = self(part, state)
            state = out.state
            if y is None:
                parts.append(out.y)
            else:
                y[:, index * segment : (index + 1) * segment] = out.y
        return torch.cat(parts, 1) if y is None else y, state

    def quantizers(self) -> list[Quantizer]:
        """Return the codebooks, one a layer; none where the mixer has none."""
        return [attention.quantizer for attention in self._coded()]

    @property
    def exact(self) -> bool:
        """Whether in training events see the events of a call themselves (`VQAttention.exact`)."""
        return any(attention.exact for attention in self._coded())

    def attend_exactly(self, exact: bool) -> None:
        """Choose whether they do."""
        for attention in self._coded():
            attention.exact = exact

    def prepare(self, step: int, steps: int, keys_first: float) -> bool:
        """Make ready for the next of so many steps of a training; return whether it is to place the codewords.

        They are placed at the first step, and again by what keys have become: after a share of the steps in which
        events see events (decision 0012) or, where there is none, after some training.
        """
        # `static` reads keys as codewords from the first step on, as LongVQ does; where it differs, for other reasons,
        # `EncoderConfig` says.
        exact = keys_first > 0 and self.config.mixer == "centroid"
        placed = min(round((keys_first if exact else _KMEANS_SHARE) * steps), steps - 1)
        self.attend_exactly(exact and step <= placed)
        return self.config.coded and step in {0, placed}

    def commitment(self, outputs: Sequence[LayerOutput], weight: Tensor) -> Tensor:
        """Return the weighted commitment loss; weight (b, l), 0 for padding.

        It is zero without codebooks, and while events see events themselves: it would draw keys together before they
        have come apart.
        """
        total = weight.new_zeros(())
        for attention, layer in zip(self._coded(), outputs, strict=self.config.coded):
            if attention.exact:
                continue
            assert layer.codes is not None
            keys, codes = (x[:, :, : weight.shape[1]] for x in (layer.keys, layer.codes))
            total = total + attention.quantizer.commitment(keys, codes, weight)
        return COMMITMENT.get(self.config.mixer, 0.0) * total

    def update_codebooks(
        self, outputs: Sequence[LayerOutput], weight: Tensor, generator: torch.Generator, *, place: bool = False
    ) -> None:
        """Let the codebooks follow the keys, after the backward pass; `place` places them anew by k-means."""
        length = weight.shape[1]
        for quantizer, layer in zip(self.quantizers(), outputs, strict=self.config.coded):
            assert layer.codes is not None
            keys, codes = layer.keys[:, :, :length].detach(), layer.codes[:, :, :length]
            if place:
                quantizer.init_from(keys, weight, generator)
            else:
                quantizer.update(keys, codes, weight, generator)

    def perplexity(self) -> float:
        """Return how many codes are in use, mean over layers; 0 without codebooks."""
        values = [float(quantizer.perplexity()) for quantizer in self.quantizers()]
        return sum(values) / len(values) if values else 0.0

    def _coded(self) -> list[VQAttention]:
        return [block.attention for block in self._blocks() if isinstance(block.attention, VQAttention)]

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]
