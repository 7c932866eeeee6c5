"""Incidents of several sources are one story over REST and on pages, whatever their last windows hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from ingestion import Record
from service.alarms.budget import Budget
from service.alarms.policy import AlarmPolicy
from service.app import Context, create_app
from service.bundle import Bundle
from service.inbox import InboxInput
from service.metrics import Metrics
from service.store import Store
from service.whole_files import score_records
from service.worker import Worker

FAULT = b"motion_cond|Fault|%d|||COOLANT LOST %d"
# Of the lines without a time that end a file: more than a window.
DUMP = [b"  0x%08x: register dump" % number for number in range(200)]


def lines_of(machine_lines: list[bytes], number: int) -> list[bytes]:
    """Return a source's lines: those of the machine, and at the end a fault that others have as well."""
    lines = list(machine_lines[:1200])
    time = lines[-1].partition(b"|")[0]
    # Not all alike: each has a worst line of its own.
    own = [time + b"|program_cond|Fault|%d|||%s" % (number, word * number) for word in (b"PUMP ", b"VALVE ")]
    return [*lines, *own, *(time + b"|" + FAULT % (7, 7) for _ in range(3)), *DUMP]


@pytest.fixture(scope="module")
def client(
    bundle: Bundle, machine_lines: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    store = Store(tmp_path_factory.mktemp("joined") / "logvq.sqlite")
    policy = AlarmPolicy(Budget(20, stated=True))
    for number, source in enumerate(("press-a", "press-b"), start=1):
        lines = lines_of(machine_lines, number)
        records = (Record(source, f"file:{source}", n, n + 1, line, None) for n, line in enumerate(lines))
        score_records(bundle, store, records, policy, lambda _: None)
    worker = Worker(bundle, store, [], Metrics(), AlarmPolicy())
    yield TestClient(create_app(Context(store, Metrics(), InboxInput(store), worker, None)))
    store.close()


def test_incidents_of_two_sources_that_share_a_line_name_each_other(client: TestClient) -> None:
    items = client.get("/api/v1/incidents").json()["items"]
    last = {source: next(item for item in items if item["source"] == source) for source in ("press-a", "press-b")}
    assert last["press-a"]["group"] == last["press-b"]["group"]
    assert last["press-a"]["group"].startswith("g-")
    for source, other in (("press-a", "press-b"), ("press-b", "press-a")):
        incident = client.get(f"/api/v1/incidents/{last[source]['id']}").json()
        assert [(item["id"], item["source"]) for item in incident["joined_with"]] == [(last[other]["id"], other)]
        page = client.get(f"/ui/incidents/{last[source]['id']}").text
        assert f"/ui/incidents/{last[other]['id']}" in page


def test_an_incident_whose_last_window_has_no_time_is_shown_like_any_other(client: TestClient) -> None:
    items = client.get("/api/v1/incidents").json()["items"]
    windows = {item["id"]: item for item in client.get("/api/v1/windows?limit=500").json()["items"]}
    untimed = [item for item in items if windows[item["window_ids"][-1]]["end"] is None]
    assert len(untimed) == 2
    assert all(item["start"] < item["end"] for item in untimed)
