from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from contextlib import closing, contextmanager, suppress

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, errors

from ingestion.consumer import KafkaInput
from ingestion.errors import BrokerFailed, BrokerRefused, BrokerUnavailable, OffsetUnavailable, TopicMissing
from ingestion.kafka_settings import BrokerSettings, KafkaSettings
from ingestion.producer import KafkaFeeder
from ingestion.records import Record
from tests.broker.kafka_broker import free_port
from tests.integration.conftest import Kafka, create_topic

pytestmark = [
    pytest.mark.kafka,
    # kafka-python 3.0.12 leaves a socket that was refused to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

PATIENCE_SECONDS = 30.0


class Owner:
    """Does with an input what the service does: keeps positions, forgets what is revoked."""

    def __init__(self, stored: dict[str, int] | None = None) -> None:
        self.stored = {} if stored is None else stored
        self.got: list[Record] = []
        self.revoked: list[str] = []
        self.revoking_threads: set[int] = set()
        self.said: list[str] = []

    def on_revoked(self, streams: Collection[str]) -> None:
        self.revoked.extend(streams)
        self.revoking_threads.add(threading.get_ident())

    def input(
        self,
        kafka: Kafka | str,
        *topics: str,
        group: str | None = None,
        next_position: Callable[[str], int | None] | None = None,
        **settings: object,
    ) -> KafkaInput:
        return KafkaInput(
            KafkaSettings(
                bootstrap=kafka if isinstance(kafka, str) else kafka.bootstrap,
                topics=topics,
                group=group or uuid.uuid4().hex,
                **settings,
            ),
            next_position=next_position or self.stored.get,
            on_revoked=self.on_revoked,
            report=self.said.append,
        )

    def take(self, source: KafkaInput) -> None:
        """Poll once and store what came, as one transaction would."""
        batch = source.poll(0.2)
        self.got.extend(batch)
        for record in batch:
            self.stored[record.stream] = record.next_position
        source.committed(self.stored)

    def take_until(self, source: KafkaInput, done: Callable[[], bool]) -> None:
        until(done, lambda: self.take(source))

    def values(self) -> list[bytes]:
        return [record.value for record in self.got]


def until(done: Callable[[], bool], step: Callable[[], None]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        step()


@contextmanager
def producing(kafka: Kafka, **options: object):
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, **options)
    try:
        yield producer
    finally:
        producer.close()


def send(
    kafka: Kafka, topic: str, messages: Iterable[tuple[int, bytes | None, bytes | None]], **options: object
) -> None:
    """Send (partition, key, value) in order and wait until all are there."""
    with producing(kafka, **options) as producer:
        futures = [producer.send(topic, partition=part, key=key, value=value) for part, key, value in messages]
        for future in futures:
            future.get(timeout=PATIENCE_SECONDS)


def numbered(count: int, partitions: int = 1, first: int = 0) -> list[tuple[int, bytes, bytes]]:
    return [(n % partitions, b"m", b"line %d" % n) for n in range(first, first + count)]


def test_records_come_in_order_with_exact_positions_per_partition(kafka, make_topic):
    topic, owner = make_topic(3), Owner()
    sent = numbered(4500, partitions=3)
    send(kafka, topic, sent)
    before = time.time()
    with closing(owner.input(kafka, topic)) as source:
        owner.take_until(source, lambda: len(owner.got) >= 4500)
        owner.take(source)
    for part in range(3):
        mine = [record for record in owner.got if record.stream == f"kafka:{topic}:{part}"]
        assert [record.value for record in mine] == [value for where, _, value in sent if where == part]
        assert [(record.position, record.next_position) for record in mine] == [(n, n + 1) for n in range(1500)]
        assert all(abs(before - record.timestamp) < 120 for record in mine)
    assert {record.source for record in owner.got} == {"m"}


def test_the_owners_position_wins_over_the_brokers(kafka, make_topic):
    topic, group, owner = make_topic(1), uuid.uuid4().hex, Owner()
    send(kafka, topic, numbered(100))
    with closing(owner.input(kafka, topic, group=group)) as source:
        owner.take_until(source, lambda: len(owner.got) >= 100)
    assert broker_offset(kafka, group, topic) == 100
    restarted = Owner({f"kafka:{topic}:0": 40})
    with closing(restarted.input(kafka, topic, group=group)) as source:
        restarted.take_until(source, lambda: len(restarted.got) >= 60)
        restarted.take(source)
    assert [record.position for record in restarted.got] == list(range(40, 100))


def test_without_an_owners_position_reading_starts_at_the_earliest_whatever_the_broker_says(kafka, make_topic):
    topic, group, owner = make_topic(1), uuid.uuid4().hex, Owner()
    send(kafka, topic, numbered(30))
    with closing(owner.input(kafka, topic, group=group)) as source:
        owner.take_until(source, lambda: len(owner.got) >= 30)
    assert broker_offset(kafka, group, topic) == 30
    fresh = Owner()
    with closing(fresh.input(kafka, topic, group=group)) as source:
        fresh.take_until(source, lambda: len(fresh.got) >= 30)
    assert fresh.got[0].position == 0


def broker_offset(kafka: Kafka, group: str, topic: str) -> int | None:
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=group)
    try:
        return consumer.committed(TopicPartition(topic, 0), timeout_ms=5000)
    finally:
        consumer.close()


