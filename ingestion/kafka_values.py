"""What a Kafka record says: whose lines it holds, and the lines."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import repeat
from typing import Protocol

from ingestion.kafka_settings import KafkaSettings
from ingestion.records import Record
from ingestion.timestamps import LATEST_SECONDS

MAX_SOURCE_CHARS = 128
_LATEST_MS = LATEST_SECONDS * 1000
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class Partition(Protocol):
    """A partition, as Kafka clients name it."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102


class Message(Protocol):
    """A Kafka record, as Kafka clients hand it over."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Iterable[tuple[str, bytes | None]]


def stream_name(partition: Partition) -> str:
    """Return the name of a partition as an ordered input."""
    return f"kafka:{partition.topic}:{partition.partition}"


def read_messages(settings: KafkaSettings, partition: Partition, messages: Iterable[Message]) -> Iterator[Record]:
    """Return every line of the Kafka records of one partition.

    Lines are one source only where they keep their order, so those that name none are a source by partition. A
    producer may give a record any timestamp: one that no calendar can show is none.
    """
    stream, split = stream_name(partition), settings.split_lines
    origin, header = settings.source_of_topic(partition.topic)
    number = partition.partition
    unnamed = f"{partition.topic}:{number}" if number else partition.topic
    for message in messages:
        named = None
        if origin == "key":
            named = message.key
        elif origin == "header":
            named = next((value for name, value in message.headers if name == header), None)
        source = source_of(named, unnamed)
        lines = split_value(message.value) if split else [message.value or b""]
        timestamp = message.timestamp / 1000 if 0 <= message.timestamp <= _LATEST_MS else None
        offset = message.offset
        if len(lines) > 1:
            same = (repeat(source), repeat(stream), repeat(offset), repeat(offset))
            rest = (repeat(timestamp), repeat(None), repeat(None))
            yield from map(Record._make, zip(*same, lines[:-1], *rest, strict=False))
        yield Record(source, stream, offset, offset + 1, lines[-1], timestamp)


@lru_cache(maxsize=4096)
def source_of(named: bytes | None, otherwise: str) -> str:
    """Return a source by the bytes that name it, as text; `otherwise` where they say nothing.

    What a person could not see or that could garble a page (control, format and separator characters, bytes that
    are not UTF-8) becomes U+FFFD, and the text is cut at `MAX_SOURCE_CHARS`; names that
    differ only there are one source.
    """
    if not named:
        return otherwise
    text = named[: 8 * MAX_SOURCE_CHARS].decode("utf-8", "replace")
    shown = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in _UNSEEN else c for c in text)
    return shown.strip()[:MAX_SOURCE_CHARS].rstrip() or otherwise


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
