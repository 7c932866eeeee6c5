"""Bytes to lines: cut at line feeds, positions kept, memory bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from ingestion.decoding import line_ending

# Bytes kept of one line: more than any source's own cap (`format.MOST_LINE_BYTES`), so that a line that is not kept
# whole is always too long, and its dead letter shows what it was.
MAX_KEPT_BYTES = 2 << 20
# A line: its position, its bytes, the next line's position, and how many bytes it has where only so many are kept.
CutLine: TypeAlias = tuple[int, bytes, int, int | None]


class LineSplitter:
    """Cuts a stream of bytes at line feeds; handles two-byte code units.

    Attributes:
        position: of the line that is not complete yet.
    """

    def __init__(self, encoding: str, position: int = 0) -> None:
        self.position = position
        self._ending = line_ending(encoding)
        self._rest = b""
        # Bytes of the open line beyond those kept.
        self._beyond = 0

    @property
    def end(self) -> int:
        """Position after the last byte fed."""
        return self.position + len(self._rest) + self._beyond

    def feed(self, block: bytes) -> Iterator[CutLine]:
        """Take the next bytes; return each line they complete.

        Of a line longer than `MAX_KEPT_BYTES` only so much is returned, and how long it is.
        """
        data = self._rest + block
        start, width, beyond = 0, len(self._ending), self._beyond
        while True:
            end = data.find(self._ending, start)
            while end >= 0 and (end + beyond - start) % width:
                end = data.find(self._ending, end + 1)
            if end < 0:
                break
            after = end + width
            position, self.position = self.position, self.position + after - start + beyond
            length = end - start + beyond
            if length > MAX_KEPT_BYTES:
                yield position, data[start : start + MAX_KEPT_BYTES], self.position, length
            else:
                yield position, data[start:end], self.position, None
            start, beyond = after, 0
        self._rest, self._beyond = data[start:], beyond
        if len(self._rest) > MAX_KEPT_BYTES + width:
            # The last bytes stay: a line feed of two bytes may be half there.
            excess = (len(self._rest) - MAX_KEPT_BYTES - width) // width * width
            self._rest = self._rest[:MAX_KEPT_BYTES] + self._rest[MAX_KEPT_BYTES + excess :]
            self._beyond += excess

    def last(self) -> Iterator[CutLine]:
        """Return the line that the end of the input leaves without a line feed, if there is one."""
        if self._rest:
            position, self.position = self.position, self.end
            length = self.position - position
            yield position, self._rest[:MAX_KEPT_BYTES], self.position, length if length > MAX_KEPT_BYTES else None
            self._rest, self._beyond = b"", 0
