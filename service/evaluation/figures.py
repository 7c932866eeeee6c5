"""Figures of a detector from arrays: ranking, alarms as shipped, and what a budget of alarms a day would find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.alarms.budget import MAX_SHARE
from service.alarms.incidents import MAX_GAP_SECONDS, MAX_QUIET_WINDOWS

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


def strongest_alarms(windows: Sequence[Mapping[str, Any]], most: int) -> list[list[int]]:
    """Return what a threshold would raise that raises no more than so many alarms, as the windows of each by place.

    Windows join as they do into incidents: those of one source over a quiet window between them. As in service no more
    than `MAX_SHARE` of the windows are alarms: beyond it they run together into a few.

    Args:
        windows: rows of the store, final and of one bundle.
        most: how many alarms.
    """
    place_of = {(window["source"], window["index"]): place for place, window in enumerate(windows)}
    alarm_of: dict[int, list[int]] = {}
    count = 0
    ranked = sorted(range(len(windows)), key=lambda place: (-windows[place]["strength"], place))
    for place in ranked[: int(MAX_SHARE * len(windows))]:
        mine, joined = [place], set[int]()
        for step in range(-1 - MAX_QUIET_WINDOWS, 2 + MAX_QUIET_WINDOWS):
            other = place_of.get((windows[place]["source"], windows[place]["index"] + step))
            if other in alarm_of and id(alarm_of[other]) not in joined and _near(windows[place], windows[other]):
                joined.add(id(alarm_of[other]))
                mine += alarm_of[other]
        if count + 1 - len(joined) > most:
            break
        count += 1 - len(joined)
        alarm_of |= dict.fromkeys(mine, mine)
    return list({id(alarm): alarm for alarm in alarm_of.values()}.values())


def _near(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one["start"] is None or other["start"] is None:
        return True
    return bool(max(one["start"], other["start"]) - min(one["end"], other["end"]) <= MAX_GAP_SECONDS)


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
