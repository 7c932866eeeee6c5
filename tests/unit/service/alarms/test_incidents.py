"""Alarms of one source that belong together are one incident."""

from __future__ import annotations

import json
import math
from typing import Any

from service.alarms.incidents import LEAD, MAX_GAP_SECONDS, IncidentTracker, Told

THRESHOLD = 2.0
NEARLY = 1.7


def window(
    number: int, strength: float = 0.5, start: float | None = None, decided_by: str | None = None
) -> dict[str, Any]:
    at = number * 60.0 if start is None else start
    return {
        "id": f"w-{number}", "source": "s", "bundle": "b", "sequence": at, "start": at, "end": at + 59, "events": 10,
        "score": strength, "strength": strength, "threshold": THRESHOLD, "incident": None, "decided_by": decided_by,
    }  # fmt: skip


def told(name: str, severity: str = "warning") -> Told:
    return Told(
        "rare-transition",
        f"sig {name}",
        name,
        severity,
        {"text": f"first {name}"},
        {"text": f"worst {name}"},
        [f"shape {name}"],
    )


def follow(tracker: IncidentTracker, windows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for item in windows:
        quieted = item["decided_by"] is not None
        alarm, nearly = (item["strength"] >= strength and not quieted for strength in (THRESHOLD, NEARLY))
        for row in tracker.follow(item, told(item["id"]) if alarm else None, nearly=nearly):
            found[row["id"]] = row
    return found


def test_alarms_join_over_one_quiet_window_and_close_after_two() -> None:
    windows = [window(n, 5.0 if n == 3 else 3.0 if n in {1, 8} else 0.5) for n in range(12)]
    first, second = follow(IncidentTracker(), windows).values()
    assert (json.loads(first["window_ids"]), first["worst_window"], first["status"]) == (
        ["w-1", "w-3"],
        "w-3",
        "closed",
    )
    assert (first["first_window"], first["windows"], first["events"]) == ("w-1", 2, 20)
    assert json.loads(first["first_event"]) == {"text": "first w-1"}
    assert json.loads(first["worst_event"]) == {"text": "worst w-3"}
    assert json.loads(first["shapes"]) == ["shape w-1", "shape w-3"]
    assert json.loads(second["window_ids"]) == ["w-8"]
    assert [item["incident"] for item in windows if item["incident"]] == [first["id"], first["id"], second["id"]]


def test_an_incident_is_named_by_its_first_window_whatever_follows() -> None:
    (alone,) = follow(IncidentTracker(), [window(1, 3.0)])
    (longer,) = follow(IncidentTracker(), [window(n, 3.0) for n in range(1, 9)])
    assert alone == longer


def test_a_source_that_hovers_about_its_threshold_is_one_incident() -> None:
    strengths = [THRESHOLD if n % 4 == 0 else NEARLY for n in range(40)]
    assert len(follow(IncidentTracker(), [window(n, strength) for n, strength in enumerate(strengths)])) == 1
    quiet = [THRESHOLD if n % 4 == 0 else NEARLY - 0.1 for n in range(40)]
    assert len(follow(IncidentTracker(), [window(n, strength) for n, strength in enumerate(quiet)])) == 10


def test_windows_that_feedback_quieted_do_not_keep_an_incident_open() -> None:
    windows = [window(0, 3.0), *(window(n, 3.0, decided_by="feedback 1") for n in range(1, 5)), window(5, 3.0)]
    assert len(follow(IncidentTracker(), windows)) == 2


def test_a_long_silence_ends_an_incident() -> None:
    late = window(1, 3.0, start=MAX_GAP_SECONDS + 200)
    assert len(follow(IncidentTracker(), [window(0, 3.0), late])) == 2


def test_a_silence_ends_an_incident_though_the_clock_was_ahead_for_a_moment() -> None:
    tracker = IncidentTracker()
    follow(tracker, [window(0) | {"end": 1e10}, window(1), window(2)])
    tracker = IncidentTracker(json.loads(json.dumps(tracker.state())))
    follow(tracker, [window(3), window(4, 3.0)])
    assert len(follow(tracker, [window(5, 3.0, start=MAX_GAP_SECONDS + 400)])) == 2


def test_as_long_as_windows_are_nearly_alarms_an_incident_goes_on_for_hours() -> None:
    for minutes in (5, 120):
        strengths = [3.0, *[NEARLY] * 30, 3.0]
        windows = [
            window(n, strength, start=n * minutes * 60.0) | {"end": (n + 1) * minutes * 60.0 - 1}
            for n, strength in enumerate(strengths)
        ]
        assert len(follow(IncidentTracker(), windows)) == 1


def test_an_incident_spans_its_windows_in_whatever_order_they_come_and_whether_they_have_a_time() -> None:
    untimed = window(3, 3.0) | {"start": None, "end": None, "sequence": 3.0}
    windows = [window(0, 3.0, start=9000.0), window(1, 3.0, start=8000.0), untimed]
    (row,) = follow(IncidentTracker(), windows).values()
    assert (row["start"], row["end"], row["sequence"]) == (8000.0, 9059.0, 9000.0)
    (row,) = follow(IncidentTracker(), [untimed, window(4, 3.0)]).values()
    assert (row["start"], row["end"]) == (240.0, 299.0)


def test_the_gravest_of_its_windows_says_how_grave_it_is() -> None:
    tracker = IncidentTracker()
    tracker.follow(window(0, 3.0), told("a", "notice"))
    tracker.follow(window(1, 3.0), told("b", "critical"))
    (row,) = tracker.follow(window(2, 3.0), told("c", "warning"))
    assert row["severity"] == "critical"


def test_a_tracker_goes_on_from_its_state() -> None:
    def windows() -> list[dict[str, Any]]:
        return [window(n, 3.0 if n in {1, 3} else 0.5) for n in range(6)]

    whole = follow(IncidentTracker(), windows())
    tracker = IncidentTracker()
    found = follow(tracker, windows()[:3])
    found |= follow(IncidentTracker(json.loads(json.dumps(tracker.state()))), windows()[3:])
    assert found == whole


def test_what_was_foreseen_and_came_otherwise_leaves_incidents_as_they_are_without_it() -> None:
    """An incident that is open, one that the window would have joined, and one that it would have opened."""
    for gap, in_the_end, statuses in (
        (0.0, None, {"w-1": "open"}),
        (0.0, "w-1", {"w-1": "open"}),
        (MAX_GAP_SECONDS, None, {"w-1": "closed", "w-3": "closed"}),
        # A line that came late was of the time before.
        (MAX_GAP_SECONDS, "w-1", {"w-1": "open", "w-3": "closed"}),
    ):
        tracker = IncidentTracker()
        stored = follow(tracker, [window(1, 3.0)])
        early = window(3, 3.0, start=180.0 + gap)
        stored |= {row["id"]: row for row in tracker.foresee(early, told("w-3"))}
        final = window(3, 3.0, start=180.0 if in_the_end else early["start"], decided_by=None if in_the_end else "x")
        stored |= follow(tracker, [final])
        if early["incident"] != final["incident"]:
            stored |= {row["id"]: row for row in tracker.take_back(final, early["incident"], told("w-3"))}
        assert {row["first_window"]: row["status"] for row in stored.values()} == statuses
        joined = ["w-1", "w-3"] if in_the_end else ["w-1"]
        assert json.loads(next(iter(stored.values()))["window_ids"]) == joined


def led(tracker: IncidentTracker, windows: list[dict[str, Any]]) -> list[str]:
    found = []
    for item in windows:
        if item["strength"] >= THRESHOLD and tracker.leads(item):
            found.append(item["id"])
        follow(tracker, [item])
    return found


def test_windows_that_lead_are_the_first_and_those_by_far_stronger_than_all_before() -> None:
    strengths = [3.0, 3.2, 2.5, 4.0, 4.0, 0.5, 4.3, 9.0]
    windows = [window(n, strength) for n, strength in enumerate(strengths)]
    assert led(IncidentTracker(), windows) == ["w-0", "w-3", "w-7"]
    tracker = IncidentTracker()
    first = led(tracker, windows[:4])
    assert first + led(IncidentTracker(json.loads(json.dumps(tracker.state()))), windows[4:]) == ["w-0", "w-3", "w-7"]


def test_a_flood_that_grows_stronger_all_the_time_has_few_windows_that_lead() -> None:
    windows = [window(n, 3.0 + n / 100) for n in range(500)]
    assert len(led(IncidentTracker(), windows)) <= 1 + math.log(8 / 3) / math.log(LEAD)


def test_what_led_an_incident_before_does_not_keep_the_next_ones_windows_from_leading() -> None:
    tracker = IncidentTracker()
    assert led(tracker, [window(0, 9.0), *(window(n) for n in range(1, 4))]) == ["w-0"]
    # A rule opens it with a window that is no alarm of the model's.
    opening = window(4, 0.5)
    assert not tracker.leads(opening)
    tracker.follow(opening, told("rule"))
    assert led(tracker, [window(5, 3.0), window(6, 3.0)]) == ["w-5"]
