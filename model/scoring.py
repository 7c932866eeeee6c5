"""Scoring a stream as it comes: how surprising each event is, and why.

The scores of an event are a function of its own stream alone, bit for bit, however the stream was cut into calls: the
encoder only ever advances over whole blocks of its own stream, always with tensors of the same shape. Events since the
last block boundary are kept and evaluated again, padded to a whole block, when more of them come; what follows an event
in its block cannot reach it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.encoder import START, EncoderOutput, EncoderState
from model.errors import EmptyBatch, NotFinite, StateMismatch
from model.state import SourceState
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
        expected_tokens: (n, 5) most probable tokens, most probable first.
        expected_probabilities: (n, 5) their probabilities.
        codes: (n, h) code of the situation each event came in, last layer.
        code_distance: (n, h) squared distance to that codeword.
        code_percentile: (n, h) percentile of that distance among training distances.
        cache_mass: (n,) share of the last layer's attention on codes, mean over heads.
        code_mass: (n, h, s) attention mass per code; with the mass on recent events it sums to 1 per head.
        recent_positions: (n, 3) stream positions of the recent events most attended to, as the inputs of their steps;
            -1 for the start of the stream, and where fewer than three have any mass.
        recent_mass: (n, 3) attention mass on them, mean over heads.
    """

    surprisal_nats: Floats
    expected_tokens: Integers
    expected_probabilities: Floats
    codes: Integers
    code_distance: Floats
    code_percentile: Floats
    cache_mass: Floats
    code_mass: Floats
    recent_positions: Integers
    recent_mass: Floats


class Scorer:
    """Scores streams with one model. Not thread-safe with respect to one state; states are independent."""

    def __init__(self, model: TrainedModel) -> None:
        self.model = model
        self._encoder = model.encoder.eval()
        self._block = model.encoder.config.block
        self._codes = model.encoder.config.codes
        self._unigram = model.unigram * UNIGRAM_SHARE

    def initial_state(self) -> SourceState:
        """Return the state of a stream that has not begun."""
        return SourceState(self._encoder.initial_state(1), 0, [], [], self.model.fingerprint, self._block)

    @torch.inference_mode()
    def score(self, state: SourceState, tokens: Sequence[int], gaps: Sequence[float]) -> ScoredEvents:
        """Score the next events of a stream, and advance its state over them.

        Args:
            state: where the stream stands; changed in place.
            tokens: the events.
            gaps: seconds from each event to the one before, >= 0; as many as tokens.

        Raises:
            EmptyBatch: there are no events.
            TokenOutOfRange: a token is not in the vocabulary, or is the start of a stream.
            StateMismatch: the state belongs to another model.
            NotFinite: a score is not a finite number.
        """
        if state.fingerprint != self.model.fingerprint:
            raise StateMismatch(f"the state belongs to model {state.fingerprint}, not {self.model.fingerprint}")
        if not tokens:
            raise EmptyBatch("there are no events to score")
        if len(tokens) != len(gaps):
            raise ValueError(f"{len(tokens)} tokens and {len(gaps)} gaps; every event has one of each")
        self._encoder.check(torch.as_tensor(tokens))
        scored = len(state.tokens)
        all_tokens, all_gaps = [*state.tokens, *tokens], [*state.gaps, *gaps]
        parts = []
        for start in range(0, len(all_tokens), self._block):
            block_tokens = all_tokens[start : start + self._block]
            block_gaps = all_gaps[start : start + self._block]
            first = state.blocks * self._block
            output = self._run(block_tokens, block_gaps, state.boundary)
            parts.append(self._read(output, block_tokens, first, scored))
            scored = 0
            if len(block_tokens) == self._block:
                assert output.state is not None
                state.boundary, state.blocks = output.state, state.blocks + 1
                block_tokens, block_gaps = [], []
            state.tokens, state.gaps = block_tokens, block_gaps
        found = ScoredEvents(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
        if not np.isfinite(found.surprisal_nats).all():
            raise NotFinite("the model gave a score that is not a number; its weights are damaged")
        return found

    def _run(self, tokens: list[int], gaps: list[float], boundary: EncoderState) -> EncoderOutput:
        # Always one whole block: a partial one is padded with its last event, which nothing before it can see.
        missing = self._block - len(tokens)
        device = self._unigram.device
        output: EncoderOutput = self._encoder(
            torch.tensor([tokens + [tokens[-1]] * missing], device=device),
            torch.tensor([gaps + [0.0] * missing], device=device, dtype=torch.float32),
            boundary,
            keep_weights=True,
        )
        return output

    def _read(self, output: EncoderOutput, tokens: list[int], first: int, skip: int) -> tuple[npt.NDArray, ...]:  # type: ignore[type-arg]
        """Return the fields of `ScoredEvents` for the events of one block from `skip` on."""
        rows = slice(skip, len(tokens))
        probabilities = torch.softmax(output.logits[0].float(), -1) * (1 - UNIGRAM_SHARE) + self._unigram
        came = torch.tensor(tokens + [START] * (self._block - len(tokens)), device=probabilities.device)
        surprisal = -probabilities.gather(1, came[:, None])[:, 0].log()
        likely = probabilities.topk(min(EXPECTED, probabilities.shape[-1]), -1)
        last = output.layers[-1]
        assert last.weights is not None
        codes = last.codes[0].T
        distance = self._distance(last.keys[0], last.codes[0])
        mass = last.weights[0]
        far, near = mass[..., : self._codes], mass[..., self._codes :].mean(0)
        recent = near.topk(RECENT, -1)
        # Slot j of the window holds step first - block + j, whose input is the event before that step. Slots without
        # mass are not events yet, or before the first.
        positions = (recent.indices + (first - self._block - 1)).clamp(min=-1)
        positions = torch.where(recent.values > 0, positions, -1)
        percentile = self.model.statistics.percentile(codes.cpu().numpy(), distance.cpu().numpy())
        return (
            *(x[rows].cpu().numpy() for x in (surprisal, likely.indices, likely.values, codes, distance)),
            percentile[rows],
            *(x[rows].cpu().numpy() for x in (far.sum(-1).mean(0), far.transpose(0, 1), positions, recent.values)),
        )

    def _distance(self, keys: Tensor, codes: Tensor) -> Tensor:
        codebook = self._encoder.layer_blocks()[-1].attention.quantizer.codebook
        chosen = codebook.gather(1, codes[..., None].expand(-1, -1, codebook.shape[-1]))
        return (keys - chosen).square().sum(-1).T
