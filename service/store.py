"""The database: windows, incidents, inbox, and the checkpoint that makes a restart exact.

One `commit` writes everything a batch of records produced, together with the next positions of the streams it was read
from and the state of the sources it touched, in one transaction. After a crash the database is therefore as if the
batch had either happened or not.

Several workers may share one database. A batch therefore also says from which positions it was read and which versions
of its sources it goes on from; where another worker has moved one of them on, nothing of the batch is written.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from service.database import INBOX_READ_LOCK, INBOX_WRITE_LOCK, answering, lock, open_database, storable, upsert
from service.errors import Superseded
from service.schema import (
    JSON_COLUMNS,
    dead_letters,
    inbox,
    incidents,
    open_events,
    positions,
    pushes,
    replays,
    sources,
    windows,
)

# Lines that may wait in the inbox before a push is refused: about a minute of work for a slow machine.
INBOX_LIMIT = 500_000
INBOX_STREAM = "http"
# How long the answer to a push with an idempotency key is kept: a client that was cut off for a night may still repeat.
KEEP_PUSHES_SECONDS = 86_400.0
# Dead letters that are kept: the newest of so many, and of so many bytes.
DEAD_LETTERS = 20_000
DEAD_LETTER_BYTES = 1 << 30


@dataclass
class SourceRow:
    """What a restart needs of one source.

    Attributes:
        source: its name.
        bundle: id of the bundle its state belongs to.
        state: parser, windower and incident state, and events that wait to be scored, as JSON values.
        snapshot: exact model state at some event; None where it has not changed since the last commit.
        summary: what the API shows of the source.
        version: how often it had been stored when it was read; 0 for a row that is new.
        chunks: events of open windows, packed, by number; written are those that are new, None drops one.
    """

    source: str
    bundle: str
    state: dict[str, Any]
    snapshot: bytes | None
    summary: dict[str, Any]
    version: int = 0
    chunks: Mapping[int, bytes | None] = field(default_factory=dict)


@dataclass
class Batch:
    """Everything one transaction writes, and what it goes on from.

    Attributes:
        positions: next position of every stream that was read from.
        marks: what tells the streams' files again, where they are files.
        positions_before: their positions before; None, or no entry, for a stream never read.
        versions: versions that sources had when they were read; 0, or no entry, for one never stored. A source that is
            named here and has no row in `sources` must not have moved on either.
        sources: rows to write.
        windows: rows to write.
        incidents: rows to write.
        dead_letters: rows to add.
    """

    positions: dict[str, int] = field(default_factory=dict)
    marks: dict[str, bytes] = field(default_factory=dict)
    positions_before: Mapping[str, int | None] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    sources: list[SourceRow] = field(default_factory=list)
    windows: list[dict[str, Any]] = field(default_factory=list)
    incidents: list[dict[str, Any]] = field(default_factory=list)
    dead_letters: list[dict[str, Any]] = field(default_factory=list)


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


def pack(record: Mapping[str, Any]) -> bytes:
    """Compress a JSON record; level 1 halves the time of level 6 for a tenth more bytes."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return zlib.compress(text.encode("utf-8", "replace"), 1)


def unpack(blob: bytes) -> dict[str, Any]:
    """Undo `pack`."""
    found: dict[str, Any] = json.loads(zlib.decompress(blob))
    return found


