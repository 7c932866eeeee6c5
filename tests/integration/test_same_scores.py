"""The same lines give the same windows, scores and incidents, whichever way they come in."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingestion.kafka_settings import BrokerSettings
from ingestion.producer import KafkaFeeder
from service.bundle import Bundle
from tests.integration.results import SOURCE, comparable, undisturbed
from tests.serving import Serving


@pytest.fixture(scope="module")
def expected(bundle: Bundle, machine_lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return undisturbed(bundle, machine_lines, tmp_path_factory.mktemp("undisturbed"))


def found_by(service: Serving, lines: int) -> dict[str, Any]:
    service.wait_consumed(SOURCE, lines)
    return comparable(service.everything("windows"), service.everything("incidents"))


def test_pushed_lines_score_as_try_does(
    bundle_dir: Path, machine_lines: list[bytes], expected: dict[str, Any], tmp_path: Path
) -> None:
    cuts = random.Random(0)
    with Serving(bundle_dir, tmp_path) as service:
        at = 0
        while at < len(machine_lines):
            size = cuts.choice((1, 7, 64, 500))
            service.push_bytes(SOURCE, b"\n".join(machine_lines[at : at + size]) + b"\n")
            at += size
        assert found_by(service, len(machine_lines)) == expected


def test_a_followed_file_scores_as_try_does(
    bundle_dir: Path, machine_lines: list[bytes], expected: dict[str, Any], tmp_path: Path
) -> None:
    log = tmp_path / "machine.log"
    log.write_bytes(b"\n".join(machine_lines[:1000]) + b"\n" + machine_lines[1000][:10])
    with Serving(bundle_dir, tmp_path, "--file", str(log), "--source", SOURCE) as service:
        with log.open("ab") as more:
            more.write(machine_lines[1000][10:] + b"\n" + b"\n".join(machine_lines[1001:]) + b"\n")
        assert found_by(service, len(machine_lines)) == expected


@pytest.mark.kafka
def test_kafka_scores_as_try_does(
    bundle_dir: Path,
    machine_lines: list[bytes],
    expected: dict[str, Any],
    tmp_path: Path,
    kafka: Any,
    make_topic: Callable[[int], str],
) -> None:
    topic = make_topic(3)
    feeder = KafkaFeeder(BrokerSettings(bootstrap=kafka.bootstrap), report=print)
    feeder.feed(machine_lines, topic=topic, source=SOURCE)
    feeder.close()
    with Serving(bundle_dir, tmp_path, "--kafka", kafka.bootstrap, "--topic", topic, "--group", topic) as service:
        assert found_by(service, len(machine_lines)) == expected
        window = service.get(f"/api/v1/windows/{expected['windows'][0][0]}")
        assert window["stream"].startswith(f"kafka:{topic}:")
        assert [line["text"].encode() for line in window["lines"]] == machine_lines[: len(window["lines"])]
