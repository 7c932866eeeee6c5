"""Proposing how a source writes its lines, from a whole sample: never from one line."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from ingestion.decimals import guess_decimal
from ingestion.decoding import decode, line_ending, split_lines
from ingestion.envelopes import (
    DelimitedEnvelope,
    Envelope,
    JsonEnvelope,
    Kind,
    RawEnvelope,
    ShdrEnvelope,
    SyslogEnvelope,
    Unopened,
)
from ingestion.errors import BadInput
from ingestion.format import SourceFormat
from ingestion.framing import Framing
from ingestion.guessing import encoding_of_sample
from ingestion.timestamps import Clock, detect_pattern

# Lines looked at; times and delimiters of plant logs show within the first thousand.
SAMPLE_LINES = 2000
DELIMITERS = "|\t;,"
# Between columns, in order of preference.
_SEPARATORS = ",\t;|"
_MIN_COLUMNS = 3
# An envelope is proposed when at least this share of the lines opens.
MIN_OPENED = 0.9
# Names that fields commonly have, in order of preference: log4j and logback, Docker, journald, ECS, OpenTelemetry,
# Serilog, and what Japanese equipment exports as columns.
_MESSAGE = (
    "message",
    "msg",
    "log",
    "@m",
    "@mt",
    "body",
    "text",
    "event",
    "description",
    "メッセージ",
    "内容",
    "アラーム内容",
)
_TIME = ("@timestamp", "timestamp", "time", "ts", "@t", "datetime", "date", "eventtime", "日時", "発生日時", "時刻")
_SEVERITY = ("level", "severity", "loglevel", "@l", "priority", "レベル", "重要度", "種別")
_SOURCE = ("equipment", "machine", "device", "podname", "pod", "host", "hostname", "source", "設備", "装置", "号機")
# Words that differ only in digits and letters are a kind of identifier from this many on.
_MANY = 20
_MAX_MASKS = 5
_RUNS = re.compile(r"[0-9]+|[A-Z]+|[a-z]+")
_CONTINUED = re.compile(r"\s+\S|Caused by|Traceback|[\w.$]+(?:Exception|Error)\b")
# What goes on with an event where lines carry no time of their own: `_CONTINUED` in RE2's syntax.
_GOES_ON = r"^(?:[\s\pZ]|Caused by|Traceback|[\pL\pN_.$]+(?:Exception|Error)\b)"


class LeftOut(NamedTuple):
    """A field that an envelope does not read.

    Attributes:
        path: where it is.
        example: its first value.
        everywhere: whether every line has it.
    """

    path: str
    example: str
    everywhere: bool


def propose_format(
    sample: bytes, *, name: str, encoding: str | None, zone_name: str, year: int = SourceFormat.year
) -> SourceFormat:
    """Propose how a file is written, from its beginning.

    Args:
        sample: the first bytes of the file, cut at a line ending where the file is longer.
        name: how messages name the file.
        encoding: the declared encoding; None for UTF-8 or what a byte-order mark says.
        zone_name: IANA zone of times without an offset.
        year: first year of times without a year, such as `file_year` returns.

    Raises:
        BadInput: the sample is empty, binary, or not in the encoding.
    """
    if not sample.strip():
        raise BadInput(f"{name} is empty; give a log file with at least one line")
    found = encoding_of_sample(sample, encoding, name)
    lines = sample_lines(sample, found)
    # A file is one source's until someone declares otherwise.
    envelope = without_source(propose_envelope(lines))
    return format_under(lines, SourceFormat(encoding=found, envelope=envelope, zone=zone_name, year=year))


def format_under(lines: Sequence[str], source_format: SourceFormat) -> SourceFormat:
    """Complete a format of given encoding, envelope, zone and year with what else the lines show."""
    envelope = source_format.envelope
    times, messages = opened(lines, envelope)
    # A stack trace may have more lines than all that have a time.
    pattern = detect_pattern([time for time in times if not _CONTINUED.match(time)] or times)
    clock = replace(source_format, time_pattern=pattern).clock()
    is_line = envelope.kind in {"raw", "shdr"}
    if is_line or getattr(envelope, "time", "") is None:
        messages = [message[clock.read(message)[2] :] for message in messages]
    decimal = guess_decimal(messages).decimal
    return replace(
        source_format,
        time_pattern=pattern,
        decimal=decimal,
        delimiter=_detect_delimiter(messages, decimal),
        framing=_propose_framing(lines if is_line else messages, pattern, clock, envelope),
    )


def without_source(envelope: Kind) -> Kind:
    """Return an envelope that names no source."""
    if isinstance(envelope, JsonEnvelope | DelimitedEnvelope):
        return replace(envelope, source_field=None)
    return envelope


def first_lines(sample: bytes, encoding: str) -> list[bytes]:
    """Return the lines of a sample that are looked at, and the blank ones between them."""
    lines = split_lines(sample, line_ending(encoding))
    written = (number for number, line in enumerate(lines, start=1) if decode(line, encoding)[0].strip())
    return lines[: next(islice(written, SAMPLE_LINES - 1, None), len(lines))]


def sample_lines(sample: bytes, encoding: str) -> list[str]:
    """Return the first lines of a sample that are not blank, decoded."""
    texts = (decode(line, encoding)[0] for line in first_lines(sample, encoding))
    return [text for text in texts if text.strip()]


def opening_share(lines: Sequence[str], envelope: Envelope) -> float:
    """Return the share of lines that an envelope opens; the header of columns counts as opened."""
    opened = 0
    for line in lines:
        try:
            envelope.open(line)
        except Unopened as unopened:
            opened += unopened.reason == "header"
        else:
            opened += 1
    return opened / max(1, len(lines))


def propose_envelope(lines: Sequence[str]) -> Kind:
    """Return the envelope that nearly all lines open in; raw where none is plain."""
    for proposal in (_propose_json(lines), _propose_syslog(lines), _propose_shdr(lines), _propose_columns(lines)):
        if proposal is not None and opening_share(lines, proposal) >= MIN_OPENED:
            return proposal
    return RawEnvelope()


def opened(lines: Iterable[str], envelope: Envelope) -> tuple[list[str], list[str]]:
    """Return the texts that hold the times of lines, and their messages; without the lines that do not open."""
    times, messages = [], []
    for line in lines:
        try:
            contents = envelope.open(line)
        except Unopened:
            continue
        for content in contents:
            times.append(content.message if content.time is None else content.time)
            messages.append(content.message)
    return times, messages


# --- envelopes ---------------------------------------------------------------------------------------------------


def _propose_json(lines: Sequence[str]) -> JsonEnvelope | None:
    rows = [row for row in map(_object, lines) if row is not None]
    if len(rows) < MIN_OPENED * len(lines):
        return None
    fields = _named_fields(rows)
    return JsonEnvelope(**fields) if fields else None


def _object(text: Any) -> dict[str, Any] | None:
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _named_fields(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return which paths hold what, from the members that nearly all rows have."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for path, value in _leaves(row, ""):
            if not isinstance(value, list):
                values.setdefault(path, []).append(value)
    common = {path: found for path, found in values.items() if len(found) >= MIN_OPENED * len(rows)}
    time = _pick(_TIME, [path for path, found in common.items() if detect_pattern([str(v) for v in found])])
    texts = {path: found for path, found in common.items() if path != time and any(isinstance(v, str) for v in found)}
    message = _pick(_MESSAGE, texts)
    if message is None:
        # No one field is the message: all that vary are, by name.
        chosen = tuple(path for path, found in common.items() if path != time and len({str(v) for v in found}) > 1)
        if not chosen:
            return {}
        return {"message": chosen, "time": time, "source_field": _pick(_SOURCE, texts)}
    return {
        "message": (message,),
        "time": time,
        "severity": _pick(_SEVERITY, texts),
        "source_field": _pick(_SOURCE, texts),
    }


def _leaves(row: Mapping[str, Any], before: str) -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        path = f"{before}{name}"
        inner = value if isinstance(value, dict) else _object(value)
        if inner is not None and path.count(".") < 4:
            yield from _leaves(inner, f"{path}.")
        elif value is not None and not isinstance(value, dict):
            yield path, value


def left_out(lines: Sequence[str], envelope: Kind) -> list[LeftOut]:
    """Return the fields of lines that an envelope does not read, in the order in which they are met."""
    if not isinstance(envelope, JsonEnvelope | DelimitedEnvelope):
        return []
    if isinstance(envelope, DelimitedEnvelope):
        rows = [row for row in (_row(envelope, line) for line in lines) if row is not None]
    else:
        rows = [row for row in map(_object, lines) if row is not None]
    read = {*envelope.message, envelope.time, envelope.severity, envelope.source_field}
    found: dict[str, list[Any]] = {}
    for row in rows:
        for path, value in _leaves(row, ""):
            if path not in read:
                found.setdefault(path, []).append(value)
    return [LeftOut(path, str(values[0]), len(values) == len(rows)) for path, values in found.items()]


def _pick(names: Sequence[str], paths: Iterable[str]) -> str | None:
    """Return the path whose last name comes first in `names`; of several the shallowest."""
    ranked = [
        (names.index(last), path.count("."), path)
        for path in paths
        if (last := path.rpartition(".")[2].lower()) in names
    ]
    return min(ranked)[2] if ranked else None


def _propose_syslog(lines: Sequence[str]) -> SyslogEnvelope | None:
    marked = sum(1 for line in lines if re.match(r"<\d{1,3}>", line))
    return SyslogEnvelope() if marked >= MIN_OPENED * len(lines) else None


def _propose_shdr(lines: Sequence[str]) -> ShdrEnvelope | None:
    clock = Clock("iso", "UTC", 2000)
    timed = 0
    for line in lines:
        first, bar, rest = line.partition("|")
        timed += bool(bar) and "|" in rest and clock.read(first)[1:] == (0, len(first.partition("@")[0]))
    return ShdrEnvelope() if timed >= MIN_OPENED * len(lines) else None


def _propose_columns(lines: Sequence[str]) -> DelimitedEnvelope | None:
    """Return columns named by a first line that is their header."""
    for separator in _SEPARATORS:
        names = [name.strip() for name in lines[0].split(separator)]
        if len(names) < _MIN_COLUMNS or len(set(names)) < len(names) or not all(map(_is_name, names)):
            continue
        whole = DelimitedEnvelope(separator=separator, columns=tuple(names), message=(names[0],))
        rows = [row for row in (_row(whole, line) for line in lines[1:]) if row is not None]
        if len(lines) < 3 or len(rows) < MIN_OPENED * (len(lines) - 1):
            continue
        fields = _named_fields(rows)
        if fields:
            return DelimitedEnvelope(separator=separator, columns=tuple(names), **fields)
    return None


def broken_rows(lines: Sequence[str]) -> str | None:
    """Say so where rows are regular but for values in quotes that hold line breaks."""
    for separator in _SEPARATORS:
        try:
            rows = list(csv.reader([f"{line}\n" for line in lines], delimiter=separator))
        except csv.Error:
            # A quote that is never closed takes the rest for one value.
            continue
        for columns, count in Counter(map(len, rows)).most_common(1):
            broken = sum("\n" in value for row in rows if len(row) == columns for value in row)
            if columns >= _MIN_COLUMNS and count >= MIN_OPENED * len(rows) and broken:
                found = f"{broken:,} in the lines looked at"
                return f"values in quotes hold line breaks, {found}; export one row a line"
    return None


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 40 and not text[0].isdigit() and not re.search(r"\d:\d|[.!?]$", text)


def _row(envelope: DelimitedEnvelope, line: str) -> Mapping[str, str] | None:
    try:
        (content,) = envelope.open(line)
        return envelope.row(line) if len(content.fields) == len(envelope.columns) else None
    except Unopened:
        return None


# --- framing and delimiter ---------------------------------------------------------------------------------------


def _propose_framing(texts: Sequence[str], pattern: str | None, clock: Clock, envelope: Envelope) -> Framing:
    if envelope.kind == "shdr":
        return Framing()
    if envelope.kind != "raw" or pattern is None:
        # Every line has its envelope's time, or none has one: only its look tells a continuation.
        continued = sum(1 for text in texts if _CONTINUED.match(text))
        worth = 0.02 * len(texts) < continued < 0.95 * len(texts)
        return Framing(start="unless", pattern=_GOES_ON) if worth else Framing()
    untimed = [text for text in texts if clock.read(text)[0] is None]
    # A lone line without a time does not count as a continuation unless it looks like one.
    continued = sum(1 for text in untimed if _CONTINUED.match(text))
    return Framing(start="time") if untimed and continued >= 0.5 * len(untimed) else Framing()


def _detect_delimiter(messages: Sequence[str], decimal: str) -> str | None:
    """Return the character that separates fields on nearly every line.

    A pipe, tab or semicolon counts when it is on 90 % of the lines. A comma also stands in prose, so it counts only
    where every line has the same number of them and few spaces, and none stands before decimals.
    """
    if len(messages) < 2:
        return None
    for delimiter in DELIMITERS.replace(decimal, ""):
        counts = Counter(message.count(delimiter) for message in messages)
        present = len(messages) - counts[0]
        if present < 0.9 * len(messages):
            continue
        if delimiter == ",":
            same = counts.most_common(1)[0]
            spaces = sum(message.count(" ") for message in messages) / len(messages)
            if same[0] < 2 or same[1] < 0.9 * len(messages) or spaces > same[0]:
                continue
        return delimiter
    return None


# --- masks -------------------------------------------------------------------------------------------------------


def propose_masks(shapes: Iterable[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Return masks for identifiers that the built-in masks leave: words alike but for their letters and digits.

    Args:
        shapes: masked words of each event.

    Returns:
        (regular expression, name) of each, the one with most words first.
    """
    kinds: dict[str, set[str]] = {}
    for word in {word for shape in shapes for word in shape if "<" not in word and len(word) <= 64}:
        if any(map(str.isdigit, word)) and any(map(str.isalpha, word)) and word.isascii():
            kinds.setdefault(_RUNS.sub(lambda run: _class_of(run[0])[-2:], word), set()).add(word)
    ranked = sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))
    many = [known for _, known in ranked[:_MAX_MASKS] if len(known) >= _MANY]
    return tuple(_mask(known, number) for number, known in enumerate(many, start=1))


def _class_of(run: str) -> str:
    return r"\d" if run.isdigit() else "[A-Z]" if run.isupper() else "[a-z]"


def _mask(known: set[str], number: int) -> tuple[str, str]:
    """Return an expression for words of one kind: runs that all share are kept, the others become their class."""
    columns = [set(column) for column in zip(*(_RUNS.findall(word) for word in sorted(known)), strict=True)]
    between = _RUNS.split(min(known))
    expression = re.escape(between[0])
    for values, literal in zip(columns, between[1:], strict=True):
        some = min(values)
        lengths = sorted({len(value) for value in values})
        count = f"{{{lengths[0]},{lengths[-1]}}}" if len(lengths) > 1 else "" if lengths == [1] else f"{{{lengths[0]}}}"
        expression += (some if len(values) == 1 else _class_of(some) + count) + re.escape(literal)
    first = min(columns[0])
    if len(columns[0]) == 1 and first.isalpha() and len(first) > 1:
        return rf"\b{expression}\b", first.upper()
    return rf"\b{expression}\b", f"ID_{'ABCDE'[number - 1]}"
