"""How unlike a window's make-up is to every known-good window, whatever their lengths.

What is compared is which runs of three events a window is made of, and in what proportions; runs that few good windows
have weigh more (term and inverse window frequency; Salton and Buckley, Information Processing & Management, 1988). The
distance is one minus the largest cosine. It sees order that counts do not, and does not mind a window that is longer.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

RUN = 3
MAX_KEPT = 1500
_EDGE = -1

Run = tuple[int, ...]


class KnownRuns:
    """The make-up of known-good windows, each distinct one once.

    Args:
        windows: known-good windows; of more than `MAX_KEPT` distinct ones the most frequent are kept.
    """

    def __init__(self, windows: Sequence[Sequence[int]]) -> None:
        if not windows:
            raise ValueError("no windows to learn from")
        distinct = Counter(tuple(window) for window in windows)
        self._all = len(windows)
        self._held_by: Counter[Run] = Counter()
        for window, copies in distinct.items():
            for run in _runs(window):
                self._held_by[run] += copies
        kept = [_weights(_runs(window), self._weight) for window, _ in distinct.most_common(MAX_KEPT)]
        posted: defaultdict[Run, list[tuple[int, float]]] = defaultdict(list)
        for index, weights in enumerate(kept):
            for run, weight in weights.items():
                posted[run].append((index, weight))
        self._kept = len(kept)
        self._posted: dict[Run, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = {
            run: (np.array([index for index, _ in posts]), np.array([weight for _, weight in posts]))
            for run, posts in posted.items()
        }

    def distance(self, window: Sequence[int]) -> float:
        """Return how unlike every good window one is: 0 for the same proportions, 1 where no run is shared."""
        alike = np.zeros(self._kept)
        for run, weight in _weights(_runs(window), self._weight).items():
            posts = self._posted.get(run)
            if posts is not None:
                alike[posts[0]] += posts[1] * weight
        return max(0.0, 1.0 - float(alike.max()))

    def _weight(self, run: Run) -> float:
        return 1.0 + math.log((1 + self._all) / (1 + self._held_by[run]))


def _runs(window: Sequence[int]) -> Counter[Run]:
    padded = (*(_EDGE,) * (RUN - len(window)), *window)
    return Counter(zip(*(padded[start:] for start in range(RUN)), strict=False))


def _weights(runs: Counter[Run], weight: Callable[[Run], float]) -> dict[Run, float]:
    raw = {run: count * weight(run) for run, count in runs.items()}
    length = math.sqrt(sum(value * value for value in raw.values()))
    return {run: value / length for run, value in raw.items()}
