"""Pushed lines as an input: the API appends them to the database, the worker reads them from there in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping

from ingestion import Record
from service.inbox_table import INBOX_STREAM
from service.store import Store

_POLL_RECORDS = 2000
_IDLE_SECONDS = 0.25
# How often a process that does not read the inbox asks whether it may.
_CLAIM_SECONDS = 1.0


class InboxInput:
    """Reads the inbox. A push wakes it; the position is the database's own count of pushed lines.

    Of several processes that share a database, one reads the inbox; another goes on where that ends.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next: int | None = None
        self._claim_due = 0.0
        self._pushed = threading.Event()

    def wake(self) -> None:
        """Say that lines were pushed."""
        self._pushed.set()

    def poll(self, timeout_seconds: float) -> list[Record]:
        """Return the oldest pushed lines that have not been returned yet."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._pushed.clear()
            if not self._is_ours():
                self._next = None
                time.sleep(timeout_seconds)
                return []
            if self._next is None:
                self._next = self._store.next_position(INBOX_STREAM) or 0
            rows = self._store.read_inbox(self._next, _POLL_RECORDS)
            if rows:
                self._next = rows[-1].position + 1
                return [
                    Record(row.source, INBOX_STREAM, row.position, row.position + 1, row.value, row.received)
                    for row in rows
                ]
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return []
            self._pushed.wait(min(_IDLE_SECONDS, remaining))

    def _is_ours(self) -> bool:
        now = time.monotonic()
        if now < self._claim_due:
            return False
        claimed = self._store.claim_inbox()
        self._claim_due = 0.0 if claimed else now + _CLAIM_SECONDS
        return claimed

    def rewind(self, streams: Iterable[str]) -> None:
        """Read again from the stored position."""
        if INBOX_STREAM in streams:
            self._next = None

    def committed(self, positions: Mapping[str, int]) -> None:
        """The inbox is emptied in the transaction that stores the results."""

    def lag(self) -> dict[str, int]:
        """Return how many pushed lines wait."""
        return {INBOX_STREAM: self._store.inbox_size()}

    def close(self) -> None:
        """Nothing to release."""
