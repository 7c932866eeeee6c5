"""Measurements that stand alone: silences, numbers outside their range, unfamiliar codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.detection.codes import KnownCodes, deviations
from service.detection.ranges import KnownRanges, Reading
from service.detection.silence import KEPT, KnownGaps

CYCLE, SHIFT_END, NOBODY_KNOWS = 5, 6, 77
LOAD = (3, 1, 0)


@pytest.fixture(scope="module")
def gaps() -> KnownGaps:
    random = np.random.default_rng(0)
    before = [CYCLE] * 5000 + [SHIFT_END] * 100
    return KnownGaps.fit(before, np.concatenate([random.exponential(2.0, 5000), random.uniform(30_000, 60_000, 100)]))


def test_a_silence_is_as_strange_as_it_is_after_that_event(gaps: KnownGaps) -> None:
    in_a_cycle = gaps.longest([CYCLE, CYCLE], [1.0, 1800.0])
    overnight = gaps.longest([CYCLE, SHIFT_END], [1.0, 55_000.0])
    assert in_a_cycle is not None
    assert overnight is not None
    assert (in_a_cycle.event, in_a_cycle.before, in_a_cycle.seconds) == (1, CYCLE, 1800.0)
    assert in_a_cycle.usual_seconds < 60
    assert in_a_cycle.nats > 10
    assert overnight.nats < 3


def test_after_an_event_nobody_knows_a_silence_is_compared_with_all(gaps: KnownGaps) -> None:
    known, unknown = (gaps.longest([token], [500_000.0]) for token in (SHIFT_END, NOBODY_KNOWS))
    assert known is not None
    assert unknown is not None
    assert unknown.nats > 5


def test_usual_gaps_say_next_to_nothing_and_a_longer_one_never_less(gaps: KnownGaps) -> None:
    found = [gaps.longest([CYCLE], [seconds]) for seconds in (0.0, 1.0, 8.0, 20.0, 40.0, 400.0)]
    nats = [gap.nats if gap else 0.0 for gap in found]
    assert nats[:2] == [0.0, 0.0]
    assert nats == sorted(nats)


def test_what_is_kept_of_gaps_is_bounded(gaps: KnownGaps) -> None:
    assert {len(sample) for sample in gaps.largest.values()} == {KEPT}


def windows(values: np.ndarray, per_window: int = 2) -> tuple[list[list[Reading]], list[int]]:
    parts = np.array_split(values, len(values) // per_window)
    return (
        [[Reading(place, LOAD, float(value)) for place, value in enumerate(part)] for part in parts],
        [number * 8 // len(parts) for number in range(len(parts))],
    )


def test_a_number_far_outside_its_range_is_named_with_the_range() -> None:
    random = np.random.default_rng(0)
    known = KnownRanges.fit(*windows(random.uniform(20, 40, 600).round(1)))
    found = known.farthest([Reading(0, LOAD, 30.0), Reading(1, LOAD, 95.0)])
    assert found is not None
    assert (found.reading.event, found.reading.value) == (1, 95.0)
    assert (found.low, found.high) == (pytest.approx(20, abs=0.2), pytest.approx(40, abs=0.2))
    assert found.nats > 10
    below = known.farthest([Reading(0, LOAD, -50.0)])
    assert below is not None
    assert below.nats > 10
    assert known.farthest([Reading(0, LOAD, 30.0)]) is None
    assert known.farthest([Reading(0, (3, 2, 0), 1e9)]) is None


def test_a_value_drawn_from_a_heavy_tail_is_measured_by_its_logarithm() -> None:
    random = np.random.default_rng(1)
    values = np.exp(random.normal(0, 1.5, 4000))
    known = KnownRanges.fit(*windows(values))
    assert known.ranges[LOAD].logarithmic
    a_little_more = known.farthest([Reading(0, LOAD, float(values.max()) * 1.5)])
    assert a_little_more is not None
    assert a_little_more.nats < 12


def test_a_counter_leaves_its_range_every_day_and_has_none() -> None:
    assert not KnownRanges.fit(*windows(np.arange(1000.0))).ranges


@pytest.mark.parametrize("falling", [False, True])
def test_what_runs_away_with_time_has_no_range_though_it_wavers(falling: bool) -> None:
    random = np.random.default_rng(2)
    filled = np.arange(1000.0) + random.normal(0, 100, 1000)
    assert not KnownRanges.fit(*windows(-filled if falling else filled)).ranges


def test_what_follows_the_hour_has_a_range_as_wide_as_it_strays() -> None:
    random = np.random.default_rng(3)
    hours = np.arange(1500) / 1500 * 72
    warm = 62 + 1.5 * np.sin(hours / 24 * 2 * np.pi) + hours % 48 / 48 + random.normal(0, 0.3, 1500)
    known = KnownRanges.fit(*windows(warm))
    assert known.farthest([Reading(0, LOAD, float(warm.max()) + 0.3)]) is None
    hot = known.farthest([Reading(0, LOAD, 80.0)])
    assert hot is not None
    assert (hot.low, hot.high) == (pytest.approx(warm.min()), pytest.approx(warm.max()))
    assert hot.nats > 10


@pytest.mark.parametrize("values", [np.full(500, 7.0), np.tile([1.0, 2.0, 3.0], 200), np.linspace(0, 1, 20)])
def test_too_few_values_or_choices_are_no_range(values: np.ndarray) -> None:
    assert not KnownRanges.fit(*windows(values)).ranges


@example([0.0] * 40 + [place * 1e-170 for place in range(30)] + [1e136], 0.0)
@given(st.lists(st.floats(-1e300, 1e300), min_size=60, max_size=80), st.floats(-1e300, 1e300))
def test_no_number_breaks_a_range(values: list[float], value: float) -> None:
    known = KnownRanges.fit(*windows(np.array(values)))
    found = known.farthest([Reading(0, LOAD, value)])
    assert found is None or found.nats >= 0


def test_rare_codes_deviate_and_usual_ones_do_not() -> None:
    known = KnownCodes(np.array([[0.6, 0.39, 0.01], [0.5, 0.49, 0.01]]))
    random = np.random.default_rng(0)
    usual = [deviations(known.excess(random.choice(2, (64, 2), p=[0.6, 0.4]))) for _ in range(50)]
    assert max(usual) < 1 < deviations(known.excess(np.full((64, 2), 2)))


def test_the_number_after_the_largest_of_some_that_lie_far_apart_says_nothing() -> None:
    random = np.random.default_rng(0)
    numbers = np.array([101.0, 235, 270, 340, 371, 503, 631, 806, 1131, 1268])
    known = KnownRanges.fit(*windows(random.choice(numbers, 600)))
    assert known.farthest([Reading(0, LOAD, 1269.0)]) is None
    far = known.farthest([Reading(0, LOAD, 5000.0)])
    assert far is not None
    assert far.high == pytest.approx(1268)
