"""Sources: pushing lines to one, and what became of them."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict

from ingestion.decoding import line_ending, split_lines
from service.errors import BadRequest, InboxFull
from service.routes.common import Shared

router = APIRouter(tags=["sources"])
MAX_BODY_BYTES = 16 << 20
# A name is shown in pages, metrics and URLs: no control characters, no slash, at most 128 characters.
SourceName = Annotated[str, Path(min_length=1, max_length=128, pattern=r"^[^/\x00-\x1f\x7f]+$")]


class Lines(BaseModel):
    """Lines as JSON."""

    model_config = ConfigDict(extra="forbid")
    lines: list[str]


@router.post(
    "/sources/{source}/lines",
    status_code=202,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/json": {"schema": Lines.model_json_schema()},
            },
        }
    },
)
async def push_lines(source: SourceName, request: Request, context: Shared) -> dict[str, Any]:
    """Append lines to a source: plain text, one line a line, in the source's own encoding; or JSON.

    The answer comes when the lines are safely stored, before they are scored.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise BadRequest(f"a push holds at most {MAX_BODY_BYTES >> 20} MiB; send several")
    media = request.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
    if media == "application/json":
        try:
            parsed = Lines.model_validate_json(bytes(body))
        except ValueError as error:
            raise BadRequest(f'a JSON push looks like {{"lines": ["…"]}}: {error}') from error
        encoding = context.worker.encoding
        lines = [re.sub(r"\r?\n", " ", line).encode(encoding, errors="replace") for line in parsed.lines]
    elif media in {"text/plain", "application/octet-stream", "application/x-www-form-urlencoded"}:
        # curl's --data-binary sends the form type unless told otherwise; its bytes are the lines all the same.
        lines = split_lines(bytes(body), line_ending(context.worker.encoding)) if body else []
    else:
        raise BadRequest(f"cannot read {media}; push text/plain or application/json")
    if not lines:
        raise BadRequest("the push holds no lines")
    position = context.store.push(source, lines)
    if position is None:
        raise InboxFull("the inbox is full; push again in a moment")
    context.inbox.wake()
    return {"accepted": len(lines), "position": position}


@router.get("/sources")
def list_sources(context: Shared) -> dict[str, Any]:
    """List every source and what became of its lines."""
    return {"items": context.store.source_summaries(), "next_cursor": None}
