r"""Reading log lines from Kafka.

The owner's database decides where reading goes on, not the broker: when a partition comes to this member, it stays
paused until the owner has named its next offset, and the broker's own committed offsets are written only so that
lag tools have something to show.

A Kafka value may hold several lines ("packed"). All of them carry the offset of their Kafka record as position. The
last has `next_position` offset + 1, the others offset: an owner that stores the next position of the last record it
has finished reads a half-finished Kafka record again and never skips one. `poll` hands over whole Kafka records
only, so the end of a batch is always the end of a Kafka record. Every Kafka record yields at least one `Record`: a
missing value (tombstone) or an empty one is a record with an empty line, for the owner to count as blank.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition, errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from ingestion.errors import BrokerFailed, BrokerRefused, BrokerUnavailable, OffsetUnavailable, TopicMissing
from ingestion.kafka_client import NOT_KAFKA, REQUEST_TIMEOUT_MS, missing_topics, open_client
from ingestion.kafka_settings import KafkaSettings
from ingestion.kafka_values import read_messages, stream_name
from ingestion.outage import Outage, why_unreachable
from ingestion.records import Record

MAX_POLL_RECORDS = 4000
# An idle partition is asked for its end this often: it tells an idle topic from a lost broker and keeps the lag of a
# paused partition true, whose high-water mark otherwise stands still.
_IDLE_CHECK_SECONDS = 2.0
_IDLE_CHECK_TIMEOUT_MS = 1000
_COMMIT_EVERY_SECONDS = 1.0
_LAG_EVERY_SECONDS = 0.5
# A topic created later, and partitions added, are seen within this time.
_METADATA_MAX_AGE_MS = 5000
_REJOINING = (
    errors.CommitFailedError,
    errors.RebalanceInProgressError,
    errors.UnknownMemberIdError,
    errors.IllegalGenerationError,
)
_REFUSED = (
    errors.AuthorizationError,
    errors.SaslAuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
    errors.FencedInstanceIdError,
)


class KafkaInput:
    """Reads topics as a member of a consumer group; implements `ingestion.records.Input`.

    Streams are named `kafka:{topic}:{partition}`. One thread calls everything but `lag`, which any may call. A
    broker that is away is reported and tried again, at the start as well as later.

    Args:
        settings: broker, topics and group.
        next_position: the owner's stored next offset of a stream, asked each time a partition comes to this member;
            None reads the partition from its earliest record.
        on_revoked: hears, from within `poll`, which streams went to another member or may have; the owner forgets
            what it holds in memory of them. A stream that comes back is read from `next_position` again.
        report: takes each message a person should see.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        next_position: Callable[[str], int | None],
        on_revoked: Callable[[Collection[str]], None],
        report: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._next_position = next_position
        self._on_revoked = on_revoked
        self._report = report
        self._outage = Outage(report, settings.give_up_seconds)
        self._topics_outage = Outage(report, settings.give_up_seconds)
        self._unseen_topics = set(settings.topics)
        self._consumer: Any = None
        self._closed = False
        self._changes: deque[tuple[bool, frozenset[TopicPartition]]] = deque()
        self._untouched: set[TopicPartition] = set()
        self._ends: dict[TopicPartition, int] = {}
        self._lag: dict[str, int] = {}
        self._lag_due = 0.0
        self._to_commit: dict[TopicPartition, int] = {}
        self._commit_due = 0.0
        self._last_answer = time.monotonic()

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        """Return what has arrived, waiting at most `timeout_seconds`; empty when nothing did or the input is closed.

        A broker that takes connections but does not answer can hold a call for up to about 5 s longer.

        Raises:
            BrokerUnavailable: the broker has been away for `give_up_seconds`.
            TopicMissing: a topic has been missing for `give_up_seconds`.
            BrokerRefused: the broker does not let this client read.
            OffsetUnavailable: the owner's next offset is not on the broker.
            BrokerFailed: another answer that trying again does not cure.
            Exception: what the owner's `next_position` raises; the partition waits and the next call asks again.
        """
        if self._closed:
            return ()
        if self._consumer is None and not self._connect():
            time.sleep(min(timeout_seconds, self._outage.seconds_to_next_try()))
            return ()
        self._look_for_topics()
        batches = self._fetch(timeout_seconds)
        if batches:
            self._answered()
        elif time.monotonic() - self._last_answer >= _IDLE_CHECK_SECONDS:
            self._check_idle()
        for _, partitions in list(self._changes):
            for partition in partitions:
                batches.pop(partition, None)
        self._untouched.difference_update(batches)
        self._measure_lag()
        try:
            self._follow_assignment()
        except BaseException:
            # Nobody has seen these records, so nothing may have moved past them.
            self.rewind(map(stream_name, batches))
            raise
        self._commit()
        return [
            record
            for partition, messages in batches.items()
            for record in read_messages(self._settings, partition, messages)
        ]

    def rewind(self, streams: Iterable[str]) -> None:
        """Hand over nothing more of these streams until `next_position` has been asked again, by the next `poll`."""
        if self._consumer is None:
            return
        wanted = set(streams)
        partitions = {one for one in self._consumer.assignment() if stream_name(one) in wanted}
        if partitions:
            self._consumer.pause(*partitions)
            self._changes.append((True, frozenset(partitions)))

    def committed(self, positions: Mapping[str, int]) -> None:
        """Tell the broker, for lag tools and at most once a second, what is stored; failures change nothing."""
        if self._consumer is None:
            return
        assigned = {stream_name(partition): partition for partition in self._consumer.assignment()}
        self._to_commit.update({assigned[name]: offset for name, offset in positions.items() if name in assigned})
        self._commit()

    def lag(self) -> Mapping[str, int]:
        """Return how many Kafka records each stream of this member holds unread, as of at most seconds ago."""
        return self._lag

    def close(self) -> None:
        """Leave the group, so that other members take over at once; takes a few seconds at most."""
        self._closed = True
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            if self._to_commit and not self._outage.active:
                consumer.commit(_offsets(self._to_commit), timeout_ms=2000)
        except errors.KafkaError:
            pass  # The broker's offsets are for lag tools; the owner's are safe.
        finally:
            consumer.close(autocommit=False, timeout_ms=3000)

    def _connect(self) -> bool:
        if self._outage.seconds_to_next_try() > 0:
            return False
        reason = why_unreachable(self._settings.addresses())
        if reason is None:
            try:
                self._consumer = open_client(
                    KafkaConsumer,
                    self._settings,
                    group_id=self._settings.group,
                    group_instance_id=self._settings.instance,
                    # Neither the broker's offsets nor a reset policy may move a position: see `_follow_assignment`.
                    auto_offset_reset="none",
                    enable_auto_commit=False,
                    allow_auto_create_topics=False,
                    isolation_level="read_committed",
                    max_poll_records=MAX_POLL_RECORDS,
                    metadata_max_age_ms=_METADATA_MAX_AGE_MS,
                    reconnect_backoff_max_ms=5000,
                    session_timeout_ms=int(self._settings.session_timeout_seconds * 1000),
                    heartbeat_interval_ms=int(self._settings.session_timeout_seconds * 1000 / 4),
                    # Keeps what stays: a member that joins does not make the others reload all their sources.
                    partition_assignment_strategy=[CooperativeStickyAssignor],
                )
            except _REFUSED as error:
                raise _refused(self._settings, error) from error
            except errors.KafkaTimeoutError:
                reason = NOT_KAFKA
        if reason is not None:
            self._away(reason)
            return False
        self._learn_topics()
        self._consumer.subscribe(self._settings.topics, listener=_Listener(self._consumer, self._changes))
        self._answered()
        return True

    def _learn_topics(self) -> None:
        """Ask for the topics' partitions before joining the group.

        A leader that joins without knowing them assigns nothing to anybody, and what follows depends on whether they
        become known before or after its join is complete (kafka-python 3.0.12): it may keep nothing for good.
        """
        with suppress(errors.KafkaError):
            for topic in self._settings.topics:
                self._consumer.partitions_for_topic(topic)

    def _fetch(self, timeout_seconds: float) -> dict[TopicPartition, list[Any]]:
        # A join that new metadata asked for and that outlasts a poll is forgotten: once the leader has assigned by that
        # metadata, nothing asks for it any more, and the member keeps no partition for good (kafka-python 3.0.12).
        coordinator = self._consumer._coordinator
        if coordinator.rejoining and not coordinator.need_rejoin():
            coordinator.request_rejoin()
        try:
            batches: dict[TopicPartition, list[Any]] = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000))
        except errors.OffsetOutOfRangeError as error:
            self._out_of_range(error.args[0])
        except errors.LogTruncationError as error:
            self._out_of_range(dict.fromkeys(error.divergent_offsets))
        except _REFUSED as error:
            raise _refused(self._settings, error) from error
        except (errors.RetriableError, *_REJOINING):
            pass  # The client finds its way back; `_check_idle` tells the person when it takes long.
        except errors.KafkaError as error:
            raise BrokerFailed(f"reading from {self._settings.bootstrap} failed: {error}") from error
        else:
            return batches
        return {}

    def _follow_assignment(self) -> None:
        """Tell the owner what went, and set what came to the owner's positions."""
        while self._changes:
            gained, partitions = self._changes[0]
            if gained:
                for partition in partitions & self._consumer.assignment():
                    self._start(partition)
            else:
                for partition in partitions:
                    self._to_commit.pop(partition, None)
                    self._ends.pop(partition, None)
                    self._untouched.discard(partition)
                self._on_revoked(sorted(map(stream_name, partitions)))
            self._lag_due = 0.0
            self._changes.popleft()

    def _start(self, partition: TopicPartition) -> None:
        wanted = self._next_position(stream_name(partition))
        if wanted is None:
            self._untouched.add(partition)
            self._consumer.seek_to_beginning(partition)
        else:
            self._consumer.seek(partition, wanted)
            # An instance whose name another has taken learns it from a commit only (kafka-python 3.0.12).
            self._to_commit[partition] = wanted
        self._consumer.resume(partition)

    def _out_of_range(self, wanted: Mapping[TopicPartition, int | None]) -> None:
        for partition, offset in wanted.items():
            if partition in self._untouched:
                # Retention moved the earliest offset between asking for it and reading there: no stored work is cut.
                self._consumer.seek_to_beginning(partition)
                continue
            at = self._consumer.position(partition, timeout_ms=_IDLE_CHECK_TIMEOUT_MS) if offset is None else offset
            raise OffsetUnavailable(
                f"{stream_name(partition)}: the next offset to read is {at}, but the broker has "
                f"{self._range(partition)}; retention has removed records that were never read, or the topic was made "
                "anew. Restore the topic, or accept the gap and start again with a new database"
            )

    def _range(self, partition: TopicPartition) -> str:
        try:
            first = self._consumer.beginning_offsets([partition], timeout_ms=REQUEST_TIMEOUT_MS)[partition]
            end = self._consumer.end_offsets([partition], timeout_ms=REQUEST_TIMEOUT_MS)[partition]
        except errors.KafkaError as error:
            return f"another range ({error})"
        return f"offsets {first} to {end - 1}" if end > first else f"no records and goes on at {end}"

    def _check_idle(self) -> None:
        if self._outage.seconds_to_next_try() > 0:
            return
        assigned = list(self._consumer.assignment())
        reason = None
        try:
            if assigned:
                self._ends = self._consumer.end_offsets(assigned, timeout_ms=_IDLE_CHECK_TIMEOUT_MS)
            else:
                # A member without partitions is right in a large group and the only sign of a deleted topic.
                reason = why_unreachable(self._settings.addresses())
                self._unseen_topics = set(self._settings.topics)
        except errors.KafkaError as error:
            reason = why_unreachable(self._settings.addresses()) or f"no answer ({error})"
        if reason is None:
            self._answered()
        else:
            self._away(reason)

    def _away(self, reason: str) -> None:
        self._outage.failed(f"broker {self._settings.bootstrap} unreachable: {reason}", BrokerUnavailable)

    def _answered(self) -> None:
        self._last_answer = time.monotonic()
        self._outage.ended(f"broker {self._settings.bootstrap} answers again")

    def _look_for_topics(self) -> None:
        if not self._unseen_topics or self._outage.active or self._topics_outage.seconds_to_next_try() > 0:
            return
        try:
            self._unseen_topics = missing_topics(self._settings, self._unseen_topics)
        except _REFUSED as error:
            raise _refused(self._settings, error) from error
        except errors.KafkaError:
            return  # `_check_idle` tells the person when the broker is away.
        if self._unseen_topics:
            names = ", ".join(sorted(self._unseen_topics))
            self._topics_outage.failed(f"broker {self._settings.bootstrap} has no topic {names}", TopicMissing)
        else:
            self._topics_outage.ended("all topics are there")

    def _commit(self) -> None:
        if not self._to_commit or time.monotonic() < self._commit_due:
            return
        self._commit_due = time.monotonic() + _COMMIT_EVERY_SECONDS
        try:
            self._consumer.commit_async(_offsets(self._to_commit))
        except errors.KafkaError:
            return  # For lag tools only; the next commit says the same and more.
        self._to_commit = {}

    def _measure_lag(self) -> None:
        if time.monotonic() < self._lag_due:
            return
        self._lag_due = time.monotonic() + _LAG_EVERY_SECONDS
        lag = {}
        for partition in self._consumer.assignment():
            position = self._position(partition)
            ends = [end for end in (self._consumer.highwater(partition), self._ends.get(partition)) if end is not None]
            if position is not None and ends:
                lag[stream_name(partition)] = max(0, max(ends) - position)
        self._lag = lag

    def _position(self, partition: TopicPartition) -> int | None:
        try:
            position: int | None = self._consumer.position(partition, timeout_ms=0)
        except errors.KafkaError:
            return None
        return position


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes changes of the assignment, on the client's own thread, for the polling thread to follow.

    A partition that comes is held back until the polling thread has asked the owner for its position: paused, and
    set to its earliest offset so that the client does not go by the broker's.
    """

    def __init__(self, consumer: KafkaConsumer, changes: deque[tuple[bool, frozenset[TopicPartition]]]) -> None:
        self._consumer = consumer
        self._changes = changes

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        if revoked:
            self._changes.append((False, frozenset(revoked)))

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        if assigned:
            self._consumer.pause(*assigned)
            self._consumer.seek_to_beginning(*assigned)
            self._changes.append((True, frozenset(assigned)))


def _offsets(positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    return {partition: OffsetAndMetadata(offset, "", -1) for partition, offset in positions.items()}


def _refused(settings: KafkaSettings, error: errors.KafkaError) -> BrokerRefused:
    if isinstance(error, errors.FencedInstanceIdError):
        return BrokerRefused(
            f"another worker reads as instance {settings.instance!r} of group {settings.group!r}: give each its own"
        )
    return BrokerRefused(
        f"broker {settings.bootstrap} refuses this client: {error}; check user, password file and the rights to read "
        "the topic and the group"
    )
