"""A range of Kafka topics, read once from its beginning to its end; no consumer group hears of it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition, errors

from ingestion.errors import BrokerFailed, BrokerUnavailable, OffsetUnavailable, TopicMissing
from ingestion.kafka_client import REQUEST_TIMEOUT_MS, missing_topics, open_client
from ingestion.kafka_settings import KafkaSettings
from ingestion.kafka_values import read_messages, stream_name
from ingestion.records import Record

_POLL_MS = 1000
# Polls without a record before the broker is taken to be away.
_EMPTY_POLLS = 30


@dataclass(frozen=True)
class Bounds:
    """Where a range begins or ends: an offset of every partition, or the broker's time; neither is no bound.

    Attributes:
        offset: of the first record, or of the first one beyond.
        time: epoch seconds.
    """

    offset: int | None = None
    time: float | None = None


def read_range(settings: KafkaSettings, start: Bounds, stop: Bounds) -> Iterator[Record]:
    """Read the records of topics from `start` up to `stop`, or to what is their end now.

    Records come in the order of the broker's times, and of partitions and offsets where these are equal: the same range
    comes in the same order each time.

    Raises:
        BrokerUnavailable: the broker does not answer.
        TopicMissing: it has no such topic.
        OffsetUnavailable: it no longer has the range's beginning.
        BrokerFailed: another answer that trying again does not cure.
    """
    with ExitStack() as opened:
        try:
            missing = missing_topics(settings, settings.topics)
            if missing:
                raise TopicMissing(f"broker {settings.bootstrap} has no topic {', '.join(sorted(missing))}")
            partitions: list[_Partition] = []
            for topic in settings.topics:
                consumer = _open(settings, opened)
                partitions += [
                    _Partition(settings, _open(settings, opened), TopicPartition(topic, number), start, stop)
                    for number in sorted(consumer.partitions_for_topic(topic) or ())
                ]
            yield from heapq.merge(
                *(partition.records() for partition in partitions),
                key=lambda record: record.timestamp if record.timestamp is not None else 0.0,
            )
        except errors.KafkaTimeoutError as error:
            raise BrokerUnavailable(f"broker {settings.bootstrap} does not answer: {error}") from error
        except errors.KafkaError as error:
            raise BrokerFailed(f"reading from {settings.bootstrap} failed: {error}") from error


def _open(settings: KafkaSettings, opened: ExitStack) -> KafkaConsumer:
    consumer = open_client(
        KafkaConsumer,
        settings,
        group_id=None,
        auto_offset_reset="none",
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        isolation_level="read_committed",
    )
    opened.callback(consumer.close, autocommit=False, timeout_ms=3000)
    return consumer


class _Partition:
    """One partition's part of the range."""

    def __init__(
        self, settings: KafkaSettings, consumer: KafkaConsumer, partition: TopicPartition, start: Bounds, stop: Bounds
    ) -> None:
        self._settings, self._consumer, self._partition = settings, consumer, partition
        consumer.assign([partition])
        first = consumer.beginning_offsets([partition], timeout_ms=REQUEST_TIMEOUT_MS)[partition]
        end = consumer.end_offsets([partition], timeout_ms=REQUEST_TIMEOUT_MS)[partition]
        if start.offset is not None and start.offset < first:
            raise OffsetUnavailable(
                f"{partition.topic}:{partition.partition} begins at offset {first}, and the range at {start.offset}: "
                "retention has removed what is before; begin later, or replay the file the lines came from"
            )
        self._next = max(first, self._offset(start, first, end))
        self._stop = min(end, self._offset(stop, end, end))

    def _offset(self, bounds: Bounds, default: int, end: int) -> int:
        if bounds.offset is not None:
            return bounds.offset
        if bounds.time is None:
            return default
        found = self._consumer.offsets_for_times({self._partition: int(bounds.time * 1000)})[self._partition]
        return end if found is None else int(found.offset)

    def records(self) -> Iterator[Record]:
        stream, empty = stream_name(self._partition), 0
        self._consumer.seek(self._partition, self._next)
        while self._next < self._stop:
            messages = self._consumer.poll(timeout_ms=_POLL_MS).get(self._partition, [])
            # Control records move the position on and are handed to nobody.
            self._next = max(self._next, self._consumer.position(self._partition))
            empty = 0 if messages else empty + 1
            if empty > _EMPTY_POLLS:
                raise BrokerUnavailable(f"{stream} brings nothing from offset {self._next} on; is the broker away?")
            within = [message for message in messages if message.offset < self._stop]
            yield from read_messages(self._settings, self._partition, within)
