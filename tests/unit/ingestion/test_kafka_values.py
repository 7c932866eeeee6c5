"""What is read from Kafka records, whatever their producers wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from ingestion.kafka_settings import KafkaSettings
from ingestion.kafka_values import read_messages


@dataclass
class Partition:
    topic: str = "lines"
    partition: int = 0


@dataclass
class Message:
    timestamp: int
    offset: int = 0
    key: bytes | None = b"press07"
    value: bytes | None = b"door open"
    headers: Sequence[tuple[str, bytes | None]] = ()


@pytest.mark.parametrize(
    ("milliseconds", "seconds"),
    [(-1, None), (0, 0.0), (1_767_225_600_123, 1_767_225_600.123), (253_402_300_799_000, None), (92 * 10**14, None)],
)  # fmt: skip
def test_a_timestamp_that_no_calendar_shows_is_none(milliseconds: int, seconds: float | None) -> None:
    settings = KafkaSettings(bootstrap="b", topics=("lines",))
    (record,) = read_messages(settings, Partition(), [Message(milliseconds)])
    assert record.timestamp == seconds