def test_packed_records_share_an_offset_and_only_the_last_moves_on(kafka, make_topic):
    topic, owner = make_topic(1), Owner()
    values = [b"a\nb\r\nc", b"single", b"x\ny\n", None, b"", b"\n\nend"]
    send(kafka, topic, [(0, b"m", value) for value in values])
    with closing(owner.input(kafka, topic)) as source:
        owner.take_until(source, lambda: len(owner.got) >= 11)
    assert [(record.position, record.next_position, record.value) for record in owner.got] == [
        (0, 0, b"a"), (0, 0, b"b"), (0, 1, b"c"),
        (1, 2, b"single"),
        (2, 2, b"x"), (2, 3, b"y"),
        (3, 4, b""),
        (4, 5, b""),
        (5, 5, b""), (5, 5, b""), (5, 6, b"end"),
    ]  # fmt: skip


def test_keys_name_the_source_however_hostile(kafka, make_topic):
    topic, owner = make_topic(1), Owner()
    keys = [b"press07", "プレス7".encode(), None, b"", b"\xff\xfe\x00bad\x1b[31m", b"x" * 100_000, "a\u202eb".encode()]
    send(kafka, topic, [(0, key, b"line") for key in keys])
    with closing(owner.input(kafka, topic)) as source:
        owner.take_until(source, lambda: len(owner.got) >= len(keys))
    assert [record.source for record in owner.got] == [
        "press07", "プレス7", topic, topic, "\ufffd\ufffd\ufffdbad\ufffd[31m", "x" * 128, "a\ufffdb",
    ]  # fmt: skip


def test_a_topic_says_what_names_its_sources(kafka, make_topic):
    keyed, headed, whole, owner = make_topic(1), make_topic(1), make_topic(2), Owner()
    for topic in (keyed, headed, whole):
        with producing(kafka) as producer:
            for part in range(2 if topic == whole else 1):
                for headers in ([("machine", "プレス7".encode()), ("machine", b"other")], [("other", b"x")], []):
                    producer.send(topic, b"line", key=b"key", headers=headers, partition=part)
    settings = {"topic_sources": {headed: "header:machine", whole: "topic"}}
    with closing(owner.input(kafka, keyed, headed, whole, **settings)) as source:
        owner.take_until(source, lambda: len(owner.got) >= 12)

    def sources(topic: str) -> list[str]:
        mine = [record for record in owner.got if record.stream.startswith(f"kafka:{topic}:")]
        return [record.source for record in sorted(mine, key=lambda record: (record.stream, record.position))]

    assert sources(keyed) == ["key"] * 3
    assert sources(headed) == ["プレス7", headed, headed]
    # Lines of two partitions have no common order, so they are no one source.
    assert sources(whole) == [whole] * 3 + [f"{whole}:1"] * 3


