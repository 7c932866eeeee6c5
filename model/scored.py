"""What the model says of events, read out of the encoder's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.encoder import EncoderOutput
from model.quantizer import Quantizer, codewords
from model.trained import TrainedModel

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

# Share of the training unigram in the mixture that surprisal is taken from: the network alone is overconfident about
# what it never saw, and a bounded surprisal keeps one event from drowning all others.
UNIGRAM_SHARE = 0.01
EXPECTED = 5
RECENT = 3


@dataclass(frozen=True)
class ScoredEvents:
    """What the model says of n events.

    Attributes:
        surprisal_nats: (n,) -ln p of the event given everything before it.
        codes: (n, h) code of the situation each event came in, last layer.
        code_distance: (n, h) squared distance to that codeword.
        code_percentile: (n, h) percentile of that distance among training distances.
        cache_mass: (n,) share of the last layer's attention on codes, mean over heads.
    """

    surprisal_nats: Floats
    codes: Integers
    code_distance: Floats
    code_percentile: Floats
    cache_mass: Floats

    @classmethod
    def none(cls, heads: int) -> ScoredEvents:
        """Return what is said of no events."""
        distance = np.zeros((0, heads), np.float32)
        return ScoredEvents(distance[:, 0], distance.astype(np.int64), distance, distance, distance[:, 0])

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Lay parts end to end."""
        return cls(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})

    def cut(self, rows: slice) -> Self:
        """Return some of the events."""
        return type(self)(**{name: array[rows] for name, array in vars(self).items()})


@dataclass(frozen=True)
class ExplainedEvents(ScoredEvents):
    """What the model says of n events, and why.

    Attributes:
        expected_tokens: (n, 5) most probable tokens, most probable first.
        expected_probabilities: (n, 5) their probabilities.
        code_mass: (n, h, s) attention mass per code. What is missing to 1 per head went to the events of this block and
            the one before, of which only the next two tell, and of three events.
        recent_positions: (n, 3) stream positions of the recent events most attended to, as the inputs of their steps;
            -1 for the start of the stream, and where fewer than three have any mass.
        recent_mass: (n, 3) attention mass on them, mean over heads.
    """

    expected_tokens: Integers
    expected_probabilities: Floats
    code_mass: Floats
    recent_positions: Integers
    recent_mass: Floats


class Reading:
    """Reads the encoder's output of some rows (b, l) of one model."""

    def __init__(self, model: TrainedModel, quantizer: Quantizer, unigram: Tensor) -> None:
        self._statistics, self._quantizer = model.statistics, quantizer
        self._unigram = unigram * UNIGRAM_SHARE

    def scored(self, output: EncoderOutput, came: Tensor) -> list[ScoredEvents]:
        """Return what is said of each row; came (b, l) are the events that came."""
        probabilities = torch.softmax(output.logits.float(), -1)
        return [ScoredEvents(**row) for row in self._rows(self._scored(output, came, probabilities))]

    def explained(self, output: EncoderOutput, came: Tensor, first: list[int], block: int) -> list[ExplainedEvents]:
        """Return what is said of each row, and why; `first` is the stream position of each row's first event."""
        probabilities = torch.softmax(output.logits.float(), -1)
        arrays = self._scored(output, came, probabilities)
        arrays |= self._explained(output, probabilities, torch.tensor(first, device=came.device), block)
        return [ExplainedEvents(**row) for row in self._rows(arrays)]

    def _scored(self, output: EncoderOutput, came: Tensor, probabilities: Tensor) -> dict[str, Tensor]:
        share = probabilities.gather(-1, came[..., None])[..., 0]
        surprisal = -(share * (1 - UNIGRAM_SHARE) + self._unigram[came]).log()
        last = output.layers[-1]
        assert last.codes is not None
        assert last.weights is not None
        length = came.shape[1]
        keys, codes, weights = (x[:, :, :length] for x in (last.keys, last.codes, last.weights))
        distance = (keys.float() - codewords(codes, self._quantizer.codebook)).square().sum(-1)
        return {
            "surprisal_nats": surprisal,
            "codes": codes.transpose(1, 2),
            "code_distance": distance.transpose(1, 2),
            "cache_mass": weights[..., : self._quantizer.size].float().sum(-1).mean(1),
        }

    def _explained(self, output: EncoderOutput, probabilities: Tensor, first: Tensor, block: int) -> dict[str, Tensor]:
        length, vocabulary = probabilities.shape[1:]
        mixed = probabilities.mul_(1 - UNIGRAM_SHARE).add_(self._unigram)
        expected, tokens = _largest(mixed, min(EXPECTED, vocabulary))
        weights = output.layers[-1].weights
        assert weights is not None
        weights = weights[:, :, :length].float()
        far, near = weights[..., : self._quantizer.size], weights[..., self._quantizer.size :].mean(1)
        mass, slots = _largest(near, RECENT)
        # Slot j of the window of block m holds step first + (m - 1) block + j, whose input is the event before that
        # step. Slots without mass are not events yet, or before the first.
        start = first[:, None] + torch.arange(length, device=first.device) // block * block
        positions = (slots + (start - block - 1)[..., None]).clamp(min=-1)
        return {
            "expected_tokens": tokens,
            "expected_probabilities": expected,
            "code_mass": far.transpose(1, 2),
            "recent_positions": torch.where(mass > 0, positions, -1),
            "recent_mass": mass,
        }

    def _rows(self, tensors: dict[str, Tensor]) -> list[dict[str, npt.NDArray]]:  # type: ignore[type-arg]
        arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        shape = arrays["codes"].shape
        flat = (array.reshape(-1, shape[-1]) for array in (arrays["codes"], arrays["code_distance"]))
        arrays["code_percentile"] = self._statistics.percentile(*flat).reshape(shape)
        return [{name: array[row] for name, array in arrays.items()} for row in range(shape[0])]


def _largest(shares: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest of shares (..., n) and where they stand, largest first; shares, all >= 0, are overwritten."""
    if shares.device.type != "cpu":
        largest = shares.topk(count, -1)
        return largest.values, largest.indices
    # A fifth of the time that `topk` takes on a CPU.
    values, indices = [], []
    for _ in range(count):
        index = torch.from_numpy(shares.numpy().argmax(-1))[..., None]
        values.append(shares.gather(-1, index))
        indices.append(index)
        shares.scatter_(-1, index, -1.0)
    return torch.cat(values, -1), torch.cat(indices, -1)
