"""Log files read whole."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ingestion.errors import BadInput
from ingestion.lines import LineSplitter
from ingestion.records import Record
from ingestion.rotation import open_log

_BLOCK = 1 << 20
_SAMPLE_BYTES = 1 << 20


def read_sample(path: Path, limit: int = _SAMPLE_BYTES) -> bytes:
    """Return the beginning of a log file, cut at a line feed where the file is longer."""
    with open_log(path) as file:
        try:
            sample = file.read(limit)
        except (EOFError, OSError) as error:
            raise BadInput(f"{path} is damaged: {error}") from error
    end = sample.rfind(b"\n")
    if len(sample) < limit or end < 0:
        return sample
    # A UTF-16 line feed has a zero byte on one side; keep code units whole.
    return sample[: end + 1 + (end + 1) % 2] if 0 in sample[:100] else sample[: end + 1]


def file_year(path: Path) -> int:
    """Return the year of the file's last change, for times that write no year."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).year


def file_size(path: Path) -> int:
    """Return the file's size in bytes, compressed where it is."""
    return path.stat().st_size


def read_records(path: Path, source: str, encoding: str) -> Iterator[Record]:
    """Read every line of a file as a record; positions are (uncompressed) byte positions."""
    stream = f"file:{path.name}"
    with open_log(path) as file:
        lines = LineSplitter(encoding)
        while True:
            try:
                block = file.read(_BLOCK)
            except (EOFError, OSError) as error:
                raise BadInput(f"{path} is damaged: {error}") from error
            if not block:
                break
            for position, value, end, length in lines.feed(block):
                yield Record(source, stream, position, end, value, None, None, length)
        for position, value, end, length in lines.last():
            yield Record(source, stream, position, end, value, None, None, length)
