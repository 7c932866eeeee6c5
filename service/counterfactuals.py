"""What an alarm would be if what is missing had come, or if the encoder had not reached some codes.

A missing event has no line that could be taken out: it is put back where known-good windows have it, and the window is
judged again. Codes are taken out of the last block's attention (`model.NewEvents.without`), and how rare they are is
left out of account. As in `citing.py`, lines are read from the bundle's own state, because that of the source is not
kept, and count by how much their surprisal changes there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ingestion import Vocabulary
from model import ExplainedEvents, NewEvents, SourceState
from service.citing import Examined, without
from service.detection.detector import Detector, Observed
from service.rereading import Rereading

# Events that are put back at most.
MAX_RESTORED = 16
# Lines of unknown runs, the most surprising ones, where something may be missing.
MAX_PLACES = 64

Code = tuple[int, int]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Restored:
    """An alarm with the events that it lacks.

    Attributes:
        events: of each kind its token, how many were put back, and the index of the first line that one was put before.
        left_nats: strength of the window with them.
    """

    events: tuple[tuple[int, int, int], ...]
    left_nats: float

    @property
    def most(self) -> tuple[int, int, int]:
        """The kind of which most were put back, the first of several."""
        return max(self.events, key=lambda event: (event[1], -event[2]))


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
        most: events that a window holds at most.
        state: where reading begins; it is not advanced.
    """

    def __init__(self, detector: Detector, vocabulary: Vocabulary, most: int, state: SourceState) -> None:
        self._detector, self._vocabulary, self._most, self._state = detector, vocabulary, most, state

    def restore(self, alarm: Examined) -> Rereading[Restored | None]:
        """Put back what a window lacks until it would be no alarm.

        Candidates are what the encoder expected at the lines of unknown runs, and the event that is dearest to lack by
        count. Those go first that make most unknown runs known. What is pushed beyond the size of a window is left to
        the next one. After one, two, four, eight and sixteen events the window is read and judged, unless two times in
        a row it did not become weaker.

        Returns:
            The window at its weakest; None where nothing that is put back makes it weaker, or what is new in it would
            make an alarm whatever else came.
        """
        window, tokens, threshold_nats = alarm.window, alarm.tokens, alarm.threshold_nats
        if self._detector.memory.novelty.nats(window.shapes) >= threshold_nats:
            return None
        left = _Left(window, list(range(len(tokens))), list(tokens), list(alarm.gaps))
        most = max(self._most, len(tokens))
        read, lowest, best = alarm.usual, self._detector.judge(window).strength, None
        was = alarm.usual.surprisal_nats.astype(np.float64)
        put: dict[int, list[int]] = {}
        vain = 0
        while (done := sum(map(len, put.values()))) < MAX_RESTORED and lowest >= threshold_nats and vain < 2:
            options = self._options(left, read)[: max(1, done)]
            if not options:
                break
            # From the last place to the first, so that those still to come stay where they are.
            for place, token in sorted(options, reverse=True):
                # Before one that was put back, too, it is put before the window's own line after it.
                put.setdefault(token, []).append(next((line for line in left.own[place:] if line >= 0), len(tokens)))
                late = self._comes_late(left.window, place, token)
                left.put_back(place, token, self._vocabulary.model_token(token), most, late=late)
            read = (yield [NewEvents(self._state.copy(), left.tokens, left.gaps)])[0]
            left.surprise(window.surprisal_nats, was, read.surprisal_nats.astype(np.float64))
            strength = self._detector.judge(left.window).strength
            vain = 0 if strength < lowest else vain + 1
            if not vain:
                lowest = strength
                best = Restored(tuple((token, len(at), min(at)) for token, at in put.items()), strength)
        return best

    def _comes_late(self, window: Observed, place: int, token: int) -> bool:
        """Whether the gap before a place is less strange before an event that is put there than after it."""
        if place >= len(window.before):
            return False
        gap, gaps = [float(window.gaps[place])], self._detector.memory.gaps
        after_last, after_it = (gaps.longest([before], gap) for before in (window.before[place], token))
        return (after_last.nats if after_last else 0.0) < (after_it.nats if after_it else 0.0)

    def _options(self, left: _Left, read: ExplainedEvents) -> list[tuple[int, int]]:
        """Return what could be put back, by place and token, no two in one place, the best first."""
        runs, tokens = self._detector.memory.runs, left.window.tokens
        unknown = np.flatnonzero(runs.unknown(tokens))
        places = sorted(unknown[np.argsort(-read.surprisal_nats[unknown], kind="stable")][:MAX_PLACES].tolist())
        known = set(self._detector.memory.counts.tokens.tolist())
        found = [
            (runs.mends(tokens, place, token), probability, place, token)
            for place in places
            if left.own[place] >= 0
            for token, probability in zip(
                read.expected_tokens[place].tolist(), read.expected_probabilities[place].tolist(), strict=True
            )
            if token in known
        ]
        found = [option for option in found if option[0] > 0]
        for item in self._detector.memory.counts.differences(tokens):
            if item.token is not None and item.seen < item.expected:
                mends = [(runs.mends(tokens, place, item.token), place) for place in [*places, len(tokens)]]
                gain, place = max(mends, key=lambda option: option[0])
                found += [(gain, 0.0, place, item.token)] * (gain >= 0)
                break
        total: Counter[int] = Counter()
        for gain, _, _, token in found:
            total[token] += gain
        found.sort(key=lambda option: (-option[0], -total[option[3]], -option[1], option[2]))
        best: dict[int, int] = {}
        for _, _, place, token in found:
            best.setdefault(place, token)
        return list(best.items())

    def without_codes(
        self, alarm: Examined, codes: Sequence[Code], hits: npt.NDArray[np.integer]
    ) -> Rereading[WithoutCodes | None]:
        """Read and judge a window as if the encoder had not reached some codes.

        Args:
            alarm: its window need not be an alarm.
            codes: by head and number.
            hits: (n, h) the code of the situation that each event came in.

        Returns:
            None where there are no codes.
        """
        if not codes:
            return None
        read = yield [
            NewEvents(self._state.copy(), alarm.tokens, alarm.gaps, without)
            for without in (codes, *((code,) for code in codes))
        ]
        window, was = alarm.window, alarm.usual.surprisal_nats.astype(np.float64)
        hidden, *alone = (found.surprisal_nats.astype(np.float64) for found in read)
        hit = np.zeros(len(alarm.tokens), bool)
        for head, code in codes:
            hit |= hits[:, head] == code
        surprisal = np.maximum(0.0, window.surprisal_nats + hidden - was)
        excess = np.where(hit, np.minimum(window.code_excess, 0.0), window.code_excess)
        left = replace(window, surprisal_nats=surprisal, code_excess=excess)
        effects = {code: float((nats - was).sum()) for code, nats in zip(codes, alone, strict=True)}
        return WithoutCodes(effects, self._detector.judge(left).strength)