def test_an_instance_that_was_killed_goes_on_at_once(kafka, make_topic):
    topic, group = make_topic(2), uuid.uuid4().hex
    owner = Owner()
    send(kafka, topic, numbered(100, partitions=2))
    settings = {"group": group, "instance": "worker-1", "session_timeout_seconds": 300}
    killed = owner.input(kafka, topic, **settings)
    owner.take_until(killed, lambda: len(owner.got) >= 100)
    send(kafka, topic, numbered(100, partitions=2, first=100))
    with closing(owner.input(kafka, topic, **settings)) as source:
        owner.take_until(source, lambda: len(owner.got) >= 200)
        assert sorted((record.stream, record.position) for record in owner.got) == sorted(
            (f"kafka:{topic}:{part}", offset) for part in range(2) for offset in range(100)
        )
        # Two of one name at the same time is a mistake, and said.
        with pytest.raises(BrokerRefused, match="another worker reads as instance 'worker-1'"):
            owner.take_until(killed, lambda: False)
    killed.close()


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd", "snappy"])
def test_every_codec_is_read(kafka, make_topic, codec):
    topic, owner = make_topic(1), Owner()
    send(kafka, topic, numbered(300), compression_type=codec)
    with closing(owner.input(kafka, topic)) as source:
        owner.take_until(source, lambda: len(owner.got) >= 300)
    assert owner.values() == [value for _, _, value in numbered(300)]


def test_a_position_that_retention_removed_is_an_error_not_a_gap(kafka, make_topic):
    topic = make_topic(1)
    send(kafka, topic, numbered(50))
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    try:
        admin.delete_records({TopicPartition(topic, 0): 20})
    finally:
        admin.close()
    owner = Owner({f"kafka:{topic}:0": 5})
    with closing(owner.input(kafka, topic)) as source:
        with pytest.raises(OffsetUnavailable, match=rf"kafka:{topic}:0.* is 5, .* offsets 20 to 49.*start again"):
            owner.take_until(source, lambda: False)
        with pytest.raises(OffsetUnavailable):  # polling on does not skip the gap either
            owner.take_until(source, lambda: False)
    assert owner.got == []


def test_a_position_beyond_the_end_is_an_error(kafka, make_topic):
    topic = make_topic(1)
    send(kafka, topic, numbered(3))
    owner = Owner({f"kafka:{topic}:0": 7})
    with (
        closing(owner.input(kafka, topic)) as source,
        pytest.raises(OffsetUnavailable, match=r"is 7, .*offsets 0 to 2"),
    ):
        owner.take_until(source, lambda: False)


class Away(Exception):
    """The owner's database does not answer."""


def test_a_partition_waits_for_an_owner_that_is_away_and_lag_goes_on_counting(kafka, make_topic):
    topic, owner = make_topic(1), Owner()
    stream = f"kafka:{topic}:0"
    asked = owner.stored.get
    away = False

    def next_position(name: str) -> int | None:
        if away:
            raise Away
        return asked(name)

    def stay_away() -> None:
        with suppress(Away):
            assert source.poll(0.2) == ()

    send(kafka, topic, numbered(100))
    source = owner.input(kafka, topic, next_position=next_position)
    with closing(source):
        owner.take_until(source, lambda: len(owner.got) >= 100)
        owner.take_until(source, lambda: source.lag() == {stream: 0})
        away = True
        source.rewind([stream])
        send(kafka, topic, numbered(250, first=100))
        until(lambda: source.lag() == {stream: 250}, stay_away)
        away = False
        owner.take_until(source, lambda: len(owner.got) >= 350)
        owner.take_until(source, lambda: source.lag() == {stream: 0})
    assert [record.position for record in owner.got] == list(range(350))


