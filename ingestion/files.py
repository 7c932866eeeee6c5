"""Log files as an input: read whole, or followed as they grow."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from ingestion.decoding import line_ending
from ingestion.errors import BadInput
from ingestion.records import Record

_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_SAMPLE_BYTES = 1 << 20
_POLL_RECORDS = 2000
_IDLE_SECONDS = 0.2


def open_log(path: Path) -> BinaryIO:
    """Open a log file, plain or gzip-compressed, for reading bytes.

    Raises:
        BadInput: there is no such file, it is a directory, or it may not be read.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a directory; give one log file")
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise BadInput(f"no such file: {path}") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    if file.peek(2)[:2] != _GZIP:
        return file
    file.close()
    return gzip.open(path)  # type: ignore[return-value]


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
        lines = _LineSplitter(line_ending(encoding))
        while True:
            try:
                block = file.read(_BLOCK)
            except (EOFError, OSError) as error:
                raise BadInput(f"{path} is damaged: {error}") from error
            if not block:
                break
            for position, value, end in lines.feed(block):
                yield Record(source, stream, position, end, value, None)
        if lines.rest:
            yield Record(source, stream, lines.position, lines.position + len(lines.rest), lines.rest, None)


class _LineSplitter:
    """Cuts a stream of bytes at line endings, keeping positions; handles two-byte code units."""

    def __init__(self, ending: bytes, position: int = 0) -> None:
        self.position = position
        self.rest = b""
        self._ending = ending

    def feed(self, block: bytes) -> Iterator[tuple[int, bytes, int]]:
        data = self.rest + block
        start, width = 0, len(self._ending)
        while True:
            end = data.find(self._ending, start)
            while end >= 0 and (end - start) % width:
                end = data.find(self._ending, end + 1)
            if end < 0:
                break
            after = end + width
            yield self.position, data[start:end], self.position + after - start
            self.position += after - start
            start = after
        self.rest = data[start:]


class FileInput:
    """Follows one growing file, as `tail -F` does.

    A file that became shorter or was replaced is read from its start. Its stream name carries the file's inode, so
    that positions of the old file are never applied to the new one.
    """

    def __init__(self, path: Path, source: str, encoding: str, next_position: Callable[[str], int | None]) -> None:
        self._path = path
        self._source = source
        self._ending = line_ending(encoding)
        self._next_position = next_position
        self._file: BinaryIO | None = None
        self._stream = ""
        self._lines = _LineSplitter(self._ending)
        self._ready: list[tuple[int, bytes, int]] = []
        with open_log(path) as file:
            if isinstance(file, gzip.GzipFile):
                raise BadInput(f"{path} is compressed and cannot grow; unpack it, or use `logvq try`")

    def poll(self, timeout_seconds: float) -> list[Record]:
        """Return complete lines that have been written since."""
        deadline = time.monotonic() + timeout_seconds
        while not self._ready:
            block = self._read()
            if block:
                self._ready = list(self._lines.feed(block))
                continue
            if time.monotonic() >= deadline:
                return []
            time.sleep(min(_IDLE_SECONDS, max(0.0, deadline - time.monotonic())))
        taken, self._ready = self._ready[:_POLL_RECORDS], self._ready[_POLL_RECORDS:]
        now = time.time()
        return [Record(self._source, self._stream, position, end, value, now) for position, value, end in taken]

    def _read(self) -> bytes:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return self._file.read(_BLOCK) if self._file else b""
        stream = f"file:{self._path.name}:{status.st_ino}"
        replaced = self._file is not None and stream != self._stream
        shorter = self._file is not None and not replaced and status.st_size < self._lines.position
        if replaced and self._file is not None:
            last = self._file.read(_BLOCK)
            if last:
                return last
        if self._file is None or replaced or shorter:
            self._open(stream, from_start=shorter)
        assert self._file is not None
        return self._file.read(_BLOCK)

    def _open(self, stream: str, *, from_start: bool) -> None:
        if self._file:
            self._file.close()
        self._stream = stream
        position = 0 if from_start else (self._next_position(stream) or 0)
        self._file = self._path.open("rb")
        if position > os.fstat(self._file.fileno()).st_size:
            position = 0
        self._file.seek(position)
        self._lines = _LineSplitter(self._ending, position)

    def rewind(self, streams: Iterable[str]) -> None:
        """Read again from the owner's position."""
        if self._file and self._stream in streams:
            self._file.close()
            self._file, self._ready = None, []

    def committed(self, positions: Mapping[str, int]) -> None:
        """A file keeps no positions of its own."""

    def lag(self) -> dict[str, int]:
        """Return the bytes not yet handed over."""
        try:
            size = os.stat(self._path).st_size
        except FileNotFoundError:
            return {}
        first = self._ready[0][0] if self._ready else self._lines.position
        return {self._stream or f"file:{self._path.name}": max(0, size - first)}

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
