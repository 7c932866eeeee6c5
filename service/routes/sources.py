"""Sources: pushing lines to one, and what became of them."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response

from service.errors import InboxFull, KeyReused, ReplayOnly
from service.inbox_table import KEEP_PUSHES_SECONDS, Once
from service.routes.common import Shared
from service.routes.pushed_body import LINES_SCHEMA, pushed_lines

router = APIRouter(tags=["sources"])
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


@router.post(
    "/sources/{source}/lines",
    status_code=202,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/json": {"schema": LINES_SCHEMA},
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
    """Append lines to a source: plain text, one line a line, in the source's own encoding; or JSON; at will gzipped.

    The answer comes when the lines are safely stored, before they are scored. A line feed ends a line in JSON as it
    does in text and in a file: a string that holds some is as many lines.
    """
    replayed = context.store.replayed()
    if replayed is not None:
        raise ReplayOnly(f"this service shows a replay of {replayed}; push to the one that serves")
    lines = await pushed_lines(request, context.worker.encoding)
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


@router.get("/sources")
def list_sources(context: Shared) -> dict[str, Any]:
    """List every source and what became of its lines."""
    return {"items": context.store.source_summaries(), "next_cursor": None}
