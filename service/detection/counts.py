"""How far a window's counts are from every known-good window.

A window is plausible when some known-good window could have become it. The distance is what that change costs: per
event, minus the log of the chance that two neighbouring good windows differ so. Three chances an event are learnt from
the good windows themselves, by likelihood with each window left out in turn (the product kernels of Aitchison and
Aitken, Biometrika 1976, fitted as Habbema et al., COMPSTAT 1974, do): that the event appears where the neighbour lacks
it, that it is missing where the neighbour has it, that its count shifts. A replica more or less is cheap where replicas
vary; an event that always comes is dear to miss.

    nats(window) = -ln sum_j s_j product_e k_e(window_e | good_je),    s_j = (windows like j / all windows) ^ SUPPORT

Counts above four are taken at two levels a doubling. Good windows kept are bounded, the best supported first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int8]

# Exponent of a good window's share: 1 is a density, under which a good window seen once is as strange as an unseen
# variation of a common one; 0 asks only whether it was seen, and lets one bad window in training excuse all like it.
SUPPORT = 0.25
# Chance that a count that shifts does so by one level more.
FARTHER = 0.5
EXACT = 4
MAX_LEVEL = 24
MAX_KEPT = 1500
ROUNDS = 5
# An event without any observation is taken to change in half a window of one more than there are.
PRIOR = 0.5
_BLOCK = 64


@dataclass(frozen=True)
class Difference:
    """One event's part in a window's distance.

    Attributes:
        token: the event; None stands for all events that no good window has.
        seen: how often it is in the window.
        expected: how often it is in the good window nearest to this one, at least.
        nats: what the difference costs.
    """

    token: int | None
    seen: int
    expected: int
    nats: float


class KnownWindows:
    """Known-good windows and how they vary.

    Attributes:
        tokens: (v,) the events they have, ascending.
        levels: (m, v + 1) level of each event's count in each distinct window; the last column is for unknown events.
        support: (m,) how many windows are like it.
        appear, vanish, shift: (v + 1,) chances that an event's count differs between neighbours, by how it differs.
    """

    def __init__(self, tokens: npt.NDArray[np.int64], levels: Levels, support: Floats, chances: Floats) -> None:
        self.tokens, self.levels, self.support = tokens, levels, support
        self.appear, self.vanish, self.shift = self.chances = chances
        self._column = {token: column for column, token in enumerate(tokens.tolist())}
        self._cost = _cost_table(chances)
        self._moved = self._cost - self._cost[:, :1]
        # A column at a time is read, thousands of times a second.
        self._columns = np.ascontiguousarray(levels.T)
        self._start = -SUPPORT * np.log(support / support.sum())
        self._absent = self._cost[np.arange(levels.shape[1]), 0, levels].sum(1)

    @classmethod
    def fit(cls, windows: Sequence[Sequence[int]], like: KnownWindows | None = None) -> KnownWindows:
        """Learn from known-good windows; equal windows count together.

        Args:
            windows: known-good windows.
            like: what nearly the same windows taught: the search for the chances begins there and takes one round.
        """
        if not windows:
            raise ValueError("no windows to learn from")
        tokens = np.unique(np.concatenate([np.asarray(window, np.int64) for window in windows]))
        column = {token: index for index, token in enumerate(tokens.tolist())}
        rows = np.zeros((len(windows), len(tokens) + 1), np.int8)
        for row, window in zip(rows, windows, strict=True):
            row[:] = _levels(window, column)
        levels, inverse = np.unique(rows, axis=0, return_inverse=True)
        support = np.bincount(inverse.ravel()).astype(np.float64)
        if len(levels) > MAX_KEPT:
            kept = np.sort(np.argsort(-support, kind="stable")[:MAX_KEPT])
            levels, support = levels[kept], support[kept]
        # Unknown events come as often as windows had an event that no other window has (Good and Turing).
        held_by = (rows > 0).sum(0)
        news = (rows[:, held_by == 1] > 0).any(1).sum()
        chances = np.tile(np.array([[0.05], [0.05], [0.2]]), levels.shape[1])
        if like is not None:
            known = np.isin(tokens, like.tokens)
            chances[:, :-1][:, known] = like.chances[:, np.searchsorted(like.tokens, tokens[known])]
        for _ in range(ROUNDS if like is None else 1):
            chances = _refit(cls(tokens, levels, support, chances))
        chances[0, -1] = (news + PRIOR) / (len(windows) + 1)
        return cls(tokens, levels, support, chances)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what it is made of, by the names of its arguments."""
        return {"tokens": self.tokens, "levels": self.levels, "support": self.support, "chances": self.chances}

    def nats(self, window: Sequence[int]) -> float:
        """Return how far a window is from the good windows; 0 is as near as a window can be."""
        return -float(np.logaddexp.reduce(-self._distance(_levels(window, self._column))))

    def nearest(self, window: Sequence[int], count: int) -> list[tuple[int, float]]:
        """Return the good windows nearest to a window, by row, and how far each is in nats, nearest first."""
        distance = self._distance(_levels(window, self._column))
        return [(row, float(distance[row])) for row in np.argsort(distance, kind="stable")[:count].tolist()]

    def rows(self, windows: Sequence[Sequence[int]]) -> list[int | None]:
        """Return which row holds the counts of each window; None where they are not kept."""
        places = {row.tobytes(): place for place, row in enumerate(self.levels)}
        return [places.get(_levels(window, self._column).tobytes()) for window in windows]

    def differences(self, window: Sequence[int], row: int | None = None) -> list[Difference]:
        """Return what sets a window apart from a good window, the nearest where no row is given, dearest first."""
        levels = _levels(window, self._column)
        near = self.levels[int(self._distance(levels).argmin()) if row is None else row]
        columns = np.flatnonzero(levels != near)
        cost = self._cost[columns, levels[columns], near[columns]]
        counts = {token: list(window).count(token) for token in set(window)}
        unknown = sum(count for token, count in counts.items() if token not in self._column)
        found = []
        for column, nats in zip(columns.tolist(), cost.tolist(), strict=True):
            known = column < len(self.tokens)
            token = int(self.tokens[column]) if known else None
            seen = counts.get(token, 0) if token is not None else unknown
            found.append(Difference(token, seen, _least(int(near[column])), nats))
        return sorted(found, key=lambda difference: -difference.nats)

    def _distance(self, levels: Levels) -> Floats:
        distance: Floats = self._start + self._absent
        for column in np.flatnonzero(levels).tolist():
            distance += self._moved[column, levels[column]].take(self._columns[column])
        return distance


