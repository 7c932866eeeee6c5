"""What becomes of one source's windows: raised and told of, or held back and counted."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from datetime import UTC
from typing import Any

import pytest

from ingestion import UNSEEN, Event
from service.alarms.alarming import NEWS_A_DAY, Alarms, Proposed
from service.alarms.budget import Budget
from service.alarms.rules import Rules
from service.bundle import Bundle
from service.explain import Explained
from service.judging import Judged
from service.rereading import Rereading

HOUR = 3600.0
WORDS = ("stopped", "pressed")


def proposed(number: int, strength: float, threshold: float, news: str = "") -> Proposed:
    """Return a window of two lines, both cited, that says nothing but how strange it is, and what is new."""
    unseen = [0] if news else []
    record = {"ranked": [0, 1], "unseen": unseen, "carried": {"0": 0.7, "1": 0.3}, "cited": [0, 1]}
    row = {
        "id": f"w-{number}", "source": "s", "bundle": "b", "index": number, "stream": "s", "events": 2,
        "sequence": number * HOUR, "start": number * HOUR, "end": number * HOUR + 59, "incident": None,
        "score": strength, "strength": strength, "threshold": threshold,
    }  # fmt: skip

    def examine() -> Rereading[Explained]:
        return Explained(record, {0: 1.0}, strength, [0], "", "rare-transition", "sig", "title")
        yield

    def at_least(_: Sequence[int]) -> float:
        return strength if news else 0.0

    def without(*_: object) -> Judged:
        raise AssertionError("nothing is excused")

    judged = Judged(
        row, record, [0], lambda _: strength, at_least, examine, without, without, "rare-transition", "sig", "title"
    )
    words = (news or WORDS[0], WORDS[1])
    events = [
        Event("s", place, place + 1, number * HOUR, None, word, 1, word, UNSEEN) for place, word in enumerate(words)
    ]
    return Proposed(judged, events)


def finished(following: Rereading[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return what it comes to where nothing is read again."""
    with pytest.raises(StopIteration) as stop:
        next(following)
    rows: list[dict[str, Any]] = stop.value.value
    return rows


def alarms_of(bundle: Bundle, *, stated: bool = True) -> Alarms:
    return Alarms(
        Budget(1.0, stated=stated), 24.0, bundle.calibration.cap, Rules(), bundle.vocabulary, bundle.source_format,
        lambda _: UTC,
    )  # fmt: skip


def test_a_strange_window_is_held_back_whether_an_incident_is_open_or_not(bundle: Bundle) -> None:
    alarms = alarms_of(bundle)
    counted = []
    for number, strength in enumerate([9.0, 9.0, 9.0, 1.5, 0.0, 0.0, 0.0, 1.5]):
        finished(alarms.follow(proposed(number, strength, alarms.threshold)))
        counted.append((alarms.summary()["held_back"], alarms.incident_open))
    assert counted[2:4] == [(0, True), (1, True)]
    assert counted[6:] == [(1, False), (2, False)]


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_what_a_changed_source_writes_all_day_does_not_swallow_the_faults_that_come_later(
    bundle: Bundle, share: float
) -> None:
    alarms, draw, faults = alarms_of(bundle), random.Random(0), {700, 850, 1100}
    opened_by, first_of = {}, {}
    for number in range(1400):
        usual = -math.log10(1 - draw.random()) if number < 400 or draw.random() < share else draw.uniform(8.6, 10.2)
        window = proposed(number, 15.0 if number in faults else usual, alarms.threshold)
        finished(alarms.follow(window))
        incident = window.judged.row["incident"]
        if incident:
            opened_by[number] = first_of.setdefault(incident, number)
    assert {opened_by.get(number) for number in faults} == faults
    summary = alarms.summary()
    assert 0.8 <= summary["opened"] / summary["owed"] <= 1.25


@pytest.mark.parametrize(("between", "incidents"), [(1.6, 1), (1.2, 2)])
def test_what_few_windows_reach_keeps_an_incident_open_and_what_one_in_sixteen_does_not(
    bundle: Bundle, between: float, incidents: int
) -> None:
    alarms, found = alarms_of(bundle), set()
    for number, strength in enumerate([9.0, *[between] * 5, 9.0]):
        window = proposed(number, strength, alarms.threshold)
        finished(alarms.follow(window))
        assert (window.judged.row["incident"] is not None) == (strength == 9.0)
        found.add(window.judged.row["incident"])
    assert len(found - {None}) == incidents


def test_news_of_a_day_is_counted_by_the_clock_of_a_source_whose_lines_are_of_two_days(bundle: Bundle) -> None:
    alarms, raised = alarms_of(bundle, stated=False), 0
    for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
        told = proposed(100 - 24 * (number % 2), 2.5, alarms.threshold, news=letter * 9)
        if alarms.is_news(told):
            raised += 1
            told.judged.row["threshold"] = alarms.first_threshold
        finished(alarms.follow(told))
        for _ in range(2):
            finished(alarms.follow(proposed(100, 0.0, alarms.threshold)))
    assert raised == NEWS_A_DAY


def test_an_incident_is_known_by_all_lines_it_cites(bundle: Bundle) -> None:
    alarms = alarms_of(bundle)
    rows = finished(alarms.follow(proposed(0, 9.0, alarms.threshold)))
    assert [json.loads(row["shapes"]) for row in rows] == [list(WORDS)]


def test_an_open_window_that_is_foreseen_elsewhere_than_before_leaves_no_incident_open(bundle: Bundle) -> None:
    alarms = alarms_of(bundle)
    (opened,) = finished(alarms.follow(proposed(0, 9.0, alarms.threshold)))
    rows = {}
    # A late line brings its start within an hour of what came before.
    for start in (3 * HOUR, HOUR / 2):
        window = proposed(1, 9.0, alarms.threshold, news="leaking")
        window.judged.row["start"] = start
        rows |= {row["id"]: (row["status"], row["windows"]) for row in alarms.foresee(window, alone=True)}
    window = proposed(1, 9.0, alarms.threshold, news="leaking")
    window.judged.row["start"] = HOUR / 2
    rows |= {row["id"]: (row["status"], row["windows"]) for row in finished(alarms.follow(window))}
    assert rows.pop(opened["id"]) == ("open", 2)
    assert list(rows.values()) == [("closed", 1)]
