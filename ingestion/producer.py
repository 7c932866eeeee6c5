"""Sending the lines of a file to a Kafka topic, as equipment would."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer, errors

from ingestion.errors import BrokerFailed, BrokerRefused, BrokerUnavailable, TopicMissing
from ingestion.kafka_client import NOT_KAFKA, missing_topics, open_client
from ingestion.kafka_settings import BrokerSettings, check_topic
from ingestion.outage import Outage, why_unreachable

# The client itself bounds nothing: while the broker is away, unbounded sending would fill the memory.
MAX_UNDELIVERED = 5000
# How long a broker may be away in the middle when the settings name no other time.
_DELIVERY_SECONDS = 120.0
_SHORTEST_DELIVERY_SECONDS = 1.0
_CLOSE_SECONDS = 3.0


class KafkaFeeder:
    """Sends lines, each acknowledged by all replicas and none twice.

    Args:
        settings: how to reach the broker; `give_up_seconds` bounds waiting for it, at the start and in the
            middle (None: for ever at the start, 120 s in the middle).
        report: takes each message a person should see.

    Attributes:
        delivered: lines the broker has acknowledged so far.

    Raises:
        BrokerUnavailable: the broker stayed away for `give_up_seconds`.
    """

    def __init__(self, settings: BrokerSettings, *, report: Callable[[str], None]) -> None:
        self._settings = settings
        self.delivered = 0
        give_up = settings.give_up_seconds
        patience = max(_SHORTEST_DELIVERY_SECONDS, _DELIVERY_SECONDS if give_up is None else give_up)
        outage = Outage(report, give_up)
        while True:
            reason = why_unreachable(settings.addresses())
            if reason is None:
                try:
                    self._producer = self._open(int(patience * 1000))
                except errors.KafkaTimeoutError:
                    reason = NOT_KAFKA
                else:
                    outage.ended(f"broker {settings.bootstrap} answers")
                    return
            outage.failed(f"broker {settings.bootstrap} unreachable: {reason}", BrokerUnavailable)
            time.sleep(outage.seconds_to_next_try())

    def create_topic(self, topic: str, partitions: int) -> bool:
        """Create a topic with as many replicas as the broker has for its default.

        Returns:
            True when it is new; False when it existed, as it was.

        Raises:
            BadKafkaSettings: Kafka takes no such name.
            BrokerUnavailable: the broker is away.
            BrokerRefused: this client may not create topics.
            BrokerFailed: the broker cannot create it.
        """
        check_topic(topic)
        try:
            admin = open_client(KafkaAdminClient, self._settings)
            try:
                admin.create_topics({topic: {"num_partitions": partitions}}, wait_for_metadata=True)
            finally:
                admin.close()
        except errors.TopicAlreadyExistsError:
            return False
        except errors.KafkaError as error:
            raise self._typed(error) from error
        return True

    def feed(self, lines: Iterable[bytes], *, topic: str, source: str, lines_per_second: float = 0.0) -> int:
        """Send lines in order, all keyed by `source` and so to one partition; wait until the last is delivered.

        Args:
            lines: with or without their line ending, which is not sent; a blank line is sent as an empty value.
            topic: must exist.
            source: becomes the key.
            lines_per_second: 0 is as fast as the broker takes them.

        Returns:
            How many lines were delivered; `delivered` has the sum of all calls and is exact when an error is raised.

        Raises:
            BadKafkaSettings: Kafka takes no such topic name.
            BrokerUnavailable: the broker was away too long.
            BrokerRefused: this client may not write to the topic.
            TopicMissing: the topic does not exist.
            BrokerFailed: another answer that trying again does not cure, such as a line larger than the broker takes.
        """
        check_topic(topic)
        before, started = self.delivered, time.monotonic()
        key = source.encode("utf-8", "replace")
        waiting: deque[Any] = deque()
        try:
            if missing_topics(self._settings, [topic]):
                raise TopicMissing(f"broker {self._settings.bootstrap} has no topic {topic}; create it first")
            for number, line in enumerate(lines):
                if lines_per_second > 0:
                    time.sleep(max(0.0, started + number / lines_per_second - time.monotonic()))
                while waiting and (len(waiting) >= MAX_UNDELIVERED or waiting[0].is_done):
                    self._settle(waiting)
                value = line.removesuffix(b"\n").removesuffix(b"\r")
                waiting.append(self._producer.send(topic, value=value, key=key))
            while waiting:
                self._settle(waiting)
        except errors.KafkaError as error:
            for future in waiting:
                with suppress(errors.KafkaError):
                    future.get()
                    self.delivered += 1
            raise self._typed(error) from error
        return self.delivered - before

    def close(self) -> None:
        """Release the connection, after waiting a few seconds for the lines of a `feed` that was interrupted."""
        with suppress(errors.KafkaTimeoutError):
            self._producer.close(timeout=_CLOSE_SECONDS)

    def _open(self, patience_ms: int) -> KafkaProducer:
        return open_client(
            KafkaProducer,
            self._settings,
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            compression_type="lz4",
            linger_ms=5,
            max_block_ms=patience_ms,
            request_timeout_ms=min(30_000, patience_ms),
            delivery_timeout_ms=patience_ms + 5,
            reconnect_backoff_max_ms=2000,
        )

    def _settle(self, waiting: deque[Any]) -> None:
        future = waiting.popleft()
        future.get()
        self.delivered += 1

    def _typed(self, error: errors.KafkaError) -> BrokerUnavailable | BrokerRefused | BrokerFailed:
        so_far = f"lines delivered before: {self.delivered}"
        where = f"broker {self._settings.bootstrap}"
        if isinstance(error, errors.AuthorizationError | errors.SaslAuthenticationFailedError):
            return BrokerRefused(f"{where} refuses this client: {error}; {so_far}")
        reason = why_unreachable(self._settings.addresses())
        if reason is not None:
            return BrokerUnavailable(f"{where} unreachable: {reason}; {so_far}")
        return BrokerFailed(f"{where}: {error}; {so_far}")
