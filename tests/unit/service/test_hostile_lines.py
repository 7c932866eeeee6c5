"""Whatever a line says, it is accounted for, what came of it can be asked for, and the service goes on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingestion import WindowSpec
from service.alarms.budget import Budget
from service.alarms.policy import AlarmPolicy
from service.alarms.rules import Maintenance, Rules
from service.app import Context, create_app
from service.bundle import Bundle
from service.inbox import InboxInput
from service.metrics import Metrics
from service.store import Store
from service.worker import Worker

POLICY = AlarmPolicy(
    Budget(1000, stated=True), rules=Rules(maintenance=(Maintenance(name="weekly service", weekly=(0, 60)),))
)
MOMENTS = st.builds(
    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}|program|O1 hostile".format,
    st.sampled_from([0, 1, 2, 1969, 1970, 2016, 9998, 9999]),
    st.sampled_from([1, 12]),
    st.sampled_from([1, 28, 29, 30, 31]),
    st.sampled_from([0, 23]),
    st.sampled_from([0, 59]),
    st.sampled_from([0, 59, 60]),
    st.sampled_from(["", "Z", "-05:00", "+14:00", "-23:59", "+23:59"]),
)
# Controls, format and direction characters, separators of lines. Characters of private use are those of a plant's font.
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
HOSTILE = st.lists(
    st.one_of(MOMENTS.map(str.encode), st.binary(max_size=60).map(lambda value: value.replace(b"\n", b""))),
    min_size=1,
    max_size=40,
)


@pytest.fixture(scope="module")
def small(bundle: Bundle) -> Bundle:
    return replace(bundle, window=WindowSpec.parse("16"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "a.sqlite")
    yield store
    store.close()


def served(bundle: Bundle, store: Store, source: str, lines: Sequence[bytes]) -> TestClient:
    """Push lines, work through them, and return a client of the API."""
    store.push(source, lines)
    inbox = InboxInput(store)
    worker = Worker(bundle, store, [inbox], Metrics(), POLICY)
    while records := inbox.poll(0.0):
        worker.process(inbox, records)
    worker.finish()
    return TestClient(create_app(Context(store, Metrics(), inbox, worker, None)))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HOSTILE, st.integers(0, 40))
@example([b"9999-12-31T23:59:59-05:00|program|boom"], 8)
@example([b"0001-01-01T00:00:00+14:00|program|boom"], 8)
@example(["2016-12-01T00:00:00Z|program|\ue000\u202e\u0085".encode()], 8)
def test_no_line_keeps_what_is_stored_from_being_shown(
    small: Bundle, machine_lines: list[bytes], store: Store, hostile: list[bytes], at: int
) -> None:
    source = f"m{len(store.source_summaries())}"
    lines = [*machine_lines[:at], *hostile, *machine_lines[at:48]]
    client = served(small, store, source, lines)
    (summary,) = (item for item in client.get("/api/v1/sources").json()["items"] if item["id"] == source)
    counted = summary["lines"]
    assert (
        counted["consumed"] == len(lines) == counted["parsed"] + counted["unparsed"] + sum(counted["dropped"].values())
    )
    windows = client.get(f"/api/v1/windows?source={source}").json()["items"]
    assert windows
    for path in ("/api/v1/incidents", "/ui/", f"/ui/windows/{windows[0]['id']}", f"/api/v1/windows/{windows[0]['id']}"):
        assert client.get(path).status_code == 200
    text = client.get(f"/api/v1/windows/{windows[0]['id']}", headers={"Accept": "text/plain"}).text
    assert not {unicodedata.category(character) for character in text.replace("\n", "")} & HIDDEN
