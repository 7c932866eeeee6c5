"""Tails, their combination, and the whole detector on a made-up machine."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detection.combining import Combination, UpperTail, threshold_nats
from service.detection.detector import COUNTS, EVENT, Detector, Observed
from service.detection.ngrams import NGrams

CYCLE = [0, 1, 2, 3]
FAULT = 9


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_larger_measurement_never_says_less(sample: list[float], value: float, more: float) -> None:
    tail = UpperTail(sample)
    assert tail.nats(value) <= tail.nats(value + more)


def test_inside_the_sample_the_tail_counts() -> None:
    tail = UpperTail(list(range(99)))
    assert tail.nats(50) == pytest.approx(-math.log(50 / 100))
    assert tail.nats(-1) == pytest.approx(0.0)


def test_held_out_good_windows_pass_the_threshold_as_often_as_promised() -> None:
    random = np.random.default_rng(0)

    def good(count: int) -> dict[str, np.ndarray]:
        shared = random.normal(size=count)
        return {"a": shared + random.normal(size=count), "b": np.exp(shared + random.normal(size=count))}

    combination = Combination.fit(good(4000))
    test = good(20_000)
    strengths = np.array(
        [combination.strength({"a": a, "b": b}, 0.0) for a, b in zip(test["a"], test["b"], strict=True)]
    )
    for share in (0.01, 0.1):
        assert (strengths >= threshold_nats(share)).mean() == pytest.approx(share, rel=0.25)


def test_weak_signs_that_agree_outweigh_one_of_the_same_size() -> None:
    random = np.random.default_rng(0)
    combination = Combination.fit({"a": random.normal(size=2000), "b": random.normal(size=2000)})
    assert combination.strength({"a": 2.0, "b": 2.0}, 0.0) > combination.strength({"a": 2.5, "b": 0.0}, 0.0) + 1


def observed(windows: list[list[int]]) -> list[Observed]:
    model = NGrams([CYCLE * 200])
    return [Observed(tuple(w), tuple((t, "") for t in w), np.array(model.surprisal(w, [2, 3]))) for w in windows]


@pytest.fixture(scope="module")
def detector() -> Detector:
    random = np.random.default_rng(0)
    windows = [CYCLE * int(repeats) for repeats in random.integers(3, 6, 300)]
    for window in windows[::20]:
        window.insert(len(window) // 2, 2)
    return Detector.fit(observed(windows))


def test_a_good_window_raises_nothing(detector: Detector) -> None:
    assert detector.judge(observed([CYCLE * 4])[0]).strength < threshold_nats(0.01)


@pytest.mark.parametrize(
    "window",
    [
        pytest.param([0, 1, 2] * 4, id="an expected event is missing"),
        pytest.param([3, 2, 1, 0] * 4, id="the order is turned round"),
        pytest.param([*CYCLE, *[1] * 40, *CYCLE], id="a burst"),
        pytest.param([*CYCLE * 2, FAULT, *CYCLE * 2], id="an event never seen"),
    ],
)
def test_what_is_wrong_raises_an_alarm(detector: Detector, window: list[int]) -> None:
    assert detector.judge(observed([window])[0]).strength > threshold_nats(0.01)


def test_parts_name_what_speaks(detector: Detector) -> None:
    judged = detector.judge(observed([[0, 1, 2] * 4])[0])
    assert max(judged.parts, key=lambda part: judged.parts[part]) in {COUNTS, "composition", "sequence", EVENT}
    assert judged.news == 0.0
    assert detector.judge(observed([[*CYCLE, FAULT]])[0]).news == pytest.approx(math.log(301 / 0.5))


def test_judging_is_repeatable(detector: Detector) -> None:
    window = observed([[*CYCLE, FAULT, 0, 0]])[0]
    assert detector.judge(window) == detector.judge(window)


def test_counts_of_good_windows_say_no_more_where_there_are_more_kinds_of_events() -> None:
    random = np.random.default_rng(0)
    many = random.random(400) < 0.5
    windows = [
        random.choice(np.arange(10, 60) if more else np.arange(4), 25 if more else 2, replace=False) for more in many
    ]
    read = [Observed(tuple(w.tolist()), tuple((t, "") for t in w.tolist()), np.ones(len(w))) for w in windows]
    detector = Detector.fit(read[:300])
    said = np.array([detector.judge(window).parts[COUNTS] for window in read[300:]])
    assert abs(np.median(said[many[300:]]) - np.median(said[~many[300:]])) < 1.0
