"""Scores are a function of the stream alone: of no cut, no restart, no wait, and no stream beside it."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import product
from random import Random
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import NewEvents, ScoredEvents, Scorer, SourceState, TokenStream, TrainedModel
from model.scoring import EVENTS_AT_ONCE
from tests.unit.model.examples import SMALL, broken_grammar

# One shorter than a block, one of whole blocks.
LENGTHS = (7, 64, 101, 150, 197)
STREAMS = [broken_grammar(length, seed) for seed, length in enumerate(LENGTHS)]
LONGEST = len(STREAMS) - 1


def new(state: SourceState, stream: TokenStream, first: int, last: int) -> NewEvents:
    return NewEvents(state, stream.tokens[first:last].tolist(), stream.gaps[first:last].tolist())


def score(scorer: Scorer, state: SourceState, stream: TokenStream, first: int, last: int) -> ScoredEvents:
    return scorer.score([new(state, stream, first, last)])[0]


def alone(model: TrainedModel) -> list[ScoredEvents]:
    scorer = Scorer(model)
    return [score(scorer, scorer.initial_state(), stream, 0, len(stream.tokens)) for stream in STREAMS]


def assert_same(parts: Sequence[ScoredEvents], expected: ScoredEvents, tolerance: float = 0.0) -> None:
    """Compare, bit for bit unless rounding is allowed."""
    for field in fields(ScoredEvents):
        found, wanted = (np.concatenate([getattr(part, field.name) for part in of]) for of in (parts, [expected]))
        assert found.dtype == wanted.dtype
        if tolerance and field.name == "code_percentile":
            # Steps of a hundredth, where one rounding may be one step.
            np.testing.assert_allclose(found, wanted, atol=1.5, err_msg=field.name)
        elif tolerance:
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance, err_msg=field.name)
        else:
            assert np.array_equal(found, wanted), field.name


@pytest.fixture(scope="module")
def scorer(even: TrainedModel) -> Scorer:
    return Scorer(even)


@pytest.fixture(scope="module")
def whole(even: TrainedModel) -> list[ScoredEvents]:
    return alone(even)


@pytest.fixture(scope="module")
def whole_odd(trained: TrainedModel) -> list[ScoredEvents]:
    return alone(trained)


CUTS = st.tuples(*(st.sets(st.integers(1, length - 1), max_size=6) for length in LENGTHS))


class Service:
    """Scores all streams, cut as told, in calls that bring any of them one piece each."""

    def __init__(self, model: TrainedModel, cuts: Sequence[set[int]], random: Random, at_once: int) -> None:
        with patch.dict(EVENTS_AT_ONCE, cpu=at_once):
            self.scorer = Scorer(model)
        self.random = random
        self.states = [self.scorer.initial_state() for _ in STREAMS]
        self.parts: list[list[ScoredEvents]] = [[] for _ in STREAMS]
        ends = ([*sorted(of_one), len(stream.tokens)] for of_one, stream in zip(cuts, STREAMS, strict=True))
        self.pieces = [list(zip([0, *stops], stops, strict=False)) for stops in ends]

    def call(self, *, wait: bool) -> None:
        unfinished = [index for index, pieces in enumerate(self.pieces) if pieces]
        chosen = self.random.sample(unfinished, self.random.randint(1, len(unfinished)))
        batch = [new(self.states[index], STREAMS[index], *self.pieces[index].pop(0)) for index in chosen]
        for index, scored in zip(chosen, self.scorer.score(batch, wait=wait), strict=True):
            self.parts[index].append(scored)

    def restart(self) -> None:
        self.states = [SourceState.from_bytes(state.to_bytes(), self.scorer.model) for state in self.states]

    def run(self, *, restarts: bool, waits: bool) -> None:
        while any(self.pieces):
            # What a last piece leaves waiting would never be scored.
            self.call(wait=waits and self.random.random() < 0.5 and all(len(pieces) > 1 for pieces in self.pieces))
            if restarts:
                self.restart()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    cuts=CUTS,
    random=st.randoms(use_true_random=False),
    at_once=st.sampled_from([1, 48, 64, 1024]),
    restarts=st.booleans(),
    waits=st.booleans(),
)
def test_scores_do_not_depend_on_cuts_restarts_waits_or_streams_beside_bit_for_bit(
    even: TrainedModel,
    whole: list[ScoredEvents],
    cuts: Sequence[set[int]],
    random: Random,
    at_once: int,
    restarts: bool,
    waits: bool,
) -> None:
    service = Service(even, cuts, random, at_once)
    service.run(restarts=restarts, waits=waits)
    for state, parts, expected in zip(service.states, service.parts, whole, strict=True):
        assert state.position == len(expected.surprisal_nats)
        assert_same(parts, expected)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(cuts=CUTS, random=st.randoms(use_true_random=False), at_once=st.sampled_from([1, 24, 1024]))
def test_with_odd_sizes_only_rounding_depends_on_cuts_and_streams_beside(
    trained: TrainedModel, whole_odd: list[ScoredEvents], cuts: Sequence[set[int]], random: Random, at_once: int
) -> None:
    service = Service(trained, cuts, random, at_once)
    service.run(restarts=True, waits=False)
    for parts, expected in zip(service.parts, whole_odd, strict=True):
        assert_same(parts, expected, 1e-5)


def test_scores_do_not_depend_on_events_coming_one_by_one(scorer: Scorer, whole: list[ScoredEvents]) -> None:
    stream, state = STREAMS[1], scorer.initial_state()
    found = [score(scorer, state, stream, at, at + 1) for at in range(len(stream.tokens))]
    assert_same(found, whole[1])


def test_every_stream_of_a_batch_gets_its_own_scores_in_any_order(scorer: Scorer, whole: list[ScoredEvents]) -> None:
    for order, call in product(([0, 1, 2, 3, 4], [4, 0, 2, 3, 1]), (scorer.score, scorer.explain)):
        states = [scorer.initial_state() for _ in order]
        batch = [
            new(state, STREAMS[index], 0, len(STREAMS[index].tokens))
            for state, index in zip(states, order, strict=True)
        ]
        for found, index, state in zip(call(batch), order, states, strict=True):
            assert_same([found], whole[index])
            assert state.position == LENGTHS[index]


def test_streams_are_scored_side_by_side_and_no_more_at_once_than_told(even: TrainedModel) -> None:
    """Six streams of five blocks, three blocks at once: two groups of three lanes, a block at a time."""
    block, shapes = even.encoder.config.block, []
    with patch.dict(EVENTS_AT_ONCE, cpu=3 * block):
        scorer = Scorer(even)
    handle = even.encoder.register_forward_hook(lambda _module, given, _out: shapes.append(tuple(given[0].shape)))
    scorer.score([new(scorer.initial_state(), STREAMS[LONGEST], 0, 5 * block) for _ in range(6)])
    score(scorer, scorer.initial_state(), STREAMS[LONGEST], 0, 5 * block)
    handle.remove()
    assert shapes == [(3, block)] * 10 + [(1, 3 * block), (1, 2 * block)]


def test_a_scorer_on_a_cpu_takes_one_thread(even: TrainedModel) -> None:
    """With more, a score would depend on how many cores there are."""
    torch.set_num_threads(2)
    try:
        Scorer(even)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)


def test_no_streams_are_no_scores(scorer: Scorer) -> None:
    assert scorer.score([]) == []


def test_events_of_a_block_that_is_not_full_wait_when_told_to(scorer: Scorer, whole: list[ScoredEvents]) -> None:
    block, stream = scorer.model.encoder.config.block, STREAMS[LONGEST]
    state, parts = scorer.initial_state(), []
    expected = [(0, block - 1, 0), (block - 1, block, block), (block, 2 * block + 5, 2 * block)]
    for first, last, position in expected:
        parts += scorer.score([new(state, stream, first, last)], wait=True)
        assert state.position == position
    assert [len(part.surprisal_nats) for part in parts] == [0, block, block]
    state = SourceState.from_bytes(state.to_bytes(), scorer.model)
    parts.append(score(scorer, state, stream, 2 * block + 5, 2 * block + 7))
    assert len(parts[-1].surprisal_nats) == 7
    parts += scorer.score([new(state, stream, 2 * block + 7, 2 * block + 9)], wait=True)
    assert state.position == 2 * block + 7
    parts.append(score(scorer, state, stream, 2 * block + 9, LENGTHS[LONGEST]))
    assert_same(parts, whole[LONGEST])


def test_events_scored_before_their_block_filled_are_not_skipped_in_the_next(
    scorer: Scorer, whole: list[ScoredEvents]
) -> None:
    block, stream, state = scorer.model.encoder.config.block, STREAMS[LONGEST], scorer.initial_state()
    parts = [score(scorer, state, stream, 0, 5)]
    parts += scorer.score([new(state, stream, 5, block + 3)], wait=True)
    assert state.position == block
    parts.append(score(scorer, state, stream, block + 3, LENGTHS[LONGEST]))
    assert_same(parts, whole[LONGEST])


def test_the_time_before_an_event_changes_its_scores_and_those_after_it(
    scorer: Scorer, whole: list[ScoredEvents]
) -> None:
    stream, at = STREAMS[LONGEST], 85
    gaps = stream.gaps.copy()
    gaps[at] = 1000.0
    found = score(scorer, scorer.initial_state(), TokenStream(stream.tokens, gaps), 0, LENGTHS[LONGEST])
    same = found.surprisal_nats == whole[LONGEST].surprisal_nats
    assert same[:at].all()
    assert not same[at]
    assert same[at:].mean() < 0.5


def test_an_event_cannot_change_the_scores_before_it(scorer: Scorer, whole: list[ScoredEvents]) -> None:
    stream, at = STREAMS[LONGEST], 85
    tokens = stream.tokens.copy()
    tokens[at] = tokens[at] % (SMALL.vocab_size - 1) + 1
    found = score(scorer, scorer.initial_state(), TokenStream(tokens, stream.gaps), 0, LENGTHS[LONGEST])
    expected = whole[LONGEST]
    assert np.array_equal(found.surprisal_nats[:at], expected.surprisal_nats[:at])
    assert found.surprisal_nats[at] != expected.surprisal_nats[at]
    # A situation is what came before: the changed event is part of those after its own.
    assert np.array_equal(found.code_distance[: at + 1], expected.code_distance[: at + 1])
    assert (found.code_distance[at + 1 :] != expected.code_distance[at + 1 :]).any(-1).all()


def test_a_state_comes_back_bit_for_bit(scorer: Scorer) -> None:
    state = scorer.initial_state()
    score(scorer, state, STREAMS[LONGEST], 0, 53)
    scorer.score([new(state, STREAMS[LONGEST], 53, 55)], wait=True)
    data = state.to_bytes()
    again = SourceState.from_bytes(data, scorer.model)
    assert again.to_bytes() == data
    assert (again.position, again.tokens, again.gaps, again.scored) == (53, state.tokens, state.gaps, 21)
    assert len(again.tokens) == len(again.gaps) == 23
    for name, tensor in state.boundary.tensors().items():
        assert np.array_equal(again.boundary.tensors()[name].numpy(), tensor.numpy())


def test_a_copy_advances_on_its_own(scorer: Scorer, whole: list[ScoredEvents]) -> None:
    state, stream = scorer.initial_state(), STREAMS[LONGEST]
    first = score(scorer, state, stream, 0, 19)
    other = state.copy()
    score(scorer, other, stream, 19, LENGTHS[LONGEST])
    assert state.position == 19
    assert_same([first, score(scorer, state, stream, 19, LENGTHS[LONGEST])], whole[LONGEST])


def test_explaining_changes_no_score_and_advances_the_state_alike(scorer: Scorer, whole: list[ScoredEvents]) -> None:
    stream, state = STREAMS[LONGEST], scorer.initial_state()
    parts: list[ScoredEvents] = []
    for first, last in ((0, 40), (40, 41), (41, 150), (150, LENGTHS[LONGEST])):
        part = new(state, stream, first, last)
        parts.append(score(scorer, state, stream, first, last) if first == 40 else scorer.explain([part])[0])
    assert_same(parts, whole[LONGEST])
