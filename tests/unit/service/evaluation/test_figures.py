from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.evaluation.evaluate import measure
from service.evaluation.figures import area_under_roc, at_budget, average_precision, delays, f1, interval

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


def test_figures_of_a_day_count_the_alarms_as_they_were() -> None:
    windows = [
        {"strength": s, "anomalous": a, "start": 3600.0 * n, "end": 3600.0 * n + 1800}
        for n, (s, a) in enumerate([(0.1, False), (3.0, True), (0.2, False), (2.5, True)] * 12)
    ]
    incidents = np.full(48, -1)
    incidents[1] = incidents[2] = 0
    found = measure(windows, incidents, 1)
    assert found["alarms"] == 24
    assert found["false_alarms_a_day"] == pytest.approx(23 / (47.5 / 24))
    assert (found["incidents"], found["incidents_found"], found["median_delay_seconds"]) == (1, 1, 1800.0)
    assert found["precision"] == pytest.approx(1 / 24)
    assert found["recall"] == 0.5
