"""Windows set aside from training: bursts and repeated faults that were planted, and rare habits that were not."""

from __future__ import annotations

from dataclasses import replace

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
    assert len(set_aside(observed(good(600)), in_time=False)) <= 3


@pytest.mark.parametrize(
    "places",
    [pytest.param(list(range(200, 220)), id="a burst"), pytest.param(list(range(5, 600, 30)), id="again and again")],
)
@pytest.mark.parametrize("bad", [pytest.param(FAULTY, id="a fault"), pytest.param(CUT_SHORT, id="cut short")])
def test_bad_windows_that_resemble_only_each_other_are_set_aside(bad: tuple[int, ...], places: list[int]) -> None:
    windows, planted_at = planted([bad] * 20, places)
    found = {window.index for window in set_aside(observed(windows), in_time=False)}
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

    gone = {window.index for window in set_aside(observed(windows), in_time=False)}
    assert strength([window for index, window in enumerate(windows) if index not in gone]) > strength(windows) + 5


def test_why_is_told_and_the_user_can_overrule() -> None:
    windows, planted_at = planted([FAULTY] * 20, list(range(5, 600, 30)))
    found = set_aside(observed(windows), in_time=False)
    assert [window.strength for window in found] == sorted((window.strength for window in found), reverse=True)
    assert all(window.news > 0 for window in found if window.index in planted_at)
    kept = set_aside(observed(windows), keep=planted_at, in_time=False)
    assert not planted_at & {window.index for window in kept}


def test_what_is_frequent_is_a_habit() -> None:
    places = list(range(0, 600, 5))
    assert len(places) > 2 * MAX_SHARE * 600
    windows, habit = planted([FAULTY] * len(places), places)
    found = {window.index for window in set_aside(observed(windows), in_time=False)}
    assert len(found & habit) == 0


def test_never_more_than_the_share_is_set_aside() -> None:
    random = np.random.default_rng(1)
    bad = [tuple(random.integers(20, 200, 12).tolist()) for _ in range(60)]
    windows, _ = planted(bad, list(range(0, 600, 10)))
    assert len(set_aside(observed(windows), in_time=False)) <= MAX_SHARE * 600 + 1


def test_of_few_windows_none_is_set_aside() -> None:
    assert set_aside(observed(good(MIN_WINDOWS - 1)), in_time=False) == []
    assert set_aside([], in_time=True) == []


def cut(windows: list[tuple[int, ...]]) -> list[Observed]:
    return [replace(window, surprisal_nats=np.zeros(len(window.tokens))) for window in observed(windows)]


def stream(count: int) -> list[tuple[int, ...]]:
    """Return windows of a machine that repeats one cycle, with what it rarely does in one window of thirty."""
    random = np.random.default_rng(2)
    windows = []
    for index in range(count):
        cycles = [CYCLE] * 4
        if index % 30 == 11:
            cycles[random.integers(4)] = (0, 1, 5, 6, 2, 3)
        windows.append(tuple(token for cycle in cycles for token in cycle)[:16])
    return windows


def test_what_a_stream_does_rarely_and_again_is_a_habit() -> None:
    assert len(set_aside(cut(stream(600)), in_time=True)) <= 1


@pytest.mark.parametrize("gone_on", [1, 6, 15])
def test_what_a_stream_did_at_one_time_alone_is_set_aside(gone_on: int) -> None:
    windows = stream(600)
    for place in range(300, 300 + gone_on):
        windows[place] = (0, 1, *[7] * 12, 2, 3)
    found = {window.index for window in set_aside(cut(windows), in_time=True)}
    assert set(range(300, 300 + gone_on)) <= found
    assert len(found) <= gone_on + 1
    kept = set_aside(cut(windows), keep=range(300, 300 + gone_on), in_time=True)
    assert not {window.index for window in kept} & set(range(300, 300 + gone_on))


def test_a_silence_at_one_time_is_set_aside() -> None:
    windows = [
        replace(window, before=(3, *window.tokens[:-1]), gaps=np.full(len(window.tokens), 1.0))
        for window in cut(stream(600))
    ]
    random = np.random.default_rng(3)
    windows = [replace(window, gaps=window.gaps * random.lognormal(0, 0.1, len(window.gaps))) for window in windows]
    windows[400].gaps[5] = 3000.0
    assert 400 in {window.index for window in set_aside(windows, in_time=True)}
