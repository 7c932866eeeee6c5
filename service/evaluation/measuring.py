"""Figures of judged windows: by incident and alarm, by the clock, and of single windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from service.evaluation.figures import (
    DAY,
    Bools,
    Floats,
    Ints,
    a_day,
    area_under_roc,
    average_precision,
    f1,
    interval,
    interval_of,
    strongest_alarms,
)
from service.evaluation.labels import Label

BUDGETS = (1, 5, 20)


def measure(
    windows: Sequence[Mapping[str, Any]], labels: Sequence[Label], found: Mapping[int, Bools]
) -> dict[str, Any]:
    """Return every figure of judged windows, and beside it, as `…_95`, its interval where it is no plain count.

    An alarm is an incident opened, and true where one of its windows is marked. What people marked is an incident of
    theirs, found where a window of an alarm is marked by it, once, however many are. Figures a day need a day at least,
    and are of the windows that have times.

    Intervals are of what is drawn again: recall and delay of the incidents of people, precision of the alarms, alarms
    a day of stretches of time, figures of windows of their days. At a budget the alarms are those that it raises here.

    Args:
        windows: rows of the store, in order.
        labels: what people marked.
        found: which windows each incident of theirs marks, by its number.
    """
    anomalous = np.logical_or.reduce(list(found.values()))
    alarms = _raised(windows)
    hit = {number: _touched(alarms, mine) for number, mine in found.items()}
    true = [bool(anomalous[places].any()) for places in alarms]
    names = {label.incident: label.name for label in labels}
    missed = [number for number in found if not hit[number]]
    timed = np.array([window["start"] is not None for window in windows])
    figures: dict[str, Any] = {
        "labels": len(labels),
        "incidents": len(found),
        "incidents_found": len(found) - len(missed),
        "missed": [names[number] for number in missed],
        "missed_without_a_window": [names[number] for number in missed if not found[number].any()],
        **_with_interval("recall", np.mean, list(hit.values())),
        "alarms": len(alarms),
        "false_alarms": true.count(False),
        **_with_interval("precision", np.mean, true),
        "windows_without_a_time": int((~timed).sum()),
    }
    if timed.any():
        clocked = [windows[place] for place in np.flatnonzero(timed).tolist()]
        # What marks windows without a time alone can be found by no clock.
        theirs = {number: mine[timed] for number, mine in found.items() if mine[timed].any() or not mine.any()}
        figures |= _by_the_clock(clocked, labels, theirs, anomalous[timed])
    return figures | _of_windows(windows, anomalous, timed)


def _raised(windows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Return the windows of each alarm, by place."""
    raised: dict[str, list[int]] = {}
    for place, window in enumerate(windows):
        if window["incident"] is not None:
            raised.setdefault(window["incident"], []).append(place)
    return list(raised.values())


def _touched(alarms: Iterable[Sequence[int]], marked: Bools) -> bool:
    return any(marked[places].any() for places in alarms)


def _with_interval(name: str, figure: Callable[[Floats], Any], values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {name: None, f"{name}_95": None}
    return {name: float(figure(np.array(values, np.float64))), f"{name}_95": interval_of(figure, values)}


def _by_the_clock(
    windows: Sequence[Mapping[str, Any]], labels: Sequence[Label], found: Mapping[int, Bools], anomalous: Bools
) -> dict[str, Any]:
    starts, ends = (np.array([window[name] for window in windows], np.float64) for name in ("start", "end"))
    begin, end = float(starts.min()), float(ends.max())
    alarms, days = _raised(windows), (end - begin) / DAY
    clock: dict[str, Any] = {"days": days}
    false = [places for places in alarms if not anomalous[places].any()]
    for name, counted in (("alarms_a_day", alarms), ("false_alarms_a_day", false)):
        opened = [float(starts[places].min()) for places in counted]
        clock[name], clock[f"{name}_95"] = a_day(opened, begin, end) if days >= 1 else (None, None)
    for budget in BUDGETS:
        strongest = strongest_alarms(windows, round(budget * days))
        hits = [bool(anomalous[places].any()) for places in strongest]
        credit = [_touched(strongest, mine) for mine in found.values()] if strongest else []
        clock |= _with_interval(f"precision_at_{budget}_a_day", np.mean, hits)
        clock |= _with_interval(f"recall_at_{budget}_a_day", np.mean, credit)
    raised = np.array([window["incident"] is not None for window in windows])
    waited: list[float] = []
    for number, mine in found.items():
        began = [label.start for label in labels if label.incident == number and label.start is not None]
        if (hit := mine & raised).any():
            waited.append(float(ends[hit].min() - min(began or starts[mine])))
    return clock | _with_interval("median_delay_seconds", np.median, waited)


def _of_windows(windows: Sequence[Mapping[str, Any]], anomalous: Bools, timed: Bools) -> dict[str, Any]:
    scores = np.array([window["strength"] for window in windows], np.float64)
    alarms = np.array([bool(window["anomalous"]) for window in windows])
    starts = np.array([window["start"] for window in windows], np.float64) if timed.any() else None
    copies = np.ones(len(windows), np.int64)
    ranked: dict[str, Callable[[Ints], float]] = {
        "window_auroc": lambda at: area_under_roc(anomalous[at], scores[at], copies[at]),
        "window_ap": lambda at: average_precision(anomalous[at], scores[at], copies[at]),
        "window_f1": lambda at: f1(anomalous[at], alarms[at], copies[at]),
    }
    found: dict[str, Any] = {"anomalous_windows": int(anomalous.sum()), "alarm_windows": int(alarms.sum())}
    for name, figure in ranked.items():
        found[name] = figure(np.arange(len(windows)))
        low, high = interval(figure, anomalous, starts)
        # Of draws that are all alike there is none, as of values.
        found[f"{name}_95"] = [low, high] if low < high else None
    found["window_precision"] = float((anomalous & alarms).sum() / alarms.sum()) if alarms.any() else None
    found["window_recall"] = float((anomalous & alarms).sum() / anomalous.sum())
    return found
