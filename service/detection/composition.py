"""How unlike a window's make-up is to every known-good window, whatever their lengths.

What is compared is which runs of three events a window is made of, and in what proportions; runs that few good windows
have weigh more (term and inverse window frequency; Salton and Buckley, Information Processing & Management, 1988). The
distance is one minus the largest cosine. It sees order that counts do not, and does not mind a window that is longer.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

RUN = 3
MAX_KEPT = 1500
_EDGE = -1

Run = tuple[int, ...]
_Posts = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


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
        self._posted: dict[Run, _Posts] = {
            run: (np.array([index for index, _ in posts]), np.array([weight for _, weight in posts]))
            for run, posts in posted.items()
        }

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> KnownRuns:
        """Rebuild from what `arrays` returned."""
        known = cls.__new__(cls)
        known._all, known._kept = arrays["windows"].tolist()
        runs = [tuple(run) for run in arrays["runs"].tolist()]
        known._held_by = Counter(dict(zip(runs, arrays["held_by"].tolist(), strict=True)))
        ends = np.cumsum(arrays["posts"])
        known._posted = {
            run: (arrays["indexes"][end - count : end], arrays["weights"][end - count : end])
            for run, count, end in zip(runs, arrays["posts"].tolist(), ends.tolist(), strict=True)
            if count
        }
        return known

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what it is made of."""
        nothing = np.zeros(0, np.int64), np.zeros(0)
        posted = [self._posted.get(run, nothing) for run in self._held_by]
        return {
            "windows": np.array([self._all, self._kept]),
            "runs": np.array(list(self._held_by), np.int64),
            "held_by": np.array(list(self._held_by.values()), np.int64),
            "posts": np.array([len(indexes) for indexes, _ in posted], np.int64),
            "indexes": np.concatenate([indexes for indexes, _ in posted]),
            "weights": np.concatenate([weights for _, weights in posted]),
        }

    def unknown(self, window: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return, for each event of a window, how many runs it is part of that no good window has."""
        found = np.zeros(max(len(window), RUN), np.int64)
        for start, run in enumerate(_in_order(window)):
            if run not in self._held_by:
                found[start : start + RUN] += 1
        return found[-len(window) :]

    def mends(self, window: Sequence[int], place: int, event: int) -> int:
        """Return how many fewer unknown runs a window would have with one more event before a place."""
        before, after = window[max(0, place - RUN + 1) : place], window[place : place + RUN - 1]
        with_event = self.unknown_runs((*before, event, *after))
        return (self.unknown_runs((*before, *after)) if len(before) + len(after) >= RUN else 0) - with_event

    def unknown_runs(self, window: Sequence[int]) -> int:
        """Return how many runs of a window no good window has."""
        return sum(run not in self._held_by for run in _in_order(window))

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


def _in_order(window: Sequence[int]) -> Iterable[Run]:
    padded = (*(_EDGE,) * (RUN - len(window)), *window)
    return zip(*(padded[start:] for start in range(RUN)), strict=False)


def _runs(window: Sequence[int]) -> Counter[Run]:
    return Counter(_in_order(window))


def _weights(runs: Counter[Run], weight: Callable[[Run], float]) -> dict[Run, float]:
    raw = {run: count * weight(run) for run, count in runs.items()}
    length = math.sqrt(sum(value * value for value in raw.values()))
    return {run: value / length for run, value in raw.items()}
