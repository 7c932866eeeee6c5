"""What is strange and not raised is counted, whatever else is open."""

from __future__ import annotations

from datetime import UTC

from ingestion import UNSEEN, Event
from service.alarms.alarming import Alarms, Proposed
from service.alarms.budget import Budget
from service.alarms.rules import Rules
from service.bundle import Bundle
from service.explain import Explained
from service.judging import Judged
from service.rereading import Rereading

HOUR = 3600.0


def proposed(number: int, strength: float, threshold: float) -> Proposed:
    """Return a window of one line that says nothing but how strange it is."""
    record = {"ranked": [0], "unseen": [], "carried": {"0": 1.0}, "cited": [0]}
    row = {
        "id": f"w-{number}", "source": "s", "bundle": "b", "index": number, "stream": "s", "events": 1,
        "sequence": number * HOUR, "start": number * HOUR, "end": number * HOUR + 59, "incident": None,
        "score": strength, "strength": strength, "threshold": threshold,
    }  # fmt: skip

    def examine() -> Rereading[Explained]:
        return Explained(record, {0: 1.0}, strength, [0], "", "rare-transition", "sig", "title")
        yield

    judged = Judged(row, record, [0], lambda _: strength, examine, "rare-transition", "sig", "title")
    return Proposed(judged, [Event("s", number, number + 1, number * HOUR, None, "line", 1, "line", UNSEEN)])


def test_a_strange_window_is_held_back_whether_an_incident_is_open_or_not(bundle: Bundle) -> None:
    alarms = Alarms(
        Budget(1.0, stated=True), 24.0, bundle.calibration.cap, Rules(), bundle.vocabulary, bundle.source_format,
        lambda _: UTC,
    )  # fmt: skip
    counted = []
    for number, strength in enumerate([9.0, 9.0, 9.0, 1.5, 0.0, 0.0, 0.0, 1.5]):
        for _ in alarms.follow(proposed(number, strength, alarms.threshold)):
            pass
        counted.append((alarms.summary()["held_back"], alarms.incident_open))
    assert counted[2:4] == [(0, True), (1, True)]
    assert counted[6:] == [(1, False), (2, False)]