def test_an_owner_that_is_away_from_the_start_misses_nothing(kafka, make_topic):
    topic, owner, answers = make_topic(2), Owner(), [False] * 3

    def next_position(_: str) -> int | None:
        if answers:
            answers.pop()
            raise Away
        return None

    def take() -> None:
        with suppress(Away):
            owner.take(source)

    send(kafka, topic, numbered(10, partitions=2))
    source = owner.input(kafka, topic, next_position=next_position)
    with closing(source):
        until(lambda: len(owner.got) >= 10, take)
    assert sorted(record.position for record in owner.got) == sorted([*range(5), *range(5)])


@pytest.mark.parametrize("error", [errors.CommitFailedError, errors.RebalanceInProgressError, errors.KafkaTimeoutError])
def test_a_commit_that_fails_costs_and_doubles_nothing(kafka, make_topic, monkeypatch, error):
    topic, owner = make_topic(2), Owner()
    failed = []

    def fail(self, *_: object, **__: object) -> None:
        failed.append(self)
        raise error

    send(kafka, topic, numbered(500, 2))
    with closing(owner.input(kafka, topic)) as source:
        monkeypatch.setattr(KafkaConsumer, "commit_async", fail)
        owner.take_until(source, lambda: len(owner.got) == 500)
        send(kafka, topic, numbered(500, 2, first=500))
        owner.take_until(source, lambda: len(owner.got) == 1000)
        # The client polls inside its own calls, and a commit that was refused may surface there.
        with monkeypatch.context() as polling:
            polling.setattr(KafkaConsumer, "poll", fail)
            assert source.poll(0.1) == []
        send(kafka, topic, numbered(10, 2, first=1000))
        owner.take_until(source, lambda: len(owner.got) == 1010)
        monkeypatch.setattr(KafkaConsumer, "commit", fail)
    assert failed
    assert sorted(owner.values()) == sorted(value for _, _, value in numbered(1010, 2))


def test_rewinding_hands_over_again_from_the_owners_position(kafka, make_topic):
    topic, owner = make_topic(2), Owner()
    send(kafka, topic, numbered(400, partitions=2))
    with closing(owner.input(kafka, topic)) as source:
        owner.take_until(source, lambda: len(owner.got) >= 400)
        owner.stored[f"kafka:{topic}:0"] = 150
        source.rewind([f"kafka:{topic}:0", "kafka:unknown:0"])
        owner.take_until(source, lambda: len(owner.got) >= 450)
        owner.take(source)
    again = owner.got[400:]
    assert [(record.stream, record.position) for record in again] == [(f"kafka:{topic}:0", n) for n in range(150, 200)]


def test_members_share_partitions_and_a_revoked_one_goes_on_at_the_stored_position(kafka, make_topic):
    topic, group = make_topic(4), uuid.uuid4().hex
    stored: dict[str, int] = {}
    first, second = Owner(stored), Owner(stored)
    send(kafka, topic, numbered(400, partitions=4))
    with closing(first.input(kafka, topic, group=group)) as one:
        first.take_until(one, lambda: len(first.got) >= 400)
        # Read, but not stored: the member that gets the partition must read it again.
        send(kafka, topic, numbered(400, partitions=4, first=400))
        unstored: list[Record] = []
        until(lambda: len(unstored) >= 400, lambda: unstored.extend(one.poll(0.2)))
        with closing(second.input(kafka, topic, group=group)) as two:

            def both() -> None:
                first.take(one)
                second.take(two)

            until(lambda: len(second.got) >= 200, both)
            assert len(first.revoked) == 2
            assert first.revoking_threads == {threading.get_ident()}
            assert {record.stream for record in second.got} == set(first.revoked)
            assert {record.position for record in second.got} == set(range(100, 200))
        # The second leaves; its partitions come back to the first at the stored positions.
        send(kafka, topic, numbered(40, partitions=4, first=800))
        first.take_until(one, lambda: sum(record.position >= 200 for record in first.got) >= 40)
    handed = [(record.stream, record.position) for record in [*first.got, *unstored, *second.got]]
    returned = {(record.stream, record.position) for record in second.got}
    doubled = [item for item in set(handed) if handed.count(item) > 1]
    assert set(doubled) == returned
    assert len(set(handed)) == 840