@dataclass
class _Left:
    """A window that events are put back into.

    Attributes:
        window: it; the surprisal of what was put back is not known until `surprise`.
        own: index in the window that it was of each event; -1 for those put back.
        tokens, gaps: of each event, as the model knows them.
    """

    window: Observed
    own: list[int]
    tokens: list[int]
    gaps: list[float]

    def put_back(self, place: int, token: int, known_as: int, most: int, *, late: bool) -> None:
        """Put an event before a place, and let go of the last one where there are more than `most`."""
        self.window = put_back(self.window, place, token, late=late)
        self.own.insert(place, -1)
        self.tokens.insert(place, known_as)
        self.gaps[place : place + 1] = _split(self.gaps[place : place + 1], late=late)
        if len(self.own) > most:
            self.window = without(self.window, [most])
            del self.own[most:], self.tokens[most:], self.gaps[most:]

    def surprise(self, was: Floats, usual: Floats, now: Floats) -> None:
        """Take what reading says now: of the window's own events, by how much it changed."""
        own = np.array(self.own)
        there = own >= 0
        nats = now.copy()
        nats[there] = np.maximum(0.0, was[own[there]] + now[there] - usual[own[there]])
        self.window = replace(self.window, surprisal_nats=nats)


def put_back(window: Observed, place: int, token: int, *, late: bool = False) -> Observed:
    """Return a window with one event more before a place; its surprisal is not known.

    It comes right after the event before or, where it is late, right before the next one.
    """
    before, gaps = list(window.before), window.gaps.tolist()
    if gaps:
        last = before[place] if place < len(before) else window.tokens[-1]
        before[place : place + 1] = [last, token][: 1 + len(before[place : place + 1])]
        gaps[place : place + 1] = _split(gaps[place : place + 1], late=late)
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


def _split(gap: Sequence[float], *, late: bool) -> list[float]:
    """Return the gaps before and after an event put into a gap; at the end of a window there is none."""
    whole = gap[0] if gap else 0.0
    return ([whole, 0.0] if late else [0.0, whole])[: 1 + len(gap)]
