"""Scores are a function of the stream alone, bit for bit; what explains them adds up."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import (
    EmptyBatch,
    NotFinite,
    ScoredEvents,
    Scorer,
    SourceState,
    StateMismatch,
    TokenOutOfRange,
    TokenStream,
    TrainedModel,
)
from model.encoder import Encoder
from model.scoring import UNIGRAM_SHARE
from model.trained import fingerprint
from tests.unit.model.examples import SMALL, grammar

BLOCK = SMALL.block
EVENTS = 9 * BLOCK + 3


def stream() -> TokenStream:
    """A stream that breaks its grammar: half of it is noise."""
    tokens, random = grammar(EVENTS, 7).tokens.copy(), np.random.default_rng(0)
    tokens[EVENTS // 3 : EVENTS // 2] = random.integers(1, SMALL.vocab_size, EVENTS // 2 - EVENTS // 3)
    return TokenStream(tokens, grammar(EVENTS, 7).gaps)


def score(scorer: Scorer, state: SourceState, first: int, last: int) -> ScoredEvents:
    part = stream()
    return scorer.score(state, part.tokens[first:last].tolist(), part.gaps[first:last].tolist())


def assert_same(found: list[ScoredEvents], expected: ScoredEvents) -> None:
    for field in fields(ScoredEvents):
        joined = np.concatenate([getattr(part, field.name) for part in found])
        assert joined.dtype == getattr(expected, field.name).dtype
        assert np.array_equal(joined, getattr(expected, field.name)), field.name


@pytest.fixture(scope="module")
def scorer(trained: TrainedModel) -> Scorer:
    return Scorer(trained)


@pytest.fixture(scope="module")
def whole(scorer: Scorer) -> ScoredEvents:
    return score(scorer, scorer.initial_state(), 0, EVENTS)


@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, EVENTS - 1), max_size=12), restarts=st.booleans())
def test_scores_do_not_depend_on_cuts_or_restarts(
    scorer: Scorer, whole: ScoredEvents, cuts: set[int], restarts: bool
) -> None:
    state, found = scorer.initial_state(), []
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), EVENTS], strict=True):
        found.append(score(scorer, state, first, last))
        assert state.position == last
        if restarts:
            state = SourceState.from_bytes(state.to_bytes(), scorer.model)
    assert_same(found, whole)


def test_scores_do_not_depend_on_events_coming_one_by_one(scorer: Scorer, whole: ScoredEvents) -> None:
    state = scorer.initial_state()
    assert_same([score(scorer, state, at, at + 1) for at in range(EVENTS)], whole)


def test_an_event_cannot_change_the_scores_before_it(scorer: Scorer, whole: ScoredEvents) -> None:
    part, at = stream(), 5 * BLOCK + 2
    tokens = part.tokens.tolist()
    tokens[at] = tokens[at] % (SMALL.vocab_size - 1) + 1
    found = scorer.score(scorer.initial_state(), tokens, part.gaps.tolist())
    assert np.array_equal(found.surprisal_nats[:at], whole.surprisal_nats[:at])
    assert found.surprisal_nats[at] != whole.surprisal_nats[at]
    assert (found.expected_probabilities[at + 1 :] != whole.expected_probabilities[at + 1 :]).any(-1).all()


def test_a_state_comes_back_bit_for_bit(scorer: Scorer) -> None:
    state = scorer.initial_state()
    score(scorer, state, 0, 3 * BLOCK + 5)
    data = state.to_bytes()
    again = SourceState.from_bytes(data, scorer.model)
    assert again.to_bytes() == data
    assert (again.position, again.tokens, again.gaps) == (3 * BLOCK + 5, state.tokens, state.gaps)
    for name, tensor in state.boundary.tensors().items():
        assert torch.equal(again.boundary.tensors()[name], tensor)


def test_a_copy_advances_on_its_own(scorer: Scorer, whole: ScoredEvents) -> None:
    state = scorer.initial_state()
    first = score(scorer, state, 0, BLOCK + 3)
    other = state.copy()
    score(scorer, other, BLOCK + 3, EVENTS)
    assert state.position == BLOCK + 3
    assert_same([first, score(scorer, state, BLOCK + 3, EVENTS)], whole)


def other_model(trained: TrainedModel) -> TrainedModel:
    encoder = Encoder(SMALL).eval()
    return replace(trained, encoder=encoder, fingerprint=fingerprint(encoder, trained.statistics, trained.unigram))


def test_the_state_of_another_model_is_refused(trained: TrainedModel, scorer: Scorer) -> None:
    other = other_model(trained)
    state = Scorer(other).initial_state()
    with pytest.raises(StateMismatch, match=other.fingerprint):
        score(scorer, state, 0, 3)
    with pytest.raises(StateMismatch, match=other.fingerprint):
        SourceState.from_bytes(state.to_bytes(), trained)


@pytest.mark.parametrize("damage", [slice(0, 0), slice(0, 40), slice(0, -5), slice(8, None)])
def test_damaged_state_bytes_are_refused(scorer: Scorer, damage: slice) -> None:
    data = scorer.initial_state().to_bytes()
    with pytest.raises(StateMismatch):
        SourceState.from_bytes(data[damage], scorer.model)


@pytest.mark.parametrize("token", [-1, 0, SMALL.vocab_size])
def test_a_token_outside_the_vocabulary_is_refused_and_the_state_kept(scorer: Scorer, token: int) -> None:
    state = scorer.initial_state()
    score(scorer, state, 0, 3)
    with pytest.raises(TokenOutOfRange):
        scorer.score(state, [2, token], [0.0, 0.0])
    assert state.position == 3


def test_no_events_are_refused(scorer: Scorer) -> None:
    with pytest.raises(EmptyBatch):
        scorer.score(scorer.initial_state(), [], [])


def test_a_gap_is_missing(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match="2 tokens and 1 gaps"):
        scorer.score(scorer.initial_state(), [2, 3], [0.0])


def test_damaged_weights_are_found_before_a_score_is_given(trained: TrainedModel) -> None:
    other = other_model(trained)
    torch.nn.init.constant_(other.encoder.head.weight, float("nan"))
    with pytest.raises(NotFinite):
        score(Scorer(other), Scorer(other).initial_state(), 0, 3)


def test_surprisal_is_that_of_the_mixture_and_bounded(trained: TrainedModel, scorer: Scorer) -> None:
    found = scorer.score(scorer.initial_state(), list(range(1, SMALL.vocab_size)), [0.0] * (SMALL.vocab_size - 1))
    rarest = float(trained.unigram[1:].min())
    assert found.surprisal_nats.max() <= -np.log(UNIGRAM_SHARE * rarest) + 1e-4
    assert (found.surprisal_nats >= 0).all()


def test_expected_tokens_are_the_most_probable_in_order(whole: ScoredEvents) -> None:
    assert whole.expected_tokens.shape == whole.expected_probabilities.shape == (EVENTS, 5)
    assert (np.diff(whole.expected_probabilities, axis=1) <= 0).all()
    assert (whole.expected_tokens != 0).all()
    first = stream().tokens == whole.expected_tokens[:, 0]
    probability = np.exp(-whole.surprisal_nats[first])
    np.testing.assert_allclose(probability, whole.expected_probabilities[first, 0], rtol=1e-5)


def test_attention_mass_is_shared_among_codes_and_recent_events(whole: ScoredEvents) -> None:
    assert whole.code_mass.shape == (EVENTS, SMALL.heads, SMALL.codes)
    np.testing.assert_allclose(whole.code_mass.sum(-1).mean(-1), whole.cache_mass, atol=1e-6)
    assert (whole.recent_mass.sum(-1) + whole.cache_mass <= 1 + 1e-5).all()
    assert (whole.code_mass[: 2 * BLOCK] == 0).all(), "nothing is cached before it leaves the window"
    assert (whole.cache_mass[2 * BLOCK :] > 0).all()


def test_recent_positions_name_events_inside_the_window(whole: ScoredEvents) -> None:
    for step in range(EVENTS):
        first = max(-1, (step // BLOCK - 1) * BLOCK - 1)
        assert whole.recent_positions[step].max() < step
        assert whole.recent_positions[step].min() >= (first if step >= 3 else -1)
    assert whole.recent_positions[0].tolist() == [-1, -1, -1]
    np.testing.assert_allclose(whole.recent_mass[0], [1, 0, 0], atol=1e-6)
    assert sorted(whole.recent_positions[2].tolist()) == [-1, 0, 1]


def test_noise_surprises_more_than_grammar(whole: ScoredEvents) -> None:
    noise = whole.surprisal_nats[EVENTS // 3 : EVENTS // 2].mean()
    assert noise > 3 * whole.surprisal_nats[BLOCK : EVENTS // 3].mean()


def test_codes_and_percentiles_are_in_range(whole: ScoredEvents) -> None:
    assert whole.codes.shape == whole.code_distance.shape == whole.code_percentile.shape == (EVENTS, SMALL.heads)
    assert whole.codes.min() >= 0
    assert whole.codes.max() < SMALL.codes
    assert (whole.code_distance >= 0).all()
    assert whole.code_percentile.min() >= 0
    assert whole.code_percentile.max() <= 100
