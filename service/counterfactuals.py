"""What an alarm would be if what is missing had come, or if the encoder had not reached some codes.

A missing event has no line that could be taken out: it is put back where known-good windows have it, and the window is
judged again. Codes are taken out of the last block's attention (`model.NewEvents.without`), and how rare they are is
left out of account. As in `citing.py`, lines are read from the bundle's own state, because that of the source is not
kept, and count by how much their surprisal changes there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ingestion import Vocabulary
from model import NewEvents, Scorer, SourceState
from service.detection.detector import Detector, Observed

# Kinds of event that are put back, and of each kind so many.
MAX_KINDS = 4
MAX_COPIES = 16

Code = tuple[int, int]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Restored:
    """An alarm with the events that it lacks.

    Attributes:
        events: token of each kind, and how many were put back, dearest first.
        left_nats: strength of the window with them.
    """

    events: tuple[tuple[int, int], ...]
    left_nats: float


@dataclass(frozen=True)
class WithoutCodes:
    """An alarm without some codes.

    Attributes:
        effects: by code, how much the window's surprisal changes without that code alone, in nats.
        left_nats: strength of the window without all of them.
    """

    effects: Mapping[Code, float]
    left_nats: float


class Counterfactuals:
    """What else the alarms of one bundle could have been.

    Args:
        detector: what judges windows.
        vocabulary: the bundle's.
        scorer: reads what is changed.
        state: where reading begins; it is not advanced.
    """

    def __init__(self, detector: Detector, vocabulary: Vocabulary, scorer: Scorer, state: SourceState) -> None:
        self._detector, self._vocabulary, self._scorer, self._state = detector, vocabulary, scorer, state

    def restore(
        self, window: Observed, tokens: Sequence[int], gaps: Sequence[float], threshold_nats: float
    ) -> Restored | None:
        """Put back what a window lacks, the dearest kind first, until it would be no alarm.

        Args:
            window: a window that is an alarm.
            tokens: its events as the model knows them.
            gaps: seconds since the event before each.
            threshold_nats: the strength from which on a window is an alarm.

        Returns:
            None where the known-good window nearest to it has nothing more of any event.
        """
        memory = self._detector.memory
        lacking = [
            (item.token, min(item.expected - item.seen, MAX_COPIES))
            for item in memory.counts.differences(window.tokens)
            if item.token is not None and item.seen < item.expected
        ][:MAX_KINDS]
        if not lacking:
            return None
        usual = self._read([(tokens, gaps, ())])[0]
        own, put, read, waits = np.arange(len(tokens)), [], list(tokens), list(gaps)
        left, strength = window, np.inf
        for token, copies in lacking:
            fitting = memory.runs.fitting(left.tokens, token)
            # From the last place to the first, so that those still to come stay where they are.
            for place in sorted(np.argsort(-fitting, kind="stable")[:copies].tolist(), reverse=True):
                left = put_back(left, place, token)
                own = np.insert(own, place, -1)
                read.insert(place, self._vocabulary.model_token(token))
                waits[place : place + 1] = _halves(waits[place : place + 1])
            put.append((token, copies))
            now = self._read([(read, waits, ())])[0]
            came = own >= 0
            nats = now.copy()
            nats[came] = np.maximum(0.0, window.surprisal_nats[own[came]] + now[came] - usual[own[came]])
            left = replace(left, surprisal_nats=nats)
            strength = self._detector.judge(left).strength
            if strength < threshold_nats:
                break
        return Restored(tuple(put), float(strength))

    def without_codes(
        self,
        window: Observed,
        tokens: Sequence[int],
        gaps: Sequence[float],
        codes: Sequence[Code],
        hits: npt.NDArray[np.integer],
    ) -> WithoutCodes:
        """Read and judge a window as if the encoder had not reached some codes.

        Args:
            window: a window.
            tokens: its events as the model knows them.
            gaps: seconds since the event before each.
            codes: by head and number.
            hits: (n, h) the code of the situation that each event came in.
        """
        lanes: list[_Lane] = [(tokens, gaps, ()), (tokens, gaps, codes), *((tokens, gaps, (code,)) for code in codes)]
        usual, without, *alone = self._read(lanes)
        hit = np.zeros(len(tokens), bool)
        for head, code in codes:
            hit |= hits[:, head] == code
        surprisal = np.maximum(0.0, window.surprisal_nats + without - usual)
        excess = np.where(hit, np.minimum(window.code_excess, 0.0), window.code_excess)
        left = replace(window, surprisal_nats=surprisal, code_excess=excess)
        effects = {code: float((read - usual).sum()) for code, read in zip(codes, alone, strict=True)}
        return WithoutCodes(effects, self._detector.judge(left).strength)

    def _read(self, lanes: Sequence[_Lane]) -> list[Floats]:
        scored = self._scorer.score([NewEvents(self._state.copy(), *lane) for lane in lanes])
        return [found.surprisal_nats.astype(np.float64) for found in scored]


_Lane = tuple[Sequence[int], Sequence[float], Collection[Code]]


def put_back(window: Observed, place: int, token: int) -> Observed:
    """Return a window with one event more, in the middle of the gap before a place; its surprisal is not known."""
    before, gaps = list(window.before), window.gaps.tolist()
    if gaps:
        last = before[place] if place < len(before) else window.tokens[-1]
        before[place : place + 1] = [last, token][: 1 + len(before[place : place + 1])]
        gaps[place : place + 1] = _halves(gaps[place : place + 1])
    codes = window.code_excess
    return replace(
        window,
        tokens=(*window.tokens[:place], token, *window.tokens[place:]),
        shapes=(*window.shapes[:place], (token, ""), *window.shapes[place:]),
        surprisal_nats=np.insert(window.surprisal_nats, place, np.nan),
        before=tuple(before),
        gaps=np.array(gaps),
        readings=tuple(replace(reading, event=reading.event + (reading.event >= place)) for reading in window.readings),
        code_excess=np.insert(codes, place, 0.0) if len(codes) else codes,
    )


def _halves(gap: Sequence[float]) -> list[float]:
    """Return a gap cut in two; at the end of a window there is none to cut."""
    return [gap[0] / 2, gap[0] / 2] if gap else [0.0]
