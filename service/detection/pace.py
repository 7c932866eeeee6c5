"""How much slower than usual a source works, over all the gaps of a window.

A machine that labours, or a server whose processor is taken by another, has no long silence: every step takes a little
longer. Each gap is compared with those that known-good lines left between the same two events, on a logarithmic scale
and in units of their spread; a window's pace is the mean over its gaps. No single gap counts for more than `MOST`: one
that is very long is a silence, and `silence.py`'s to tell. Kept are two numbers for each pair of events.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.detection.silence import RESOLUTION_SECONDS

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

# Fewer gaps between two events do not tell what is usual.
MIN_GAPS = 20
# A gap is never so regular that less than twice as long is out of the ordinary.
LEAST_UNIT = math.log(2.0)
# The normal distribution's distance between quartiles, in standard deviations.
_QUARTILES = 1.349
# Units that one gap counts for at most.
MOST = 3.0

Pair = tuple[int, int]


@dataclass(frozen=True)
class Slowness:
    """What is slow in a window.

    Attributes:
        event: index in the window of the event that came late most notably.
        before: token of the event that it followed.
        seconds: how long it took.
        usual_seconds: how long it usually takes: the median over known-good lines.
        slow: by index of each event that came later than half of its kind do, by how many units.
        compared: how many events of the window could be compared.
    """

    event: int
    before: int
    seconds: float
    usual_seconds: float
    slow: dict[int, float]
    compared: int


class KnownPaces:
    """How long it usually takes from one event to the next.

    Attributes:
        usual: by token before and token, the median and the spread of the logarithm of the seconds between.
    """

    def __init__(self, usual: dict[Pair, tuple[float, float]]) -> None:
        self.usual = usual

    @classmethod
    def fit(cls, before: Sequence[int], tokens: Sequence[int], seconds: Floats) -> KnownPaces:
        """Learn from known-good events: the token before each, its own, and the seconds between."""
        firsts, seconds_ = np.asarray(before, np.int64), np.asarray(tokens, np.int64)
        logs = np.log(np.maximum(seconds, RESOLUTION_SECONDS))
        order = np.lexsort((logs, seconds_, firsts))
        pairs, logs = np.stack([firsts, seconds_], 1)[order], logs[order]
        found, starts = np.unique(pairs, axis=0, return_index=True) if len(pairs) else (pairs, np.zeros(0, np.int64))
        usual = {}
        for (first, second), part in zip(found.tolist(), np.split(logs, starts[1:]), strict=False):
            if len(part) >= MIN_GAPS:
                low, middle, high = np.quantile(part, [0.25, 0.5, 0.75]).tolist()
                usual[first, second] = middle, max((high - low) / _QUARTILES, LEAST_UNIT)
        return cls(usual)

    def excess(self, before: Sequence[int], tokens: Sequence[int], seconds: Floats) -> list[float | None]:
        """Return by how many units each gap is longer than usual, at most `MOST`; None where nothing is known."""
        found: list[float | None] = []
        logs = np.log(np.maximum(seconds, RESOLUTION_SECONDS)).tolist()
        for first, second, log in zip(before, tokens, logs, strict=True):
            known = self.usual.get((first, second))
            found.append(None if known is None else max(-MOST, min(MOST, (log - known[0]) / known[1])))
        return found

    def mean(self, before: Sequence[int], tokens: Sequence[int], seconds: Floats) -> float:
        """Return the mean over a window's gaps; one that nothing is known of is taken to be as usual."""
        return sum(filter(None, self.excess(before, tokens, seconds))) / len(before)

    def slowness(self, before: Sequence[int], tokens: Sequence[int], seconds: Floats) -> Slowness | None:
        """Return what is slow in a window; None where nothing is."""
        excess = self.excess(before, tokens, seconds)
        slow = {index: units for index, units in enumerate(excess) if units is not None and units > 0}
        if not slow:
            return None
        longer = {index: seconds[index] - self._usual_seconds(before[index], tokens[index]) for index in slow}
        event = max(longer, key=lambda index: longer[index])
        usual = self._usual_seconds(before[event], tokens[event])
        compared = sum(units is not None for units in excess)
        return Slowness(event, before[event], float(seconds[event]), usual, slow, compared)

    def _usual_seconds(self, before: int, token: int) -> float:
        return math.exp(self.usual[before, token][0])
