from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.evaluation.evaluate import measure
from service.evaluation.figures import (
    area_under_roc,
    at_budget,
    average_precision,
    delays,
    f1,
    interval,
    strongest_alarms,
)
from service.evaluation.labels import Label, marked

LABELLED = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 3)), min_size=2, max_size=30).filter(
    lambda rows: 0 < sum(row[0] for row in rows) < len(rows)
)


@given(LABELLED)
def test_the_area_is_the_share_of_pairs_in_order(rows: list[tuple[bool, int, int]]) -> None:
    bad, scores, copies = (np.array(column) for column in zip(*rows, strict=True))
    won = total = 0.0
    for a, s, n in rows:
        for b, t, m in rows:
            if a and not b:
                total += n * m
                won += n * m * ((s > t) + 0.5 * (s == t))
    assert area_under_roc(bad, scores.astype(float), copies) == pytest.approx(won / total)


@given(LABELLED)
def test_average_precision_is_the_mean_of_precisions(rows: list[tuple[bool, int, int]]) -> None:
    bad, scores, copies = (np.array(column) for column in zip(*rows, strict=True))
    found = []
    for anomalous, score, count in rows:
        above = scores >= score
        if anomalous:
            found += [(copies * (bad & above)).sum() / (copies * above).sum()] * count
    assert average_precision(bad, scores.astype(float), copies) == pytest.approx(np.mean(found))


def test_f1_counts_copies() -> None:
    bad, alarms = np.array([True, True, False]), np.array([True, False, True])
    assert f1(bad, alarms, np.array([3, 1, 2])) == pytest.approx(2 * 3 / (4 + 5))


def test_an_incident_is_found_once_and_late_by_when_its_first_alarm_is_complete() -> None:
    incidents = np.array([-1, 0, 0, 0, 1, -1])
    alarms = np.array([True, False, True, True, False, True])
    starts = np.arange(6) * 10.0
    assert delays(incidents, alarms, starts, starts + 9.0) == (2, [19.0])


def test_a_budget_takes_the_strongest() -> None:
    bad, scores = np.array([False, True, True, False]), np.array([1.0, 4.0, 2.0, 3.0])
    assert at_budget(bad, scores, 2) == (0.5, 0.5)
    assert at_budget(bad, scores, 0) == (0.0, 0.0)


def test_an_interval_holds_the_figure_and_narrows_with_more_windows() -> None:
    random = np.random.default_rng(1)

    def width(count: int) -> float:
        bad = random.random(count) < 0.2
        scores = random.normal(size=count) + bad
        ones = np.ones(count, np.int64)
        low, high = interval(lambda at: area_under_roc(bad[at], scores[at], ones[at]), bad, None)
        assert low < area_under_roc(bad, scores, ones) < high
        return high - low

    assert width(4000) < width(200) / 2


def window(index: int, strength: float, incident: str | None = None, *, hours: float = 1.0) -> dict[str, Any]:
    start = 3600.0 * hours * index
    return {
        "source": "press",
        "index": index,
        "key": None,
        "strength": strength,
        "anomalous": incident is not None,
        "incident": incident,
        "start": start,
        "end": start + 1800 * hours,
    }


def test_an_alarm_is_an_incident_and_what_was_marked_is_found_once() -> None:
    windows = [window(n, 0.1) for n in range(48)]
    for n, incident in ((3, "i-a"), (4, "i-a"), (5, "i-a"), (20, "i-b"), (30, "i-c"), (31, "i-c")):
        windows[n] = window(n, 3.0 + n / 100, incident)
    at = [window["start"] for window in windows]
    labels = [
        Label(0, None, at[4], at[5] + 60, name="door"),
        Label(1, None, at[40], at[40] + 60, name="belt"),
        Label(2, None, 9e9, 9e9, name="oil"),
    ]
    found = measure(windows, labels, marked(windows, labels))
    assert (found["incidents"], found["incidents_found"], found["recall"]) == (3, 1, pytest.approx(1 / 3))
    assert (found["missed"], found["missed_without_a_window"]) == (["belt", "oil"], ["oil"])
    assert (found["alarms"], found["false_alarms"], found["precision"]) == (3, 2, pytest.approx(1 / 3))
    days = 47.5 / 24
    assert found["false_alarms_a_day"] == pytest.approx(2 / days)
    assert found["median_delay_seconds"] == 1800.0
    # The two strongest of two days are neither of them marked; the third is, and three of its windows are one alarm.
    assert (found["precision_at_1_a_day"], found["recall_at_1_a_day"]) == (0.0, 0.0)
    assert (found["precision_at_5_a_day"], found["recall_at_5_a_day"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert (found["anomalous_windows"], found["alarm_windows"]) == (3, 6)
    assert (found["window_precision"], found["window_recall"]) == (pytest.approx(2 / 6), pytest.approx(2 / 3))


def test_below_a_day_there_are_counts_and_no_rates() -> None:
    windows = [window(n, 3.0 if n == 4 else 0.1, "i-a" if n == 4 else None, hours=0.1) for n in range(16)]
    labels = [Label(0, None, windows[4]["start"], windows[4]["end"])]
    found = measure(windows, labels, marked(windows, labels))
    assert (found["alarms"], found["alarms_a_day"], found["false_alarms_a_day"]) == (1, None, None)
    # Nothing can be raised in so short a time at one a day, and that is no precision of nought.
    assert (found["precision_at_1_a_day"], found["recall_at_1_a_day"]) == (None, None)
    assert found["precision_at_20_a_day"] == 1.0


def test_the_strongest_windows_join_into_alarms_as_they_do_in_the_service() -> None:
    strengths = [9.0, 0.1, 8.0, 0.1, 0.1, 7.0, 0.1, 0.1, 6.0, *[0.1] * 11]
    windows = [window(n, strength, hours=0.1) for n, strength in enumerate(strengths)]
    assert [sorted(alarm) for alarm in strongest_alarms(windows, 1)] == [[0, 2]]
    assert sorted(sorted(alarm) for alarm in strongest_alarms(windows, 2)) == [[0, 2], [5]]
    # A fifth window would be the last: more would run together into one.
    assert sorted(sorted(alarm) for alarm in strongest_alarms(windows, 20)) == [[0, 1, 2], [5], [8]]
    assert strongest_alarms(windows, 0) == []
    apart = [window(n, strength, hours=3.0) for n, strength in enumerate(strengths)]
    assert [sorted(alarm) for alarm in strongest_alarms(apart, 2)] == [[0], [2]]
