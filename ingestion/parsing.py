"""One source's lines to events: decode, open, time, frame, mask, match; every line accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ingestion.decoding import decode, is_undecodable, line_ending
from ingestion.envelopes import Content, Unopened
from ingestion.format import SourceFormat
from ingestion.framing import Frame, Framer
from ingestion.masking import clean, words
from ingestion.matching import Matcher
from ingestion.records import Record
from ingestion.schema import Schema
from ingestion.splitting import lines_of, origin_of, unpadded
from ingestion.vocabulary import PADDING, UNSEEN, Vocabulary

# A line whose time cannot be and that has its broker's time instead.
IMPOSSIBLE = "impossible-time"
# A line whose envelope has a place for its time, with nothing in it: it takes that of the event before, as text does.
UNTIMED = "missing-time"


@dataclass(frozen=True, slots=True)
class Event:
    """One framed, timed and tokenised log event.

    Attributes:
        stream: where its lines were read from.
        position: position of its first line in the stream.
        next_position: position after its last line.
        time: when the source says it happened, epoch seconds; the time of receipt where the source says none, None
            where the input has no clock either.
        received: when the service or the broker received its first line, epoch seconds; None for whole files.
        text: its decoded lines, joined by line feeds.
        lines: how many lines it has; 0 for all but the first event of a line that carries several.
        message: what its lines say, without envelope and time: what its token is decided by.
        token: its token in the vocabulary.
    """

    stream: str
    position: int
    next_position: int
    time: float | None
    received: float | None
    text: str
    lines: int
    message: str
    token: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A line that became no event.

    Attributes:
        stream: where it was read from.
        position: its position in the stream.
        reason: why, one of `DROP_REASONS`.
        value: its original bytes; of a blank one, which nobody keeps, what was read of them.
        length: how many it had, where the input kept only these; None where `value` is all of it.
        received: when the service or the broker received it, epoch seconds; None for whole files.
    """

    stream: str
    position: int
    reason: str
    value: bytes
    length: int | None = None
    received: float | None = None


@dataclass
class Accounting:
    r"""What became of a source's lines: consumed = parsed + unparsed + dropped, at every moment.

    A line is counted when its fate is known; lines of an event still open are on neither side.

    Attributes:
        consumed: lines whose fate is known.
        parsed: lines of events whose shape the vocabulary knows.
        unparsed: lines of events whose shape it does not know; a line of several events is one where any is.
        dropped: lines that became no event, by reason.
        replaced: undecodable byte sequences, shown as `\x83`.
        noticed: what was odd about lines that became events, by slug: clocks that jump, times that the zone makes
            ambiguous, times that cannot be or are missing, fields that appear or vanish.
    """

    consumed: int = 0
    parsed: int = 0
    unparsed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    replaced: int = 0
    noticed: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Accounting:
        """Return what it is now, which counts no further lines."""
        return replace(self, dropped=dict(self.dropped), noticed=dict(self.noticed))

    def drop(self, reason: str) -> None:
        """Count one dropped line."""
        self.consumed += 1
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


