"""Sources: pushing lines to one, and what became of them."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict

from ingestion import split_lines
from ingestion.decoding import line_ending
from service.errors import BadRequest, InboxFull, KeyReused, ReplayOnly
from service.inbox_table import KEEP_PUSHES_SECONDS, Once
from service.routes.common import Shared

router = APIRouter(tags=["sources"])
MAX_BODY_BYTES = 16 << 20
# A name is shown in pages, metrics and URLs: no control characters, no slash, at most 128 characters.
SourceName = Annotated[str, Path(min_length=1, max_length=128, pattern=r"^[^/\x00-\x1f\x7f]+$")]

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Any name the client gives this push. A push to the same source with the same key and lines, "
        f"within {KEEP_PUSHES_SECONDS / 3600:.0f} hours, appends nothing and gets the same answer.",
    ),
]


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
async def push_lines(
    source: SourceName,
    request: Request,
    response: Response,
    context: Shared,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Append lines to a source: plain text, one line a line, in the source's own encoding; or JSON.

    The answer comes when the lines are safely stored, before they are scored. A line feed ends a line in JSON as it
    does in text and in a file: a string that holds some is as many lines.
    """
    replayed = context.store.replayed()
    if replayed is not None:
        raise ReplayOnly(f"this service shows a replay of {replayed}; push to the one that serves")
    lines = await _lines(request, context.worker.encoding)
    once = None
    if idempotency_key is not None:
        # The lines, not the body: the same lines in another form are the same push.
        digest = hashlib.sha256(b"\0".join(b"%d:%b" % (len(line), line) for line in lines)).digest()
        once = Once(idempotency_key, digest)
    pushed = context.store.push(source, lines, once)
    if pushed is None:
        raise InboxFull("the inbox is full; push again in a moment")
    if not pushed.same:
        raise KeyReused(
            f"the key {idempotency_key} was given to another push to {source}, of {pushed.accepted:,} lines; give "
            "every push a key of its own, and repeat a push only with the lines it had"
        )
    if pushed.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    else:
        context.inbox.wake()
    return {"accepted": pushed.accepted, "position": pushed.position}


async def _lines(request: Request, encoding: str) -> list[bytes]:
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
        lines = [part for line in parsed.lines for part in _encoded(line, encoding)]
    elif media in {"text/plain", "application/octet-stream", "application/x-www-form-urlencoded"}:
        # curl's --data-binary sends the form type unless told otherwise; its bytes are the lines all the same.
        lines = split_lines(bytes(body), line_ending(encoding)) if body else []
    else:
        raise BadRequest(f"cannot read {media}; push text/plain or application/json")
    if not lines:
        raise BadRequest("the push holds no lines")
    return lines


def _encoded(text: str, encoding: str) -> list[bytes]:
    lines = text.removesuffix("\n").split("\n")
    try:
        return [line.encode(encoding) for line in lines]
    except UnicodeEncodeError as error:
        raise BadRequest(
            f"the source is declared to write {encoding}, which has no {error.object[error.start]!r}: push its lines "
            "as text/plain, in the bytes the source wrote"
        ) from error


@router.get("/sources")
def list_sources(context: Shared) -> dict[str, Any]:
    """List every source and what became of its lines."""
    return {"items": context.store.source_summaries(), "next_cursor": None}
