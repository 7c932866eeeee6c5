"""What a push holds: the lines of a request's body, whatever the client packed them in."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from email.message import Message
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from ingestion import BadInput, split_lines
from ingestion.decoding import canonical_encoding, line_ending
from service.errors import BadRequest, TooLarge, UnsupportedMediaType

MAX_BODY_BYTES = 16 << 20
# curl's --data-binary sends the form type unless told otherwise; its bytes are the lines all the same.
_PLAIN = frozenset({"text/plain", "application/octet-stream", "application/x-www-form-urlencoded"})
_JSON = "application/json"
_LOOKS_LIKE = 'a JSON push looks like {"lines": ["…"]}'
LINES_SCHEMA = {
    "type": "object",
    "properties": {"lines": {"type": "array", "items": {"type": "string"}}},
    "required": ["lines"],
    "additionalProperties": False,
}


async def pushed_lines(request: Request, encoding: str) -> list[bytes]:
    """Return the lines of a push, in the source's encoding.

    Args:
        request: the push: plain text in the source's encoding or JSON, at will compressed with gzip.
        encoding: what the source is declared to write.

    Raises:
        TooLarge: the body, or what it unpacks to, has more than `MAX_BODY_BYTES`.
        UnsupportedMediaType: its type, its compression or its charset is not one that can be read.
        BadRequest: it is damaged, or holds no lines.
    """
    media, charset = _content_type(request)
    if media != _JSON and media not in _PLAIN:
        raise UnsupportedMediaType(f"cannot read {media}; push text/plain or {_JSON}")
    _check_charset(charset, "utf-8" if media == _JSON else encoding, media)
    body = await _body(request)
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        # Hostile data may take seconds to unpack, and others want answers in the meantime.
        body = await run_in_threadpool(_unpacked, body, coding)
    if media == _JSON:
        lines = [part for line in _texts(body) for part in _encoded(line, encoding)]
    else:
        lines = split_lines(body, line_ending(encoding)) if body else []
    if not lines:
        raise BadRequest("the push holds no lines")
    return lines


def _content_type(request: Request) -> tuple[str, str | None]:
    message = Message()
    message["content-type"] = request.headers.get("content-type", "text/plain")
    charset = message.get_param("charset")
    return message.get_content_type(), charset if isinstance(charset, str) else None


def _check_charset(charset: str | None, wanted: str, media: str) -> None:
    if charset is None:
        return
    try:
        found = canonical_encoding(charset)
    except BadInput:
        found = charset
    if found != canonical_encoding(wanted):
        whose = f"{_JSON} is" if media == _JSON else "the source is declared to write"
        raise UnsupportedMediaType(
            f"the push says charset={charset}, and {whose} {wanted}: send the bytes as the source wrote them, with "
            f"charset={wanted} or none"
        )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"a push holds at most {MAX_BODY_BYTES >> 20} MiB; send several")
    return bytes(body)


def _unpacked(body: bytes, coding: str) -> bytes:
    """Undo a Content-Encoding; never makes more than a body may hold."""
    if coding not in ("gzip", "x-gzip"):
        raise UnsupportedMediaType(f"cannot read Content-Encoding {coding}; push gzip, or the lines as they are")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            unpacked = file.read(MAX_BODY_BYTES + 1)
    except EOFError as error:
        raise BadRequest("the gzip data of the push ends too early; send it again") from error
    except (OSError, zlib.error) as error:
        raise BadRequest(f"the push says Content-Encoding gzip and is none: {error}") from error
    if len(unpacked) > MAX_BODY_BYTES:
        raise TooLarge(f"a push unpacks to at most {MAX_BODY_BYTES >> 20} MiB; send several")
    return unpacked


def _texts(body: bytes) -> list[str]:
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "its bytes"
        raise BadRequest(f"the push is no JSON, see {where}; {_LOOKS_LIKE}") from error
    if not isinstance(parsed, dict) or not isinstance(parsed.get("lines"), list):
        raise BadRequest(f"the push has no list `lines`; {_LOOKS_LIKE}")
    if others := sorted(parsed.keys() - {"lines"}):
        raise BadRequest(f"the push has {others[0]!r} beside `lines`; {_LOOKS_LIKE}")
    lines: list[Any] = parsed["lines"]
    odd = next((number for number, line in enumerate(lines) if not isinstance(line, str)), None)
    if odd is not None:
        raise BadRequest(f"lines[{odd}] of the push is no text; {_LOOKS_LIKE}")
    return lines


def _encoded(text: str, encoding: str) -> list[bytes]:
    # JSON can escape half of a surrogate pair, which no encoding can write; it stays readable, as in a JSON envelope.
    text = text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
    lines = text.removesuffix("\n").split("\n")
    try:
        return [line.encode(encoding) for line in lines]
    except UnicodeEncodeError as error:
        raise BadRequest(
            f"the source is declared to write {encoding}, which has no {error.object[error.start]!r}: push its lines "
            "as text/plain, in the bytes the source wrote"
        ) from error
