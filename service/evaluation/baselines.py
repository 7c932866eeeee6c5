"""Simple rules that need no model, measured as ours is: what they find as well is no merit of it.

They know what a bundle keeps of its known-good windows: its templates, and how often each event comes in up to 1,500
distinct windows (`service.detection.counts`), counts above four at two levels a doubling. Each marks windows by its own
nature, whatever the budget, and what it marks joins into alarms as ours do. Where that is more than `MAX_SHARE` of the
windows they run together into a few that touch everything: no alarms are counted then.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from service.alarms.budget import MAX_SHARE, UNSTATED_SHARE
from service.detection.counts import EXACT, MAX_LEVEL, KnownWindows
from service.evaluation.figures import Bools, Floats, Ints, joined_alarms
from service.evaluation.labels import Label
from service.evaluation.measuring import measure

OURS = "logvq"
NEW_LINE = "a line never seen in training"
NEW_COUNTS = "counts no known-good window has"
FAR_COUNTS = "counts unlike any known-good window"
OF_WINDOWS = ("window_auroc", "window_ap", "window_f1", "alarm_windows")
OF_ALARMS = ("recall", "alarms", "false_alarms", "false_alarms_a_day")


class Lines(NamedTuple):
    """What the rules look at in a window: the token of each line, and whether one of them is new."""

    tokens: Sequence[int]
    new: bool


def rows(
    known: KnownWindows,
    windows: Sequence[Mapping[str, Any]],
    lines: Sequence[Lines],
    labels: Sequence[Label],
    found: Mapping[int, Bools],
) -> list[dict[str, Any]]:
    """Return the figures of each rule, as `row` does.

    Args:
        known: the known-good windows.
        windows: rows of the store, as `measure` takes them.
        lines: of each window.
        labels: what people marked.
        found: which windows each incident of theirs marks, by its number.
    """
    counts = NearestCounts(known)
    new, far = np.array([each.new for each in lines]), np.array([counts.distance(each.tokens) for each in lines])
    rules = {NEW_LINE: (new, new), NEW_COUNTS: (far > 0, far > 0), FAR_COUNTS: (far, far > counts.threshold)}
    return [
        row(
            name,
            measure(_judged(windows, scores.astype(np.float64), marks), labels, found),
            OF_WINDOWS if marks.mean() > MAX_SHARE else OF_WINDOWS + OF_ALARMS,
        )
        for name, (scores, marks) in rules.items()
    ]


def row(name: str, figures: Mapping[str, Any], columns: Sequence[str] = OF_WINDOWS + OF_ALARMS) -> dict[str, Any]:
    """Return the figures that stand beside each other, with their intervals."""
    wanted = {*columns, *(f"{column}_95" for column in columns)}
    return {"name": name} | {column: value for column, value in figures.items() if column in wanted}


def _judged(windows: Sequence[Mapping[str, Any]], scores: Floats, marks: Bools) -> list[dict[str, Any]]:
    """Return the windows as a rule would have judged them."""
    incident = {place: f"i-{number}" for number, alarm in enumerate(joined_alarms(windows, marks)) for place in alarm}
    return [
        {**window, "strength": float(score), "anomalous": bool(mark), "incident": incident.get(place)}
        for place, (window, score, mark) in enumerate(zip(windows, scores, marks, strict=True))
    ]


class NearestCounts:
    """The least difference of a window's counts to those of a known-good window, summed over events.

    Attributes:
        threshold: what fewer than one known-good window in a hundred exceeds, compared with all the others.
    """

    def __init__(self, known: KnownWindows) -> None:
        self._column = {token: column for column, token in enumerate(known.tokens.tolist())}
        self._levels = np.ascontiguousarray(known.levels.T, np.int64)
        self._events: Ints = self._levels.sum(0)
        others = np.where(known.support > 1, 0, [self._to_another(place) for place in range(len(known.levels))])
        every = np.sort(np.repeat(others, known.support.astype(np.int64)))
        self.threshold = float(every[math.ceil((len(every) - 1) * (1 - UNSTATED_SHARE))])

    def distance(self, tokens: Sequence[int]) -> int:
        """Return how far a window is from the nearest known-good one; 0 where one has the same counts."""
        counts = Counter(self._column.get(token, len(self._column)) for token in tokens)
        return int(self._distances({column: _level(count) for column, count in counts.items()}).min())

    def _to_another(self, place: int) -> float:
        """Return how far a known-good window is from the nearest of the others; infinite where it is the only one."""
        held = np.flatnonzero(self._levels[:, place]).tolist()
        distances = self._distances({column: int(self._levels[column, place]) for column in held}).astype(np.float64)
        distances[place] = np.inf
        return float(distances.min())

    def _distances(self, levels: Mapping[int, int]) -> Ints:
        distances: Ints = self._events.copy()
        for column, level in levels.items():
            distances += np.abs(self._levels[column] - level) - self._levels[column]
        return distances


def _level(count: int) -> int:
    """Return a count as `KnownWindows` keeps it."""
    return count if count <= EXACT else min(MAX_LEVEL, int(np.round(EXACT + 2 * np.log2(count / EXACT))))
