"""What several resources share: the context, times, and pages of a list."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse

from service.errors import BadRequest

MAX_LIMIT = 500
# Pages end at epoch seconds, scores and row numbers, and no row number has more bits.
_BEYOND_KEYS = 2.0**63
_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
# What depends on `Accept` must not be taken from a cache for another.
_VARIES = {"Vary": "Accept"}
TEXT_TOO: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}


def get_context(request: Request) -> Any:
    """Return the application's context."""
    return request.app.state.context


def wants_text(request: Request, response: Response) -> bool:
    """Return whether a client would rather have plain text than JSON, by its `Accept`."""
    response.headers.update(_VARIES)
    qualities: dict[str, float] = {}
    for item in ",".join(request.headers.getlist("accept")).lower().split(","):
        media, *parameters = ("".join(part.split()) for part in item.split(";"))
        quality = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        if _QUALITY.fullmatch(quality):
            qualities[media] = float(quality)

    def of(*ranges: str) -> float:
        # The most specific one counts (RFC 9110, 12.5.1).
        return next((qualities[media] for media in ranges if media in qualities), 0.0)

    return of("text/plain", "text/*", "*/*") > of("application/json", "application/*", "*/*")


def plain(text: str) -> PlainTextResponse:
    """Return text as an answer to who wants it."""
    return PlainTextResponse(text, headers=_VARIES)


AsText = Annotated[bool, Depends(wants_text)]
Shared = Annotated[Any, Depends(get_context)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str | None, Query(pattern="^[A-Za-z0-9_-]*$", max_length=500)]


def epoch(moment: datetime | None) -> float | None:
    """Return a query time as epoch seconds; a time without an offset is UTC."""
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def encode_cursor(row: dict[str, Any], key: str) -> str:
    """Return where a page ended, as an opaque string."""
    raw = json.dumps([row[key], row["id"]]).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> Sequence[Any] | None:
    """Undo `encode_cursor`.

    Raises:
        BadRequest: it is not a cursor this service made.
    """
    if not cursor:
        return None
    refused = "the cursor is not one this service gave out; begin again without it"
    try:
        key, row_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        place = float(key)
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise BadRequest(refused) from error
    if not abs(place) < _BEYOND_KEYS:
        raise BadRequest(refused)
    return [place, str(row_id)]
