"""The evidence of a window, put together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

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
        combination: how often a good window that was held out measures as much.
    """

    counts: KnownWindows
    runs: KnownRuns
    novelty: Novelty
    spread: Spread
    combination: Combination

    @classmethod
    def fit(cls, windows: Sequence[Observed], parts: Sequence[int] | None = None) -> Detector:
        """Learn from good windows; each part is measured by what the others hold.

        Args:
            windows: known-good windows, in order.
            parts: which part each is held out with; None cuts them into runs of equal length, as streams need it.
        """
        part = np.arange(len(windows)) * PARTS // len(windows) if parts is None else np.asarray(parts)
        means = [float(window.surprisal_nats.mean()) for window in windows]
        spread = Spread.fit(means, [len(window.surprisal_nats) for window in windows])
        measured: dict[str, Floats] = {}
        for number in np.unique(part):
            rest = [windows[index] for index in np.flatnonzero(part != number).tolist()]
            memory = _Memory(rest, part[part != number].tolist())
            for index in np.flatnonzero(part == number).tolist():
                for name, value in memory.measure(windows[index], spread).items():
                    measured.setdefault(name, np.zeros(len(windows)))[index] = value
        whole = _Memory(windows, part.tolist())
        return cls(whole.counts, whole.runs, whole.novelty, spread, Combination.fit(measured))

    def judge(self, window: Observed) -> Judged:
        """Judge one window."""
        measured = _measure(self, window, self.spread)
        news = self.novelty.nats(window.shapes)
        return Judged(self.combination.strength(measured, news), self.combination.parts(measured), news)


Floats = npt.NDArray[np.float64]


class _Memory:
    """What some good windows hold."""

    def __init__(self, windows: Sequence[Observed], parts: Sequence[int]) -> None:
        tokens = [window.tokens for window in windows]
        self.counts, self.runs = KnownWindows.fit(tokens), KnownRuns(tokens)
        self.novelty = Novelty.fit([window.shapes for window in windows], parts)

    def measure(self, window: Observed, spread: Spread) -> dict[str, float]:
        return _measure(self, window, spread)


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
