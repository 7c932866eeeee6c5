"""Following a log file as it grows, over rotation, truncation and restarts: every line once."""

from __future__ import annotations

import gzip
import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ingestion.errors import BadInput
from ingestion.lines import CutLine, LineSplitter
from ingestion.records import Record
from ingestion.rotation import MARK_BYTES, Mark, ReadFile, find_read, open_log, rotated

# Read at once: about as many lines as make a batch.
_BLOCK = 1 << 18
# Of the lines read at once, each of so many can be stored without the ones after it: a mark takes as long to make as a
# line takes to parse.
_MARK_EVERY = 1000
_IDLE_SECONDS = 0.2
# A program may write to a file for some time after it was renamed, until it opens the new one. The old one is left when
# the new one has bytes and the old one has had none for so long.
ROTATION_GRACE_SECONDS = 2.0


class FileInput:
    """Follows one growing file, as `tail -F` does, and reads what rotation moved away before it was read.

    Its streams are `file:NAME:GENERATION`: every file that ever had the name is one, numbered in the order they were
    read, and known by its content wherever rotation has put it.

    Args:
        path: the file; it must exist.
        source: whose lines they are.
        encoding: of the lines.
        known: asked what the owner has stored of this file's streams: generation, next position, mark.
        backfill: whether a file that was never read before begins with its rotated predecessors, oldest first.
        report: takes each message a person should see.

    Raises:
        BadInput: there is no such file, or it is compressed and cannot grow.
    """

    def __init__(
        self,
        path: Path,
        source: str,
        encoding: str,
        known: Callable[[], Sequence[ReadFile]],
        *,
        backfill: bool,
        report: Callable[[str], None],
    ) -> None:
        self._path, self._source, self._encoding, self._report = path, source, encoding, report
        with open_log(path) as file:
            if isinstance(file, gzip.GzipFile):
                raise BadInput(f"{path} is compressed and cannot grow; unpack it, or use `logvq try`")
        self._file: BinaryIO | None = None
        self._reading = path
        self._stored = known
        self._mark = Mark()
        self._lines = LineSplitter(encoding)
        self._next: list[Path] = []
        self._quiet_since: float | None = None
        self._backfill = backfill
        self._begin()

    # --- which file, from where ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._known = {read.generation: read for read in self._stored()}
        self._generation = max(self._known, default=-1)
        read, files = self._unread()
        if read is not None:
            self._open(files[0], read.generation, read.position)
            self._next = files[1:]
            return
        if self._known:
            self._report(
                f"neither {self._path} nor its rotated files hold what was read of it before; going on at the start of "
                f"{self._path}. What was rotated away and deleted in between has not been read"
            )
        elif self._backfill:
            files = [*rotated(self._path), self._path]
        self._open(files[0], self._generation + 1, 0)
        self._next = files[1:]

    def _unread(self) -> tuple[ReadFile | None, list[Path]]:
        """Return what was read last, and its file with those after it; None with the followed file alone."""
        files = [*rotated(self._path), self._path]
        found = find_read(files, list(self._known.values()))
        return (None, [self._path]) if found is None else (found[1], files[found[0] :])

    def _open(self, path: Path, generation: int, position: int) -> None:
        if self._file is not None:
            self._file.close()
        self._file = open_log(path)
        self._reading, self._generation, self._quiet_since = path, generation, None
        self._mark = Mark.of(self._file, position)
        self._lines = LineSplitter(self._encoding, position)

    def _open_next(self) -> None:
        """Go on with the file after the one that has been read: rotation may have put several there."""
        files = self._next or self._after_this()
        self._open(files[0], self._generation + 1, 0)
        self._next = files[1:]

    def _after_this(self) -> list[Path]:
        assert self._file is not None
        inode = os.fstat(self._file.fileno()).st_ino
        files = [*rotated(self._path), self._path]
        for place, path in enumerate(files):
            with suppress(FileNotFoundError):
                if path.stat().st_ino == inode:
                    return files[place + 1 :] or [self._path]
        # It was compressed in the meantime, or is gone.
        return self._unread()[1][1:] or [self._path]

    # --- reading -------------------------------------------------------------------------------------------------

    def poll(self, timeout_seconds: float) -> list[Record]:
        """Return complete lines that have been written since, all of one file.

        Raises:
            BadInput: a rotated file is damaged.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            records = self._advance()
            if records:
                return records
            if records is None:
                if time.monotonic() >= deadline:
                    return []
                time.sleep(min(_IDLE_SECONDS, max(0.0, deadline - time.monotonic())))

    def _advance(self) -> list[Record] | None:
        """Read once; return the lines it completes, or None where nothing was to be read."""
        assert self._file is not None
        live = self._is_live()
        if self._was_cut():
            return self._after_cut()
        try:
            block = self._file.read(_BLOCK)
        except (EOFError, OSError, zlib.error) as error:
            raise BadInput(
                f"{self._reading} is damaged ({error}), and {self._path} goes on after it; restore it, or move it away "
                "to go on without it"
            ) from error
        if block and self._mark.end < MARK_BYTES and self._reading == self._path and self._turn_back():
            return []
        if block:
            self._quiet_since = None
            self._mark.read(block)
            self._know(self._mark.end)
            return self._records(list(self._lines.feed(block)))
        if live or not self._is_finished():
            return None
        records = self._records(list(self._lines.last()))
        self._open_next()
        return records

    def _records(self, lines: Sequence[CutLine]) -> list[Record]:
        if not lines:
            return []
        stream, now = f"file:{self._path.name}:{self._generation}", time.time()
        records = [
            Record(self._source, stream, position, end, value, now, None, length)
            for position, value, end, length in lines
        ]
        for place in {*range(_MARK_EVERY - 1, len(records), _MARK_EVERY), len(records) - 1}:
            records[place] = records[place]._replace(mark=self._mark.at(records[place].next_position))
        return records

    def _know(self, position: int) -> None:
        self._known[self._generation] = ReadFile(self._generation, position, self._mark.at(position))

    def _is_live(self) -> bool:
        """Whether the file that is read has the followed name, or the name is not there at the moment."""
        if self._reading != self._path:
            return False
        assert self._file is not None
        try:
            return self._path.stat().st_ino == os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return True

    def _is_finished(self) -> bool:
        """Whether nothing more will be written to a file that was rotated away and has been read to its end."""
        following = self._next[0] if self._next else self._path
        if following != self._path or isinstance(self._file, gzip.GzipFile):
            return True
        try:
            if not self._path.stat().st_size:
                return False
        except FileNotFoundError:
            return False
        if self._quiet_since is None:
            self._quiet_since = time.monotonic()
        return time.monotonic() - self._quiet_since >= ROTATION_GRACE_SECONDS

    def _was_cut(self) -> bool:
        """Whether the file no longer holds what was read of it."""
        if self._file is None or isinstance(self._file, gzip.GzipFile):
            return False
        last = self._mark.last(MARK_BYTES)
        return os.pread(self._file.fileno(), len(last), self._mark.end - len(last)) != last

    def _turn_back(self) -> bool:
        """Open the file that was meant where the followed one was copied and cut before its content could tell."""
        assert self._file is not None
        read, files = self._unread()
        if read is None or files[0] == self._path or files[0].stat().st_ino == os.fstat(self._file.fileno()).st_ino:
            return False
        if read.generation == self._generation:
            self._open(files[0], read.generation, self._lines.position)
        elif files[1] == self._path:
            return False
        else:
            files = files[1:]
            self._open(files[0], self._generation, 0)
        self._next = files[1:]
        return True

    def _after_cut(self) -> list[Record]:
        """Go on after the file was cut: in the copy that was made of it before, if there is one, then at its start."""
        read, files = self._unread()
        if read is not None and read.generation == self._generation:
            self._open(files[0], read.generation, self._lines.position)
            self._next = files[1:]
            return []
        self._report(f"{self._path} was cut, and there is no copy of what it held; going on at its start")
        records = self._records(list(self._lines.last()))
        files = files[1:] or [self._path]
        self._open(files[0], self._generation + 1, 0)
        self._next = files[1:]
        return records

    def rewind(self, streams: Iterable[str]) -> None:
        """Go on from what the owner has stored: it could not store what it was handed."""
        self._begin()

    def committed(self, positions: Mapping[str, int]) -> None:
        """A file keeps no positions of its own."""

    def lag(self) -> dict[str, int]:
        """Return the bytes not yet handed over; of compressed files the compressed ones."""
        size = 0
        for path in self._next:
            with suppress(FileNotFoundError):
                size += path.stat().st_size
        if self._file is not None and not isinstance(self._file, gzip.GzipFile):
            size += max(0, os.fstat(self._file.fileno()).st_size - self._lines.position)
        return {f"file:{self._path.name}:{self._generation}": size}

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
