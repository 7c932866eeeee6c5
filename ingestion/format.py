"""How one source writes its lines: declared, or proposed from a whole sample; carried in the bundle."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from ingestion.decoding import canonical_encoding, encoding_of_sample, line_ending
from ingestion.errors import BadFormat, BadInput
from ingestion.timestamps import PATTERNS, Clock, detect_pattern, zone

Framing = Literal["line", "time-starts-event"]
DELIMITERS = "|\t;,"
# Lines looked at when a format is proposed; times and delimiters of plant logs show within the first thousand.
SAMPLE_LINES = 2000
MAX_LINE_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class SourceFormat:
    """How one source writes its lines.

    Attributes:
        encoding: Python name of the text encoding.
        time_pattern: a name in `ingestion.timestamps.PATTERNS`; None where lines carry no time.
        zone: IANA zone of times that carry no offset.
        year: first year of times that carry no year.
        delimiter: the character between fields; None for free text.
        framing: `line` makes every line an event; `time-starts-event` appends lines without a time to the event before.
        max_line_bytes: a longer line is dropped with its reason and kept as a dead letter.
    """

    encoding: str = "utf-8"
    time_pattern: str | None = None
    zone: str = "UTC"
    year: int = 2000
    delimiter: str | None = None
    framing: Framing = "line"
    max_line_bytes: int = MAX_LINE_BYTES

    def __post_init__(self) -> None:
        canonical_encoding(self.encoding)
        zone(self.zone)
        if self.time_pattern is not None and self.time_pattern not in PATTERNS:
            raise BadFormat(f"unknown time pattern {self.time_pattern!r}; one of {', '.join(PATTERNS)}")
        if self.framing not in get_args(Framing):
            raise BadFormat(f"unknown framing {self.framing!r}; one of {', '.join(get_args(Framing))}")
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise BadFormat(f"a delimiter is one character, not {self.delimiter!r}")
        if self.max_line_bytes < 1:
            raise BadFormat(f"max_line_bytes is {self.max_line_bytes}; it must be positive")

    def clock(self) -> Clock:
        """Return a fresh reader of this source's times."""
        return Clock(self.time_pattern, self.zone, self.year)

    def to_dict(self) -> dict[str, Any]:
        """Return the format as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SourceFormat:
        """Rebuild a format.

        Raises:
            BadFormat: a key is unknown or a value is not valid.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise BadFormat(f"unknown keys: {unknown}")
        return cls(**values)


def propose_format(sample: bytes, *, name: str, encoding: str | None, zone_name: str, year: int) -> SourceFormat:
    """Propose how a file is written, from its beginning.

    Args:
        sample: the first bytes of the file, cut at a line ending where the file is longer.
        name: how messages name the file.
        encoding: the declared encoding; None for UTF-8 or what a byte-order mark says.
        zone_name: IANA zone of times without an offset.
        year: first year of times without a year, such as the file's year of change.

    Raises:
        BadInput: the sample is empty, binary, or not in the encoding.
    """
    if not sample.strip():
        raise BadInput(f"{name} is empty; give a log file with at least one line")
    found = encoding_of_sample(sample, encoding, name)
    ending = line_ending(found).decode(found)
    text = sample.decode(found, errors="replace").lstrip("\N{ZERO WIDTH NO-BREAK SPACE}")
    lines = [line.rstrip("\r") for line in text.split(ending)[:SAMPLE_LINES] if line.strip()]
    pattern = detect_pattern(lines)
    clock = Clock(pattern, zone_name, year)
    messages, timed = [], 0
    for line in lines:
        seconds, _, end = clock.read(line)
        timed += seconds is not None
        messages.append(line[end:])
    multi_line = pattern is not None and timed < len(lines) and _looks_continued(lines, clock)
    return SourceFormat(
        encoding=found,
        time_pattern=pattern,
        zone=zone_name,
        year=year,
        delimiter=_detect_delimiter(messages),
        framing="time-starts-event" if multi_line else "line",
    )


def _looks_continued(lines: Sequence[str], clock: Clock) -> bool:
    # A continuation is indented or belongs to a stack trace: a lone line without a time does not count.
    untimed = [line for line in lines if clock.read(line)[0] is None]
    continued = sum(1 for line in untimed if re.match(r"\s+\S|Caused by|Traceback|[\w.$]+(?:Exception|Error)\b", line))
    return continued >= 0.5 * len(untimed)


def _detect_delimiter(messages: Sequence[str]) -> str | None:
    """Return the character that separates fields on nearly every line.

    A pipe, tab or semicolon counts when it is on 90 % of the lines. A comma also stands in prose, so it counts only
    where every line has the same number of them and few spaces.
    """
    if len(messages) < 2:
        return None
    for delimiter in DELIMITERS:
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
