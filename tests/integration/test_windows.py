"""Windows by key, rotated files and repeated pushes, over `kill -9`: as if nothing had happened."""

from __future__ import annotations

import random
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingestion import Record, WindowSpec
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle, load_bundle, save_bundle
from service.routes.incidents import shown
from service.shown_windows import summary
from service.store import Store
from service.whole_files import score_records
from tests.integration.results import SOURCE, comparable
from tests.serving import Serving, wait_for

LINES = 6000
KILLS = 4
SESSIONS = r"session:\|(\w+),idle=30m,max=200,open=40,late=5m"


@pytest.fixture(scope="module")
def lines(machine_lines: list[bytes]) -> list[bytes]:
    """Out of order by a few lines, and twice as many as the sample's part."""
    draw = random.Random(0)
    twice = (machine_lines * 2)[:LINES]
    return [line for _, line in sorted((n + draw.uniform(0, 5), line) for n, line in enumerate(twice))]


@pytest.fixture(scope="module")
def sessions_dir(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sessions") / "sessions.bundle"
    save_bundle(replace(bundle, window=WindowSpec.parse(SESSIONS)), directory)
    return directory


@pytest.fixture(scope="module")
def expected(sessions_dir: Path, lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of the lines in one go, undisturbed."""
    bundle = load_bundle(sessions_dir)
    store = Store(tmp_path_factory.mktemp("undisturbed") / "a.sqlite")
    records = (Record(SOURCE, "file:x", n, n + 1, line, None) for n, line in enumerate(lines))
    score_records(bundle, store, records, AlarmPolicy(), lambda _: None)
    windows = [summary(row) for row in store.find_windows(limit=-1)]
    assert len({window["key"] for window in windows}) > 5
    assert {window["status"] for window in windows} == {"final", "provisional"}
    found = comparable(windows, [shown(row) for row in store.find_incidents(limit=-1)])
    store.close()
    return found


def check(service: Serving, expected: dict[str, Any]) -> None:
    service.wait_consumed(SOURCE, LINES)
    wait_for(
        lambda: comparable(service.everything("windows"), service.everything("incidents")) == expected,
        "the windows of an undisturbed run",
    )
    (source,) = service.get("/api/v1/sources")["items"]
    counts = source["lines"]
    assert counts["consumed"] == LINES
    assert counts["parsed"] + counts["unparsed"] + sum(counts["dropped"].values()) == LINES


def restart(service: Serving, moments: random.Random) -> None:
    time.sleep(moments.uniform(0.0, 0.4))
    service.kill()
    service.start()


def push_until_answered(service: Serving, body: bytes, key: str) -> None:
    request = urllib.request.Request(
        f"{service.url}/api/v1/sources/{SOURCE}/lines",
        body,
        {"Content-Type": "text/plain", "Idempotency-Key": key},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 202


def test_pushes_whose_answer_was_lost_are_repeated_without_doubling(
    sessions_dir: Path, lines: list[bytes], expected: dict[str, Any], tmp_path: Path
) -> None:
    moments = random.Random(1)
    with Serving(sessions_dir, tmp_path) as service:
        for number in range(0, LINES, 500):
            body = b"\n".join(lines[number : number + 500]) + b"\n"
            push_until_answered(service, body, f"push-{number}")
            if moments.random() < KILLS / (LINES / 500):
                # The client cannot know whether its push was stored: it says it again after the restart.
                restart(service, moments)
                push_until_answered(service, body, f"push-{number}")
        check(service, expected)


def test_a_rotated_file_survives_kills(
    sessions_dir: Path, lines: list[bytes], expected: dict[str, Any], tmp_path: Path
) -> None:
    log = tmp_path / "machine.log"
    moments = random.Random(2)
    log.write_bytes(b"")
    with Serving(sessions_dir, tmp_path, "--file", str(log), "--source", SOURCE) as service:
        at = 0
        while at < LINES:
            size = moments.choice((100, 700, 1300))
            data = b"\n".join(lines[at : at + size]) + b"\n"
            cut = moments.randrange(len(data))
            for part in (data[:cut], data[cut:]):
                with log.open("ab") as file:
                    file.write(part)
                time.sleep(moments.uniform(0, 0.1))
            at += size
            if moments.random() < 0.4:
                restart(service, moments)
            if moments.random() < 0.4:
                service.wait_consumed(SOURCE, 1)
                log.rename(tmp_path / f"machine.log.{LINES - at + 9000}")
                log.write_bytes(b"")
        check(service, expected)


def test_standard_input_is_an_input(bundle_dir: Path, lines: list[bytes], tmp_path: Path) -> None:
    with Serving(bundle_dir, tmp_path, "--file", "-", "--source", SOURCE, stdin=b"\n".join(lines[:1000])) as service:
        service.wait_consumed(SOURCE, 1000)
        window = service.everything("windows")[0]
        assert window["stream"].startswith("pipe:")
