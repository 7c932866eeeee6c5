"""A range of a topic, replayed: the same scores as the service gave, and the consumer group hears nothing of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingestion.kafka_settings import BrokerSettings
from ingestion.producer import KafkaFeeder
from tests.integration.results import SOURCE
from tests.serving import COMMAND, Serving

pytestmark = pytest.mark.kafka
LINES = 2000


def replayed(output: Path, *arguments: object) -> list[dict[str, Any]]:
    done = subprocess.run(
        [*COMMAND, "replay", *map(str, arguments), "--output", str(output)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "nobody was alerted" in done.stderr
    return [json.loads(line) for line in output.read_text("utf-8").splitlines()]


def test_a_replay_of_a_topic_gives_what_the_service_gave(
    bundle_dir: Path, machine_lines: list[bytes], tmp_path: Path, kafka: Any, make_topic: Callable[[int], str]
) -> None:
    topic = make_topic(2)
    feeder = KafkaFeeder(BrokerSettings(bootstrap=kafka.bootstrap), report=print)
    feeder.feed(machine_lines[:LINES], topic=topic, source=SOURCE)
    feeder.close()
    names = ("id", "status", "start", "end", "events", "stream", "first_position", "next_position", "sentence")
    with Serving(bundle_dir, tmp_path, "--kafka", kafka.bootstrap, "--topic", topic, "--group", topic) as service:
        service.wait_consumed(SOURCE, LINES)
        expected = {tuple(window[name] for name in names) for window in service.everything("windows")}
        scores = {window["id"]: window["score"] for window in service.everything("windows")}
        asked = ("--bundle", bundle_dir, "--kafka", kafka.bootstrap, "--topic", topic)
        items = replayed(tmp_path / "whole", *asked)
        windows = [item for item in items if item["kind"] == "window"]
        assert {tuple(window[name] for name in names) for window in windows} == expected
        assert {window["id"]: round(window["score"], 3) for window in windows} == scores
    part = replayed(tmp_path / "part", *asked, "--from", 500, "--to", 1000)
    again = replayed(tmp_path / "again", *asked, "--from", 500, "--to", 1000)
    windows = [item for item in part if item["kind"] == "window"]
    assert part == again
    assert (windows[0]["first_position"], windows[-1]["next_position"]) == (500, 1000)
    assert sum(window["events"] for window in windows) == 500
    later = replayed(tmp_path / "later", *asked, "--from", "2100-01-01T00:00Z")
    assert [(item["kind"], item["read"]) for item in later] == [("accounting", 0)]
