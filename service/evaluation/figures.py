"""Figures of a detector from arrays: ranking, alarms as shipped, and what a budget of alarms a day would find."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

DAY = 86_400.0
RESAMPLES = 200
# Days are drawn whole, because windows of one day go together; a shorter log is cut into so many parts instead.
_MIN_DAYS, _PARTS = 20, 50


def area_under_roc(anomalous: Bools, scores: Floats, copies: Ints) -> float:
    """Return the chance that an anomalous window ranks above a normal one, ties counted half."""
    _, inverse = np.unique(scores, return_inverse=True)
    bad = np.bincount(inverse, copies * anomalous)
    good = np.bincount(inverse, copies * ~anomalous)
    return float((bad * (np.cumsum(good) - good / 2)).sum() / bad.sum() / good.sum())


def average_precision(anomalous: Bools, scores: Floats, copies: Ints) -> float:
    """Return the mean precision over the anomalous windows, tied windows taken together."""
    _, inverse = np.unique(-scores, return_inverse=True)
    bad = np.bincount(inverse, copies * anomalous)
    every = np.bincount(inverse, copies)
    return float((bad * np.cumsum(bad) / np.cumsum(every)).sum() / bad.sum())


def f1(anomalous: Bools, alarms: Bools, copies: Ints) -> float:
    """Return the harmonic mean of precision and recall; 0 where nothing is found."""
    found = (copies * (anomalous & alarms)).sum()
    return float(2 * found / ((copies * anomalous).sum() + (copies * alarms).sum()))


def interval(
    figure: Callable[[Ints], float], anomalous: Bools, starts: Floats | None, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a figure of some of the windows.

    Args:
        figure: given the places of windows, drawn with repetition.
        anomalous: of every window.
        starts: when each began, epoch seconds; None draws single windows.
        resamples: how many times.
    """
    random = np.random.default_rng(0)
    count = len(anomalous)
    days = np.arange(count) if starts is None else np.unique(starts // DAY, return_inverse=True)[1]
    if days.max() < _MIN_DAYS:
        days = np.arange(count) * _PARTS // count
    members = np.split(np.argsort(days, kind="stable"), np.cumsum(np.bincount(days))[:-1])
    values = []
    for _ in range(resamples):
        drawn = np.concatenate([members[day] for day in random.integers(0, len(members), len(members))])
        if anomalous[drawn].any() and not anomalous[drawn].all():
            values.append(figure(drawn))
    if not values:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def at_budget(anomalous: Bools, scores: Floats, alarms: float) -> tuple[float, float]:
    """Return precision and recall of the strongest so many windows, the first of equal ones first."""
    taken = np.argsort(-scores, kind="stable")[: round(alarms)]
    hits = anomalous[taken].sum()
    return float(hits / max(len(taken), 1)), float(hits / anomalous.sum())


def delays(incidents: Ints, alarms: Bools, starts: Floats, ends: Floats) -> tuple[int, list[float]]:
    """Return how many incidents there are, and for each with an alarm the time until its first.

    Args:
        incidents: number of the incident of each window, -1 for none.
        alarms: which windows are alarms.
        starts: when each window began, seconds.
        ends: when each was complete, which is when its alarm is raised.
    """
    numbers = np.unique(incidents[incidents >= 0])
    found = []
    for number in numbers:
        mine = incidents == number
        hit = np.flatnonzero(mine & alarms)
        if len(hit):
            found.append(float(ends[hit].min() - starts[mine].min()))
    return len(numbers), found