class _Reader:
    """What one format needs to remember from line to line."""

    def __init__(self, source_format: SourceFormat, accounting: Accounting) -> None:
        self.format = source_format
        self.ending = line_ending(source_format.encoding)
        self.is_raw = source_format.envelope.kind == "raw"
        self.is_shdr = source_format.envelope.kind == "shdr"
        self.is_syslog = source_format.envelope.kind == "syslog"
        self.is_framed = source_format.framing.start != "line"
        self.clock = source_format.clock()
        self.clock.noticed = accounting.noticed
        self.framer = Framer(source_format.framing)
        self.schema = Schema()

    def state(self) -> dict[str, Any]:
        return {
            "clock": [self.clock.year, self.clock.last],
            "frame": self.framer.state(),
            "schema": self.schema.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.clock.year, self.clock.last = state["clock"]
        self.framer.restore(state["frame"])
        self.schema.restore(state["schema"])


class SourceParser:
    """Turns one source's records into events, in order.

    Parsing is a pure function of the formats, the vocabulary and the lines, apart from the year of times that do not
    write one, which follows from the lines before.

    Args:
        source_format: how the source writes its lines; its delimiter, decimal sign and masks are those of the lines
            the vocabulary was learned from, and hold for every stream.
        vocabulary: the templates.
        origins: formats of streams that differ from `source_format`, by what `origin_of` returns.
    """

    def __init__(
        self, source_format: SourceFormat, vocabulary: Vocabulary, origins: Mapping[str, SourceFormat] | None = None
    ) -> None:
        self.accounting = Accounting()
        self._format = source_format
        self._vocabulary = vocabulary
        self._origins = origins or {}
        self._readers: dict[str, _Reader] = {}
        self._stream: str | None = None
        self._reader = self._reader_of("")
        self._token = Matcher.of(vocabulary, source_format.delimiter, source_format.mask_set()).token

    def feed(self, record: Record) -> list[Event | Dropped]:
        """Take one record; return what became complete with it. No record makes it raise."""
        reader = self._reader
        made: list[Event | Dropped] = []
        if record.stream != self._stream:
            reader = self._turn_to(record.stream, made)
        value = record.value
        if reader.ending not in value and not (reader.is_syslog and value[:1].isdigit()):
            self._line(reader, record, value, record.next_position, made)
            return made
        lines = lines_of(reader.format, value)
        for line in lines[:-1]:
            self._line(reader, record, line, record.position, made)
        self._line(reader, record, lines[-1], record.next_position, made)
        return made

    def flush(self) -> list[Event | Dropped]:
        """Close the open event, if there is one."""
        frame = self._reader.framer.flush()
        return self._closed(frame) if frame else []

    @property
    def is_open(self) -> bool:
        """Whether an event is still waiting for further lines."""
        return self._reader.framer.is_open

    @property
    def idle_seconds(self) -> float:
        """Silence after which an open event is complete."""
        return self._reader.format.framing.idle_seconds

    @property
    def format(self) -> SourceFormat:
        """How the lines of the stream that is read are written."""
        return self._reader.format

    @property
    def schema_changes(self) -> list[str]:
        """The latest changes of the fields of the source's lines, such as `load vanished`."""
        return [change for reader in self._readers.values() for change in reader.schema.changes]

    def _turn_to(self, stream: str, made: list[Event | Dropped]) -> _Reader:
        # Lines of another stream do not go on with this one's event.
        made.extend(self.flush())
        self._stream = stream
        self._reader = self._reader_of(self._origin_of(stream))
        return self._reader

    def _origin_of(self, stream: str) -> str:
        origin = origin_of(stream)
        return origin if origin in self._origins else ""

    def _reader_of(self, origin: str) -> _Reader:
        reader = self._readers.get(origin)
        if reader is None:
            reader = self._readers[origin] = _Reader(self._origins.get(origin, self._format), self.accounting)
        return reader

    def _line(
        self, reader: _Reader, record: Record, value: bytes, next_position: int, made: list[Event | Dropped]
    ) -> None:
        if len(value) > reader.format.max_line_bytes:
            made.append(self._drop(record, value, "too-long"))
            return
        text, replaced = decode(value, reader.format.encoding)
        if replaced:
            if is_undecodable(text, replaced):
                made.append(self._drop(record, value, "undecodable"))
                return
            self.accounting.replaced += replaced
        # A line that a person cannot see begins with a character that cannot be seen.
        if not text or ((text[0] <= " " or not text[0].isprintable()) and not clean(text).strip()):
            made.append(self._drop(record, value, "blank"))
            return
        # A short SHDR line holds one pair and is what it says.
        if not reader.is_raw and not (reader.is_shdr and text.count("|") < 4):
            self._enveloped(reader, record, value, next_position, text, made)
            return
        time, _, end = reader.clock.read(text, record.timestamp)
        if time is None and end and self._is_timeless(record):
            made.append(self._drop(record, value, IMPOSSIBLE))
        elif not reader.is_framed:
            # Most lines of most plants end here.
            message, received = text[end:], record.timestamp
            token = self._token(message)
            if token == PADDING:
                made.append(self._drop(record, value, "blank"))
                return
            self._count(1, token)
            time = received if time is None else time
            made.append(Event(record.stream, record.position, next_position, time, received, text, 1, message, token))
        else:
            closed = reader.framer.add(_frame(record, next_position, time, text[end:], text), text)
            if closed:
                made.extend(self._closed(closed))

    def _enveloped(
        self,
        reader: _Reader,
        record: Record,
        value: bytes,
        next_position: int,
        text: str,
        made: list[Event | Dropped],
    ) -> None:
        received = record.timestamp
        try:
            contents = reader.format.envelope.open(unpadded(text))
            if contents[0].fields:
                reader.schema.follow(contents[0].fields, self.accounting.noticed)
            opened = [self._timed(reader, record, content, text) for content in contents]
        except Unopened as unopened:
            made.append(self._drop(record, value, unopened.reason))
            return
        if reader.is_framed:
            time, message, shown = opened[0]
            closed = reader.framer.add(_frame(record, next_position, time, message, shown), message)
            if closed:
                made.extend(self._closed(closed))
            return
        if len(opened) == 1:
            time, message, shown = opened[0]
            token = self._token(message)
            if token == PADDING:
                made.append(self._drop(record, value, "blank"))
                return
            self._count(1, token)
            when = received if time is None else time
            made.append(Event(record.stream, record.position, next_position, when, received, shown, 1, message, token))
            return
        # One of several that says nothing is unseen: its line says something.
        tokens = [self._token(message) or UNSEEN for _, message, _ in opened]
        # A line counts once, as unparsed where any of its events is.
        self._count(1, next((token for token in tokens if self._vocabulary.is_unseen(token)), tokens[0]))
        last = len(opened) - 1
        for number, ((time, message, shown), token) in enumerate(zip(opened, tokens, strict=True)):
            after = next_position if number == last else record.position
            when = received if time is None else time
            lines = int(number == 0)
            made.append(Event(record.stream, record.position, after, when, received, shown, lines, message, token))

    def _timed(self, reader: _Reader, record: Record, content: Content, text: str) -> tuple[float | None, str, str]:
        """Return the time, the message and the text to show of one event that a line carries."""
        clock, message = reader.clock, content.message
        time, _, end = clock.read(message if content.time is None else content.time, record.timestamp)
        if content.time == "" and clock.pattern is not None:
            self._notice(UNTIMED)
        is_odd = time is None and (end > 0 or (bool(content.time) and clock.pattern is not None))
        if is_odd and self._is_timeless(record):
            raise Unopened(IMPOSSIBLE)
        if content.time is None:
            message = message[end:]
        if not message or message.isspace():
            raise Unopened("blank")
        if "\n" in message:
            message = "\n".join(message.strip("\n").split("\n", 2)[:2])
        return time, message, text if content.text is None else content.text

    def _is_timeless(self, record: Record) -> bool:
        """Whether a line of an impossible time has no time at all; counts it where its receipt gives it one."""
        if record.timestamp is None:
            return True
        self._notice(IMPOSSIBLE)
        return False

    def _notice(self, what: str) -> None:
        self.accounting.noticed[what] = self.accounting.noticed.get(what, 0) + 1

    def _drop(self, record: Record, value: bytes, reason: str) -> Dropped:
        self.accounting.drop(reason)
        return Dropped(record.stream, record.position, reason, value, record.length, record.timestamp)

    def _closed(self, frame: Frame) -> list[Event | Dropped]:
        token = self._token(frame.message)
        if token == PADDING:
            for _ in range(frame.lines):
                self.accounting.drop("blank")
            value = frame.text.encode("utf-8")
            return [Dropped(frame.stream, frame.position, "blank", value, None, frame.received)] * frame.lines
        self._count(frame.lines, token)
        return [_made(frame, token)]

    def _count(self, lines: int, token: int) -> None:
        accounting = self.accounting
        accounting.consumed += lines
        if self._vocabulary.is_unseen(token):
            accounting.unparsed += lines
        else:
            accounting.parsed += lines

    def state(self) -> dict[str, Any]:
        """Return what a restart needs, as JSON values."""
        return {
            "accounting": asdict(self.accounting),
            "stream": self._stream,
            "readers": {origin: reader.state() for origin, reader in self._readers.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.accounting = Accounting(**state["accounting"])
        self._readers = {}
        for origin, its in state["readers"].items():
            self._reader_of(origin).restore(its)
        self._stream = state["stream"]
        self._reader = self._reader_of(self._origin_of(self._stream or ""))


def event_shape(event: Event, source_format: SourceFormat) -> list[str]:
    """Return the masked words of an event, those its token was decided by.

    Args:
        event: the event.
        source_format: the format that the vocabulary was learned with.
    """
    return words(event.message, source_format.delimiter, source_format.mask_set())


def _frame(record: Record, next_position: int, time: float | None, message: str, text: str) -> Frame:
    heard = record.timestamp
    return Frame(record.stream, record.position, next_position, heard, heard, time, message, text)


def _made(frame: Frame, token: int) -> Event:
    return Event(
        stream=frame.stream,
        position=frame.position,
        next_position=frame.next_position,
        time=frame.received if frame.time is None else frame.time,
        received=frame.received,
        text=frame.text,
        lines=frame.lines,
        message=frame.message,
        token=token,
    )
