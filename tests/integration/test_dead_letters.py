"""Lines that become no event: kept with their reason, sent to a topic before reading goes on, never silently many."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from kafka import KafkaConsumer, TopicPartition

from ingestion import Dropped, Record
from ingestion.errors import BadKafkaSettings, DeadLettersUndelivered
from ingestion.kafka_dead_letters import DeadLetterTopic
from ingestion.kafka_settings import BrokerSettings, KafkaSettings
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.metrics import Metrics
from service.schema import dead_letters
from service.store import Store
from service.whole_files import InHand
from service.worker import Worker
from tests.broker.kafka_broker import free_port
from tests.integration.conftest import Kafka, create_topic
from tests.integration.test_kafka_input import send, until
from tests.serving import Serving

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def read_topic(bootstrap: str, topic: str) -> list[tuple[str, dict[str, str], bytes]]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    found: list[tuple[str, dict[str, str], bytes]] = []
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        while consumer.position(partition) < consumer.end_offsets([partition])[partition]:
            for records in consumer.poll(500).values():
                found += [
                    (one.key.decode(), {name: value.decode() for name, value in one.headers}, one.value)
                    for one in records
                ]
    finally:
        consumer.close()
    return found


@pytest.mark.kafka
def test_a_dead_letter_says_where_it_came_from_and_why(kafka: Kafka, make_topic: Callable[[int], str]) -> None:
    topic = make_topic(1)
    hostile, large = b"\x00\xff\r hostile", random.Random(0).randbytes(3_000_000)
    with closing(DeadLetterTopic(BrokerSettings(bootstrap=kafka.bootstrap), topic)) as sink:
        sink.send(
            [
                ("プレス7", Dropped("kafka:lines:3", 42, "too-long", hostile)),
                ("press07", Dropped("file:a:b:12", 7, "too-long", large)),
                ("press07", Dropped("kafka:lines:0", 1, "too-long", b"")),
            ]
        )
    first, second, third = sorted(read_topic(kafka.bootstrap, topic), key=lambda one: -len(one[2]))
    assert first[:2] == (
        "press07", {"reason": "too-long", "stream": "file:a:b:12", "position": "7", "truncated": "3000000"}
    )  # fmt: skip
    # The broker takes no record of that size: its beginning is kept and its length said.
    assert large.startswith(first[2])
    assert len(first[2]) >= 100_000
    assert second == (
        "プレス7", {"reason": "too-long", "topic": "lines", "partition": "3", "offset": "42"}, hostile
    )  # fmt: skip
    assert third[2] == b""


@pytest.mark.kafka
def test_a_topic_that_is_missing_or_away_is_an_error_until_it_is_there(kafka: Kafka) -> None:
    letters = [("s", Dropped("kafka:lines:0", 1, "too-long", b"x"))]
    missing = DeadLetterTopic(BrokerSettings(bootstrap=kafka.bootstrap), "no-such-topic")
    with closing(missing), pytest.raises(DeadLettersUndelivered, match=r"no-such-topic.*create it"):
        missing.send(letters)
    away = DeadLetterTopic(BrokerSettings(bootstrap=f"127.0.0.1:{free_port()}"), "lines")
    with closing(away), pytest.raises(DeadLettersUndelivered):
        away.send(letters)


@pytest.mark.kafka
def test_a_service_reads_on_only_when_its_dead_letters_have_arrived(
    bundle_dir: Path, machine_lines: list[bytes], tmp_path: Path, kafka: Kafka, make_topic: Callable[[int], str]
) -> None:
    topic, dead = make_topic(1), f"dead-{uuid.uuid4().hex[:8]}"
    send(kafka, topic, [(0, b"press07", line) for line in [*machine_lines[:200], b"z" * 70_000, *machine_lines[:200]]])
    settings = tmp_path / "logvq.toml"
    settings.write_text(
        f'[kafka]\nbootstrap = "{kafka.bootstrap}"\ntopics = ["{topic}"]\ngroup = "{topic}"\n'
        f'dead_letter_topic = "{dead}"\n'
    )
    with Serving(bundle_dir, tmp_path, "--kafka-settings", str(settings)) as service:
        until(lambda: dead in service.log.read_text(), lambda: None)
        until(lambda: not service.is_ready(), lambda: None)
        assert service.get("/api/v1/sources")["items"] == []
        create_topic(kafka.bootstrap, dead, 1)
        service.wait_consumed("press07", 401)
    ((source, headers, value),) = read_topic(kafka.bootstrap, dead)
    assert (source, value) == ("press07", b"z" * 70_000)
    assert headers == {"reason": "too-long", "topic": topic, "partition": "0", "offset": "200"}


class Sink:
    """Notes what was in the store when dead letters were sent."""

    def __init__(self, store: Store) -> None:
        self.store, self.seen = store, []

    def send(self, letters: Sequence[tuple[str, Dropped]]) -> None:
        self.seen.append((len(letters), self.store.next_position("kafka:t:0")))

    def close(self) -> None:
        pass


def test_dead_letters_are_sent_before_the_position_behind_them_is_stored(bundle: Bundle, tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    sink = Sink(store)
    worker = Worker(bundle, store, [], Metrics(), AlarmPolicy(), dead_letters=sink)
    lines = [b"fine", b"x" * 70_000, b"", b"y" * 70_000]
    worker.process(InHand(), [Record("s", "kafka:t:0", n, n + 1, line, None) for n, line in enumerate(lines)])
    assert sink.seen == [(2, None)]
    assert store.next_position("kafka:t:0") == 4
    with store.engine.connect() as connection:
        kept = connection.execute(sa.select(dead_letters.c.position, dead_letters.c.value)).all()
    assert [tuple(one) for one in kept] == [(1, lines[1]), (3, lines[3])]
    store.close()


def test_a_dead_letter_topic_that_is_read_as_well_is_refused() -> None:
    with pytest.raises(BadKafkaSettings, match="dead_letter_topic"):
        KafkaSettings(bootstrap="b", topics=("a", "b"), dead_letter_topic="b")
