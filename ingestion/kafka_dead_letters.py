"""Sending lines that became no event to a Kafka topic, where a person or a program may look at them.

They are sent before the positions that lie behind them are stored. A crash in between sends them again: a dead letter
may come twice, and its headers `topic`, `partition` and `offset` tell; none is ever missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer, errors

from ingestion.errors import DeadLettersUndelivered
from ingestion.kafka_client import missing_topics, open_client
from ingestion.kafka_settings import BrokerSettings
from ingestion.parsing import Dropped

# The worker waits for its dead letters, and its member of the group with it.
_DELIVERY_MS = 10_000
# The broker decides what is too large, not the client; what it does not take is sent cut, with its true length.
_LARGEST_REQUEST_BYTES = 256 << 20
_CUT_BYTES = 256 << 10


class DeadLetterTopic:
    """A topic for dead letters; connects when the first is sent.

    Args:
        settings: how to reach the broker.
        topic: must exist.
    """

    def __init__(self, settings: BrokerSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._producer: KafkaProducer | None = None

    def send(self, letters: Sequence[tuple[str, Dropped]]) -> None:
        """Send dead letters and their sources, and return when all replicas have them.

        Key is the source and value the line's bytes. Headers: `reason`; `topic`, `partition` and `offset` of the Kafka
        record the line came in, or `stream` and `position` of another input; `truncated` with the line's length in
        bytes where it is not there whole: the topic does not take it, or the input did not keep it.

        Raises:
            DeadLettersUndelivered: some did not arrive; the broker is away, or the topic missing or closed to us.
        """
        try:
            if self._producer is None:
                self._producer = self._open()
            futures = [self._post(self._producer, source, dropped) for source, dropped in letters]
            for future, (source, dropped) in zip(futures, letters, strict=True):
                try:
                    future.get()
                except errors.MessageSizeTooLargeError:
                    self._post(self._producer, source, dropped, cut=True).get()
        except errors.KafkaError as error:
            self.close()
            raise DeadLettersUndelivered(
                f"dead letters did not reach topic {self._topic} of {self._settings.bootstrap}: {error}"
            ) from error

    def close(self) -> None:
        """Release the connection."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(errors.KafkaError):
                producer.close(timeout=1)

    def _open(self) -> KafkaProducer:
        if missing_topics(self._settings, [self._topic]):
            raise errors.UnknownTopicOrPartitionError("there is no such topic; create it")
        return open_client(
            KafkaProducer,
            self._settings,
            acks="all",
            # An idempotent producer gives up everything that waits when the broker finds one record too large.
            enable_idempotence=False,
            allow_auto_create_topics=False,
            compression_type="lz4",
            max_request_size=_LARGEST_REQUEST_BYTES,
            max_block_ms=_DELIVERY_MS,
            request_timeout_ms=_DELIVERY_MS // 2,
            delivery_timeout_ms=_DELIVERY_MS,
        )

    def _post(self, producer: KafkaProducer, source: str, dropped: Dropped, *, cut: bool = False) -> Any:
        headers = [("reason", dropped.reason.encode()), *_origin(dropped.stream, dropped.position)]
        value = dropped.value
        length = len(value) if dropped.length is None else dropped.length
        # Letters that shared a request with one that was too large are sent again as they are.
        if cut:
            value = value[:_CUT_BYTES]
        if len(value) < length:
            headers.append(("truncated", b"%d" % length))
        return producer.send(self._topic, value, source.encode("utf-8", "replace"), headers)


def _origin(stream: str, position: int) -> list[tuple[str, bytes]]:
    kind, *rest = stream.split(":")
    if kind != "kafka":
        return [("stream", stream.encode("utf-8", "replace")), ("position", b"%d" % position)]
    topic, partition = rest
    return [("topic", topic.encode()), ("partition", partition.encode()), ("offset", b"%d" % position)]
