"""Lines that another program pipes in."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable, Mapping

from ingestion.lines import LineSplitter
from ingestion.records import Record

_BLOCK = 1 << 16


class StandardInput:
    """Reads standard input, or another descriptor, to its end.

    A pipe cannot be read again: lines that were taken from it and not stored when the process dies are gone, at most as
    many as one batch has. Every start is a stream of its own, `pipe:STARTED`.

    Args:
        source: whose lines they are.
        encoding: of the lines.
        descriptor: what to read.
    """

    def __init__(self, source: str, encoding: str, descriptor: int = 0) -> None:
        self._source, self._descriptor = source, descriptor
        self._stream = f"pipe:{time.time_ns()}"
        self._lines = LineSplitter(encoding)
        self._ended = False
        # Handed over, and not stored yet as far as is known.
        self._unstored: list[Record] = []
        self._again = False

    def poll(self, timeout_seconds: float) -> list[Record]:
        """Return the lines that have come, waiting at most `timeout_seconds`; nothing more after the end."""
        if self._again:
            self._again = False
            return list(self._unstored)
        deadline = time.monotonic() + timeout_seconds
        while not self._ended:
            readable, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                return []
            block = os.read(self._descriptor, _BLOCK)
            self._ended = not block
            lines = list(self._lines.feed(block) if block else self._lines.last())
            if lines:
                now = time.time()
                records = [
                    Record(self._source, self._stream, position, end, value, now, None, length)
                    for position, value, end, length in lines
                ]
                self._unstored += records
                return records
        time.sleep(max(0.0, deadline - time.monotonic()))
        return []

    def committed(self, positions: Mapping[str, int]) -> None:
        """Let go of what is stored."""
        stored = positions.get(self._stream)
        if stored is not None:
            self._unstored = [record for record in self._unstored if record.next_position > stored]

    def rewind(self, streams: Iterable[str]) -> None:
        """Hand over again what could not be stored."""
        self._again = self._stream in streams and bool(self._unstored)

    def lag(self) -> dict[str, int]:
        """Nothing is known of what waits in a pipe."""
        return {}

    def close(self) -> None:
        """Whoever started the process closes its standard input."""
