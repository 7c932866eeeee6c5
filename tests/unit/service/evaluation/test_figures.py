from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.alarms.incidents import MAX_WINDOWS
from service.evaluation.figures import (
    DAY,
    a_day,
    area_under_roc,
    at_budget,
    average_precision,
    delays,
    f1,
    interval,
    interval_of,
    joined_alarms,
    strongest_alarms,
)
from service.evaluation.labels import Label, marked
from service.evaluation.measuring import measure

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


def test_windows_without_a_time_are_drawn_one_by_one_and_are_no_days() -> None:
    random = np.random.default_rng(2)
    # As one block, those without a time would move the figure by as much as they differ from the others.
    bad = random.random(1200) < np.where(np.arange(1200) < 600, 0.1, 0.5)

    def found(starts: np.ndarray | None) -> tuple[float, float]:
        return interval(lambda at: bad[at].mean(), bad, starts)

    starts = np.arange(1200) * DAY / 20
    starts[600:] = np.nan
    low, high = found(starts)
    alone = found(None)
    assert high - low < 2 * (alone[1] - alone[0])
    # Three days are too few to be drawn, however many windows have no time.
    starts[:600] = np.arange(600) % 3 * DAY
    assert found(starts) == found(np.zeros(1200))


def test_an_interval_of_values_is_always_the_same_and_narrows_with_more_of_them() -> None:
    few, many = [0.0, 1.0] * 5, [0.0, 1.0] * 500
    low, high = interval_of(np.mean, few) or []
    assert 0 < low < 0.5 < high < 1
    assert interval_of(np.mean, few) == [low, high]
    narrow = interval_of(np.mean, many) or []
    assert narrow[1] - narrow[0] < (high - low) / 4
    low, high = interval_of(np.median, [1.0, 2.0, 3.0, 4.0, 500.0]) or []
    assert 1 <= low < 3 < high <= 500


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.0, 1.0]])
def test_what_is_all_alike_has_no_interval(values: list[float]) -> None:
    assert interval_of(np.mean, values) is None


def test_figures_of_windows_that_are_alike_however_drawn_have_no_interval() -> None:
    windows = [window(n, 3.0 if n == 4 else 0.1) for n in range(160)]
    labels = [Label(0, None, windows[4]["start"], windows[4]["start"])]
    found = measure(windows, labels, marked(windows, labels))
    assert (found["window_auroc"], found["window_auroc_95"]) == (1.0, None)
    assert (found["window_f1"], found["window_f1_95"]) == (0.0, None)


@pytest.mark.parametrize("days", [5, 40])
def test_alarms_that_come_together_say_less_of_a_day_than_as_many_apart(days: int) -> None:
    apart, (low, high) = a_day((np.arange(20) * DAY * days / 20).tolist(), 0.0, days * DAY)
    together, (lowest, highest) = a_day([DAY / 200] * 20, 0.0, days * DAY)
    assert apart == together == 20 / days
    assert lowest == 0 < low < apart < high < highest


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


def evenly(count: int, every: int = 8) -> tuple[list[dict[str, Any]], list[Label]]:
    """Two days of windows and more, of which every so many is an alarm, every other of these true and later found."""
    windows = [window(n, 0.1) for n in range(count)]
    labels = []
    for number, n in enumerate(range(0, count, every)):
        windows[n] = window(n, 3.0 + n / 1000, f"i-{n}")
        if number % 2:
            labels.append(Label(number, None, windows[n]["start"] - 60 * number, windows[n]["end"], name=str(number)))
        else:
            at = windows[n + every // 2]["start"]
            labels.append(Label(number, None, at, at + 60, name=str(number)))
    return windows, labels


def measured(windows: list[dict[str, Any]], labels: list[Label]) -> dict[str, Any]:
    return measure(windows, labels, marked(windows, labels))


def test_every_figure_that_is_no_count_has_its_interval() -> None:
    windows, labels = evenly(160)
    found = measured(windows, labels)
    named = [name.removesuffix("_95") for name in found if name.endswith("_95")]
    budgets = [f"{what}_at_{budget}_a_day" for budget in (1, 5, 20) for what in ("precision", "recall")]
    for name in ("recall", "precision", "alarms_a_day", "false_alarms_a_day", "median_delay_seconds", *budgets):
        assert name in named
        low, high = found[f"{name}_95"]
        assert low < found[name] < high, name
    assert measured(windows, labels) == found


def test_intervals_are_of_incidents_and_alarms_and_not_of_how_many_windows_there_are() -> None:
    windows, labels = evenly(160)
    quiet = [window(n, 0.1) for n in range(160, 1600)]
    found, longer = measured(windows, labels), measured([*windows, *quiet], labels)
    for name in ("recall", "precision", "median_delay_seconds"):
        assert longer[f"{name}_95"] == found[f"{name}_95"]
    twice = measured(*evenly(320))
    for name in ("recall", "precision"):
        assert np.ptp(twice[f"{name}_95"]) < np.ptp(found[f"{name}_95"])


def test_a_window_without_a_time_leaves_the_clock_to_those_that_have_one() -> None:
    windows, labels = evenly(160)
    found = measured(windows, labels)
    untimed = [window(n, 9.0, "i-untimed") | {"start": None, "end": None, "key": "lot 7"} for n in range(500, 503)]
    labels.append(Label(len(labels), None, key="lot 7", name="lot"))
    mixed = measured([*untimed, *windows], labels)
    assert (found["windows_without_a_time"], mixed["windows_without_a_time"]) == (0, 3)
    by_the_clock = [name for name in found if name.removesuffix("_95").endswith(("_a_day", "days", "_seconds"))]
    assert len(by_the_clock) > 10
    assert {name: mixed[name] for name in by_the_clock} == {name: found[name] for name in by_the_clock}
    assert (mixed["incidents"], mixed["alarms"]) == (found["incidents"] + 1, found["alarms"] + 1)
    none = [*untimed, *({**row, "start": None, "end": None} for row in windows)]
    alone = measured(none, labels)
    assert not [name for name in alone if name in by_the_clock]
    assert alone["windows_without_a_time"] == len(none)


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


def test_marked_windows_join_as_the_strongest_do() -> None:
    strengths = [9.0, 0.1, 8.0, 0.1, 0.1, 7.0, 0.1, 0.1, 6.0, *[0.1] * 11]
    windows = [window(n, strength, hours=0.1) for n, strength in enumerate(strengths)]
    windows += [window(n, 9.0, hours=0.1) | {"source": "oven"} for n in (0, 1)]
    marks = np.array([row["strength"] > 1 for row in windows])
    assert joined_alarms(windows, marks) == [[20, 21], [0, 2], [5], [8]]
    apart = [window(n, strength, hours=3.0) for n, strength in enumerate(strengths)]
    assert joined_alarms(apart, marks[:20]) == [[0], [2], [5], [8]]
    assert joined_alarms(windows, ~marks & marks) == []
    long = [window(n, 9.0) for n in range(MAX_WINDOWS + 1)]
    assert [len(alarm) for alarm in joined_alarms(long, np.ones(len(long), bool))] == [MAX_WINDOWS, 1]
