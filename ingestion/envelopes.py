"""Envelopes: what a line carries its message in. Each opens a line as a pure function of the line.

- `raw`        the line is the message, with its time somewhere near the start
- `json`       one object a line; fields are named by paths such as `log.message`
- `delimited`  a row of columns: CSV with quotes, TSV
- `syslog`     RFC 5424 and RFC 3164, told apart line by line
- `shdr`       MTConnect `time|key|value`, several pairs a line

A path goes into objects, lists, and text that holds JSON itself: `Log.message` is the member `message` of the object
written in the column `Log`.
"""

from __future__ import annotations

import csv
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

from ingestion.errors import BadFormat


class Unopened(Exception):
    """A line is not what its envelope says; `reason` is one of `ingestion.errors.DROP_REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Content(NamedTuple):
    """What one envelope carries for one event.

    Attributes:
        message: what the machine says.
        time: the text that holds the time, empty where the line has none; None where it is to be found in the message.
        text: what to show as this event's line; None shows the whole line.
        fields: names of the fields the line has, to see a schema change; empty where it has none.
    """

    message: str
    time: str | None = None
    text: str | None = None
    fields: tuple[str, ...] = ()


class Envelope(Protocol):
    """What every kind of envelope can do."""

    kind: ClassVar[str]

    def open(self, line: str) -> Sequence[Content]:
        """Return what the line carries, at least one event's.

        Raises:
            Unopened: it is not such a line.
        """

    def source(self, line: str) -> str | None:
        """Return the source a line names, or None."""


class _Plain:
    def source(self, line: str) -> str | None:
        """Such lines name no source."""
        return None


@dataclass(frozen=True, kw_only=True)
class RawEnvelope(_Plain):
    """The line is the message."""

    kind: ClassVar[str] = "raw"

    def open(self, line: str) -> Sequence[Content]:
        """Return the line itself."""
        return (Content(line),)


@dataclass(frozen=True, kw_only=True)
class _Fields(ABC):
    message: tuple[str, ...]
    time: str | None = None
    severity: str | None = None
    source_field: str | None = field(default=None, metadata={"key": "source"})

    def __post_init__(self) -> None:
        if not self.message:
            raise BadFormat(f"a {self.kind} envelope needs `message`: the path of the field that holds the message")

    kind: ClassVar[str] = ""

    def _content(self, values: Mapping[str, Any]) -> tuple[Content]:
        parts = [_text_at(values, path) for path in self.message]
        if len(parts) > 1:
            # Several fields keep their names: a bare number says nothing.
            parts = [f"{path}={part}" for path, part in zip(self.message, parts, strict=True)]
        if self.severity is not None:
            parts.insert(0, _text_at(values, self.severity))
        time = None if self.time is None else _time_at(values, self.time)
        return (Content(" ".join(parts).rstrip(), time, None, tuple(values)),)

    @abstractmethod
    def _read(self, line: str) -> Mapping[str, Any]:
        """Return the fields of a line by name."""

    def open(self, line: str) -> Sequence[Content]:
        """Return the message and the time that the named fields hold."""
        return self._content(self._read(line))

    def source(self, line: str) -> str | None:
        """Return the source that the named field holds."""
        if self.source_field is None:
            return None
        try:
            return _text_at(self._read(line), self.source_field) or None
        except Unopened:
            return None


@dataclass(frozen=True, kw_only=True)
class JsonEnvelope(_Fields):
    """One JSON object a line.

    Attributes:
        message: path of the message; several are joined as `path=value`.
        time: path of the time; None looks for it in the message.
        severity: path of a word that is put before the message.
        source_field: path of the source's name.
    """

    kind: ClassVar[str] = "json"

    def _read(self, line: str) -> Mapping[str, Any]:
        return _json_object(line)


@dataclass(frozen=True, kw_only=True)
class DelimitedEnvelope(_Fields):
    """A row of columns, one line a row.

    A line feed ends a row also within quotes, where RFC 4180 lets a value hold one: inputs cut lines before they know
    their format, so that one quote that is never closed cannot swallow the rest of a file. Both halves of such a row
    are dropped (`malformed-row`, `missing-field`) and kept as dead letters; have the exporter write such values on one
    line.

    Attributes:
        separator: the character between columns.
        columns: their names, in order.
        quote: the character around values that hold the separator; empty where there is none.
    """

    kind: ClassVar[str] = "delimited"
    separator: str = ","
    columns: tuple[str, ...] = ()
    quote: str = '"'

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.separator) != 1 or self.separator in "\r\n":
            raise BadFormat(f"a separator is one character, not {self.separator!r}")
        if self.quote and (len(self.quote) != 1 or self.quote == self.separator or self.quote in "\r\n"):
            raise BadFormat(f"a quote is one character other than the separator, not {self.quote!r}")
        if not self.columns or len(set(self.columns)) != len(self.columns):
            raise BadFormat("a delimited envelope needs `columns`: the names of the columns in order, each once")
        for path in (*self.message, self.time, self.severity, self.source_field):
            if path is not None and not any(path == name or path.startswith(f"{name}.") for name in self.columns):
                raise BadFormat(f"{path!r} is no column; the columns are {', '.join(self.columns)}")

    def _row(self, line: str) -> list[str]:
        if not self.quote or self.quote not in line:
            return line.split(self.separator)
        try:
            return next(csv.reader([line], delimiter=self.separator, quotechar=self.quote, strict=True))
        except (csv.Error, StopIteration) as error:
            raise Unopened("malformed-row") from error

    def row(self, line: str) -> Mapping[str, str]:
        """Return the values of a line by column.

        Raises:
            Unopened: its quotes do not match, or it is the header.
        """
        row = self._row(line)
        if row[0] == self.columns[0] and tuple(row) == self.columns:
            raise Unopened("header")
        # Columns beyond the declared ones are named by their place.
        names = (*self.columns, *map(str, range(len(self.columns) + 1, len(row) + 1)))
        return dict(zip(names, row, strict=False))

    def _read(self, line: str) -> Mapping[str, Any]:
        return self.row(line)


_PRI = re.compile(r"<(\d{1,3})>")
_SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
# HEADER of RFC 5424 section 6: VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID; then section 6.3, structured data.
_HEADER_5424 = re.compile(r"1 (\S+) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) ?")
_STRUCTURED = re.compile(r'-|(?:\[[^ =\]"]+(?: [^ =\]"]+="(?:[^"\\\]]|\\.)*")*\])+')
# HEADER of RFC 3164 section 4.1.2, and the ISO time that later senders write there.
_HEADER_3164 = re.compile(
    r"([A-Z][a-z]{2} [ \d]?\d \d\d:\d\d:\d\d(?:\.\d+)?|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d(?::?\d\d)?)?) (\S+) ?"
)


@dataclass(frozen=True, kw_only=True)
class SyslogEnvelope(_Plain):
    """RFC 5424 or RFC 3164; the severity and, of RFC 5424, application, message id and data go before the message.

    Attributes:
        source_field: `host`, where the host is the source; None leaves it to the input.
    """

    kind: ClassVar[str] = "syslog"
    source_field: str | None = field(default=None, metadata={"key": "source"})

    def __post_init__(self) -> None:
        if self.source_field not in (None, "host"):
            raise BadFormat(f'the source of a syslog envelope is "host", not {self.source_field!r}')

    def open(self, line: str) -> Sequence[Content]:
        """Return the message without priority, time and host."""
        line = line.lstrip()
        pri = _PRI.match(line)
        if pri is None:
            found = _HEADER_3164.match(line)
            if found is None:
                raise Unopened("malformed-syslog")
            return (Content(line[found.end() :], found[1]),)
        if int(pri[1]) > 191:
            raise Unopened("malformed-syslog")
        severity, rest = _SEVERITIES[int(pri[1]) & 7], line[pri.end() :]
        header = _HEADER_5424.match(rest)
        if header is not None:
            return (self._of_5424(severity, header, rest[header.end() :]),)
        found = _HEADER_3164.match(rest)
        # RFC 3164 section 4.3.3: what follows the priority may be anything.
        if found is None:
            return (Content(f"{severity} {rest}"),)
        return (Content(f"{severity} {rest[found.end() :]}", found[1]),)

    @staticmethod
    def _of_5424(severity: str, header: re.Match[str], rest: str) -> Content:
        data = _STRUCTURED.match(rest)
        if data is None or (data.end() < len(rest) and rest[data.end()] != " "):
            raise Unopened("malformed-syslog")
        words = [severity, header[3], header[5], data[0], rest[data.end() :].lstrip(" \N{ZERO WIDTH NO-BREAK SPACE}")]
        return Content(
            " ".join(word for word in words if word not in ("", "-")), None if header[1] == "-" else header[1]
        )

    def source(self, line: str) -> str | None:
        """Return the host where it is the source."""
        if self.source_field is None:
            return None
        line = line.lstrip()
        pri = _PRI.match(line)
        rest = line[pri.end() :] if pri else line
        header = _HEADER_5424.match(rest) or _HEADER_3164.match(rest)
        return None if header is None or header[2] == "-" else header[2]


def split_octets(value: bytes) -> list[bytes]:
    """Return the syslog messages of an octet-counted transfer (RFC 6587 section 3.4.1): `LENGTH SP MESSAGE` repeated.

    Line feeds at the end of a message, which some senders put inside its count, end its line. A count that does not fit
    leaves the rest as one piece, which opens as no syslog message.
    """
    pieces, start = [], 0
    while start < len(value):
        count = _OCTETS.match(value, start)
        if count is None or count.end() + int(count[1]) > len(value):
            pieces.append(value[start:])
            break
        end = count.end() + int(count[1])
        pieces.append(value[count.end() : end])
        start = end
    return [piece.rstrip(b"\n") or piece for piece in pieces]


_OCTETS = re.compile(rb"([1-9]\d{0,8}) ")
# Levels of a condition; what follows one are its code, severity, qualifier and text (MTConnect part 1, SHDR; the
# reference agent tells conditions by their data item, of which a line says nothing).
_LEVELS = frozenset({"NORMAL", "WARNING", "FAULT", "UNAVAILABLE"})
_CONDITION_FIELDS = 6


@dataclass(frozen=True, kw_only=True)
class ShdrEnvelope(_Plain):
    """MTConnect SHDR: `time|key|value|key|value…`; each pair is an event.

    A condition, `time|key|level|code|severity|qualifier|text`, is one event, and so is a line whose fields make no
    pairs, such as a message with its code or an asset.
    """

    kind: ClassVar[str] = "shdr"

    def open(self, line: str) -> Sequence[Content]:
        """Return the line's pairs."""
        if line.count("|") <= 3:
            return (Content(line),)
        time, *fields = line.split("|")
        if len(fields) % 2 or fields[0].startswith("@") or _is_condition(fields):
            return (Content(line),)
        pairs = zip(fields[::2], fields[1::2], strict=True)
        return [Content(text, None, text) for text in (f"{time}|{key}|{value}" for key, value in pairs)]


