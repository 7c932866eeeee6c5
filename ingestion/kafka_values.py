"""What a Kafka record says: whose lines it holds, and the lines."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

MAX_SOURCE_CHARS = 128
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


@lru_cache(maxsize=4096)
def source_of(key: bytes | None, topic: str) -> str:
    """Return the source a record belongs to: its key as text, or its topic where the key says nothing.

    What a person could not see or that could garble a page (control, format and separator characters, bytes that
    are not UTF-8) becomes U+FFFD, and the text is cut at `MAX_SOURCE_CHARS`; keys that
    differ only there are one source.
    """
    if not key:
        return topic
    text = key[: 8 * MAX_SOURCE_CHARS].decode("utf-8", "replace")
    shown = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in _UNSEEN else c for c in text)
    return shown.strip()[:MAX_SOURCE_CHARS].rstrip() or topic


def split_value(value: bytes | None) -> list[bytes]:
    r"""Return the lines of a Kafka value, at least one, without their `\n` or `\r\n`.

    A line end at the end of the value ends its last line and starts no further one.
    """
    if not value:
        return [b""]
    if b"\n" not in value:
        return [value]
    *ended, rest = value.split(b"\n")
    lines = [line.removesuffix(b"\r") for line in ended]
    return [*lines, rest] if rest else lines