class Store:
    """One database, shared by workers and APIs; a SQLite file serves one process, PostgreSQL many.

    Every method raises `StoreUnavailable` where the database is away, busy or full; trying again later can succeed.

    Args:
        database: path of a SQLite file, or `postgresql://USER@HOST:PORT/NAME`.
        password_file: file that holds PostgreSQL's password.

    Attributes:
        engine: the SQLAlchemy engine; its connections are per thread.
    """

    def __init__(self, database: Path | str, password_file: Path | None = None) -> None:
        self.engine = open_database(database, password_file)
        self._inbox_claim: sa.Connection | None = None

    @property
    def is_shared(self) -> bool:
        """Whether other processes may write to the database, too."""
        return self.engine.dialect.name == "postgresql"

    def close(self) -> None:
        """Close every connection."""
        self._drop_inbox_claim()
        self.engine.dispose()

    def _write(self) -> AbstractContextManager[sa.Connection]:
        return answering(self.engine.begin)

    def _read(self) -> AbstractContextManager[sa.Connection]:
        return answering(self.engine.connect)

    # --- what the worker writes and reads -----------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """Write one batch in one transaction.

        Raises:
            Superseded: another worker has read on in one of its streams, or stored one of its sources, since;
                nothing was written.
        """
        with self._write() as connection:
            for stream, position in sorted(batch.positions.items()):
                _advance(connection, stream, batch.positions_before.get(stream), position, batch.marks.get(stream))
                if stream == INBOX_STREAM:
                    connection.execute(inbox.delete().where(inbox.c.position < position))
            _write_sources(connection, batch)
            if batch.windows:
                upsert(connection, windows, batch.windows, "id")
            # The last state of an incident that changed more than once: a statement writes a row once.
            changed = {incident["id"]: incident for incident in batch.incidents}
            if changed:
                upsert(connection, incidents, list(changed.values()), "id")
            if batch.dead_letters:
                connection.execute(dead_letters.insert(), list(map(storable, batch.dead_letters)))
                _bound_dead_letters(connection)

    def next_position(self, stream: str) -> int | None:
        """Return where reading a stream goes on; None for a stream never read."""
        with self._read() as connection:
            return connection.execute(
                sa.select(positions.c.next_position).where(positions.c.stream == stream)
            ).scalar_one_or_none()

    def marks(self, prefix: str) -> list[tuple[str, int, bytes]]:
        """Return the streams whose name begins so: name, next position, mark."""
        name = positions.c.stream
        query = sa.select(name, positions.c.next_position, positions.c.mark).where(positions.c.mark.is_not(None))
        with self._read() as connection:
            rows = connection.execute(query.where(sa.func.substr(name, 1, len(prefix)) == prefix))
            return [(row.stream, row.next_position, row.mark) for row in rows]

    def load_source(self, source: str) -> SourceRow | None:
        """Return the checkpoint of a source; None for a source never seen."""
        with self._read() as connection:
            row = connection.execute(sa.select(sources).where(sources.c.source == source)).one_or_none()
            if row is None:
                return None
            query = sa.select(open_events.c.chunk, open_events.c.events).where(open_events.c.source == source)
            chunks = {chunk: events for chunk, events in connection.execute(query)}  # noqa: C416
        state, summary = unpack(row.state), json.loads(row.summary)
        return SourceRow(row.source, row.bundle, state, row.snapshot, summary, row.version, chunks)

    def forget_lines(self, source: str, before_index: int) -> None:
        """Drop the raw lines of a source's quiet windows before an index; alarms keep theirs."""
        with self._write() as connection:
            connection.execute(
                windows.update()
                .where(windows.c.source == source, windows.c.index < before_index, windows.c.anomalous.is_(False))
                .values(record=None)
            )

    # --- replays ---------------------------------------------------------------------------------------------------

    def begin_replay(self, bundle: str, described: str) -> int:
        """Mark the database as one that holds a replay; return the replay's number."""
        values = {"bundle": bundle, "range": described, "started": time.time()}
        with self._write() as connection:
            number: int = connection.execute(replays.insert().returning(replays.c.id), values).scalar_one()
            return number

    def finish_replay(self, number: int) -> None:
        """Say that a replay has come to its end."""
        with self._write() as connection:
            connection.execute(replays.update().where(replays.c.id == number).values(finished=time.time()))

    def replayed(self) -> str | None:
        """Return what was replayed into this database; None for one that serves."""
        with self._read() as connection:
            return connection.execute(sa.select(replays.c.range).order_by(replays.c.id).limit(1)).scalar_one_or_none()

    # --- the inbox of pushed lines ------------------------------------------------------------------------------

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

    def inbox_size(self) -> int:
        """Return how many pushed lines wait."""
        with self._read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(inbox)).scalar_one()

    # --- what the API reads --------------------------------------------------------------------------------------

    def source_summaries(self) -> list[dict[str, Any]]:
        """Return the summary of every source, by name."""
        with self._read() as connection:
            rows = connection.execute(sa.select(sources.c.summary).order_by(sources.c.source))
            return [json.loads(row.summary) for row in rows]

    def find_windows(
        self,
        *,
        source: str | None = None,
        start: float | None = None,
        end: float | None = None,
        min_score: float | None = None,
        after: Sequence[Any] | None = None,
        by_strength: bool = False,
        limit: int | None = 100,
    ) -> list[dict[str, Any]]:
        """Return windows without their lines, latest first, or strongest first.

        Args:
            source: only this source.
            start: only windows that end at or after this time, epoch seconds.
            end: only windows that start before this time.
            min_score: only windows of at least this score.
            after: the sort key of the last window of the page before.
            by_strength: strongest first.
            limit: at most this many; None for all.
        """
        columns = [column for column in windows.c if column.name != "record"]
        query = sa.select(*columns)
        key = windows.c.strength if by_strength else windows.c.sequence
        if source is not None:
            query = query.where(windows.c.source == source)
        if start is not None:
            query = query.where(windows.c.end >= start)
        if end is not None:
            query = query.where(windows.c.start < end)
        if min_score is not None:
            query = query.where(windows.c.score >= min_score)
        if after is not None:
            query = query.where(sa.tuple_(key, windows.c.id) < sa.tuple_(*after))
        query = query.order_by(key.desc(), windows.c.id.desc()).limit(limit)
        with self._read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def window(self, window_id: str) -> dict[str, Any] | None:
        """Return one window with its record, or None."""
        return self._one(windows, window_id)

    def neighbours(self, window: Mapping[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Return the windows of the same source before and after one."""
        query = sa.select(windows).where(
            windows.c.source == window["source"],
            windows.c.bundle == window["bundle"],
            windows.c.index.in_((window["index"] - 1, window["index"] + 1)),
        )
        with self._read() as connection:
            found = {row.index: dict(row._mapping) for row in connection.execute(query)}
        return found.get(window["index"] - 1), found.get(window["index"] + 1)

    def incident(self, incident_id: str) -> dict[str, Any] | None:
        """Return one incident, or None."""
        found = self._one(incidents, incident_id)
        return found and found | {name: json.loads(found[name]) for name in JSON_COLUMNS}

    def find_incidents(
        self, *, source: str | None = None, after: Sequence[Any] | None = None, limit: int | None = 100
    ) -> list[dict[str, Any]]:
        """Return incidents, latest first."""
        query = sa.select(incidents)
        if source is not None:
            query = query.where(incidents.c.source == source)
        if after is not None:
            query = query.where(sa.tuple_(incidents.c.sequence, incidents.c.id) < sa.tuple_(*after))
        query = query.order_by(incidents.c.sequence.desc(), incidents.c.id.desc()).limit(limit)
        with self._read() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
        return [row | {name: json.loads(row[name]) for name in JSON_COLUMNS} for row in rows]

    def _one(self, table: sa.Table, row_id: str) -> dict[str, Any] | None:
        with self._read() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == row_id)).one_or_none()
        return None if row is None else dict(row._mapping)


def _advance(connection: sa.Connection, stream: str, before: int | None, after: int, mark: bytes | None) -> None:
    place: dict[str, Any] = {"next_position": after} | ({} if mark is None else {"mark": mark})
    if before is None:
        row = {"stream": stream, **place}
        moved = upsert(connection, positions, [row], "stream", only_if=lambda _: sa.false()) == 1
    else:
        here = sa.and_(positions.c.stream == stream, positions.c.next_position == before)
        moved = connection.execute(positions.update().where(here).values(**place)).rowcount == 1
    if not moved:
        raise Superseded(f"another worker has read {stream} on from {before or 0}")


def _write_chunks(connection: sa.Connection, row: SourceRow) -> None:
    key = open_events.c.source == row.source
    dropped = [chunk for chunk, events in row.chunks.items() if events is None]
    if dropped:
        connection.execute(
            open_events.delete().where(key, open_events.c.chunk == sa.bindparam("number")),
            [{"number": chunk} for chunk in dropped],
        )
    fresh = [
        {"source": row.source, "chunk": chunk, "events": events}
        for chunk, events in row.chunks.items()
        if events is not None
    ]
    if fresh:
        upsert(connection, open_events, fresh, "source", "chunk")


def _write_sources(connection: sa.Connection, batch: Batch) -> None:
    if batch.sources:
        rows = [
            {
                "source": row.source,
                "bundle": row.bundle,
                "state": pack(row.state),
                "summary": json.dumps(row.summary),
                "snapshot": row.snapshot,
                "version": batch.versions.get(row.source, 0) + 1,
            }
            for row in batch.sources
        ]
        written = upsert(
            connection,
            sources,
            rows,
            "source",
            keep=("snapshot",),
            only_if=lambda new: sources.c.version == new.version - 1,
        )
        if written != len(rows):
            raise Superseded(f"another worker has stored one of {len(rows)} sources")
        for row in batch.sources:
            _write_chunks(connection, row)
    for source in sorted(batch.versions.keys() - {row.source for row in batch.sources}):
        here = sa.and_(sources.c.source == source, sources.c.version == batch.versions[source])
        # An update that changes nothing, for the lock on the row that it takes.
        if connection.execute(sources.update().where(here).values(version=sources.c.version)).rowcount != 1:
            raise Superseded(f"another worker has stored {source}")


def _bound_dead_letters(connection: sa.Connection) -> None:
    newest = dead_letters.c.id.desc()
    counted = sa.select(
        dead_letters.c.id,
        sa.func.row_number().over(order_by=newest).label("number"),
        sa.func.sum(sa.func.length(dead_letters.c.value)).over(order_by=newest).label("bytes"),
    ).subquery()
    beyond = sa.or_(counted.c.number > DEAD_LETTERS, counted.c.bytes > DEAD_LETTER_BYTES)
    oldest = sa.select(sa.func.max(counted.c.id)).where(beyond).scalar_subquery()
    connection.execute(dead_letters.delete().where(dead_letters.c.id <= oldest))