def _is_condition(fields: Sequence[str]) -> bool:
    if len(fields) != _CONDITION_FIELDS or fields[1].upper() not in _LEVELS:
        return False
    return fields[1].upper() != "UNAVAILABLE" or not any(fields[2:])


Kind = RawEnvelope | JsonEnvelope | DelimitedEnvelope | SyslogEnvelope | ShdrEnvelope
ENVELOPES: Mapping[str, type[Kind]] = {
    kind.kind: kind for kind in (RawEnvelope, JsonEnvelope, DelimitedEnvelope, SyslogEnvelope, ShdrEnvelope)
}


def _json_object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unopened("malformed-json") from error
    if not isinstance(found, dict):
        raise Unopened("malformed-json")
    return found


def _text_at(values: Mapping[str, Any], path: str) -> str:
    value = values.get(path)
    # Most fields are plain text at the top.
    return value if isinstance(value, str) and value.isascii() else _as_text(_dig(values, path))


def _time_at(values: Mapping[str, Any], path: str) -> str:
    try:
        return _text_at(values, path).strip()
    except Unopened as unopened:
        # What happened is told without it, too.
        if unopened.reason != "missing-field":
            raise
        return ""


def _dig(values: Any, path: str) -> Any:
    """Return what a path leads to; names that hold dots themselves are met first."""
    if isinstance(values, str):
        values = _json_object(values)
    if isinstance(values, Mapping):
        if path in values:
            found = values[path]
        else:
            name, dot, rest = path.partition(".")
            while dot and name not in values:
                more, dot, rest = rest.partition(".")
                name = f"{name}.{more}"
            if not dot:
                raise Unopened("missing-field")
            return _dig(values[name], rest)
    elif isinstance(values, list):
        name, dot, rest = path.partition(".")
        if not name.isdecimal() or int(name) >= len(values):
            raise Unopened("missing-field")
        if dot:
            return _dig(values[int(name)], rest)
        found = values[int(name)]
    else:
        raise Unopened("missing-field")
    if found is None:
        raise Unopened("missing-field")
    return found


def _as_text(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        # JSON can escape half of a surrogate pair, which no encoding can write.
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
    except (ValueError, RecursionError) as error:
        raise Unopened("malformed-json") from error
