"""Where one stream stands, exactly; saved and restored bit for bit."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from model.digest import digest
from model.encoder import START, EncoderState
from model.errors import StateMismatch
from model.trained import TrainedModel


@dataclass
class SourceState:
    """Where one stream stands.

    Attributes:
        boundary: encoder state at the last block boundary.
        blocks: blocks before the boundary.
        tokens: events since the boundary, fewer than a block.
        gaps: their gaps, seconds.
        scored: how many of these have been scored; the others wait for their block to fill.
        fingerprint: of the model the state belongs to.
        block: events in a block.
    """

    boundary: EncoderState
    blocks: int
    tokens: list[int]
    gaps: list[float]
    fingerprint: str
    block: int
    scored: int = 0

    @property
    def position(self) -> int:
        """Events scored so far."""
        return self.blocks * self.block + self.scored

    def copy(self) -> SourceState:
        """Return a state that advances on its own; tensors and lists are never changed in place, so they are shared."""
        return replace(self)

    def to_bytes(self) -> bytes:
        """Return the exact state as safetensors bytes, with a digest of all they hold."""
        names = ("blocks", "tokens", "gaps", "scored", "fingerprint")
        rest = json.dumps({name: getattr(self, name) for name in names})
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.boundary.tensors().items()}
        # One entry: those of safetensors have no order, and a state has one form.
        return save(tensors, {"state": f"{digest(rest, tensors)} {rest}"})

    @classmethod
    def from_bytes(cls, data: bytes, model: TrainedModel) -> SourceState:
        """Read a state.

        Raises:
            StateMismatch: the bytes are damaged, or the state belongs to another model.
        """
        config, device = model.encoder.config, model.unigram.device
        try:
            length = int.from_bytes(data[:8], "little")
            written, _, told = json.loads(data[8 : 8 + length])["__metadata__"]["state"].partition(" ")
            rest = json.loads(told)
            if rest["fingerprint"] != model.fingerprint:
                raise StateMismatch(
                    f"the state belongs to model {rest['fingerprint']}, and this is {model.fingerprint}"
                )
            # Copied: tensors that point into the bytes are not aligned as torch's own are, which can change a last bit.
            tensors = {name: tensor.clone() for name, tensor in load(data).items()}
            if written != digest(told, tensors):
                raise StateMismatch("the model state was changed after it was written")
            if _shape(tensors) != _shape(model.encoder.initial_state(1).tensors()):
                raise StateMismatch("the model state has not the tensors that this model needs")
            boundary = EncoderState.from_tensors({name: tensor.to(device) for name, tensor in tensors.items()})
            state = cls(boundary, block=config.block, **rest)
            state._check(config.vocab_size)
        except (SafetensorError, AttributeError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StateMismatch(f"cannot read the model state: {error}") from error
        return state

    def _check(self, vocab_size: int) -> None:
        is_whole = len(self.tokens) == len(self.gaps) < self.block and 0 <= self.scored <= len(self.tokens)
        if not is_whole or self.blocks < 0 or not all(START < token < vocab_size for token in self.tokens):
            raise StateMismatch("the model state tells of events that it cannot have come to")


def _shape(tensors: dict[str, Tensor]) -> dict[str, tuple[torch.Size, bool]]:
    """Return what tensors must agree in. A GPU keeps some in bfloat16 that a CPU keeps in float32."""
    return {name: (tensor.shape, tensor.is_floating_point()) for name, tensor in tensors.items()}