def _levels(window: Iterable[int], column: dict[int, int]) -> Levels:
    counts = np.zeros(len(column) + 1, np.int64)
    unknown = set()
    for token in window:
        place = column.get(int(token))
        if place is None:
            unknown.add(int(token))
        else:
            counts[place] += 1
    counts[-1] = len(unknown)
    above = np.round(EXACT + 2 * np.log2(np.maximum(counts, EXACT) / EXACT)).astype(np.int64)
    return np.minimum(np.where(counts <= EXACT, counts, above), MAX_LEVEL).astype(np.int8)


def _least(level: int) -> int:
    return level if level <= EXACT else int(np.ceil(EXACT * 2 ** ((level - EXACT - 0.5) / 2)))


def _cost_table(chances: Floats) -> Floats:
    """Return (v, a, b): nats of level a where the neighbour has level b."""
    appear, vanish, shift = chances[:, :, None, None]
    seen, near = np.meshgrid(np.arange(MAX_LEVEL + 1), np.arange(MAX_LEVEL + 1), indexing="ij")
    farther = np.log(FARTHER)
    appears = np.log(appear) + np.log1p(-FARTHER) + farther * (seen - 1)
    shifts = np.log(shift / 2) + np.log1p(-FARTHER) + farther * (np.abs(seen - near) - 1)
    stays = np.log1p(-vanish) + np.where(seen == near, np.log1p(-shift), shifts)
    log_chance = np.where(
        near == 0, np.where(seen == 0, np.log1p(-appear), appears), np.where(seen == 0, np.log(vanish), stays)
    )
    return np.asarray(-log_chance)


def _refit(known: KnownWindows) -> Floats:
    """Return the chances that make each window likeliest, given all the others."""
    levels, support = known.levels, known.support
    moved = np.zeros((3, levels.shape[1]))
    could = np.zeros((3, levels.shape[1]))
    present = levels > 0
    for index, row in enumerate(levels):
        distance = known._distance(row)
        # The window itself is left out: of several alike, one.
        left = support[index] - 1
        distance[index] += -SUPPORT * np.log(left / support[index]) if left else np.inf
        weight = np.exp(distance.min() - distance) if np.isfinite(distance).any() else np.zeros(len(levels))
        near = np.flatnonzero(weight > weight.max() * 1e-6)
        weight = weight[near] / max(weight[near].sum(), 1e-300) * support[index]
        has, other = present[near], row > 0
        differs = levels[near] != row
        could[0] += weight @ ~has
        could[1] += weight @ has
        could[2] += weight @ (has & other)
        moved[0] += weight @ (~has & other)
        moved[1] += weight @ (has & ~other)
        moved[2] += weight @ (has & other & differs)
    return np.asarray((moved + PRIOR) / (could + 1))
