"""Dead letters: a source's lines that became no event, why, and their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from service.errors import NotFound
from service.explain import iso
from service.routes.common import Cursor, Limit, Shared, decode_cursor, encode_cursor

router = APIRouter(tags=["sources"])
# A source that Kafka names may hold a slash.
Source = Annotated[str, Path(min_length=1)]


@router.get("/sources/{source:path}/dead-letters")
def list_dead_letters(source: Source, context: Shared, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    r"""List the lines of a source that became no event, latest first, each with the beginning of its bytes.

    Bytes that are no UTF-8 or that nobody could see are shown as `\xNN`, and a backslash as two.
    """
    _check_source(context, source)
    after = decode_cursor(cursor)
    rows = context.store.find_dead_letters(source=source, before=int(after[0]) if after else None, limit=limit)
    following = encode_cursor(rows[-1], "id") if len(rows) == limit else None
    return {"items": [shown(row) for row in rows], "next_cursor": following}


@router.get(
    "/sources/{source:path}/dead-letters/{number}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def get_dead_letter(source: Source, number: int, context: Shared) -> Response:
    """Return the bytes that are kept of one dead letter, as they came."""
    value = context.store.dead_letter(source, number)
    if value is None:
        raise NotFound(f"no dead letter {number} of {source}; the oldest go when there are too many")
    return Response(value, media_type="application/octet-stream")


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored dead letter as the API shows it."""
    return dict(row) | {"received": iso(row["received"]), "value": escaped(row["value"])}


def escaped(value: bytes) -> str:
    r"""Return bytes as text that is safe to show: what is no UTF-8 or cannot be seen is `\xNN`, a backslash two.

    No two values look the same.
    """
    return "".join(map(_escaped, value.decode("utf-8", "surrogateescape")))


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def _check_source(context: Any, source: str) -> None:
    if not context.store.is_source(source):
        raise NotFound(f"no source {source}")
