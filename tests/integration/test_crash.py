"""`kill -9` at any moment: after a restart everything is as if nothing had happened."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingestion.kafka_settings import BrokerSettings
from ingestion.producer import KafkaFeeder
from service.bundle import Bundle
from tests.crash.feeding import SOURCES, Plan
from tests.crash.running import crash
from tests.integration.conftest import Database, Kafka
from tests.integration.results import SOURCE, comparable, undisturbed
from tests.serving import Serving

KILLS = 4
LINES = 12_010


@pytest.fixture(scope="module")
def many_lines(machine_lines: list[bytes]) -> list[bytes]:
    return (machine_lines * 3)[:LINES]


@pytest.fixture(scope="module")
def expected(bundle: Bundle, many_lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return undisturbed(bundle, many_lines, tmp_path_factory.mktemp("undisturbed"))


def killed_again_and_again(service: Serving, seed: int) -> int:
    """Kill and restart at random moments; return how many times it died with work left."""
    moments = random.Random(seed)
    interrupted = 0
    for _ in range(KILLS):
        time.sleep(moments.uniform(0.0, 0.5))
        summaries = service.get("/api/v1/sources")["items"]
        interrupted += not summaries or summaries[0]["lines"]["consumed"] < LINES
        service.kill()
        service.start()
    return interrupted


def check(service: Serving, expected: dict[str, Any]) -> None:
    service.wait_consumed(SOURCE, LINES)
    assert comparable(service.everything("windows"), service.everything("incidents")) == expected
    (source,) = service.get("/api/v1/sources")["items"]
    lines = source["lines"]
    assert lines["consumed"] == LINES
    assert lines["parsed"] + lines["unparsed"] + sum(lines["dropped"].values()) == LINES


def test_pushed_lines_survive_kills(
    bundle_dir: Path, many_lines: list[bytes], expected: dict[str, Any], tmp_path: Path
) -> None:
    with Serving(bundle_dir, tmp_path) as service:
        service.push_bytes(SOURCE, b"\n".join(many_lines))
        assert killed_again_and_again(service, seed=1) > 0
        check(service, expected)


@pytest.mark.kafka
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_everything_is_as_if_nothing_had_happened(
    bundle_dir: Path, bundle: Bundle, tmp_path: Path, kafka: Kafka, database: Database
) -> None:
    plan = Plan(lines=6000, kills=3, broker_kills=1, freezes=1, departures=1, seed=3)
    outcome = crash(
        bundle, bundle_dir, (kafka.bootstrap, kafka.broker), database.arguments(), database.open, tmp_path, plan, print
    )
    assert outcome.differences == {}
    assert outcome.rows["windows"] > 100
    assert outcome.rows["sources"] > SOURCES / 2
    assert outcome.events["worker killed"] == 3


@pytest.mark.kafka
def test_kafka_lines_survive_kills(
    bundle_dir: Path,
    many_lines: list[bytes],
    expected: dict[str, Any],
    tmp_path: Path,
    kafka: Any,
    make_topic: Callable[[int], str],
) -> None:
    topic = make_topic(2)
    feeder = KafkaFeeder(BrokerSettings(bootstrap=kafka.bootstrap), report=print)
    feeder.feed(many_lines, topic=topic, source=SOURCE)
    feeder.close()
    arguments = ("--kafka", kafka.bootstrap, "--topic", topic, "--group", topic)
    with Serving(bundle_dir, tmp_path, *arguments) as service:
        killed_again_and_again(service, seed=2)
        check(service, expected)
