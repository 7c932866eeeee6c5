"""Pushed lines in the database, between the push that brings them and the worker that reads them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from service.database import INBOX_READ_LOCK, INBOX_WRITE_LOCK, Database, lock
from service.schema import inbox, pushes

# Lines that may wait in the inbox before a push is refused: about a minute of work for a slow machine.
INBOX_LIMIT = 500_000
INBOX_STREAM = "http"
# How long the answer to a push with an idempotency key is kept: a client that was cut off for a night may still repeat.
KEEP_PUSHES_SECONDS = 86_400.0


@dataclass(frozen=True)
class Once:
    """What makes a push one that may be repeated.

    Attributes:
        key: what the client calls it.
        digest: of what it pushes.
    """

    key: str
    digest: bytes


@dataclass(frozen=True)
class Pushed:
    """What became of a push.

    Attributes:
        accepted: lines appended.
        position: of the last of them.
        repeated: whether that was an earlier push with the same key.
        same: whether that one pushed the same.
    """

    accepted: int
    position: int
    repeated: bool = False
    same: bool = True


class InboxTable(Database):
    """The inbox: lines are appended, read in order, and dropped by the commit that stores what came of them."""

    _inbox_claim: sa.Connection | None = None

    def push(self, source: str, lines: Sequence[bytes], once: Once | None = None) -> Pushed | None:
        """Append pushed lines to the inbox; with `once` only where its key is new.

        Returns:
            What was appended, now or when the key was new; None, and nothing appended, where the inbox is full.
        """
        if once is None:
            return self._append(source, lines, None)
        # Twice at most: a push with the same key may come in between, and then its answer is there.
        for _ in range(2):
            pushed = self._pushed(source, once)
            if pushed is not None:
                return pushed
            with suppress(sa.exc.IntegrityError):
                return self._append(source, lines, once)
        raise AssertionError("a key that was taken is found")

    def _pushed(self, source: str, once: Once) -> Pushed | None:
        with self._read() as connection:
            query = sa.select(pushes).where(pushes.c.source == source, pushes.c.key == once.key)
            row = connection.execute(query.where(pushes.c.received >= time.time() - KEEP_PUSHES_SECONDS)).one_or_none()
        if row is None:
            return None
        return Pushed(row.accepted, row.position, repeated=True, same=row.digest == once.digest)

    def _append(self, source: str, lines: Sequence[bytes], once: Once | None) -> Pushed | None:
        now = time.time()
        with self._write() as connection:
            # Positions must appear in their order: the reader never looks back.
            lock(connection, INBOX_WRITE_LOCK)
            waiting = connection.execute(sa.select(sa.func.count()).select_from(inbox)).scalar_one()
            if waiting + len(lines) > INBOX_LIMIT:
                return None
            connection.execute(inbox.insert(), [{"source": source, "value": line, "received": now} for line in lines])
            last: int = connection.execute(sa.select(sa.func.max(inbox.c.position))).scalar_one()
            if once is not None:
                connection.execute(pushes.delete().where(pushes.c.received < now - KEEP_PUSHES_SECONDS))
                answer = {"digest": once.digest, "accepted": len(lines), "position": last, "received": now}
                connection.execute(pushes.insert(), [{"source": source, "key": once.key, **answer}])
            return Pushed(len(lines), last)

    def read_inbox(self, after: int, limit: int) -> list[sa.Row[tuple[int, str, bytes, float]]]:
        """Return the oldest pushed lines from a position on: (position, source, value, received)."""
        query = sa.select(inbox.c.position, inbox.c.source, inbox.c.value, inbox.c.received)
        with self._read() as connection:
            return list(connection.execute(query.where(inbox.c.position >= after).order_by("position").limit(limit)))

    def claim_inbox(self) -> bool:
        """Whether this process is the one that reads the inbox, which it then is until it ends or loses the database.

        A SQLite file has one process; of those that share PostgreSQL, one holds a lock.
        """
        if not self.is_shared:
            return True
        try:
            if self._inbox_claim is None:
                connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(INBOX_READ_LOCK))).scalar_one():
                    connection.close()
                    return False
                self._inbox_claim = connection
            self._inbox_claim.execute(sa.select(1))
        except DBAPIError:
            self._drop_inbox_claim()
            return False
        return True

    def _drop_inbox_claim(self) -> None:
        claim, self._inbox_claim = self._inbox_claim, None
        if claim is not None:
            # The lock belongs to the session: it must end, not go back to the pool.
            claim.invalidate()
            claim.close()

    def close(self) -> None:
        """Close every connection, and let another process read the inbox."""
        self._drop_inbox_claim()
        super().close()

    def inbox_size(self) -> int:
        """Return how many pushed lines wait."""
        with self._read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(inbox)).scalar_one()
