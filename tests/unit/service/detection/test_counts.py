"""Count distance: what it charges for, against a slow form that follows its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.detection import counts
from service.detection.counts import EXACT, FARTHER, MAX_LEVEL, SUPPORT, KnownWindows

OPEN, CLOSE, COPY, CHECK, ALARM = range(5)
GOOD = [[OPEN, COPY, CLOSE]] * 40 + [[OPEN, COPY, COPY, CLOSE]] * 40 + [[OPEN, COPY, COPY, COPY, CHECK, CLOSE]] * 8

windows = st.lists(st.integers(0, 4), min_size=1, max_size=12)


def level(count: int) -> int:
    return count if count <= EXACT else min(MAX_LEVEL, round(EXACT + 2 * math.log2(count / EXACT)))


def slow_nats(known: KnownWindows, window: list[int]) -> float:
    """Sum over good windows of the product over events, as the definition has it."""
    tokens = known.tokens.tolist()
    seen = [level(window.count(token)) for token in tokens] + [level(len(set(window) - set(tokens)))]
    total = 0.0
    for support, good in zip(known.support, known.levels.tolist(), strict=True):
        chance = (support / known.support.sum()) ** SUPPORT
        for event, (has, had) in enumerate(zip(seen, good, strict=True)):
            appear, vanish, shift = known.chances[:, event]
            if had == 0:
                chance *= (1 - appear) if has == 0 else appear * (1 - FARTHER) * FARTHER ** (has - 1)
            elif has == 0:
                chance *= vanish
            else:
                farther = (1 - FARTHER) * FARTHER ** (abs(has - had) - 1) / 2
                chance *= (1 - vanish) * ((1 - shift) if has == had else shift * farther)
        total += chance
    return -math.log(total)


@settings(max_examples=40, deadline=None)
@given(good=st.lists(windows, min_size=2, max_size=12), window=st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_distance_is_what_the_definition_says(good: list[list[int]], window: list[int]) -> None:
    known = KnownWindows.fit(good)
    assert known.nats(window) == pytest.approx(slow_nats(known, window), abs=1e-9)


@given(windows)
def test_order_does_not_matter(window: list[int]) -> None:
    known = KnownWindows.fit(GOOD)
    assert known.nats(window) == pytest.approx(known.nats(sorted(window)))


def test_what_varies_is_cheap_and_what_never_does_is_dear() -> None:
    known = KnownWindows.fit(GOOD)
    usual = known.nats([OPEN, COPY, COPY, CLOSE])
    one_copy_more = known.nats([OPEN, COPY, COPY, COPY, CLOSE])
    not_closed = known.nats([OPEN, COPY, COPY])
    never_seen = known.nats([OPEN, COPY, COPY, CLOSE, ALARM])
    assert usual < one_copy_more < not_closed
    assert one_copy_more < never_seen


def test_a_missing_event_is_named_with_what_was_expected() -> None:
    dearest = KnownWindows.fit(GOOD).differences([OPEN, COPY, COPY])[0]
    assert (dearest.token, dearest.seen, dearest.expected) == (CLOSE, 0, 1)


def test_unknown_events_are_one_difference() -> None:
    differences = KnownWindows.fit(GOOD).differences([OPEN, COPY, CLOSE, 77, 78, 78])
    assert [(d.token, d.seen, d.expected) for d in differences] == [(None, 3, 0)]


def test_a_seen_window_differs_in_nothing() -> None:
    assert KnownWindows.fit(GOOD).differences([CLOSE, COPY, OPEN]) == []


def test_kept_windows_are_bounded_and_the_best_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MAX_KEPT", 2)
    known = KnownWindows.fit(GOOD)
    assert sorted(known.support.tolist()) == [40, 40]
    assert np.isfinite(known.nats([OPEN, COPY, COPY, COPY, CHECK, CLOSE]))


def test_one_window_and_none() -> None:
    assert np.isfinite(KnownWindows.fit([[OPEN]]).nats([OPEN, ALARM]))
    with pytest.raises(ValueError, match="no windows"):
        KnownWindows.fit([])


@given(good=st.lists(windows, min_size=2, max_size=12), window=st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_the_nearest_are_those_that_cost_least_and_differ_as_told(good: list[list[int]], window: list[int]) -> None:
    known = KnownWindows.fit(good)
    found = known.nearest(window, len(known.levels) + 1)
    assert sorted(row for row, _ in found) == list(range(len(known.levels)))
    assert -math.log(sum(math.exp(-nats) for _, nats in found)) == pytest.approx(known.nats(window), abs=1e-9)
    assert [nats for _, nats in found] == sorted(nats for _, nats in found)
    assert known.differences(window) == known.differences(window, found[0][0])
    for item in known.differences(window, found[-1][0]):
        if item.token is not None:
            had = int(known.levels[found[-1][0]][known.tokens.tolist().index(item.token)])
            assert level(item.expected) == had != level(item.seen)


@given(good=st.lists(windows, min_size=1, max_size=12))
def test_every_window_finds_its_row(good: list[list[int]]) -> None:
    known = KnownWindows.fit(good)
    for window, row in zip(good, known.rows(good), strict=True):
        assert row is not None
        assert known.differences(window, row) == []
    assert known.rows([[99]]) == [None]
