"""What operators say of incidents and windows: said, listed, taken back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from service.errors import NotFound
from service.explain import iso
from service.feedback_store import FeedbackStore, Said, Verdict
from service.routes.common import Cursor, Limit, Shared, decode_cursor, encode_cursor, epoch

router = APIRouter(tags=["feedback"])
_Words = Annotated[str, Field(min_length=1, max_length=2000)]


class Feedback(BaseModel):
    """What somebody says; `until` is a time of the source's own clock, without an offset in UTC."""

    model_config = ConfigDict(extra="forbid")
    verdict: Verdict
    reason: _Words
    who: _Words
    until: datetime | None = None


class TakenBack(BaseModel):
    """Who takes something back, and why."""

    model_config = ConfigDict(extra="forbid")
    reason: _Words
    who: _Words


@router.post("/{kind}/{about}/feedback", status_code=201)
def give_feedback(
    kind: Literal["incidents", "windows"], about: str, given: Feedback, context: Shared
) -> dict[str, Any]:
    """Say what an incident or a window was: `real`, `false-alarm`, `known` until a time, or `shelved` until one."""
    _check(kind, about)
    said = Said(verdict=given.verdict, who=given.who, reason=given.reason, until=epoch(given.until))
    entry = FeedbackStore(context.store).say(about, said)
    context.metrics.add("logvq_feedback_total", verdict=given.verdict)
    return shown(entry)


@router.get("/{kind}/{about}/feedback")
def feedback_of(kind: Literal["incidents", "windows"], about: str, context: Shared) -> dict[str, Any]:
    """List everything that was said of an incident or a window, latest first."""
    return {"items": [shown(row) for row in FeedbackStore(context.store).entries(about=about)], "next_cursor": None}


@router.get("/feedback")
def list_feedback(
    context: Shared, source: Annotated[str | None, Query()] = None, limit: Limit = 100, cursor: Cursor = None
) -> dict[str, Any]:
    """List everything that was said, latest first."""
    after = decode_cursor(cursor)
    rows = FeedbackStore(context.store).entries(source=source, before=int(after[0]) if after else None, limit=limit)
    following = encode_cursor(rows[-1], "id") if len(rows) == limit else None
    return {"items": [shown(row) for row in rows], "next_cursor": following}


@router.post("/feedback/{number}/undo", status_code=201)
def take_back(number: int, given: TakenBack, context: Shared) -> dict[str, Any]:
    """Take back what was said; both entries stay."""
    entry = FeedbackStore(context.store).undo(number, given.who, given.reason)
    context.metrics.add("logvq_feedback_total", verdict="undo")
    return shown(entry)


def shown(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry as the API shows it."""
    return dict(entry) | {name: iso(entry[name]) for name in ("said", "until", "start", "end")}


def _check(kind: str, about: str) -> None:
    if not about.startswith(kind[0] + "-"):
        raise NotFound(f"no {kind.removesuffix('s')} {about}")
