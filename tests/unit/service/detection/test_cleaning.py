"""Windows set aside from training: bursts and repeated faults that were planted, and rare habits that were not."""

from __future__ import annotations

import numpy as np
import pytest

from service.detection.cleaning import MAX_SHARE, MIN_WINDOWS, set_aside
from service.detection.detector import Detector, Observed
from service.detection.ngrams import NGrams

CYCLE = (0, 1, 2, 3)
PROBE = (0, 1, 4, 4, 2, 3)
FAULT, RETRY = 9, 8
FAULTY = (*CYCLE, 0, 1, FAULT, RETRY, RETRY, RETRY)
CUT_SHORT = (0, 1)


def good(count: int) -> list[tuple[int, ...]]:
    """Return cycles of a machine, some of them probed: hardly ever any in most windows, often in others."""
    random = np.random.default_rng(0)
    windows = []
    for _ in range(count):
        probing = random.beta(0.5, 2.0)
        cycles = [PROBE if random.random() < probing else CYCLE for _ in range(random.integers(3, 7))]
        windows.append(tuple(token for cycle in cycles for token in cycle))
    return windows


def observed(windows: list[tuple[int, ...]]) -> list[Observed]:
    return [Observed(window, tuple((t, "") for t in window), np.zeros(len(window) + 1)) for window in windows]


def planted(bad: list[tuple[int, ...]], places: list[int]) -> tuple[list[tuple[int, ...]], set[int]]:
    windows = good(600)
    for window, place in zip(bad, places, strict=True):
        windows[place] = window
    return windows, set(places)


def test_of_good_windows_hardly_any_is_set_aside() -> None:
    assert len(set_aside(observed(good(600)))) <= 3


@pytest.mark.parametrize(
    "places",
    [pytest.param(list(range(200, 220)), id="a burst"), pytest.param(list(range(5, 600, 30)), id="again and again")],
)
@pytest.mark.parametrize("bad", [pytest.param(FAULTY, id="a fault"), pytest.param(CUT_SHORT, id="cut short")])
def test_bad_windows_that_resemble_only_each_other_are_set_aside(bad: tuple[int, ...], places: list[int]) -> None:
    windows, planted_at = planted([bad] * 20, places)
    found = {window.index for window in set_aside(observed(windows))}
    assert planted_at <= found
    assert len(found - planted_at) <= 3


def test_what_was_set_aside_is_strange_again_afterwards() -> None:
    windows, _ = planted([FAULTY] * 20, list(range(5, 600, 30)))

    def strength(learnt: list[tuple[int, ...]]) -> float:
        model = NGrams(learnt)
        read = [
            Observed(window, tuple((t, "") for t in window), np.array(model.surprisal(window)))
            for window in (*learnt, FAULTY)
        ]
        return Detector.fit(read[:-1]).judge(read[-1]).strength

    gone = {window.index for window in set_aside(observed(windows))}
    assert strength([window for index, window in enumerate(windows) if index not in gone]) > strength(windows) + 5


def test_why_is_told_and_the_user_can_overrule() -> None:
    windows, planted_at = planted([FAULTY] * 20, list(range(5, 600, 30)))
    found = set_aside(observed(windows))
    assert [window.strength for window in found] == sorted((window.strength for window in found), reverse=True)
    assert all(window.news > 0 for window in found if window.index in planted_at)
    kept = set_aside(observed(windows), keep=planted_at)
    assert not planted_at & {window.index for window in kept}


def test_what_is_frequent_is_a_habit() -> None:
    places = list(range(0, 600, 5))
    assert len(places) > 2 * MAX_SHARE * 600
    windows, habit = planted([FAULTY] * len(places), places)
    found = {window.index for window in set_aside(observed(windows))}
    assert len(found & habit) == 0


def test_never_more_than_the_share_is_set_aside() -> None:
    random = np.random.default_rng(1)
    bad = [tuple(random.integers(20, 200, 12).tolist()) for _ in range(60)]
    windows, _ = planted(bad, list(range(0, 600, 10)))
    assert len(set_aside(observed(windows))) <= MAX_SHARE * 600 + 1


def test_of_few_windows_none_is_set_aside() -> None:
    assert set_aside(observed(good(MIN_WINDOWS - 1))) == []
    assert set_aside([]) == []
