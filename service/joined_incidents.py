"""Stored incidents with those of other sources that they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from service.alarms.groups import groups
from service.database import answering
from service.schema import incidents
from service.store import Store

# Incidents of a story that lasts longer on either side than this are not looked for.
_AROUND_SECONDS = 86_400.0
_MOST = 5000


def joined(store: Store, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the group of each of these incidents, by id: its members in order of time, itself among them."""
    timed = [row for row in rows if row["start"] is not None]
    found: dict[str, Mapping[str, Any]] = {row["id"]: row for row in rows}
    if timed:
        columns = [incidents.c[name] for name in ("id", "source", "bundle", "start", "end", "title", "shapes")]
        near = (
            sa.select(*columns)
            .where(incidents.c.start <= max(row["end"] for row in timed) + _AROUND_SECONDS)
            .where(incidents.c.end >= min(row["start"] for row in timed) - _AROUND_SECONDS)
            .order_by(incidents.c.start.desc(), incidents.c.id)
            .limit(_MOST)
        )
        with answering(store.engine.connect) as connection:
            for row in connection.execute(near):
                found.setdefault(row.id, dict(row._mapping) | {"shapes": json.loads(row.shapes)})
    wanted = {row["id"] for row in rows}
    return {item["id"]: group for group in groups(list(found.values())) for item in group if item["id"] in wanted}
