"""What the API and the pages read of the database: sources, windows, incidents, dead letters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from service.database import Database, is_row_number
from service.schema import JSON_COLUMNS, dead_letters, incidents, sources, windows

# A list shows this much of each: five hundred times what the database keeps of one would be half a gigabyte.
DEAD_LETTER_SHOWN_BYTES = 4096


class StoredResults(Database):
    """Sources, windows, incidents and dead letters, as rows."""

    def source_summaries(self) -> list[dict[str, Any]]:
        """Return the summary of every source, by name."""
        with self._read() as connection:
            rows = connection.execute(sa.select(sources.c.summary).order_by(sources.c.source))
            return [json.loads(row.summary) for row in rows]

    def source_summary(self, source: str) -> dict[str, Any]:
        """Return the summary of one source; empty where there is none."""
        with self._read() as connection:
            found = connection.execute(sa.select(sources.c.summary).where(sources.c.source == source)).scalar()
        return dict(json.loads(found or "{}"))

    def zone_of(self, source: str) -> str:
        """Return the name of the zone that a source writes its times in; UTC where nobody knows it."""
        return str(self.source_summary(source).get("zone", "UTC"))

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

    def is_source(self, source: str) -> bool:
        """Whether a source has ever been stored."""
        with self._read() as connection:
            query = sa.select(sources.c.source).where(sources.c.source == source)
            return connection.execute(query).one_or_none() is not None

    def find_dead_letters(
        self, *, source: str | None = None, before: int | None = None, limit: int | None = 100
    ) -> list[dict[str, Any]]:
        """Return dead letters, latest first, each with the first `DEAD_LETTER_SHOWN_BYTES` of its bytes.

        Args:
            source: only of this source.
            before: id of the last one of the page before.
            limit: at most this many; None for all.
        """
        columns = [column for column in dead_letters.c if column.name != "value"]
        begin = sa.func.substr(dead_letters.c.value, 1, DEAD_LETTER_SHOWN_BYTES, type_=sa.LargeBinary)
        query = sa.select(*columns, begin.label("value"))
        if source is not None:
            query = query.where(dead_letters.c.source == source)
        if before is not None:
            query = query.where(dead_letters.c.id < before)
        with self._read() as connection:
            rows = connection.execute(query.order_by(dead_letters.c.id.desc()).limit(limit))
            return [dict(row._mapping) for row in rows]

    def dead_letter(self, source: str, number: int) -> bytes | None:
        """Return the bytes that are kept of a dead letter; None where there is no such."""
        if not is_row_number(number):
            return None
        query = sa.select(dead_letters.c.value).where(dead_letters.c.source == source, dead_letters.c.id == number)
        with self._read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def _one(self, table: sa.Table, row_id: str) -> dict[str, Any] | None:
        with self._read() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == row_id)).one_or_none()
        return None if row is None else dict(row._mapping)
