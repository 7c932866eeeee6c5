"""Where one stream stands, exactly; saved and restored bit for bit."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from safetensors import SafetensorError
from safetensors.torch import load, save

from model.encoder import EncoderState
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
        """Return a state that advances on its own; tensors are never changed in place, so they are shared."""
        return replace(self, tokens=list(self.tokens), gaps=list(self.gaps))

    def to_bytes(self) -> bytes:
        """Return the exact state as safetensors bytes."""
        names = ("blocks", "tokens", "gaps", "scored", "fingerprint")
        rest = {name: getattr(self, name) for name in names}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.boundary.tensors().items()}
        return save(tensors, {"state": json.dumps(rest)})

    @classmethod
    def from_bytes(cls, data: bytes, model: TrainedModel) -> SourceState:
        """Read a state.

        Raises:
            StateMismatch: the bytes are damaged, or the state belongs to another model.
        """
        config, device = model.encoder.config, model.unigram.device
        try:
            length = int.from_bytes(data[:8], "little")
            rest = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["state"])
            fingerprint = rest["fingerprint"]
            if fingerprint != model.fingerprint:
                raise StateMismatch(f"the state belongs to model {fingerprint}, and this is {model.fingerprint}")
            # Copied: tensors that point into the bytes are not aligned as torch's own are, which can change a last bit.
            tensors = {name: tensor.clone().to(device) for name, tensor in load(data).items()}
            boundary = EncoderState.from_tensors(tensors)
            return cls(boundary, block=config.block, **rest)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise StateMismatch(f"cannot read the model state: {error}") from error
