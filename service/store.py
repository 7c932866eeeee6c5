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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from service.database import storable, upsert
from service.errors import Superseded
from service.inbox_table import INBOX_STREAM, InboxTable
from service.packing import pack, to_json, unpack
from service.schema import dead_letters, inbox, incidents, open_events, positions, replays, sources, windows
from service.stored_results import StoredResults

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


class Store(StoredResults, InboxTable):
    """One database, shared by workers and APIs; a SQLite file serves one process, PostgreSQL many."""

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

    def left_open(self, source: str, bundle: str) -> list[dict[str, Any]]:
        """Return the rows of a source's open incidents that are of other bundles than this one."""
        theirs = incidents.c.source == source, incidents.c.bundle != bundle, incidents.c.status == "open"
        with self._read() as connection:
            return [dict(row._mapping) for row in connection.execute(sa.select(incidents).where(*theirs))]

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


def _write_chunks(connection: sa.Connection, rows: Sequence[SourceRow]) -> None:
    changes = [(row.source, chunk, events) for row in rows for chunk, events in row.chunks.items()]
    dropped = [{"of": source, "number": chunk} for source, chunk, events in changes if events is None]
    if dropped:
        key = open_events.c.source == sa.bindparam("of"), open_events.c.chunk == sa.bindparam("number")
        connection.execute(open_events.delete().where(*key), dropped)
    fresh = [
        {"source": source, "chunk": chunk, "events": events} for source, chunk, events in changes if events is not None
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
                "summary": to_json(row.summary).decode(),
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
        _write_chunks(connection, batch.sources)
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
