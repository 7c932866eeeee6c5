"""Incidents: anomalous windows joined, with their most telling lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Response

from service.errors import NotFound
from service.explain import iso
from service.explained_text import incident_text
from service.feedback_store import FeedbackStore
from service.joined_incidents import joined
from service.routes.common import TEXT_TOO, AsText, Cursor, Limit, Shared, decode_cursor, encode_cursor, plain
from service.routes.windows import explained
from service.store import Store

router = APIRouter(tags=["incidents"])
_TOP_LINES = 3


@router.get("/incidents")
def list_incidents(
    context: Shared, source: str | None = None, limit: Limit = 100, cursor: Cursor = None
) -> dict[str, Any]:
    """List incidents, latest first."""
    rows = context.store.find_incidents(source=source, after=decode_cursor(cursor), limit=limit)
    following = encode_cursor(rows[-1], "sequence") if len(rows) == limit else None
    groups = joined(context.store, rows)
    items = [item | {"group": group_name(groups[item["id"]])} for item in with_verdicts(context.store, rows)]
    return {"items": items, "next_cursor": following}


@router.get("/incidents/{incident_id}", response_model=dict[str, Any], responses=TEXT_TOO)
def get_incident(incident_id: str, context: Shared, as_text: AsText) -> dict[str, Any] | Response:
    """Return one incident with the most telling lines of its worst window; as text with all of that where asked for."""
    incident, worst = with_lines(context.store, incident_id)
    zone = context.store.zone_of(incident["source"])
    return plain(incident_text(incident, worst, zone)) if as_text else incident


def group_name(group: Sequence[Mapping[str, Any]]) -> str:
    """Return the name of a group: it is that of its first incident."""
    return f"g-{group[0]['id'].removeprefix('i-')}"


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored incident as the API shows it."""
    return {name: value for name, value in row.items() if name != "sequence"} | {
        "start": iso(row["start"]),
        "end": iso(row["end"]),
        "score": row["score"],
        "strength": round(row["strength"], 3),
        **{name: row[name] | {"time": iso(row[name]["time"])} for name in ("first_event", "worst_event")},
    }


def with_verdicts(store: Store, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return stored incidents as the API shows them, each with the verdict that holds; None where nobody gave one."""
    verdicts = FeedbackStore(store).verdicts([row["id"] for row in rows])
    return [shown(row) | {"verdict": verdicts.get(row["id"])} for row in rows]


def with_lines(store: Store, incident_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an incident with its top lines, and its worst window.

    Raises:
        NotFound: there is no such incident.
    """
    row = store.incident(incident_id)
    if row is None:
        raise NotFound(f"no incident {incident_id}")
    worst = explained(store, row["worst_window"])
    ranked = sorted((line for line in worst["lines"] if line["rank"]), key=lambda line: line["rank"])
    group = joined(store, [row])[row["id"]]
    others = [{name: item[name] for name in ("id", "source", "title")} for item in group if item["id"] != row["id"]]
    (item,) = with_verdicts(store, [row])
    return item | {"top_lines": ranked[:_TOP_LINES], "group": group_name(group), "joined_with": others}, worst
