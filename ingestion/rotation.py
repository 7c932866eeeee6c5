"""A log file and its rotated predecessors: which there are, in which order, and which of them was read how far.

A file is known by its content, never by its name or inode: rotation renames it, copies it or compresses it, and inodes
are used again. What was read of it leaves a mark, the digests of its first bytes and of the bytes before the position
reached, with the time, and the mark is stored with that position.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ingestion.errors import BadInput

# Bytes at either end of what was read that tell one file from another: headers are the same in all of them.
MARK_BYTES = 1024
# By how much the time of a file's last change may be behind the clock.
_MTIME_SECONDS = 1.0
_GZIP = b"\x1f\x8b"
# logrotate's: press.log.1, press.log-20260131, with or without .gz; others write press.log.2026-01-31.
_NUMBER = re.compile(r"\.(\d{1,6})(?:\.gz)?")
_DATE = re.compile(r"[-._](\d{4}-?\d\d-?\d\d(?:[-_T.]?\d+)*)(?:\.gz)?")


@dataclass(frozen=True)
class ReadFile:
    """How far a file was read.

    Attributes:
        generation: number of the file among those read under one name, in the order they were.
        position: next byte to read, of the uncompressed content.
        mark: of what was read.
    """

    generation: int
    position: int
    mark: bytes


class Mark:
    """The mark of a file as it is being read.

    Attributes:
        end: position after the last byte read.
    """

    def __init__(self, head: bytes = b"", tail: bytes = b"", end: int = 0) -> None:
        self.end = end
        self._head = head
        # The bytes before the end: the latest block, and as many before it as a mark looks back.
        self._latest = tail

    @classmethod
    def of(cls, file: BinaryIO, position: int) -> Mark:
        """Return the mark of the part of a file before a position; the file then stands there."""
        file.seek(0)
        head = file.read(min(MARK_BYTES, position))
        start = max(0, position - MARK_BYTES)
        file.seek(start)
        return cls(head, file.read(position - start), position)

    def read(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        if len(self._head) < MARK_BYTES:
            self._head += block[: MARK_BYTES - len(self._head)]
        self._latest = self._latest[-MARK_BYTES:] + block
        self.end += len(block)

    def last(self, count: int) -> bytes:
        """Return the last bytes read, so many at most."""
        return self._latest[-count:]

    def at(self, position: int) -> bytes:
        """Return what is stored with a position, which lies in the latest block or at its beginning."""
        stop = position - (self.end - len(self._latest))
        parts = self._head[:position], self._latest[max(0, stop - MARK_BYTES) : stop]
        return json.dumps([*([len(part), _digest(part)] for part in parts), round(time.time(), 3)]).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def rotated(path: Path) -> list[Path]:
    """Return the rotated predecessors of a log file, oldest first; one that is also there uncompressed only once."""
    dated: list[tuple[str, Path]] = []
    numbered: list[tuple[int, Path]] = []
    siblings = {item.name: item for item in path.parent.iterdir() if item.name.startswith(path.name)}
    for name, item in siblings.items():
        if name.endswith(".gz") and name.removesuffix(".gz") in siblings:
            continue
        if match := _NUMBER.fullmatch(name, len(path.name)):
            numbered.append((-int(match[1]), item))
        elif match := _DATE.fullmatch(name, len(path.name)):
            dated.append((match[1], item))
    return [item for _, item in [*sorted(dated), *sorted(numbered)]]


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


def find_read(files: Sequence[Path], known: Sequence[ReadFile]) -> tuple[int, ReadFile] | None:
    """Find the file that was read last; return its place in `files`, oldest first, and how far it was read.

    Where little was read, such as a header that all files begin with, several match: one that shows more of an earlier
    file is that one, and of the others the oldest is meant.
    """
    found: dict[int, ReadFile] = {}
    for place, path in enumerate(files):
        matching = [read for read in known if read.position and _matches(path, read)]
        if matching:
            found[place] = max(matching, key=lambda read: (read.position, read.generation))
    if not found:
        return None
    latest = max(read.generation for read in found.values())
    return next((place, read) for place, read in found.items() if read.generation == latest)


def _matches(path: Path, read: ReadFile) -> bool:
    (head, head_digest), (tail, tail_digest), read_at = json.loads(read.mark)
    try:
        with open_log(path) as file:
            if _digest(file.read(head)) != head_digest:
                return False
            file.seek(max(0, read.position - tail))
            if _digest(file.read(tail)) != tail_digest:
                return False
            # A file of which so little was read had no more at the time: one with more has been written to since, or is
            # another that begins alike.
            whole = read.position >= MARK_BYTES or not file.read(1)
            return whole or path.stat().st_mtime >= read_at - _MTIME_SECONDS
    except (BadInput, EOFError, OSError):
        return False
