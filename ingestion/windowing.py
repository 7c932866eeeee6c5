"""Cutting a source's events into windows: by count, by the clock, or by a key found in the line.

A window is named by its index, counted in the order windows are opened. The windower says which window an event joins
and which windows are complete; it holds no events, so that whoever does may score them in the meantime.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ingestion.errors import BadFormat
from ingestion.parsing import Event
from ingestion.patterns import Expression
from ingestion.watermark import Watermark

DEFAULT_EVENTS = 64
# A window by the clock or by key is closed at this many events, so that a burst cannot grow one without bound.
MAX_WINDOW_EVENTS = 4096
# Events of one source in windows that are open, together: some 50 MB where lines have 100 bytes.
MAX_OPEN_EVENTS = 65_536
MAX_OPEN_WINDOWS = 10_000
# A key stands near the start of a line.
KEY_COLUMNS = 1024
_MAX_KEY = 128
_SESSION = "session:"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OPTIONS = {"idle": "idle", "max": "events", "open": "open", "late": "lateness"}
_ALLOWED = {"count": ("late",), "time": ("max", "late"), "session": ("idle", "max", "open", "late")}
_EXAMPLES = r"64 (events), 30m or 8h (time), or 'session:blk_-?\d+,idle=10m,max=500' (a key found in the line)"
# Where options begin: everything after the pattern that reads `,word=value`.
_TAIL = re.compile(r"(?:,[a-z]+=[^,=()\[\]{}\\]*)*\Z")


@dataclass(frozen=True, kw_only=True)
class WindowSpec:
    r"""How windows are cut.

    Attributes:
        events: events in a window; the only limit where `seconds` and `session` are None.
        seconds: length of a window by event time, aligned to multiples of it since the epoch; None does not cut so.
        session: regular expression, in RE2's syntax, that finds the key of a window in a line, such as `blk_-?\d+`: its
            one group, or the whole match where it has none; None does not cut so. Lines without a key share windows of
            their own.
        idle: seconds without an event, by the source's clock, after which a session is complete.
        open: sessions that may be open at once; beyond them the one that has been idle longest is closed.
        lateness: seconds by which events may come out of order: a window is final only when the source's clock has
            passed its end by as much.
    """

    events: int = DEFAULT_EVENTS
    seconds: int | None = None
    session: str | None = None
    idle: int = 600
    open: int = 1000
    lateness: int = 0

    def __post_init__(self) -> None:
        if self.seconds is not None and self.session is not None:
            raise BadFormat("a window is cut by time or by session, not by both")
        if self.session is not None:
            self._check_session()
        if self.events < 1 or (self.seconds is not None and self.seconds < 1):
            raise BadFormat("a window holds at least one event and lasts at least one second")
        if self.lateness < 0:
            raise BadFormat(f"late={self.lateness}: events cannot be late by less than nothing")

    def _check_session(self) -> None:
        pattern = _expression(self.session or "")
        if pattern.is_in(""):
            raise BadFormat(
                f"the session pattern {self.session!r} matches the empty string, which is in every line; say what a "
                r"key looks like, such as session:blk_-?\d+"
            )
        if pattern.groups > 1:
            raise BadFormat(
                f"the session pattern {self.session!r} has {pattern.groups} groups; put one around the key, and write "
                "the others as (?:…)"
            )
        for name, value, largest in (("max", self.events, MAX_WINDOW_EVENTS), ("open", self.open, MAX_OPEN_WINDOWS)):
            if not 1 <= value <= largest:
                raise BadFormat(f"{name}={value}: sessions take 1 to {largest}")
        if self.idle < 1:
            raise BadFormat(f"idle={self.idle}: a session is idle for at least one second before it ends")

    @classmethod
    def parse(cls, text: str) -> WindowSpec:
        r"""Read `64` (events), `30m` (time) or `session:blk_-?\d+,idle=10m,max=500` (key), each with options.

        Options are `late=` for all, `max=` for time and sessions, `idle=` and `open=` for sessions.

        Raises:
            BadFormat: it is none of these; the message names the part that cannot be read.
        """
        text = text.strip()
        options = _TAIL.search(text)
        assert options is not None
        head = text[: options.start()]
        kind: str
        values: dict[str, Any]
        if head.startswith(_SESSION):
            kind, values = "session", {"session": head.removeprefix(_SESSION), "events": 500}
        elif (match := re.fullmatch(r"(\d+)([smhd]?)", head)) is None:
            raise BadFormat(f"cannot read the window {head!r}; give {_EXAMPLES}")
        elif match[2]:
            kind, values = "time", {"events": MAX_WINDOW_EVENTS, "seconds": int(match[1]) * _UNITS[match[2]]}
        else:
            kind, values = "count", {"events": int(match[1])}
        for option in options[0].split(",")[1:]:
            name, _, value = option.partition("=")
            if name not in _ALLOWED[kind]:
                raise BadFormat(
                    f"the window {text!r} has an option {name!r}; windows by {kind} take {', '.join(_ALLOWED[kind])}"
                    + (r" (a comma that belongs to the pattern is written \x2c)" if kind == "session" else "")
                )
            values[_OPTIONS[name]] = _number(name, value)
        if kind == "time" and not 1 <= values["events"] <= MAX_WINDOW_EVENTS:
            raise BadFormat(f"max={values['events']}: windows by time take 1 to {MAX_WINDOW_EVENTS}")
        return cls(**values)

    def __str__(self) -> str:
        """Return what a person reads: `64 events` or `30 minutes`."""
        if self.session is not None:
            cut = f"sessions by {self.session} (idle {_duration(self.idle)}, at most {self.events} events)"
        else:
            cut = f"{self.events} events" if self.seconds is None else _duration(self.seconds)
        return cut + (f", up to {_duration(self.lateness)} late" if self.lateness else "")


def _expression(pattern: str) -> Expression:
    return Expression(pattern, f"the session pattern {pattern!r}", "put the key in the one group instead")


def _number(name: str, value: str) -> int:
    counted = name in ("max", "open")
    match = re.fullmatch(r"(\d+)" if counted else r"(\d+)([smhd])", value)
    if match is None:
        raise BadFormat(f"cannot read {name}={value}; give {f'{name}=500' if counted else f'{name}=30s or {name}=10m'}")
    return int(match[1]) * (1 if counted else _UNITS[match[2]])


def _duration(seconds: int) -> str:
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0 and seconds:
            return f"{seconds // size} {name}{'s' if seconds != size else ''}"
    return f"{seconds} second{'s' if seconds != 1 else ''}"


@dataclass(slots=True)
class OpenWindow:
    """A window that more events may join.

    Attributes:
        index: its number among the source's windows, in the order they were opened.
        group: what its events share: the number of its span of time, or its key; None where all events share it.
        events: how many have joined.
        touched: the source's clock when the last one joined, epoch seconds; None before the source told a time.
    """

    index: int
    group: int | str | None
    events: int = 0
    touched: float | None = None

    @property
    def key(self) -> str | None:
        """The key of a session; None for other windows, and for that of lines without a key."""
        return self.group if isinstance(self.group, str) else None


class Windower:
    """Says which window each of one source's events joins, and which windows are complete.

    What it says is a function of the spec and the events, in order.

    Attributes:
        watermark: the source's event clock.
        cut: windows that were closed before their time because too many were open.
    """

    def __init__(self, spec: WindowSpec) -> None:
        self.watermark = Watermark(spec.lateness)
        self.cut = 0
        self._spec = spec
        self._key = _expression(spec.session) if spec.session is not None else None
        self._next = 0
        # Longest untouched first.
        self._open: OrderedDict[int, OpenWindow] = OrderedDict()
        self._by_group: dict[int | str | None, OpenWindow] = {}
        self._events = 0

    @property
    def open(self) -> Mapping[int, OpenWindow]:
        """The open windows by index, longest untouched first."""
        return self._open

    def add(self, event: Event) -> tuple[OpenWindow, list[OpenWindow]]:
        """Take the next event.

        Returns:
            The window it joins, and the windows that are complete with it, in the order they are. The event's own may
            be among them.
        """
        set_back = self.watermark.observe(event.time)
        complete = self._passed(everything=set_back)
        window = self._window(self._group(event))
        window.events += 1
        window.touched = self.watermark.latest
        self._events += 1
        self._open.move_to_end(window.index)
        if window.events >= self._spec.events:
            complete.append(self._close(window))
        while len(self._open) > self._spec.open or self._events > MAX_OPEN_EVENTS:
            self.cut += 1
            complete.append(self._close(next(iter(self._open.values()))))
        return window, complete

    def _group(self, event: Event) -> int | str | None:
        if self._key is not None:
            key = self._key.key(event.text[:KEY_COLUMNS])
            return None if key is None else key[:_MAX_KEY]
        if self._spec.seconds is None or self.watermark.value is None:
            return None
        time = self.watermark.latest if event.time is None else event.time
        assert time is not None
        # Spans before the watermark's are final: what is late for its own joins the one the watermark is in.
        return int(max(time, self.watermark.value) // self._spec.seconds)

    def _window(self, group: int | str | None) -> OpenWindow:
        if self._spec.seconds is not None and group is not None and None in self._by_group:
            # The source's first events told no time; the first that does tells theirs.
            window = self._by_group[group] = self._by_group.pop(None)
            window.group = group
        window_or_none = self._by_group.get(group)
        if window_or_none is not None:
            return window_or_none
        window = OpenWindow(self._next, group)
        self._next += 1
        self._open[window.index] = self._by_group[group] = window
        return window

    def _passed(self, *, everything: bool) -> list[OpenWindow]:
        """Close the windows that the watermark has passed."""
        spec, watermark = self._spec, self.watermark.value
        if watermark is None or (spec.seconds is None and spec.session is None):
            return []
        if everything:
            passed = list(self._open.values())
        elif spec.seconds is not None:
            ended = watermark // spec.seconds
            passed = [w for w in self._open.values() if isinstance(w.group, int) and w.group < ended]
            passed.sort(key=lambda window: window.index)
        else:
            passed = []
            for window in self._open.values():
                if window.touched is None or window.touched + spec.idle >= watermark:
                    break
                passed.append(window)
        return [self._close(window) for window in passed]

    def _close(self, window: OpenWindow) -> OpenWindow:
        del self._open[window.index], self._by_group[window.group]
        self._events -= window.events
        return window

    def state(self) -> dict[str, Any]:
        """Return what a restart needs, as JSON values."""
        return {
            "watermark": self.watermark.state(),
            "cut": self.cut,
            "next": self._next,
            "open": [list(asdict(window).values()) for window in self._open.values()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.watermark = Watermark.restored(state["watermark"])
        self.cut, self._next = state["cut"], state["next"]
        self._open = OrderedDict((index, OpenWindow(index, *rest)) for index, *rest in state["open"])
        self._by_group = {window.group: window for window in self._open.values()}
        self._events = sum(window.events for window in self._open.values())
