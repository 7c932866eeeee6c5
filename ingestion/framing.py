"""Framing: which lines make one event. A stack trace is one event, whatever its number of lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ingestion.errors import BadFormat
from ingestion.patterns import Expression

Start = Literal["line", "time", "pattern", "unless"]
# A pattern looks at this many characters of a line: where an event starts shows near the start of a line.
PATTERN_COLUMNS = 1024
LIMITS: Mapping[str, tuple[float, float]] = {
    "idle_seconds": (0.1, 3600.0),
    "max_lines": (1, 10_000),
    "max_characters": (1, 1 << 20),
}


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Where events begin and end.

    Attributes:
        start: `line`: every line is an event. `time`: a line with a time starts one, and lines without a time belong to
            the event before. `pattern`: a line in which `pattern` is found starts one. `unless`: a line in which it is
            found belongs to the event before, and any other starts one.
        pattern: a regular expression in RE2's syntax; with `start = "pattern"` or `"unless"` only.
        idle_seconds: silence, by the times lines were received, after which an open event is complete.
        max_lines: an event of more lines is closed and a new one begun, so that a lost start cannot grow for ever.
        max_characters: the same for its characters.
    """

    start: Start = "line"
    pattern: str | None = None
    idle_seconds: float = 5.0
    max_lines: int = 500
    max_characters: int = 64 * 1024

    def __post_init__(self) -> None:
        if self.start not in get_args(Start):
            raise BadFormat(f"unknown framing start {self.start!r}; one of {', '.join(get_args(Start))}")
        if (self.pattern is not None) != (self.start in ("pattern", "unless")):
            raise BadFormat('a framing has a `pattern` with start = "pattern" or "unless", and only there')
        for name, (least, most) in LIMITS.items():
            if not least <= getattr(self, name) <= most:
                raise BadFormat(f"framing.{name} is {getattr(self, name)}; it must lie between {least:g} and {most:g}")
        if self.pattern is not None:
            _expression(self.pattern)


@dataclass(slots=True)
class Frame:
    """An event whose lines are still coming.

    Attributes:
        stream: where its lines are read from.
        position: of its first line.
        next_position: after its last line.
        received: when its first line was received, epoch seconds.
        heard: when its last line was received.
        time: when the source says it happened, epoch seconds.
        message: what its first line says and, where there is one, its second: which exception it was. Lines that say
            nothing but their time do not count.
        text: its lines, joined by line feeds.
        lines: how many lines it has.
    """

    stream: str
    position: int
    next_position: int
    received: float | None
    heard: float | None
    time: float | None
    message: str
    text: str
    lines: int = 1


class Framer:
    """Joins one stream's lines to events."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._pattern = _expression(framing.pattern) if framing.pattern is not None else None
        self._open: Frame | None = None
        # Later lines are joined at the end: adding each to one text would be quadratic.
        self._rest: list[str] = []
        self._characters = 0

    def add(self, line: Frame, what: str) -> Frame | None:
        """Take one line, as a frame of its own; return the event it completes.

        Args:
            line: the line.
            what: the text in which a start pattern is sought.
        """
        frame = self._open
        if frame is not None and not self._starts(frame, line, what):
            self._rest.append(line.text)
            self._characters += len(line.text)
            frame.next_position = line.next_position
            frame.heard = line.heard
            frame.lines += 1
            if frame.lines == 2 or not frame.message.strip():
                frame.message = f"{frame.message} {line.message}"
            return None
        closed = self.flush()
        self._open, self._characters = line, len(line.text)
        return closed

    def flush(self) -> Frame | None:
        """Close the open event, if there is one."""
        frame, self._open = self._open, None
        if frame is not None and self._rest:
            frame.text = "\n".join((frame.text, *self._rest))
            self._rest = []
        return frame

    @property
    def is_open(self) -> bool:
        """Whether an event is still waiting for further lines."""
        return self._open is not None

    def _starts(self, frame: Frame, line: Frame, what: str) -> bool:
        framing = self._framing
        if frame.lines >= framing.max_lines or self._characters + len(line.text) > framing.max_characters:
            return True
        if line.heard is not None and frame.heard is not None and line.heard - frame.heard > framing.idle_seconds:
            return True
        if self._pattern is not None:
            return self._pattern.is_in(what[:PATTERN_COLUMNS]) == (framing.start == "pattern")
        return line.time is not None

    def state(self) -> dict[str, Any] | None:
        """Return the open event as JSON values."""
        return {"frame": asdict(self._open), "rest": list(self._rest)} if self._open is not None else None

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from what `state` returned."""
        self._open = Frame(**state["frame"]) if state else None
        self._rest = list(state["rest"]) if state else []
        self._characters = (len(self._open.text) if self._open else 0) + sum(map(len, self._rest))


def _expression(pattern: str) -> Expression:
    return Expression(
        pattern,
        f"the framing pattern {pattern!r}",
        'for lines that do not look so, say what continuations look like, with start = "unless"',
    )
