"""One source's lines to events: decode, frame, time, mask, match; every line accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ingestion.decoding import decode
from ingestion.format import SourceFormat
from ingestion.masking import words
from ingestion.matching import Matcher
from ingestion.records import Record
from ingestion.vocabulary import Vocabulary

# An event of more lines or characters is closed and a new one begun, so that a lost start line cannot grow for ever.
MAX_EVENT_LINES = 500
MAX_EVENT_CHARACTERS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One framed, timed and tokenised log event.

    Attributes:
        stream: where its lines were read from.
        position: position of its first line in the stream.
        next_position: position after its last line.
        time: when the source says it happened, epoch seconds; None where neither the line nor the input has a clock.
        received: when the service or the broker received its first line, epoch seconds; None for whole files.
        text: its decoded lines, joined by line feeds.
        lines: how many lines it has.
        token: its token in the vocabulary.
    """

    stream: str
    position: int
    next_position: int
    time: float | None
    received: float | None
    text: str
    lines: int
    token: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A line that became no event, with the reason and its original bytes."""

    stream: str
    position: int
    reason: str
    value: bytes


@dataclass
class Accounting:
    """What became of a source's lines: consumed = parsed + unparsed + dropped, at every moment.

    A line is counted when its fate is known; lines of an event still open are on neither side.

    Attributes:
        consumed: lines whose fate is known.
        parsed: lines of events whose shape the vocabulary knows.
        unparsed: lines of events whose shape it does not know.
        dropped: lines that became no event, by reason.
        replaced: undecodable byte sequences shown as U+FFFD.
    """

    consumed: int = 0
    parsed: int = 0
    unparsed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    replaced: int = 0

    def drop(self, reason: str) -> None:
        """Count one dropped line."""
        self.consumed += 1
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


@dataclass
class _Frame:
    """An event whose lines are still coming."""

    stream: str
    position: int
    next_position: int
    received: float | None
    time: float | None
    head: str
    body: list[str]
    characters: int


class SourceParser:
    """Turns one source's records into events, in order.

    Parsing is a pure function of the format, the vocabulary and the lines, apart from the year of times that do not
    write one, which follows from the lines before.
    """

    def __init__(self, source_format: SourceFormat, vocabulary: Vocabulary) -> None:
        self.accounting = Accounting()
        self._format = source_format
        self._vocabulary = vocabulary
        self._clock = source_format.clock()
        self._frame: _Frame | None = None
        self._matcher = Matcher.of(vocabulary, source_format.delimiter)

    def feed(self, record: Record) -> list[Event | Dropped]:
        """Take one record; return what became complete with it."""
        if len(record.value) > self._format.max_line_bytes:
            return [self._drop(record, "too-long")]
        text, replaced = decode(record.value, self._format.encoding)
        self.accounting.replaced += replaced
        if not text.strip():
            return [self._drop(record, "blank")]
        time, _, end = self._clock.read(text)
        if self._format.framing == "line":
            return [self._event(_start(record, time, text, end))]
        frame = self._frame
        if frame is None or time is not None or _is_full(frame, text):
            self._frame = _start(record, time, text, end)
            return [self._event(frame)] if frame else []
        frame.body.append(text)
        frame.characters += len(text)
        frame.next_position = record.next_position
        return []

    def flush(self) -> list[Event]:
        """Close the open event, if there is one."""
        frame, self._frame = self._frame, None
        return [self._event(frame)] if frame else []

    @property
    def is_open(self) -> bool:
        """Whether an event is still waiting for further lines."""
        return self._frame is not None

    def _drop(self, record: Record, reason: str) -> Dropped:
        self.accounting.drop(reason)
        return Dropped(record.stream, record.position, reason, record.value)

    def _event(self, frame: _Frame) -> Event:
        token = self._matcher.token(_message(frame.head, frame.body))
        lines = len(frame.body)
        self.accounting.consumed += lines
        if self._vocabulary.is_unseen(token):
            self.accounting.unparsed += lines
        else:
            self.accounting.parsed += lines
        return Event(
            stream=frame.stream,
            position=frame.position,
            next_position=frame.next_position,
            time=frame.received if frame.time is None else frame.time,
            received=frame.received,
            text="\n".join(frame.body),
            lines=lines,
            token=token,
        )

    def state(self) -> dict[str, Any]:
        """Return what a restart needs, as JSON values."""
        return {
            "accounting": asdict(self.accounting),
            "clock": [self._clock.year, self._clock.last],
            "frame": asdict(self._frame) if self._frame else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.accounting = Accounting(**state["accounting"])
        self._clock.year, self._clock.last = state["clock"]
        self._frame = _Frame(**state["frame"]) if state["frame"] else None


def event_shape(text: str, source_format: SourceFormat) -> list[str]:
    """Return the masked words of an event's text, those its token was decided by."""
    body = text.split("\n", 2)
    _, _, end = source_format.clock().read(body[0])
    return words(_message(body[0][end:], body), source_format.delimiter)


def _message(head: str, body: Sequence[str]) -> str:
    # The first continuation line says which exception it was; later ones say where it happened.
    return head if len(body) == 1 else f"{head} {body[1]}"


def _start(record: Record, time: float | None, text: str, end: int) -> _Frame:
    return _Frame(
        record.stream, record.position, record.next_position, record.timestamp, time, text[end:], [text], len(text)
    )


def _is_full(frame: _Frame, text: str) -> bool:
    return len(frame.body) >= MAX_EVENT_LINES or frame.characters + len(text) > MAX_EVENT_CHARACTERS
