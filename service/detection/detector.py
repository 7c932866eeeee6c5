"""The evidence of a window, put together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from service.detection.combining import Combination
from service.detection.composition import KnownRuns
from service.detection.counts import KnownWindows
from service.detection.novelty import PARTS, Novelty
from service.detection.surprise import Spread

COUNTS, COMPOSITION, SEQUENCE, EVENT = "counts", "composition", "sequence", "event"


@dataclass(frozen=True)
class Observed:
    """A window as it came.

    Attributes:
        tokens: its events, in order.
        shapes: what news is told by, each with its family: the event's own shape where the token stands for several.
        surprisal_nats: of each event, by a model that has not learnt from this window; it may say more at the end, such
            as how surprising it is that the session ended.
    """

    tokens: tuple[int, ...]
    shapes: tuple[tuple[Hashable, str], ...]
    surprisal_nats: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """What was found in a window, in nats.

    Attributes:
        strength: all together.
        parts: what each measurement says, against held-out good windows.
        news: what events never seen say.
    """

    strength: float
    parts: dict[str, float]
    news: float


@dataclass(frozen=True)
class Detector:
    """What known-good windows are like.

    Attributes:
        counts, runs, novelty: what all of them hold.
        spread: how their surprisal varies.
        differing: how the distance of their counts varies, per kind of event a window has.
        combination: how often a good window that was held out measures as much.
    """

    counts: KnownWindows
    runs: KnownRuns
    novelty: Novelty
    spread: Spread
    differing: Spread
    combination: Combination

    @classmethod
    def fit(cls, windows: Sequence[Observed], parts: Sequence[int] | None = None) -> Detector:
        """Learn from good windows; each part is measured by what the others hold.

        Args:
            windows: known-good windows, in order.
            parts: which part each is held out with; None cuts them into runs of equal length, as streams need it.
        """
        part = parts_in_order(len(windows)) if parts is None else np.asarray(parts)
        held_out = HeldOut.measure(windows, part, np.ones(len(windows), bool))
        whole = _Memory(windows, part.tolist())
        kinds = [_kinds(window) for window in windows]
        distances = held_out.measured[COUNTS].tolist()
        differing = Spread.fit([nats / events for nats, events in zip(distances, kinds, strict=True)], kinds)
        counts = [differing.deviations(nats / events, events) for nats, events in zip(distances, kinds, strict=True)]
        combination = Combination.fit({**held_out.measured, COUNTS: counts})
        return cls(whole.counts, whole.runs, whole.novelty, held_out.spread, differing, combination)

    def judge(self, window: Observed) -> Judged:
        """Judge one window."""
        measured = _measure(self, window, self.spread)
        # The more kinds of events a window has, the more of them differ by chance.
        kinds = _kinds(window)
        measured[COUNTS] = self.differing.deviations(measured[COUNTS] / kinds, kinds)
        news = self.novelty.nats(window.shapes)
        return Judged(self.combination.strength(measured, news), self.combination.parts(measured), news)


Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


def parts_in_order(windows: int) -> Numbers:
    """Return which part each window is held out with, where parts are runs of equal length."""
    return np.arange(windows) * PARTS // windows


@dataclass(frozen=True)
class HeldOut:
    """Windows measured by what the trusted windows of all other parts hold.

    Attributes:
        measured: every measurement of each window.
        news: what events never seen say, in nats.
        spread: of the surprisal of trusted windows.
    """

    measured: dict[str, Floats]
    news: Floats
    spread: Spread

    @classmethod
    def measure(
        cls, windows: Sequence[Observed], part: Numbers, trusted: Flags, usual: Novelty | None = None
    ) -> HeldOut:
        """Measure every window; what is learnt is learnt from trusted windows alone.

        Args:
            windows: in order.
            part: which part each is held out with.
            trusted: which to learn from.
            usual: how often families bring news, where trusted windows were chosen for bringing none.
        """
        learnt = [windows[index] for index in np.flatnonzero(trusted).tolist()]
        spread = Spread.fit(
            [float(window.surprisal_nats.mean()) for window in learnt],
            [len(window.surprisal_nats) for window in learnt],
        )
        measured: dict[str, Floats] = {}
        news = np.zeros(len(windows))
        for number in np.unique(part):
            rest = np.flatnonzero((part != number) & trusted).tolist()
            memory = _Memory([windows[index] for index in rest], part[rest].tolist())
            novelty = memory.novelty if usual is None else replace(usual, known=memory.novelty.known)
            known: dict[Hashable, tuple[dict[str, float], float]] = {}
            for index in np.flatnonzero(part == number).tolist():
                window = windows[index]
                key = (window.tokens, window.shapes, window.surprisal_nats.tobytes())
                if key not in known:
                    known[key] = memory.measure(window, spread), novelty.nats(window.shapes)
                values, news[index] = known[key]
                for name, value in values.items():
                    measured.setdefault(name, np.zeros(len(windows)))[index] = value
        return cls(measured, news, spread)

    def rows(self) -> list[dict[str, float]]:
        """Return the measurements of each window."""
        return [dict(zip(self.measured, row, strict=True)) for row in zip(*self.measured.values(), strict=True)]


class _Memory:
    """What some good windows hold."""

    def __init__(self, windows: Sequence[Observed], parts: Sequence[int]) -> None:
        tokens = [window.tokens for window in windows]
        self.counts, self.runs = KnownWindows.fit(tokens), KnownRuns(tokens)
        self.novelty = Novelty.fit([window.shapes for window in windows], parts)

    def measure(self, window: Observed, spread: Spread) -> dict[str, float]:
        return _measure(self, window, spread)


def _kinds(window: Observed) -> int:
    return max(1, len(set(window.tokens)))


def _measure(memory: _Memory | Detector, window: Observed, spread: Spread) -> dict[str, float]:
    surprisal = window.surprisal_nats
    # An event never seen is news, and told as such.
    known = [index for index, (shape, _) in enumerate(window.shapes) if shape in memory.novelty.known]
    known += range(len(window.shapes), len(surprisal))
    return {
        COUNTS: memory.counts.nats(window.tokens),
        COMPOSITION: memory.runs.distance(window.tokens),
        SEQUENCE: spread.deviations(float(surprisal.mean()), len(surprisal)),
        EVENT: max((float(surprisal[index]) for index in known), default=0.0),
    }
