"""Joining a source's alarms into incidents.

An incident opens with an alarm, and is what somebody is told of, once. It stays open over a quiet window, and for as
long as windows are nearly alarms: a source that hovers about its threshold is one incident, not one a window.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingestion.watermark import Watermark
from service.alarms.budget import SET_BACK_SECONDS
from service.alarms.rules import SEVERITIES
from service.schema import JSON_COLUMNS

# An incident stays open over this many quiet windows, and over this long without any event.
MAX_QUIET_WINDOWS = 1
MAX_GAP_SECONDS = 3600.0
MAX_WINDOWS = 500
# What has gone on for so many windows is what the source is like now: the threshold learns from it again.
LASTING_WINDOWS = 20
# Of an incident's windows, the lines that carry the alarm are found for the one that opens it, and for those so much
# stronger than all they were found for: that takes thirty times as long as judging, and alarms come in floods. However
# many windows an incident has, they are found a few times, and for one nearly as strong as the worst.
LEAD = 1.1
# Shapes of lines that an incident is known by, among other sources' incidents.
MAX_SHAPES = 20


@dataclass(frozen=True)
class Told:
    """What an incident takes from an alarm.

    Attributes:
        reason: kind of its strongest evidence.
        signature: what makes two incidents the same kind of thing.
        title: the incident in a few words.
        severity: how grave, of `rules.SEVERITIES`.
        first: its first unusual line, the earliest of those that carry it, as position, time and text.
        worst: its strangest line.
        shapes: shapes of its unusual lines, strangest first.
    """

    reason: str
    signature: str
    title: str
    severity: str
    first: Mapping[str, Any]
    worst: Mapping[str, Any]
    shapes: Sequence[str]


class IncidentTracker:
    """Follows one source's final windows, in order; its state is the open incident, if there is one."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self._open: dict[str, Any] | None = dict(state["open"]) if state and state["open"] else None
        self._quiet: int = state["quiet"] if state else 0
        self._led: float = state["led"] if state else 0.0
        self._clock = Watermark(SET_BACK_SECONDS)
        if state:
            self._clock = Watermark(SET_BACK_SECONDS, state.get("last"), behind=state.get("behind", 0))

    @property
    def last(self) -> float | None:
        """When the source last wrote; None where it has not said."""
        return self._clock.latest

    @property
    def is_open(self) -> bool:
        """Whether an incident is open."""
        return self._open is not None

    def state(self) -> dict[str, Any]:
        """Return what a restart needs, as JSON values."""
        clock = {"last": self._clock.latest, "behind": self._clock.behind}
        return {"open": self._open, "quiet": self._quiet, "led": self._led, **clock}

    @property
    def lasts(self) -> bool:
        """Whether the open incident has gone on for long."""
        return self._open is not None and len(self._open["window_ids"]) >= LASTING_WINDOWS

    def takes(self, window: Mapping[str, Any]) -> bool:
        """Return whether a window would join the open incident rather than open one."""
        return self._open is not None and self._joins(window)

    def leads(self, window: Mapping[str, Any]) -> bool:
        """Return whether an alarm is one of its incident that people look at: the first, or by far the worst."""
        led = self._led if self.takes(window) else 0.0
        return bool(window["threshold"] <= window["strength"] > LEAD * led)

    def foresee(self, window: dict[str, Any], told: Told) -> list[dict[str, Any]]:
        """Return what `follow` would of an alarm, and remember nothing of it."""
        return IncidentTracker(self.state()).follow(window, told)

    def take_back(self, window: Mapping[str, Any], foreseen: str, told: Told) -> list[dict[str, Any]]:
        """Return rows of what was foreseen of a window that came otherwise: incidents as they are without it.

        Somebody may have been told of one that it would have opened, so that one is closed rather than gone.

        Args:
            window: it, as it is in the end.
            foreseen: the incident that it was foreseen in.
            told: what that takes from it.
        """
        rows = [] if self._open is None else [_row(self._open)]
        if foreseen == _opened_by(window):
            rows += [row | {"status": "closed"} for row in IncidentTracker().follow(dict(window), told)]
        return rows

    def follow(self, window: dict[str, Any], told: Told | None, *, nearly: bool = False) -> list[dict[str, Any]]:
        """Take the next final window; name its incident in it.

        Args:
            window: a row of the store's `windows`; its `incident` is set where it belongs to one.
            told: what its incident takes from it; None where it is no alarm.
            nearly: whether it nearly is.

        Returns:
            Rows of the store's `incidents` that changed.
        """
        changed: list[dict[str, Any]] = []
        if self._open is not None and not self._joins(window):
            changed.append(self._close())
        self._clock.observe(window["end"])
        if told is None:
            self._quiet = 0 if nearly else self._quiet + 1
            if self._open is not None and self._quiet > MAX_QUIET_WINDOWS:
                changed.append(self._close())
            return [_row(incident) for incident in changed]
        self._quiet = 0
        incident = self._open
        if self.leads(window):
            self._led = window["strength"]
        elif incident is None:
            # A rule alone opened it.
            self._led = 0.0
        if incident is None:
            incident = self._open = {
                "id": _opened_by(window),
                "source": window["source"],
                "bundle": window["bundle"],
                "status": "open",
                "start": None,
                "end": None,
                "sequence": window["sequence"],
                "first_window": window["id"],
                "first_event": dict(told.first),
                "decided_by": window["decided_by"],
                "window_ids": [],
                "events": 0,
                "shapes": [],
                "severity": told.severity,
                "strength": -1.0,
            }
        incident["window_ids"] = [*incident["window_ids"], window["id"]]
        # Windows may come out of order, and without a time.
        incident["start"] = _known(min, incident["start"], window["start"])
        incident["end"] = _known(max, incident["end"], window["end"])
        incident["sequence"] = max(incident["sequence"], window["sequence"])
        incident["events"] += window["events"]
        incident["shapes"] = list(dict.fromkeys([*incident["shapes"], *told.shapes]))[:MAX_SHAPES]
        incident["severity"] = max(incident["severity"], told.severity, key=SEVERITIES.index)
        if window["strength"] > incident["strength"]:
            incident |= {
                "strength": window["strength"],
                "score": window["score"],
                "worst_window": window["id"],
                "worst_event": dict(told.worst),
                "reason": told.reason,
                "signature": told.signature,
                "title": told.title,
            }
        window["incident"] = incident["id"]
        return [_row(item) for item in [*changed, incident]]

    def _joins(self, window: Mapping[str, Any]) -> bool:
        assert self._open is not None
        start = window["start"]
        gap = start - self.last if start is not None and self.last is not None else 0.0
        return bool(gap <= MAX_GAP_SECONDS and len(self._open["window_ids"]) < MAX_WINDOWS)

    def _close(self) -> dict[str, Any]:
        assert self._open is not None
        closed, self._open = self._open | {"status": "closed"}, None
        return closed


def _opened_by(window: Mapping[str, Any]) -> str:
    """Return the id of the incident that a window opens."""
    return f"i-{hashlib.sha256(window['id'].encode()).hexdigest()[:12]}"


def _known(choose: Callable[[float, float], float], one: float | None, other: float | None) -> float | None:
    """Return one of two times, of which either may not be known."""
    return other if one is None else one if other is None else choose(one, other)


def _row(incident: Mapping[str, Any]) -> dict[str, Any]:
    packed = {name: json.dumps(incident[name], ensure_ascii=False) for name in JSON_COLUMNS}
    return dict(incident) | packed | {"windows": len(incident["window_ids"])}
