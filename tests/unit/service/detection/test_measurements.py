"""Composition, spread, fresh surprisal, news, n-grams: each against what it stands for."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detection.composition import RUN, KnownRuns
from service.detection.ngrams import NGrams, Weights, learn_weights
from service.detection.novelty import MAX_SHARE, Novelty
from service.detection.surprise import SHOWN_SHARE, Spread, as_unread, fresh

windows = st.lists(st.integers(0, 5), min_size=1, max_size=15)


def slow_distance(good: list[list[int]], window: list[int]) -> float:
    def runs(tokens: list[int]) -> Counter[tuple[int, ...]]:
        padded = [-1] * (RUN - len(tokens)) + tokens
        return Counter(tuple(padded[start : start + RUN]) for start in range(len(padded) - RUN + 1))

    def weights(tokens: list[int]) -> dict[tuple[int, ...], float]:
        return {
            run: count * (1 + math.log((1 + len(good)) / (1 + sum(run in runs(other) for other in good))))
            for run, count in runs(tokens).items()
        }

    def cosine(left: dict[tuple[int, ...], float], right: dict[tuple[int, ...], float]) -> float:
        dot = sum(value * right.get(run, 0.0) for run, value in left.items())
        return dot / math.sqrt(sum(v * v for v in left.values()) * sum(v * v for v in right.values()))

    return 1 - max(cosine(weights(window), weights(other)) for other in good)


@given(good=st.lists(windows, min_size=1, max_size=8), window=windows)
def test_composition_is_the_cosine_to_the_nearest(good: list[list[int]], window: list[int]) -> None:
    assert KnownRuns(good).distance(window) == pytest.approx(max(0.0, slow_distance(good, window)), abs=1e-9)


@given(st.lists(st.integers(0, 3), min_size=RUN, max_size=12), st.integers(0, 4))
def test_an_event_mends_what_it_makes_known(window: list[int], event: int) -> None:
    known = KnownRuns([[0, 1, 2, 3] * 5])
    assert known.unknown_runs([0, 1, 2, 3, 0]) == 0
    for place in range(len(window) + 1):
        more = [*window[:place], event, *window[place:]]
        assert known.mends(window, place, event) == known.unknown_runs(window) - known.unknown_runs(more)


def test_a_longer_window_of_the_same_make_up_is_near() -> None:
    known = KnownRuns([[1, 2, 3] * 10])
    assert known.distance([1, 2, 3] * 100) < 0.01
    assert known.distance([3, 2, 1] * 10) > 0.9


def test_spread_tells_chance_from_difference_between_windows() -> None:
    random = np.random.default_rng(0)
    events = random.integers(5, 500, 4000)
    means = 1.0 + random.normal(0, 0.2, 4000) + random.normal(0, 3.0, 4000) / np.sqrt(events)
    spread = Spread.fit(means, events)
    assert spread.between == pytest.approx(0.04, rel=0.15)
    assert spread.within == pytest.approx(9.0, rel=0.15)
    found = [spread.deviations(mean, count) for mean, count in zip(means, events, strict=True)]
    assert np.std(found) == pytest.approx(1.0, abs=0.05)


def test_the_same_mean_says_more_in_a_longer_window() -> None:
    random = np.random.default_rng(1)
    events = random.integers(5, 500, 1000)
    spread = Spread.fit(1.0 + random.normal(0, 3.0, 1000) / np.sqrt(events), events)
    assert spread.deviations(2.0, 400) > 3 * spread.deviations(2.0, 10)


@pytest.mark.parametrize("means", [[1.0, 1.0, 1.0], [1.0]])
def test_windows_that_do_not_vary_give_finite_deviations(means: list[float]) -> None:
    assert np.isfinite(Spread.fit(means, [10] * len(means)).deviations(2.0, 10))


def test_news_is_dear_from_a_family_that_never_brings_any() -> None:
    steady = [("cycle start", "cycle"), ("ok", "fault")]
    good = [[*steady, (f"part {number // 5}", "comment")] for number in range(400)]
    novelty = Novelty.fit(good)
    assert novelty.nats([("part 1", "comment")]) == 0.0
    assert novelty.nats([("part 9999", "comment")]) == 0.0
    assert novelty.nats([("broken", "fault")]) == pytest.approx(math.log(401 / 0.5))


def test_news_that_stayed_for_a_while_was_news_all_that_while() -> None:
    good = [[("run", "run"), (f"comment {number // 50}", "comment")] for number in range(400)]
    assert Novelty.fit(good).news == {"comment": 400}


def test_news_rarer_than_alarms_may_be_counts() -> None:
    good = [[("run", "run")] for _ in range(1000)]
    good[500].append(("blip", "fault"))
    novelty = Novelty.fit(good)
    assert novelty.news == {"fault": 1}
    assert novelty.nats([("bang", "fault")]) == pytest.approx(-math.log(1.5 / 1001))
    assert novelty.nats([("bang", "fault")]) > -math.log(MAX_SHARE)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=20), min_size=1, max_size=5))
def test_ngram_chances_of_all_tokens_sum_to_one(streams: list[list[int]]) -> None:
    model = NGrams(streams)
    seen = {token for stream in streams for token in stream}
    for context in streams:
        chances = [math.exp(-model.surprisal([token], context)[0]) for token in seen]
        unseen = math.exp(-model.surprisal([99], context)[0])
        assert sum(chances) + unseen == pytest.approx(1.0)


def test_ngrams_learn_what_follows_and_go_on_from_what_came_before() -> None:
    model = NGrams([[1, 2, 3, 4] * 50])
    assert max(model.surprisal([3, 4, 1], [1, 2])) < 0.2
    assert model.surprisal([4], [1, 2])[0] > 3
    whole = model.surprisal([1, 2, 3, 1, 2])
    assert model.surprisal([1, 2], [1, 2, 3]) == pytest.approx(whole[3:])


def test_ngram_contexts_are_no_more_than_the_events() -> None:
    stream = np.random.default_rng(0).integers(0, 50, 2000).tolist()
    assert len(NGrams([stream])._after) <= len(stream)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=20), min_size=1, max_size=5))
def test_weighted_chances_of_all_tokens_sum_to_one(streams: list[list[int]]) -> None:
    model = NGrams(streams, Weights((0.5, 3.0, 40.0, 1.0), within=(2.0, 5.0)))
    seen = {token for stream in streams for token in stream}
    for stream in streams:
        # What the window has shown is learnt on the way, so the last event is asked for.
        chances = [math.exp(-model.surprisal([*stream, token])[-1]) for token in seen]
        assert sum(chances) + math.exp(-model.surprisal([*stream, 99])[-1]) == pytest.approx(1.0)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=20), min_size=1, max_size=5))
def test_surprisal_is_each_order_mixed_into_the_next(streams: list[list[int]]) -> None:
    model = NGrams(streams[1:], Weights((0.5, 3.0, 40.0, 1.0), within=(2.0, 5.0)))

    def slow_chance(place: int) -> float:
        chance = 1 / model.vocabulary
        for (count, kinds, total), weight in zip(seen[:, :, place], (0.5, 3.0, 40.0, 1.0, 2.0, 5.0), strict=True):
            if kinds:
                chance = (count + weight * kinds * chance) / (total + weight * kinds)
        return chance

    text = streams[0]
    seen = model.seen(text)
    assert [count for count, _, _ in seen[-2].T.tolist()] == [text[:place].count(t) for place, t in enumerate(text)]
    assert model.surprisal(text) == pytest.approx([-math.log(slow_chance(place)) for place in range(len(text))])


def test_weights_show_that_windows_repeat_themselves_and_not_each_other() -> None:
    random = np.random.default_rng(0)
    streams = [random.choice(random.integers(0, 60, 3), 40).tolist() for _ in range(200)]
    later = [random.choice(random.integers(0, 60, 3), 40).tolist() for _ in range(50)]
    plain, apart, within = (
        np.mean([nats for stream in later for nats in NGrams(streams, weights).surprisal(stream)])
        for weights in (None, learn_weights(streams), learn_weights(streams, within=True))
    )
    assert apart < 0.95 * plain
    assert within < 0.6 * plain


def test_weights_keep_what_does_repeat() -> None:
    streams = [[1, 2, 3, 4] * 10] * 40
    for within in (False, True):
        model = NGrams(streams, learn_weights(streams, within=within))
        assert max(model.surprisal([1, 2, 3, 4] * 3)) < 0.2


def remembered(tokens: list[int], nats: list[float]) -> list[float]:
    """Return `fresh` by its formula, everything looked up anew for each event."""
    found = list(nats)
    for place in range(1, len(tokens)):
        after = [tokens[at] for at in range(1, place) if tokens[at - 1] == tokens[place]]
        if tokens[place] == tokens[place - 1] and tokens[place] in after:
            weight = SHOWN_SHARE * len(after) / (len(after) + 1)
            shown = after.count(tokens[place]) / len(after)
            found[place] = min(nats[place], -np.log((1 - weight) * np.exp(-nats[place]) + weight * shown))
    return found


@given(st.lists(st.tuples(st.integers(-2, 3), st.floats(0.0, 30.0)), max_size=40), st.booleans())
def test_fresh_surprisal_of_a_repeat_is_that_of_a_mixture_with_what_the_window_has_shown(
    events: list[tuple[int, float]], ends: bool
) -> None:
    tokens, nats = [token for token, _ in events], [nats for _, nats in events]
    nats += [2.5] * ends
    assert fresh(tokens, np.array(nats)).tolist() == pytest.approx(remembered(tokens, nats), rel=1e-9, abs=1e-12)


def test_a_rare_line_a_hundred_times_is_told_once() -> None:
    nats = fresh([1, 2, *[7] * 100], np.array([0.1, 0.1, *[9.0] * 100]))
    assert nats[:4].tolist() == [0.1, 0.1, 9.0, 9.0]
    assert nats[10:].max() < 1.0


def test_a_rare_step_that_comes_back_is_told_again() -> None:
    nats = np.array([9.0, 0.1] * 10)
    assert fresh([7, 1] * 10, nats).tolist() == nats.tolist()


def test_a_window_without_surprisal_has_none_that_is_fresh() -> None:
    assert len(fresh((1, 2, 1, 2), np.zeros(0))) == 0


def test_windows_an_encoder_was_fitted_on_count_unless_it_knows_them_by_heart() -> None:
    held_out = [np.full(8, 0.5), np.full(8, 0.7)]
    as_sure, surer, by_heart = (as_unread([np.full(8, nats)], held_out) for nats in (0.8, 0.57, 0.4))
    assert [nats.tolist() for nats in as_sure or ()] == [[0.8] * 8]
    assert [nats.tolist() for nats in surer or ()] == [pytest.approx([0.6] * 8)]
    assert by_heart is None
    assert as_unread([], held_out) is None
    assert as_unread([np.zeros(0)], held_out) is None
