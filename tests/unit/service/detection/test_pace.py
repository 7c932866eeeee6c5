"""How much slower than usual a window is, over all its gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detection.detector import PACE, SILENCE, Detector, Observed
from service.detection.pace import MIN_GAPS, MOST, KnownPaces

CALLED, ANSWERED, DONE = 2, 3, 4
STEPS = (CALLED, ANSWERED, DONE)
USUAL_SECONDS = 0.010


def window(random: np.random.Generator, steps: int = 10, slower: float = 1.0) -> Observed:
    """Requests of three lines; from the first to the second takes ten milliseconds, hardly ever half a second."""
    tokens = STEPS * steps
    gaps = USUAL_SECONDS * random.lognormal(0.0, 0.4, len(tokens))
    gaps[1::3] *= np.where(random.random(steps) < 0.02, 50.0, 1.0) * slower
    shapes = tuple((token, "") for token in tokens)
    return Observed(tokens, shapes, random.exponential(0.1, len(tokens)), (DONE, *tokens[:-1]), gaps)


@pytest.fixture(scope="module")
def detector() -> Detector:
    random = np.random.default_rng(0)
    return Detector.fit([window(random, int(steps)) for steps in random.integers(1, 20, 200)])


def test_many_steps_a_bit_slower_are_told_where_no_single_one_would_be(detector: Detector) -> None:
    slow = detector.judge(window(np.random.default_rng(1), slower=4.0))
    assert slow.alone[PACE] > 3
    assert slow.alone[PACE] > slow.alone[SILENCE] + 2


def test_one_long_wait_is_a_silence_and_no_slower_pace(detector: Detector) -> None:
    random = np.random.default_rng(2)
    once = window(random)
    once.gaps[4] = 3600.0
    judged = detector.judge(once)
    assert judged.alone[PACE] == 0
    assert judged.alone[SILENCE] > 3


def test_good_windows_of_any_length_seldom_seem_slow(detector: Detector) -> None:
    random = np.random.default_rng(3)
    for steps in (1, 10, 200):
        said = [detector.judge(window(random, steps)).alone[PACE] for _ in range(200)]
        assert np.mean(np.array(said) > 1) < 0.03


def test_where_good_windows_never_vary_a_moment_more_is_nothing() -> None:
    tokens = STEPS * 10
    shapes = tuple((token, "") for token in tokens)
    same = Observed(tokens, shapes, np.full(len(tokens), 0.1), (DONE, *tokens[:-1]), np.full(len(tokens), 1.0))
    jitter = Observed(tokens, shapes, same.surprisal_nats, same.before, np.full(len(tokens), 1.05))
    assert Detector.fit([same] * 60).judge(jitter).alone[PACE] == 0


def test_what_is_slow_is_named_with_what_is_usual() -> None:
    before, tokens = [CALLED, ANSWERED] * 50, [ANSWERED, DONE] * 50
    known = KnownPaces.fit(before, tokens, np.array([0.01, 1.0] * 50))
    found = known.slowness([CALLED, ANSWERED, DONE], [ANSWERED, DONE, CALLED], np.array([0.4, 1.0, 9.0]))
    assert found is not None
    assert (found.event, found.before, found.seconds, found.compared) == (0, CALLED, 0.4, 2)
    assert found.usual_seconds == pytest.approx(0.01)
    assert list(found.slow) == [0]
    assert known.slowness([CALLED], [ANSWERED], np.array([0.001])) is None


def test_a_pair_seen_too_seldom_says_nothing() -> None:
    few = MIN_GAPS - 1
    known = KnownPaces.fit([CALLED] * few, [ANSWERED] * few, np.ones(few))
    assert known.excess([CALLED], [ANSWERED], np.array([1e6])) == [None]
    assert known.mean([CALLED], [ANSWERED], np.array([1e6])) == 0.0


@given(st.lists(st.floats(0, 1e9), min_size=MIN_GAPS, max_size=60), st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_longer_gap_is_never_less_slow_and_none_counts_without_bound(
    gaps: list[float], seconds: float, more: float
) -> None:
    known = KnownPaces.fit([CALLED] * len(gaps), [ANSWERED] * len(gaps), np.array(gaps))
    first, second = known.excess([CALLED] * 2, [ANSWERED] * 2, np.array([seconds, seconds + more]))
    assert first is not None
    assert second is not None
    assert -MOST <= first <= second <= MOST
