"""Simple rules: they mark what they say they mark, and are measured as ours is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import UNSEEN
from service.detection.counts import KnownWindows
from service.evaluation.baselines import (
    FAR_COUNTS,
    NEW_COUNTS,
    NEW_LINE,
    OF_ALARMS,
    OF_WINDOWS,
    Lines,
    NearestCounts,
    rows,
)
from service.evaluation.labels import Label, marked

WINDOWS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=8)
PUMP, DOOR, BELT = 2, 3, 4


def of(counts: tuple[int, int]) -> list[int]:
    return [PUMP] * counts[0] + [DOOR] * counts[1] + [BELT]


@given(WINDOWS, st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_nothing_is_nearer_than_a_known_good_window_with_the_same_counts(
    known: list[tuple[int, int]], other: tuple[int, int]
) -> None:
    windows = KnownWindows.fit([of(counts) for counts in known])
    nearest = NearestCounts(windows)
    assert all(nearest.distance(of(counts)) == 0 for counts in known)
    assert (nearest.distance(of(other)) == 0) == (windows.rows([of(other)]) != [None])
    assert nearest.distance([*of(known[0]), UNSEEN]) > 0


def test_the_distance_is_the_least_difference_summed_over_events() -> None:
    nearest = NearestCounts(KnownWindows.fit([of((4, 0)), of((4, 0)), of((0, 3))]))
    assert nearest.distance(of((2, 0))) == 2
    assert nearest.distance(of((1, 2))) == 2
    assert nearest.distance([*of((4, 0)), UNSEEN, UNSEEN]) == 2
    # The like of a window that came twice is there without it; the one that came once is seven away from the rest.
    assert nearest.threshold == 7


def test_of_a_hundred_known_good_windows_one_may_be_stranger_than_the_threshold() -> None:
    usual, odd, odder = [of((1, 1))] * 198, of((1, 3)), of((4, 4))
    assert NearestCounts(KnownWindows.fit([*usual, odd, odder])).threshold == 2
    assert NearestCounts(KnownWindows.fit([*usual, odder])).threshold == 0


def evaluated(lines: list[Lines], bad: set[int]) -> dict[str, dict[str, Any]]:
    known = KnownWindows.fit([*[of((1, 1))] * 150, of((2, 1)), of((0, 1))])
    windows: list[dict[str, Any]] = [
        {"source": "press", "index": n, "key": None, "start": 3600.0 * n, "end": 3600.0 * n + 1800}
        for n in range(len(lines))
    ]
    labels = [Label(n, None, 3600.0 * n + 1, 3600.0 * n + 2) for n in sorted(bad)]
    return {row["name"]: row for row in rows(known, windows, lines, labels, marked(windows, labels))}


def test_each_rule_is_measured_over_the_windows_that_it_marks() -> None:
    lines = [Lines(of((1, 1)), new=False) for _ in range(48)]
    lines[5] = lines[20] = Lines([*of((1, 1)), UNSEEN], new=True)
    lines[30] = Lines(of((1, 3)), new=False)
    lines[40] = lines[41] = Lines(of((9, 9)), new=False)
    found = evaluated(lines, {5, 41})
    news, counts, far = found[NEW_LINE], found[NEW_COUNTS], found[FAR_COUNTS]
    assert [found[name]["alarm_windows"] for name in (NEW_LINE, NEW_COUNTS, FAR_COUNTS)] == [2, 5, 3]
    assert (news["recall"], news["alarms"], news["false_alarms"]) == (0.5, 2, 1)
    # One window after another is one alarm.
    assert (counts["recall"], counts["alarms"], counts["false_alarms"]) == (1.0, 4, 2)
    assert (far["recall"], far["alarms"], far["false_alarms"]) == (0.5, 2, 1)
    assert news["false_alarms_a_day"] == pytest.approx(1 / (47.5 / 24))
    assert news["window_f1"] == 0.5
    # Counts that are farther rank higher; that they are new alone ranks all five alike.
    assert (far["window_ap"], counts["window_ap"]) == (pytest.approx(0.45), pytest.approx(0.4))
    low, high = far["window_auroc_95"]
    assert low <= far["window_auroc"] <= high


def test_a_rule_that_marks_nearly_everything_is_not_credited_with_what_its_one_alarm_touches() -> None:
    found = evaluated([Lines(of((n % 7 + 3, 1)), new=n == 9) for n in range(48)], {9, 30})
    assert found[NEW_COUNTS]["alarm_windows"] > 40
    assert set(OF_WINDOWS) <= set(found[NEW_COUNTS])
    assert not set(OF_ALARMS) & set(found[NEW_COUNTS])
    assert found[NEW_LINE]["recall"] == 0.5


def test_where_only_one_window_was_learnt_from_none_is_too_far() -> None:
    assert NearestCounts(KnownWindows.fit([of((1, 1))])).threshold == np.inf
