"""Cutting a source's events into windows, by count or by the clock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingestion.errors import BadFormat
from ingestion.parsing import Event

DEFAULT_EVENTS = 64
# A window by the clock is closed at this many events, so that a burst cannot grow one without bound.
MAX_WINDOW_EVENTS = 4096
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True)
class WindowSpec:
    """How windows are cut.

    Attributes:
        events: events in a window; the only limit where `seconds` is None.
        seconds: length of a window by event time, aligned to multiples of it since the epoch; None cuts by count.
    """

    events: int = DEFAULT_EVENTS
    seconds: int | None = None

    def __post_init__(self) -> None:
        if self.events < 1 or (self.seconds is not None and self.seconds < 1):
            raise BadFormat("a window holds at least one event and lasts at least one second")

    @classmethod
    def parse(cls, text: str) -> WindowSpec:
        """Read `64` (events) or `30m`, `8h`, `90s`, `1d` (time).

        Raises:
            BadFormat: it is neither.
        """
        match = re.fullmatch(r"(\d+)([smhd]?)", text.strip())
        if match is None:
            raise BadFormat(f"cannot read the window {text!r}; give a number of events (64) or a time (30m, 8h)")
        number = int(match[1])
        if match[2]:
            return cls(events=MAX_WINDOW_EVENTS, seconds=number * _UNITS[match[2]])
        return cls(events=number)

    def __str__(self) -> str:
        """Return what a person reads: `64 events` or `30 minutes`."""
        if self.seconds is None:
            return f"{self.events} events"
        for name, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
            if self.seconds % size == 0:
                return f"{self.seconds // size} {name}{'s' if self.seconds != size else ''}"
        raise AssertionError("every number of seconds is a multiple of one")


class Windower:
    """Collects one source's events and hands over each window when it is complete."""

    def __init__(self, spec: WindowSpec, index: int = 0, events: Sequence[Event] = ()) -> None:
        self.index = index
        self.events: list[Event] = list(events)
        self._spec = spec

    def add(self, event: Event) -> list[tuple[int, list[Event]]]:
        """Take one event; return the windows it completes, with their indices: at most one by count, two by the clock.

        A late event, one whose time lies before the open window, joins the open window.
        """
        complete: list[tuple[int, list[Event]]] = []
        seconds = self._spec.seconds
        if seconds is not None and self.events and event.time is not None:
            start = next((e.time for e in self.events if e.time is not None), None)
            if start is not None and event.time // seconds > start // seconds:
                complete.append(self._close())
        self.events.append(event)
        if len(self.events) >= self._spec.events:
            complete.append(self._close())
        return complete

    def _close(self) -> tuple[int, list[Event]]:
        closed = (self.index, self.events)
        self.index, self.events = self.index + 1, []
        return closed
