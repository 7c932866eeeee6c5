"""Scoring streams as they come: how surprising each event is, and why.

The scores of an event are a function of its own stream alone, however the stream was cut into calls: the encoder only
ever advances over whole blocks of a stream. Events since the last block boundary are kept and evaluated again, padded
to a whole block, when more of them come; what follows an event in its block cannot reach it.

Streams are scored side by side. On a CPU a row's results do not depend on the rows beside it, nor on how many blocks
are taken at once, bit for bit: the products differ in their number of rows only (decision 0002).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from model.encoder import EncoderOutput, EncoderState
from model.errors import (
    BadConfig,
    BadEvents,
    CodeOutOfRange,
    EmptyBatch,
    NotFinite,
    OutOfMemory,
    RepeatedState,
    StateMismatch,
)
from model.memory import shortage_suppressed, shortage_told
from model.scored import ExplainedEvents, Reading, ScoredEvents
from model.state import SourceState
from model.trained import TrainedModel

_log = logging.getLogger(__name__)

# Events computed at once, of however many streams: enough to keep the products busy, few enough for a processor's
# cache. A GPU wants as many as its memory holds; where that is exceeded, the scorer halves this by itself.
EVENTS_AT_ONCE = {"cpu": 2048, "cuda": 262_144}


@dataclass(frozen=True)
class NewEvents:
    """The next events of one stream.

    Attributes:
        state: where the stream stands; advanced when they are scored.
        tokens: the events, at least one.
        gaps: seconds from each event to the one before, >= 0; as many as tokens.
        without: codes, by head and number, that the last block's attention does not reach: what the events would have
            been like without them. The state advances as it does with them.
    """

    state: SourceState
    tokens: Sequence[int]
    gaps: Sequence[float]
    without: Collection[tuple[int, int]] = ()


class _Work:
    """One stream's events in a call, and how far they are."""

    def __init__(self, new: NewEvents, *, wait: bool) -> None:
        self.state, self.boundary, self.without = new.state, new.state.boundary, new.without
        self.tokens, self.gaps = [*new.state.tokens, *new.tokens], [*new.state.gaps, *new.gaps]
        self.skip = new.state.scored
        self.at = 0
        self.end = len(self.tokens) - (len(self.tokens) % new.state.block if wait else 0)
        self.parts: list[ScoredEvents] = []

    @property
    def left(self) -> int:
        return self.end - self.at


