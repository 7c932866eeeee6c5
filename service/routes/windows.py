"""Windows: found by source, time and score; one with its explanation and raw lines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from service.errors import NotFound
from service.explained_text import window_text
from service.packing import unpack
from service.routes.common import (
    TEXT_TOO,
    AsText,
    Cursor,
    Limit,
    Shared,
    decode_cursor,
    encode_cursor,
    epoch,
    plain,
)
from service.shown_windows import expand, summary
from service.store import Store

router = APIRouter(tags=["windows"])


@router.get("/windows")
def list_windows(
    context: Shared,
    source: str | None = None,
    from_: Annotated[datetime | None, Query(alias="from")] = None,
    to: datetime | None = None,
    min_score: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    order: Literal["time", "strength"] = "time",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List windows, latest first or strongest first."""
    rows = context.store.find_windows(
        source=source,
        start=epoch(from_),
        end=epoch(to),
        min_score=min_score,
        after=decode_cursor(cursor),
        by_strength=order == "strength",
        limit=limit,
    )
    key = "strength" if order == "strength" else "sequence"
    following = encode_cursor(rows[-1], key) if len(rows) == limit else None
    return {"items": [summary(row) for row in rows], "next_cursor": following}


@router.get("/windows/{window_id}", response_model=dict[str, Any], responses=TEXT_TOO)
def get_window(window_id: str, context: Shared, as_text: AsText) -> dict[str, Any] | Response:
    """Return one window with its explanation and raw lines; as text where that is asked for."""
    window = explained(context.store, window_id)
    return plain(window_text(window, context.store.zone_of(window["source"]))) if as_text else window


def explained(store: Store, window_id: str) -> dict[str, Any]:
    """Return one window as the API and the pages show it.

    Raises:
        NotFound: there is no such window.
    """
    row = store.window(window_id)
    if row is None:
        raise NotFound(f"no window {window_id}")
    return shown_window(row)


def shown_window(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored window with its explanation."""
    return expand(row, unpack(row["record"]) if row["record"] is not None else None)
