"""Figures of a detector from arrays: ranking, alarms as shipped, and what a budget of alarms a day would find.

Intervals are of 95 % and by bootstrap: what is taken to be independent is drawn again, as much of it as there is, and
the figure computed anew, always with the same random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.alarms.budget import MAX_SHARE
from service.alarms.incidents import MAX_GAP_SECONDS, MAX_QUIET_WINDOWS, MAX_WINDOWS

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
    """Return the 95 % bootstrap interval of a figure of some of the windows, which are drawn by whole days.

    Args:
        figure: given the places of windows, drawn with repetition.
        anomalous: of every window.
        starts: when each began, epoch seconds; one without a time, NaN, is drawn by itself, all are where it is None.
        resamples: how many times.
    """
    count, untimed = len(anomalous), 0
    days = np.arange(count)
    if starts is not None:
        untimed = int(np.isnan(starts).sum())
        days = np.unique(starts // DAY, return_inverse=True, equal_nan=False)[1]
    if days.max() - untimed < _MIN_DAYS:
        days = np.arange(count) * _PARTS // count
    members = np.split(np.argsort(days, kind="stable"), np.cumsum(np.bincount(days))[:-1])
    values = [
        figure(drawn) for drawn in _drawn(members, resamples) if anomalous[drawn].any() and not anomalous[drawn].all()
    ]
    if not values:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def interval_of(figure: Callable[[Floats], Any], values: Sequence[float]) -> list[float] | None:
    """Return the 95 % bootstrap interval of a figure of independent values, which are drawn one by one.

    None where all are alike: whatever is drawn of them is what there was, which says nothing of what else might be.
    """
    given = np.array(values, np.float64)
    if len(np.unique(given)) < 2:
        return None
    drawn = _drawn(np.split(np.arange(len(given)), len(given)), RESAMPLES)
    return [float(bound) for bound in np.quantile([figure(given[places]) for places in drawn], [0.025, 0.975])]


def a_day(times: Sequence[float], start: float, end: float) -> tuple[float, list[float] | None]:
    """Return how many of some moments there are a day, and its interval: equal stretches of time are drawn.

    A stretch is about a day, or a part of a log of few days, as it is where windows are drawn.
    """
    days = (end - start) / DAY
    parts = int(days) if days > _MIN_DAYS else _PARTS
    counts = np.histogram(times, parts, (start, end))[0]
    return len(times) / days, interval_of(np.mean, (counts * parts / days).tolist())


def _drawn(members: Sequence[Ints], resamples: int) -> Iterator[Ints]:
    """Draw as many blocks as there are, with repetition; yield the places in them, so many times."""
    random = np.random.default_rng(0)
    for _ in range(resamples):
        yield np.concatenate([members[block] for block in random.integers(0, len(members), len(members))])


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


def joined_alarms(windows: Sequence[Mapping[str, Any]], marked: Bools) -> list[list[int]]:
    """Return the alarms that some windows make, as the windows of each by place; they join as the strongest do.

    Args:
        windows: rows of the store, final and of one bundle.
        marked: which of them are strange.
    """
    alarms: list[list[int]] = []
    last: Mapping[str, Any] | None = None
    for place in sorted(
        np.flatnonzero(marked).tolist(), key=lambda place: (windows[place]["source"], windows[place]["index"])
    ):
        window = windows[place]
        if (
            last is not None
            and last["source"] == window["source"]
            and window["index"] - last["index"] <= 1 + MAX_QUIET_WINDOWS
            and len(alarms[-1]) < MAX_WINDOWS
            and _near(last, window)
        ):
            alarms[-1].append(place)
        else:
            alarms.append([place])
        last = window
    return alarms


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
