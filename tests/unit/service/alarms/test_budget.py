"""The threshold follows the source, and what it raises follows the budget."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.alarms.budget import CALIBRATION_WINDOWS, DAY_SECONDS, AlarmThreshold, Budget
from service.alarms.drift import DriftTest
from service.errors import BadSetting

WINDOWS_PER_DAY = 200.0
Windows = Iterable[tuple[float, float]]


def normal(
    days: float, shift: float = 0.0, scale: float = 1.0, seed: int = 0, start: float = 0.0
) -> Iterator[tuple[float, float]]:
    """Windows of a source: times, and strengths that are minus log10 of a uniform share, then shifted and stretched."""
    draw = random.Random(seed)
    for number in range(round(days * WINDOWS_PER_DAY)):
        yield start + number * DAY_SECONDS / WINDOWS_PER_DAY, shift - scale * math.log10(1 - draw.random())


def run(threshold: AlarmThreshold, windows: Windows, first: int = 0) -> list[int]:
    """Return which windows raise an alarm, each an incident of its own."""
    raised = []
    for index, (time, strength) in enumerate(windows, start=first):
        alarm = strength >= threshold.value
        threshold.follow(index, time, strength, opened=alarm)
        if alarm:
            raised.append(index)
    return raised


def stated(alarms: float) -> Budget:
    return Budget(alarms, stated=True)


def test_it_begins_at_what_the_calibration_gives() -> None:
    threshold = AlarmThreshold(stated(2), WINDOWS_PER_DAY)
    assert threshold.value == pytest.approx(-math.log10(2 / WINDOWS_PER_DAY), abs=1e-3)


@pytest.mark.parametrize("budget", [1.0, 5.0, 20.0])
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.0), (0.0, 2.5), (-0.3, 0.5)])
def test_a_source_unlike_its_calibration_keeps_to_the_budget(budget: float, shift: float, scale: float) -> None:
    threshold = AlarmThreshold(stated(budget), WINDOWS_PER_DAY)
    raised = run(threshold, normal(40, shift, scale))
    assert 0.8 <= len(raised) / (40 * budget) <= 1.25
    static = sum(strength >= -math.log10(budget / WINDOWS_PER_DAY) for _, strength in normal(40, shift, scale))
    assert (shift, scale) == (0.0, 1.0) or not 0.8 <= static / (40 * budget) <= 1.25


def test_a_source_that_changes_under_way_keeps_to_it_and_there_is_no_burst() -> None:
    threshold = AlarmThreshold(stated(5), WINDOWS_PER_DAY)
    windows = [*normal(20), *normal(20, 2.0, 2.0, seed=1, start=20 * DAY_SECONDS)]
    raised = run(threshold, windows)
    assert 0.8 <= len(raised) / 200 <= 1.25
    days = [windows[index][0] // DAY_SECONDS for index in raised]
    assert max(days.count(day) for day in set(days)) <= 12


def test_a_source_that_is_new_does_not_begin_with_a_burst() -> None:
    raised = run(AlarmThreshold(stated(2), WINDOWS_PER_DAY), normal(1, 3.0))
    assert len(raised) <= 6


def test_a_long_quiet_time_is_not_made_up_for() -> None:
    threshold = AlarmThreshold(stated(5), WINDOWS_PER_DAY)
    run(threshold, normal(10))
    quiet = [(time, 0.0) for time, _ in normal(30, start=10 * DAY_SECONDS)]
    run(threshold, quiet, first=2000)
    after = run(threshold, normal(2, seed=3, start=40 * DAY_SECONDS), first=8000)
    assert len(after) <= 2 * 5 + 8


def test_days_without_any_line_count_as_one() -> None:
    threshold = AlarmThreshold(stated(3), WINDOWS_PER_DAY)
    threshold.follow(0, 0.0, 0.1, opened=False)
    threshold.follow(1, 30 * DAY_SECONDS, 0.1, opened=False)
    assert threshold.owed == pytest.approx(3)


def test_a_clock_that_leaps_ahead_for_a_moment_owes_alarms_again_when_it_is_set_back() -> None:
    threshold = AlarmThreshold(stated(3), WINDOWS_PER_DAY)
    run(threshold, [*normal(1), (100 * 365 * DAY_SECONDS, 0.1)])
    run(threshold, [(DAY_SECONDS, 0.1)] * 2, first=500)
    threshold = AlarmThreshold(stated(3), WINDOWS_PER_DAY, json.loads(json.dumps(threshold.state())))
    before = threshold.owed
    run(threshold, normal(10, start=DAY_SECONDS), first=1000)
    assert threshold.owed - before == pytest.approx(3 * (10 - 1 / WINDOWS_PER_DAY))
    # Windows that are merely late, as sessions are, are of no day twice.
    before = threshold.owed
    late = [(time - (day % 2) * DAY_SECONDS, 0.1) for day in range(10) for time, _ in normal(1, start=11 * DAY_SECONDS)]
    run(threshold, late, first=5000)
    assert threshold.owed - before == pytest.approx(3, rel=0.01)


def test_windows_nobody_would_have_been_told_of_change_nothing_but_the_time() -> None:
    threshold = AlarmThreshold(stated(3), WINDOWS_PER_DAY)
    run(threshold, normal(5))
    before = threshold.state()
    for index, (time, _) in enumerate(normal(5, start=5 * DAY_SECONDS), start=1000):
        threshold.follow(index, time, 9.0, opened=False, counts=False)
    assert {**threshold.state(), "last": 0} == {**before, "last": 0}


def test_confirmed_faults_are_not_learned_and_can_be_learned_again() -> None:
    threshold = AlarmThreshold(stated(3), WINDOWS_PER_DAY)
    run(threshold, normal(2))
    plain = threshold.value
    for index in range(400, 430):
        threshold.follow(index, None, 7.0, opened=False)
    learned = threshold.value
    threshold.leave_out(range(400, 430))
    left_out = threshold.value
    threshold.leave_out(())
    assert left_out < learned
    assert abs(left_out - plain) < 0.8 * (learned - plain)
    assert threshold.value == learned


def test_a_budget_nobody_stated_takes_one_window_in_a_hundred() -> None:
    threshold = AlarmThreshold(Budget(), 4.0)
    raised = run(threshold, [(number * 21_600.0, strength) for number, (_, strength) in enumerate(normal(10))])
    assert threshold.value == pytest.approx(2.0, abs=0.7)
    assert 0.8 * 20 <= len(raised) <= 1.25 * 20


def test_the_first_day_of_a_budget_nobody_stated_raises_a_few_more_and_leaves_no_debt() -> None:
    day = [
        (time, 4.0 if number % 40 == 20 else strength) for number, (time, strength) in enumerate(normal(1, 0.0, 0.3))
    ]
    assert [index % 40 for index in run(AlarmThreshold(Budget(), WINDOWS_PER_DAY), day)] == [20] * 5
    assert len(run(AlarmThreshold(stated(1), WINDOWS_PER_DAY), day)) < 4
    days = 40
    assert len(run(AlarmThreshold(Budget(), WINDOWS_PER_DAY), normal(days, 1.0))) <= 1.25 * days + 3


@given(
    st.lists(st.tuples(st.floats(0, 12), st.booleans(), st.booleans()), max_size=60),
    st.integers(0, 60),
    st.floats(0.1, 50),
)
def test_a_restart_changes_nothing(windows: list[tuple[float, bool, bool]], cut: int, budget: float) -> None:
    def feed(threshold: AlarmThreshold, part: list[tuple[float, bool, bool]], first: int) -> list[float]:
        values = []
        for index, (strength, sampled, counts) in enumerate(part, start=first):
            opened = sampled and strength >= threshold.value
            threshold.follow(index, index * 60.0, strength, opened=opened, joined=not sampled, counts=counts)
            values.append(threshold.value)
        return values

    whole = AlarmThreshold(stated(budget), 100.0)
    values = feed(whole, windows, 0)
    first = AlarmThreshold(stated(budget), 100.0)
    found = feed(first, windows[:cut], 0)
    again = AlarmThreshold(stated(budget), 100.0, json.loads(json.dumps(first.state())))
    assert found + feed(again, windows[cut:], cut) == values
    assert again.state() == whole.state()
    assert all(math.isfinite(value) for value in values)


@pytest.mark.parametrize(
    ("text", "per_day", "said"),
    [("1", 1.0, "1 a day"), ("2/8h", 6.0, "2 every 8 hours"), ("0.5/7d", 0.5 / 7, "0.5 every 168 hours")],
)
def test_a_budget_is_read(text: str, per_day: float, said: str) -> None:
    assert Budget.parse(text).per_day == pytest.approx(per_day)
    assert str(Budget.parse(text)) == said


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "two", "2/", "2/8", "2/0h", "1e9"])
def test_what_is_no_budget_is_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(BadSetting, match="2/8h"):
        Budget.parse(text)


def test_cold_start_says_how_many_windows_are_missing() -> None:
    threshold = AlarmThreshold(stated(3), WINDOWS_PER_DAY)
    assert threshold.summary()["windows_missing"] == CALIBRATION_WINDOWS
    run(threshold, normal(1))
    assert threshold.summary()["windows_missing"] == 0


def test_drift_is_told_of_a_source_that_left_its_calibration_and_of_no_other() -> None:
    test = DriftTest()
    for _, strength in normal(50, seed=5):
        test.follow(strength)
        assert not test.drifted
    for _, strength in normal(1, shift=0.5, seed=6):
        test.follow(strength)
    assert test.drifted
    assert DriftTest(json.loads(json.dumps(test.state()))).drifted
    for _, strength in normal(2, seed=7):
        test.follow(strength)
    assert not test.drifted