def test_a_killed_broker_costs_and_doubles_nothing(kafka, make_topic):
    if kafka.broker is None:
        pytest.skip("the broker of KAFKA_BOOTSTRAP is not ours to kill")
    topic, owner, late = make_topic(2), Owner(), Owner()
    send(kafka, topic, numbered(1000, partitions=2))
    with closing(owner.input(kafka, topic, session_timeout_seconds=2)) as source:
        owner.take_until(source, lambda: len(owner.got) >= 1000)
        kafka.broker.kill()
        owner.take_until(source, lambda: any("unreachable: Connection refused" in said for said in owner.said))
        with closing(late.input(kafka, topic)) as started_without_broker:
            assert started_without_broker.poll(0.1) == ()
            kafka.broker.start()
            late.take_until(started_without_broker, lambda: len(late.got) >= 1000)
        send(kafka, topic, numbered(1000, partitions=2, first=1000))
        owner.take_until(source, lambda: len(owner.got) >= 2000)
        owner.take(source)
    assert "unreachable: Connection refused" in late.said[0]
    assert any("answers again after" in said for said in owner.said)
    assert sorted((record.stream, record.position) for record in owner.got) == sorted(
        (f"kafka:{topic}:{part}", offset) for part in range(2) for offset in range(1000)
    )


def test_an_unreachable_broker_is_reported_and_given_up_when_told():
    owner, port = Owner(), free_port()
    with (
        closing(owner.input(f"127.0.0.1:{port}", "lines", give_up_seconds=2.5)) as source,
        pytest.raises(BrokerUnavailable, match="gave up after") as raised,
    ):
        owner.take_until(source, lambda: False)
    assert raised.value.retriable
    assert raised.value.code == "broker-unavailable"
    assert owner.said == [
        f"broker 127.0.0.1:{port} unreachable: Connection refused; trying again in 1 s",
        f"broker 127.0.0.1:{port} unreachable: Connection refused; trying again in 1.5 s",
    ]


def test_a_port_that_is_not_kafka_is_reported():
    owner = Owner()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with closing(owner.input(f"127.0.0.1:{port}", "lines")) as source:
            owner.take_until(source, lambda: bool(owner.said))
    assert "does not answer as Kafka" in owner.said[0]


def test_one_working_bootstrap_address_is_enough(kafka, make_topic):
    owner, port = Owner(), free_port()
    topic = make_topic(1)
    send(kafka, topic, numbered(5))
    with closing(owner.input(f"127.0.0.1:{port},{kafka.bootstrap}", topic)) as source:
        owner.take_until(source, lambda: len(owner.got) >= 5)


def test_a_missing_topic_is_reported_and_read_once_it_exists(kafka):
    owner, topic = Owner(), f"late-{uuid.uuid4().hex[:8]}"
    with closing(owner.input(kafka, topic)) as source:
        owner.take_until(source, lambda: bool(owner.said))
        assert f"has no topic {topic}; trying again in 1 s" in owner.said[0]
        create_topic(kafka.bootstrap, topic, 1)
        send(kafka, topic, numbered(5))
        owner.take_until(source, lambda: len(owner.got) >= 5)
        owner.take_until(source, lambda: "all topics are there" in owner.said[-1])


def test_a_topic_that_comes_late_is_read_though_joining_for_it_outlasts_a_poll(kafka):
    owner, topic = Owner(), f"late-{uuid.uuid4().hex[:8]}"
    with closing(owner.input(kafka, topic)) as source:
        owner.take_until(source, lambda: bool(owner.said))
        create_topic(kafka.bootstrap, topic, 2)
        send(kafka, topic, numbered(5))
        read, deadline = 0, time.monotonic() + 30
        while read < 5:
            assert time.monotonic() < deadline, "nothing is read of it"
            read += len(source.poll(0.005))
            time.sleep(0.02)


