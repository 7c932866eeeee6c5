"""Bytes to lines: cut at line feeds, positions kept, memory bounded."""

from __future__ import annotations

from collections.abc import Iterator

from ingestion.decoding import line_ending

# Bytes kept of one line: far more than any source's own cap, so that its dead letter shows what the line was.
MAX_KEPT_BYTES = 1 << 20


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

    def feed(self, block: bytes) -> Iterator[tuple[int, bytes, int]]:
        """Take the next bytes; return each line they complete, with its position and the next line's.

        Of a line longer than `MAX_KEPT_BYTES` only so much is returned.
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
            yield position, data[start : min(end, start + MAX_KEPT_BYTES)], self.position
            start, beyond = after, 0
        self._rest, self._beyond = data[start:], beyond
        if len(self._rest) > MAX_KEPT_BYTES + width:
            # The last bytes stay: a line feed of two bytes may be half there.
            excess = (len(self._rest) - MAX_KEPT_BYTES - width) // width * width
            self._rest = self._rest[:MAX_KEPT_BYTES] + self._rest[MAX_KEPT_BYTES + excess :]
            self._beyond += excess

    def last(self) -> Iterator[tuple[int, bytes, int]]:
        """Return the line that the end of the input leaves without a line feed, if there is one."""
        if self._rest:
            position, self.position = self.position, self.end
            yield position, self._rest[:MAX_KEPT_BYTES], self.position
            self._rest, self._beyond = b"", 0
