"""The lines that carry an alarm: those without which there would be none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model import ExplainedEvents, NewEvents, SourceState
from service.detection.detector import Detector, Observed, some
from service.evidence import line_nats, weigh
from service.rereading import Rereading

# More lines than that are no explanation but the window itself.
MAX_SHARE = 1 / 3
MIN_LINES = 8
MAX_LINES = 128
# What a line of the window carries at least, in nats, to be cited: without the line after a silence the silence lies
# before the next one, and one line after another would be cited that has no part in it.
LEAST_NATS = 0.01
# Lines taken out between two looks, as a share of those taken out before: a window of 64 lines is looked at nine times
# at most, the longest fourteen times. Alarms come in floods, and must not hold up the lines behind them. A share of 1
# spares some looks, but too many lines at a time leave a window stranger than it was.
_STEP = 0.5


@dataclass(frozen=True)
class Examined:
    """An alarm that is looked at closely.

    Attributes:
        window: what the detector saw.
        tokens: its events as the model knows them.
        gaps: seconds since the event before each.
        usual: what the model says of them, read from the bundle's own state.
        threshold_nats: the strength from which on a window is an alarm.
    """

    window: Observed
    tokens: Sequence[int]
    gaps: Sequence[float]
    usual: ExplainedEvents
    threshold_nats: float


@dataclass(frozen=True)
class Cited:
    """The lines that carry an alarm.

    Attributes:
        lines: by index in the window, in the order they were taken out; none where the window is no weaker without any.
        left_nats: strength of the window without them.
    """

    lines: tuple[int, ...]
    left_nats: float


class Citing:
    """Finds the lines that carry the alarms of one bundle.

    A line that is taken out changes how surprising the lines after it are: the second of a burst is the first then. So
    what is left is read again. The state that the source had is not kept for that; lines are read from the bundle's
    own, and count by how much their surprisal changes there.

    Args:
        detector: what judges windows.
        state: where reading begins; it is not advanced.
    """

    def __init__(self, detector: Detector, state: SourceState) -> None:
        self._detector, self._state = detector, state

    def cite(self, alarm: Examined) -> Rereading[Cited]:
        """Find the lines that carry a window's strength.

        The line that carries most goes first, and what is left is judged again, until that would be no alarm. Where it
        stays one, those lines carry it without which it is weakest: a cycle that lacks a line is as strange as one that
        has a line too many. Where it is weakest as it came, as a silence may be, no line does.
        """
        window, tokens = alarm.window, alarm.tokens
        count, limit = len(tokens), _most(len(tokens))
        kept, waits = list(range(count)), list(alarm.gaps)
        was = alarm.usual.surprisal_nats.astype(np.float64)
        cited: list[int] = []
        left, judged = window, self._detector.judge(window)
        carried = line_nats(weigh(self._detector, left, judged))
        worth = {line for line, nats in carried.items() if nats >= LEAST_NATS}
        weakest, found = judged.strength, 0
        while len(cited) < limit and not (cited and judged.strength < alarm.threshold_nats):
            step = min(max(1, round(len(cited) * _STEP)), limit - len(cited))
            out = [place for place in heaviest(carried, len(kept)) if kept[place] in worth][:step]
            if not out:
                break
            cited += [kept[line] for line in out]
            _, waits = _joined([0] * len(kept), waits, set(out))
            kept = [line for place, line in enumerate(kept) if place not in set(out)]
            read = (yield [NewEvents(self._state.copy(), [tokens[line] for line in kept], waits)])[0]
            changed = read.surprisal_nats.astype(np.float64) - was[kept]
            surprisal = np.maximum(0.0, window.surprisal_nats[kept] + changed)
            left = replace(without(window, cited), surprisal_nats=surprisal)
            judged = self._detector.judge(left)
            if judged.strength < weakest:
                weakest, found = judged.strength, len(cited)
            carried = line_nats(weigh(self._detector, left, judged))
        return Cited(tuple(cited[:found]), weakest)


def heaviest(carried: Mapping[int, float], events: int) -> list[int]:
    """Return the lines that carry most of a window of so many events, heaviest first, no more than are cited."""
    return sorted(carried, key=lambda line: (-carried[line], line))[: _most(events)]


def _most(events: int) -> int:
    return min(MAX_LINES, max(MIN_LINES, round(events * MAX_SHARE)), events - 1)


def without(window: Observed, lines: Sequence[int]) -> Observed:
    """Return a window as it would be without some of its lines; the silence around them stays."""
    out = set(lines)
    kept = [index for index in range(len(window.tokens)) if index not in out]
    before, gaps = _joined(window.before, window.gaps.tolist(), out)
    return replace(some(window, kept), before=tuple(before), gaps=np.array(gaps))


def _joined(before: Sequence[int], gaps: Sequence[float], out: set[int]) -> tuple[list[int], list[float]]:
    """Return what came before each line that is left, and how long before: one taken out leaves its gap to the next."""
    tokens: list[int] = []
    waits: list[float] = []
    waited, first = 0.0, None
    for index, (token, gap) in enumerate(zip(before, gaps, strict=True)):
        waited += gap
        first = token if first is None else first
        if index not in out:
            tokens.append(first)
            waits.append(waited)
            waited, first = 0.0, None
    return tokens, waits
