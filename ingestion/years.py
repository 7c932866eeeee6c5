"""The year of times that write none: the latest that dates no line after its file's last change, then counted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from ingestion.dating import writes_year
from ingestion.decoding import decode, line_ending, split_lines
from ingestion.files import file_changed, read_end, read_records
from ingestion.format import SourceFormat
from ingestion.proposing import SAMPLE_LINES, opened
from ingestion.timestamps import EARLIEST_YEAR, zone

# A zone may be wrong, and a clock ahead.
_TOLERANCE_SECONDS = 86_400.0
# Of eight years in a row at least one has a 29 February.
_YEARS = 8


def guess_year(lines: Sequence[str], end: Sequence[str], source_format: SourceFormat, changed: float) -> int | None:
    """Return the first year of a file's lines that write none; None where no year fits.

    Args:
        lines: its first lines, decoded.
        end: its last lines, decoded.
        source_format: their encoding, envelope, time pattern and zone.
        changed: when the file was last written to, epoch seconds.

    Returns:
        The latest year in which neither the first nor, counted on from it, the last line is later than the file's last
        change; of several, one that has all days they name. A file of which more than a year lies between `lines` and
        `end` is taken for younger than it is.
    """
    limit = changed + _TOLERANCE_SECONDS
    first, last = (opened(part, source_format.envelope)[0] for part in (lines, end))
    latest = datetime.fromtimestamp(limit, UTC).year
    fitting: list[tuple[int, int]] = []
    for year in range(latest, max(latest - _YEARS, EARLIEST_YEAR - 1), -1):
        clock = replace(source_format, year=year).clock()
        read = [clock.read(text) for text in first]
        times = [seconds for seconds, _, _ in read if seconds is not None]
        # `None` does not change the clock: lines that follow the last time are passed over.
        times += islice((seconds for text in reversed(last) if (seconds := clock.read(text)[0]) is not None), 1)
        if times and max(times[0], times[-1]) <= limit:
            impossible = sum(1 for seconds, _, stop in read if seconds is None and stop)
            fitting.append((impossible, -year))
    return -min(fitting)[1] if fitting else None


def file_year(path: Path, source_format: SourceFormat) -> int:
    """Return the first year of a file's times that write none; where none fits, the year of its last change."""
    pattern, encoding = source_format.time_pattern, source_format.encoding
    if pattern is None or not source_format.clock().may_lack_year:
        return source_format.year
    records = islice(read_records(path, "", encoding), SAMPLE_LINES)
    lines = [decode(record.value, encoding)[0] for record in records]
    changed = file_changed(path)
    written = datetime.fromtimestamp(changed, UTC).year
    if writes_year(lines, pattern):
        return written
    return guess_year(lines, last_lines(read_end(path), encoding), source_format, changed) or written


def year_after(path: Path, source_format: SourceFormat, lines: int) -> int:
    """Return the year that a file's times have reached after so many lines, counted on from the format's year."""
    clock = source_format.clock()
    if not clock.may_lack_year:
        return source_format.year
    for number, record in enumerate(read_records(path, "", source_format.encoding)):
        texts, _ = opened([decode(record.value, source_format.encoding)[0]], source_format.envelope)
        times = [seconds for text in texts if (seconds := clock.read(text)[0]) is not None]
        if times and number >= lines:
            return datetime.fromtimestamp(times[0], zone(source_format.zone)).year
    return clock.year


def last_lines(end: bytes, encoding: str) -> list[str]:
    """Return the lines of the end of a file, decoded; the first is one's rest."""
    return [decode(line, encoding)[0] for line in split_lines(end, line_ending(encoding))]
