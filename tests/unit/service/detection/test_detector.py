"""Tails, their combination, and the whole detector on a made-up machine."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detection.combining import Combination, UpperTail, threshold_nats
from service.detection.detector import COUNTS, EVENT, PARAMETER, SEQUENCE, SILENCE, Detector, Observed
from service.detection.ngrams import NGrams
from service.detection.ranges import Reading
from service.detection.saving import load_detector, save_detector
from service.evidence import weigh
from service.kinds import RARE_TRANSITION

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


def test_a_measurement_that_is_larger_by_its_last_digits_is_not_larger() -> None:
    tail = UpperTail([1.0] * 300, resolution=0.1)
    assert tail.nats(1.09) == pytest.approx(0.0)
    assert tail.nats(1.2) > math.log(300)


def test_the_smallest_of_the_largest_is_as_ordinary_as_those_that_are_not_kept() -> None:
    assert UpperTail([2.0] * 32, size=600).nats(2.0) == 0.0
    assert UpperTail([2.0] * 31 + [3.0], size=600).nats(3.0) > math.log(250)


def drawn(count: int, seed: int) -> list[dict[str, float]]:
    random = np.random.default_rng(seed)
    shared = random.normal(size=count)
    first, second = shared + random.normal(size=count), np.exp(shared + random.normal(size=count))
    return [{"a": float(a), "b": float(b)} for a, b in zip(first, second, strict=True)]


def combined(windows: list[dict[str, float]], **more: frozenset[str]) -> Combination:
    return Combination.fit(windows, ("a", "b"), **more)


def test_held_out_good_windows_pass_the_threshold_as_often_as_promised() -> None:
    combination = combined(drawn(4000, 0))
    strengths = np.array([combination.strength(window, 0.0) for window in drawn(20_000, 1)])
    for share in (0.01, 0.1):
        assert (strengths >= threshold_nats(share)).mean() == pytest.approx(share, rel=0.25)


def test_p_values_of_fresh_good_windows_are_uniform() -> None:
    combination = combined(drawn(4000, 0))
    found = np.sort([math.exp(-combination.strength(window, 0.0)) for window in drawn(4000, 1)])
    assert np.abs(found - np.arange(1, 4001) / 4000).max() < 0.05


def test_weak_signs_that_agree_outweigh_one_of_the_same_size() -> None:
    random = np.random.default_rng(0)
    combination = combined([{"a": float(a), "b": float(b)} for a, b in random.normal(size=(2000, 2))])
    assert combination.strength({"a": 2.0, "b": 2.0}, 0.0) > combination.strength({"a": 2.5, "b": 0.0}, 0.0) + 1


def test_what_hardly_ever_speaks_makes_the_others_no_quieter() -> None:
    random = np.random.default_rng(2)
    silent = [window | dict.fromkeys("cde", 0.0) for window in drawn(2000, 0)]
    noisy = [window | {name: float(random.exponential()) for name in "cde"} for window in drawn(2000, 0)]
    usual, strange = dict.fromkeys("cde", 0.0), {"a": 6.0, "b": 200.0}
    alone = combined(drawn(2000, 0)).strength(strange, 0.0)
    for windows in (silent, noisy):
        assert combined(windows).strength(strange | usual, 0.0) == pytest.approx(alone, rel=0.15)


def test_one_measurement_that_stands_alone_is_enough_unless_it_only_supports() -> None:
    random = np.random.default_rng(3)
    windows = [window | {"c": float(random.exponential())} for window in drawn(2000, 0)]
    strange = {"a": 0.0, "b": 1.0, "c": 25.0}
    assert combined(windows).strength(strange, 0.0) > threshold_nats(0.001)
    assert combined(windows, supporting=frozenset({"c"})).strength(strange, 0.0) < threshold_nats(0.01)


def test_a_window_its_model_has_learnt_from_shows_no_surprisal_and_still_teaches() -> None:
    good = observed([CYCLE * int(repeats) for repeats in np.random.default_rng(0).integers(3, 6, 200)])
    learnt = [replace(window, surprisal_nats=np.zeros(0)) for window in good[:150]]
    found = Detector.fit([*learnt, *good[150:]])
    assert found.combination.windows == 50
    assert found.combination.tails[COUNTS].size == 200
    assert found.combination.tails[EVENT].size == 50


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


def test_a_machine_that_repeats_one_cycle_raises_nothing_until_something_happens() -> None:
    def cycles(tokens: list[int], nats: float) -> Observed:
        gaps = np.where(np.array(tokens) == 0, 4.0, 2.0)
        surprisal = np.where(np.diff(tokens, prepend=tokens[-1]) % 4 == 1, nats, 6.0)
        return Observed(tuple(tokens), tuple((t, "") for t in tokens), surprisal, (3, *tokens[:-1]), gaps)

    detector = Detector.fit([cycles(CYCLE * 4, 0.009)] * 300)
    for tokens in (CYCLE * 4, (CYCLE * 5)[1:17], (CYCLE * 5)[2:18]):
        for noise in (-1e-3, 1e-12, 1e-3):
            assert detector.judge(cycles(tokens, 0.009 + noise)).strength < threshold_nats(0.5)
    lacking = [*CYCLE, 0, 1, 3, *CYCLE, *CYCLE, 0]
    assert threshold_nats(0.001) < detector.judge(cycles(lacking, 0.009)).strength < 1000


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


def test_a_restored_detector_judges_the_same_to_the_last_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(1)

    def machine(count: int, *, good: bool) -> list[Observed]:
        windows = [CYCLE * int(repeats) + ([] if good else [FAULT, 0]) for repeats in random.integers(3, 6, count)]
        return [
            replace(
                window,
                shapes=tuple((f"fault {FAULT}" if token == FAULT else token, "") for token in window.tokens),
                before=(0, *window.tokens[:-1]),
                gaps=random.exponential(size=len(window.tokens)) * (1 if good else 50),
                readings=tuple(
                    Reading(index, (token, 1, 0), float(random.normal(30 * (not good), 1)))
                    for index, token in enumerate(window.tokens)
                ),
                code_excess=random.normal(size=len(window.tokens)),
            )
            for window in observed(windows)
        ]

    fitted = Detector.fit(machine(300, good=True))
    save_detector(tmp_path, fitted)
    restored = load_detector(tmp_path)
    for window in [*machine(20, good=True), *machine(20, good=False)]:
        assert restored.judge(window) == fitted.judge(window)
        assert restored.memory.counts.differences(window.tokens) == fitted.memory.counts.differences(window.tokens)
    strange = fitted.judge(machine(1, good=False)[0])
    assert strange.alone[SILENCE] > 1
    assert strange.alone[PARAMETER] > 1


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


RARE, RUN, COSTS = 7, 20, 6.0


def costly(tokens: list[int]) -> Observed:
    """Return a window whose model says that a rare event costs as much every time."""
    nats = [COSTS if token == RARE else 0.1 for token in tokens]
    return Observed(tuple(tokens), tuple((token, "") for token in tokens), np.array(nats))


@pytest.fixture(scope="module")
def repeating() -> Detector:
    """Good windows, of which one in ten has a rare event that repeats itself."""
    sizes = np.random.default_rng(0).integers(6, 9, 300).tolist()
    windows = [[*CYCLE * 3, *[RARE] * (RUN * (place % 10 == 0)), *CYCLE * size] for place, size in enumerate(sizes)]
    return Detector.fit([costly(window) for window in windows])


def test_a_rare_line_that_repeats_itself_is_less_strange_than_one_that_comes_back_as_often(repeating: Detector) -> None:
    again_and_again = costly([*CYCLE * 3, *[RARE, *CYCLE] * RUN])
    in_a_row = costly([*CYCLE * 3, *[RARE] * RUN, *CYCLE * RUN])
    assert repeating.judge(again_and_again).parts[SEQUENCE] > 2 * repeating.judge(in_a_row).parts[SEQUENCE]


def test_the_first_lines_of_a_run_carry_it(repeating: Detector) -> None:
    window = costly([*CYCLE * 3, *[RARE] * (2 * RUN), *CYCLE * 2])
    carried = weigh(repeating, window, repeating.judge(window))[RARE_TRANSITION].lines
    start = 3 * len(CYCLE)
    assert carried[start] > carried[start + 1] > 4 * carried[start + RUN]
