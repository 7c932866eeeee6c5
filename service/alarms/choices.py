"""What other budgets would have raised of the same windows, and what they would have missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.alarms.budget import AlarmThreshold, Budget
from service.alarms.incidents import IncidentTracker, Told

PER_DAY = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
# The largest budget told of raises no more than one window in twenty.
MAX_SHARE = 0.05
_TOLD = Told("", "", "", "warning", {}, {}, ())


def choices(
    windows: Sequence[Mapping[str, Any]],
    windows_per_day: float | None,
    describe: Callable[[Mapping[str, Any]], tuple[str, str]],
    floor: float,
    per_day: Sequence[float] = PER_DAY,
) -> list[dict[str, Any]]:
    """Return for each budget what it raises of one source's windows.

    What a budget misses are kinds of anomaly that the largest raises, or that are strange enough by `floor`, and it
    does not raise.

    Args:
        windows: rows of the store's `windows`, final, in order; what a rule decided is left as it is.
        windows_per_day: of the bundle's calibration.
        describe: the kind of anomaly a window holds, and its title.
        floor: the strength from which on a window is strange, whatever is raised.
        per_day: budgets, in alarms a day.

    Returns:
        By budget, smallest first: `alarms_per_day` asked for, `alarms` raised and `realised_per_day` of the days on
        which the source wrote, `kinds` of anomaly among them, how many are `missed`, and the title of the
        `strongest_missed`.
    """
    raised = {asked: _raised(windows, windows_per_day, asked) for asked in sorted(per_day)}
    # Alarms closer than that run together into incidents, whatever is asked for.
    most_asked = MAX_SHARE * len(windows) / max(next(iter(raised.values()))[1], 1e-9)
    raised = {asked: found for asked, found in raised.items() if asked <= max(most_asked, min(per_day))}
    most = raised[max(raised)][0]
    strange = [window for incident in most for window in incident]
    told = {window["id"] for window in strange}
    strange += [w for w in windows if w["decided_by"] is None and w["strength"] >= floor and w["id"] not in told]
    known = {window["id"]: describe(window) for window in strange}
    found = []
    for asked, (incidents, days) in raised.items():
        known |= {w["id"]: describe(w) for incident in incidents for w in incident if w["id"] not in known}
        kinds = {known[window["id"]][0] for incident in incidents for window in incident}
        missed = [window for window in strange if known[window["id"]][0] not in kinds]
        strongest = max(missed, key=lambda window: window["strength"], default=None)
        found.append(
            {
                "alarms_per_day": asked,
                "alarms": len(incidents),
                "realised_per_day": round(len(incidents) / days, 3) if days else None,
                "kinds": len(kinds),
                "missed": len({known[window["id"]][0] for window in missed}),
                "strongest_missed": known[strongest["id"]][1] if strongest is not None else None,
            }
        )
    return found


def _raised(
    windows: Sequence[Mapping[str, Any]], windows_per_day: float | None, per_day: float
) -> tuple[list[list[Mapping[str, Any]]], float]:
    """Return the incidents of one budget, as the windows of each, and the days that the budget is about."""
    threshold, tracker = AlarmThreshold(Budget(per_day, stated=True), windows_per_day), IncidentTracker()
    incidents: list[list[Mapping[str, Any]]] = []
    for window in windows:
        row = dict(window) | {"threshold": threshold.value, "incident": None}
        alarm = row["decided_by"] is None and row["strength"] >= threshold.value
        joins = tracker.takes(row)
        nearly = joins and row["decided_by"] is None and threshold.is_nearly(row["strength"])
        tracker.follow(row, _TOLD if alarm else None, nearly=nearly)
        if alarm and joins:
            incidents[-1].append(window)
        elif alarm:
            incidents.append([window])
        threshold.follow(
            row["index"],
            row["end"],
            row["strength"],
            opened=alarm and not joins,
            joined=joins,
            lasting=tracker.lasts,
        )
    return incidents, threshold.owed / per_day
