"""Log files read whole."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from ingestion.errors import BadInput
from ingestion.lines import LineSplitter
from ingestion.records import Record
from ingestion.rotation import open_log

_BLOCK = 1 << 20
_UNREADABLE = (EOFError, OSError, zlib.error)
_SAMPLE_BYTES = 1 << 20
# More than a line and what follows it of a stack trace.
_END_BYTES = 1 << 16


def read_sample(path: Path, limit: int = _SAMPLE_BYTES) -> bytes:
    """Return the beginning of a log file, cut at a line feed where the file is longer."""
    with open_log(path) as file:
        try:
            sample = file.read(limit)
        except _UNREADABLE as error:
            raise _damaged(path, error) from error
    end = sample.rfind(b"\n")
    if len(sample) < limit or end < 0:
        return sample
    # A UTF-16 line feed has a zero byte on one side; keep code units whole.
    return sample[: end + 1 + (end + 1) % 2] if 0 in sample[:100] else sample[: end + 1]


def read_end(path: Path, limit: int = _END_BYTES) -> bytes:
    """Return the end of a log file; what it begins with may be the rest of a line."""
    with open_log(path) as file:
        try:
            end = file.seek(0, os.SEEK_END)
            # UTF-16 keeps its code units whole.
            file.seek(max(0, end - limit) // 2 * 2)
            return file.read()
        except _UNREADABLE as error:
            raise _damaged(path, error) from error


def file_changed(path: Path) -> float:
    """Return when a file was last written to, epoch seconds."""
    return path.stat().st_mtime


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
            except _UNREADABLE as error:
                raise _damaged(path, error) from error
            if not block:
                break
            for position, value, end, length in lines.feed(block):
                yield Record(source, stream, position, end, value, None, None, length)
        for position, value, end, length in lines.last():
            yield Record(source, stream, position, end, value, None, None, length)


def _damaged(path: Path, error: Exception) -> BadInput:
    said = f"{path} is damaged: {error}"
    if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
        return BadInput(said)
    name = path.name.removesuffix(".gz")
    return BadInput(f"{said}. Copy it again, or give what can be read of it: zcat < {path} > readable-{name}")