class Scorer:
    """Scores streams with one model. Not thread-safe; states are independent.

    Args:
        model: what to score with.

    Attributes:
        device_fallback: whether the GPU's memory did not hold one block, so that the CPU took over.

    Raises:
        BadConfig: the model has no codebook, and cannot say why.
        NotFinite: a codeword is not a finite number.
    """

    def __init__(self, model: TrainedModel) -> None:
        config = model.encoder.config
        if not config.coded:
            raise BadConfig(f"a model of mixer {config.mixer!r} has no codebook; it is for comparison only")
        # They need not show in a score, as weights do: where one is no number, every key takes the first code.
        if not all(bool(torch.isfinite(quantizer.codebook).all()) for quantizer in model.encoder.stack.quantizers()):
            raise NotFinite("a codebook of the model holds what is not a number; it is damaged")
        self.model = model
        self.device_fallback = False
        self._block = config.block
        self._place(model.unigram.device)

    def _place(self, device: torch.device) -> None:
        if device.type == "cpu":
            # The products are too small to be shared out: on two cores a second thread, which waits for its turn by
            # spinning, costs four times the CPU seconds and, where others use the machine, twice the time. Nor may a
            # score depend on how many cores there are.
            torch.set_num_threads(1)
        self._device = device
        self._encoder = self.model.encoder.to(device).eval()
        self._reading = Reading(self.model, self._encoder.stack.quantizers()[-1], self.model.unigram.to(device))
        self._at_once = EVENTS_AT_ONCE[device.type]

    def initial_state(self) -> SourceState:
        """Return the state of a stream that has not begun."""
        return SourceState(self._encoder.initial_state(1), 0, [], [], self.model.fingerprint, self._block)

    def score(self, batch: Sequence[NewEvents], *, wait: bool = False) -> list[ScoredEvents]:
        """Score the next events of streams, and advance their states.

        Args:
            batch: new events of streams that are all different.
            wait: leave the events of a block that is not full for a later call. A block that is evaluated before it is
                full is evaluated again when it is.

        Returns:
            Of each stream the events scored, from its state's position on.

        Raises:
            EmptyBatch: a stream has no events.
            BadEvents: a stream's tokens are not all `int`, its gaps not all numbers, or there are not as many of both.
            TokenOutOfRange: a token is not in the vocabulary, or is the start of a stream.
            CodeOutOfRange: a code to do without is not in the codebook.
            StateMismatch: a state belongs to another model.
            RepeatedState: two streams of the batch have one state.
            NotFinite: a score or a distance is not a finite number.
            OutOfMemory: one block does not fit into memory, nor into the CPU's, or not all that is said of the batch.
            In all of these no state has moved.
        """
        return self._scored(batch, explain=False, wait=wait)

    def explain(self, batch: Sequence[NewEvents]) -> list[ExplainedEvents]:
        """Score the next events of streams and say why; see `score`. It takes up to a fifth longer."""
        found = self._scored(batch, explain=True, wait=False)
        # No stream is without events here, so that each is explained; one left out would shift all after it.
        return cast("list[ExplainedEvents]", found)

    @shortage_told("no memory for all that is said of these events; score fewer in a call")
    @torch.inference_mode()
    def _scored(self, batch: Sequence[NewEvents], *, explain: bool, wait: bool) -> list[ScoredEvents]:
        if not batch:
            return []
        for new in batch:
            self._check(new)
        if len({id(new.state) for new in batch}) < len(batch):
            raise RepeatedState("a batch brings events of one stream twice; join them, or score them one after another")
        works = [_Work(new, wait=wait) for new in batch]
        while waiting := [work for work in works if work.left > 0]:
            while waiting:
                lanes = max(1, self._at_once // self._block)
                if self._advance(waiting[:lanes], explain=explain):
                    waiting = waiting[lanes:]
        none = ScoredEvents.none(self.model.encoder.config.heads)
        found = [work.parts[0].joined(work.parts) if work.parts else none for work in works]
        told = [part.ravel() for scored in found for part in (scored.surprisal_nats, scored.code_distance)]
        if not np.isfinite(np.concatenate(told)).all():
            raise NotFinite("the model gave a score or a distance that is not a number; its weights are damaged")
        for work in works:
            state, done = work.state, len(work.tokens) // self._block
            state.boundary, state.blocks = work.boundary, state.blocks + done
            state.tokens, state.gaps = work.tokens[done * self._block :], work.gaps[done * self._block :]
            if not wait:
                state.scored = len(state.tokens)
            elif done:
                state.scored = 0
        return found

    def _check(self, new: NewEvents) -> None:
        if new.state.fingerprint != self.model.fingerprint:
            raise StateMismatch(f"the state belongs to model {new.state.fingerprint}, not {self.model.fingerprint}")
        if not new.tokens:
            raise EmptyBatch("there are no events to score")
        if len(new.tokens) != len(new.gaps):
            raise BadEvents(f"{len(new.tokens)} tokens and {len(new.gaps)} gaps; every event has one of each")
        # Of numpy's numbers most are neither, and no state that holds one could be saved.
        if not all(isinstance(token, int) for token in new.tokens):
            raise BadEvents("a token is not an int")
        if not all(isinstance(gap, int | float) for gap in new.gaps):
            raise BadEvents("a gap is neither an int nor a float")
        config = self.model.encoder.config
        for head, code in new.without:
            if head not in range(config.heads) or code not in range(config.codes):
                raise CodeOutOfRange(
                    f"code {code} of head {head} is not among the model's {config.codes} codes of {config.heads} heads"
                )
        self._encoder.check_range(min(new.tokens), max(new.tokens))

    def _advance(self, works: Sequence[_Work], *, explain: bool) -> bool:
        """Take one or more blocks of each stream, as many whole ones as all have; false where memory was too small."""
        block = self._block
        whole = min(work.left // block for work in works)
        taken = max(1, min(whole, self._at_once // (block * len(works)))) * block
        tokens = [work.tokens[work.at : work.at + taken] for work in works]
        gaps = [work.gaps[work.at : work.at + taken] for work in works]
        # A partial block is filled up with its last event, which nothing before it can see.
        filled = (
            torch.tensor([row + [row[-1]] * (taken - len(row)) for row in tokens]),
            torch.tensor([row + [0.0] * (taken - len(row)) for row in gaps], dtype=torch.float32),
        )
        found: tuple[Sequence[ScoredEvents], list[EncoderState]] | None = None
        with shortage_suppressed():
            found = self._compute(*filled, works, explain=explain)
        if found is None:
            self._shrink()
            return False
        for work, row, scored, boundary in zip(works, tokens, *found, strict=True):
            work.parts.append(scored.cut(slice(work.skip, len(row))))
            work.at, work.skip = work.at + len(row), 0
            if len(row) == taken:
                work.boundary = boundary
        return True

    def _compute(
        self, tokens: torch.Tensor, gaps: torch.Tensor, works: Sequence[_Work], *, explain: bool
    ) -> tuple[Sequence[ScoredEvents], list[EncoderState]]:
        output = self._run(tokens, gaps, works)
        assert output.state is not None
        came = tokens.to(self._device)
        if not explain:
            return self._reading.scored(output, came), output.state.rows()
        firsts = [work.state.blocks * self._block + work.at for work in works]
        return self._reading.explained(output, came, firsts, self._block), output.state.rows()

    def _run(self, tokens: torch.Tensor, gaps: torch.Tensor, works: Sequence[_Work]) -> EncoderOutput:
        device = self._device
        # Moved one by one: some may be of before a fallback to the CPU.
        boundary = EncoderState.joined([work.boundary.to(device) for work in works])
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            output: EncoderOutput = self._encoder(
                tokens.to(device), gaps.to(device), boundary, keep_weights=True, without=self._without(works)
            )
        return output

    def _without(self, works: Sequence[_Work]) -> torch.Tensor | None:
        if not any(work.without for work in works):
            return None
        config = self.model.encoder.config
        without = torch.zeros(len(works), config.heads, config.codes, dtype=torch.bool)
        for row, work in enumerate(works):
            for head, code in work.without:
                without[row, head, code] = True
        return without.to(self._device)

    def _shrink(self) -> None:
        """Take half as much at once from now on; with nothing left to halve, go on with the CPU."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if self._at_once > self._block:
            self._at_once //= 2
            _log.warning("out of memory: %d events at once from now on", self._at_once)
            return
        if self.device_fallback or self._device.type == "cpu":
            raise OutOfMemory("no memory for one block of a stream; stop what else runs here, or score elsewhere")
        _log.warning("the GPU has no memory for one block: the CPU scores from now on")
        self.device_fallback = True
        self._place(torch.device("cpu"))