def test_a_missing_topic_is_given_up_when_told(kafka):
    owner = Owner()
    with closing(owner.input(kafka, "never-made", give_up_seconds=1)) as source, pytest.raises(TopicMissing):
        owner.take_until(source, lambda: False)


def test_the_feeder_delivers_every_line_under_its_source(kafka):
    topic, owner = f"fed-{uuid.uuid4().hex[:8]}", Owner()
    settings = BrokerSettings(bootstrap=kafka.bootstrap, give_up_seconds=10)
    lines = [b"line %d\n" % n for n in range(12_000)] + [b"\n", b"crlf\r\n", b"open end"]
    with closing(KafkaFeeder(settings, report=owner.said.append)) as feeder:
        assert feeder.create_topic(topic, 3)
        assert not feeder.create_topic(topic, 3)
        assert feeder.feed(lines, topic=topic, source="press07") == feeder.delivered == len(lines)
        started = time.monotonic()
        assert feeder.feed([b"slow"] * 11, topic=topic, source="press07", lines_per_second=20) == 11
        assert 0.5 <= time.monotonic() - started < 5
    with closing(owner.input(kafka, topic)) as source:
        owner.take_until(source, lambda: len(owner.got) >= len(lines) + 11)
    assert owner.values() == [line.rstrip(b"\r\n") for line in lines] + [b"slow"] * 11
    assert {record.source for record in owner.got} == {"press07"}
    assert len({record.stream for record in owner.got}) == 1


def test_the_feeder_gives_up_on_a_broker_that_stays_away():
    said: list[str] = []
    settings = BrokerSettings(bootstrap=f"127.0.0.1:{free_port()}", give_up_seconds=1)
    with pytest.raises(BrokerUnavailable, match="Connection refused; gave up after"):
        KafkaFeeder(settings, report=said.append)
    assert "trying again" in said[0]


def test_the_feeder_names_a_missing_topic(kafka):
    settings = BrokerSettings(bootstrap=kafka.bootstrap, give_up_seconds=2)
    with (
        closing(KafkaFeeder(settings, report=print)) as feeder,
        pytest.raises(TopicMissing, match="has no topic never-made-either"),
    ):
        feeder.feed([b"x"], topic="never-made-either", source="s")


def test_the_feeder_names_a_line_the_broker_does_not_take(kafka, make_topic):
    settings = BrokerSettings(bootstrap=kafka.bootstrap, give_up_seconds=5)
    with (
        closing(KafkaFeeder(settings, report=print)) as feeder,
        pytest.raises(BrokerFailed, match=r"MessageSizeTooLargeError.*delivered before: 1$"),
    ):
        feeder.feed([b"x", b"y" * 3_000_000], topic=make_topic(1), source="s")


def test_the_feeder_says_how_many_lines_were_delivered_when_the_broker_dies(kafka, make_topic):
    if kafka.broker is None:
        pytest.skip("the broker of KAFKA_BOOTSTRAP is not ours to kill")
    topic = make_topic(1)
    settings = BrokerSettings(bootstrap=kafka.bootstrap, give_up_seconds=2)

    def lines() -> Iterable[bytes]:
        for n in range(300):
            yield b"line %d" % n
        time.sleep(1)  # the first lines are delivered in milliseconds
        kafka.broker.kill()
        yield from (b"more %d" % n for n in range(300))

    with closing(KafkaFeeder(settings, report=print)) as feeder:
        try:
            with pytest.raises(BrokerUnavailable, match="lines delivered before: 300"):
                feeder.feed(lines(), topic=topic, source="s")
        finally:
            kafka.broker.start()
        assert feeder.delivered == 300
