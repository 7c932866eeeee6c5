"""What explains a score adds up, and names events and tokens that are there."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from model import ExplainedEvents, NewEvents, Scorer, TrainedModel
from model.scored import UNIGRAM_SHARE
from tests.unit.model.examples import SMALL, broken_grammar

BLOCK = SMALL.block
EVENTS = 9 * BLOCK + 3
STREAM = broken_grammar(EVENTS, 7)


@pytest.fixture(scope="module")
def scorer(trained: TrainedModel) -> Scorer:
    return Scorer(trained)


@pytest.fixture(scope="module")
def whole(scorer: Scorer) -> ExplainedEvents:
    return scorer.explain([NewEvents(scorer.initial_state(), STREAM.tokens.tolist(), STREAM.gaps.tolist())])[0]


def test_surprisal_is_that_of_the_mixture_with_the_unigram_and_bounded(trained: TrainedModel, scorer: Scorer) -> None:
    tokens = list(range(1, SMALL.vocab_size))
    (found,) = scorer.explain([NewEvents(scorer.initial_state(), tokens, [0.0] * len(tokens))])
    with torch.inference_mode():
        logits = trained.encoder(torch.tensor([tokens]), torch.zeros(1, len(tokens))).logits[0]
    mixed = 0.99 * logits.double().softmax(-1) + 0.01 * trained.unigram
    expected = -mixed.gather(1, torch.tensor(tokens)[:, None])[:, 0].log()
    np.testing.assert_allclose(found.surprisal_nats, expected, rtol=1e-4)
    rarest = float(trained.unigram[1:].min())
    assert found.surprisal_nats.max() <= -np.log(UNIGRAM_SHARE * rarest) + 1e-4
    assert (found.surprisal_nats >= 0).all()


def test_expected_tokens_are_the_most_probable_in_order(whole: ExplainedEvents) -> None:
    assert whole.expected_tokens.shape == whole.expected_probabilities.shape == (EVENTS, 5)
    assert (np.diff(whole.expected_probabilities, axis=1) <= 0).all()
    assert (whole.expected_tokens != 0).all()
    for rank in range(5):
        came = STREAM.tokens == whole.expected_tokens[:, rank]
        assert rank > 1 or came.any()
        probability = np.exp(-whole.surprisal_nats[came])
        np.testing.assert_allclose(probability, whole.expected_probabilities[came, rank], rtol=1e-5)
    # What none of the five is, was less probable than all of them.
    missed = (STREAM.tokens[:, None] != whole.expected_tokens).all(-1)
    assert missed.any()
    assert (np.exp(-whole.surprisal_nats[missed]) <= whole.expected_probabilities[missed, -1] + 1e-6).all()


def test_attention_mass_is_shared_among_codes_and_recent_events(whole: ExplainedEvents) -> None:
    assert whole.code_mass.shape == (EVENTS, SMALL.heads, SMALL.codes)
    np.testing.assert_allclose(whole.code_mass.sum(-1).mean(-1), whole.cache_mass, atol=1e-6)
    assert (whole.recent_mass.sum(-1) + whole.cache_mass <= 1 + 1e-5).all()
    assert (whole.recent_mass.sum(-1)[: 2 * BLOCK] > 3 / (2 * BLOCK)).all(), "the most attended to, of few"
    assert (whole.code_mass[: 2 * BLOCK] == 0).all(), "nothing is cached before it leaves the window"
    assert (whole.cache_mass[2 * BLOCK :] > 0).all()


def test_recent_events_are_the_most_attended_to_first(whole: ExplainedEvents) -> None:
    assert whole.recent_positions.shape == whole.recent_mass.shape == (EVENTS, 3)
    assert (np.diff(whole.recent_mass, axis=1) <= 0).all()


def test_recent_positions_name_events_inside_the_window(whole: ExplainedEvents) -> None:
    for step in range(EVENTS):
        first = max(-1, (step // BLOCK - 1) * BLOCK - 1)
        assert whole.recent_positions[step].max() < step
        assert whole.recent_positions[step].min() >= (first if step >= 3 else -1)
    assert whole.recent_positions[0].tolist() == [-1, -1, -1]
    np.testing.assert_allclose(whole.recent_mass[0], [1, 0, 0], atol=1e-6)
    assert sorted(whole.recent_positions[2].tolist()) == [-1, 0, 1]


def test_recent_events_are_those_that_the_last_layers_weights_fall_on(
    trained: TrainedModel, whole: ExplainedEvents
) -> None:
    """Late in the stream, too; codes and all events of the window share the attention."""
    events = BLOCK * (EVENTS // BLOCK)
    tokens, gaps = (torch.from_numpy(x[:events])[None] for x in (STREAM.tokens, STREAM.gaps))
    with torch.inference_mode():
        weights = trained.encoder(tokens, gaps, keep_weights=True).layers[-1].weights[0].double().mean(0).numpy()
    clear = 0
    for step in range(events):
        first = (step // BLOCK - 1) * BLOCK
        # A slot stands for a step of the block before or of this block; what it saw is the event before that step.
        near = {first + slot - 1: mass for slot, mass in enumerate(weights[step, SMALL.codes :]) if mass > 0}
        assert whole.cache_mass[step] + sum(near.values()) == pytest.approx(1, abs=1e-5)
        most = sorted(near, key=near.__getitem__, reverse=True)[:3]
        missing = 3 - len(most)
        masses = [near[position] for position in most] + [0.0] * missing
        np.testing.assert_allclose(whole.recent_mass[step], masses, atol=1e-5)
        # Where two events have the same mass but for rounding, their order may change.
        if (np.diff(sorted(near.values(), reverse=True)[:4]) < -1e-4).all():
            assert whole.recent_positions[step].tolist() == most + [-1] * missing
            clear += step >= 2 * BLOCK
    assert clear > 3 * BLOCK


def test_recent_positions_go_on_from_call_to_call(scorer: Scorer, whole: ExplainedEvents) -> None:
    state, tokens, gaps = scorer.initial_state(), STREAM.tokens.tolist(), STREAM.gaps.tolist()
    stops = [0, 5, 2 * BLOCK, 3 * BLOCK + 1, EVENTS]
    parts = [scorer.explain([NewEvents(state, tokens[a:b], gaps[a:b])])[0] for a, b in pairwise(stops)]
    joined = ExplainedEvents.joined(parts)
    # Where two events have the same mass but for rounding, their order may change.
    clear = (np.diff(whole.recent_mass, axis=1) < -1e-4).all(-1)
    assert clear.mean() > 0.3
    assert np.array_equal(joined.recent_positions[clear, :2], whole.recent_positions[clear, :2])
    np.testing.assert_allclose(joined.recent_mass, whole.recent_mass, atol=1e-5)
    np.testing.assert_allclose(joined.code_mass, whole.code_mass, atol=1e-5)


def test_noise_surprises_more_than_grammar(whole: ExplainedEvents) -> None:
    noise = whole.surprisal_nats[EVENTS // 3 : EVENTS // 2].mean()
    assert noise > 3 * whole.surprisal_nats[BLOCK : EVENTS // 3].mean()


def test_a_code_is_the_nearest_codeword_and_its_distance_the_square_of_how_far(
    trained: TrainedModel, whole: ExplainedEvents
) -> None:
    events = BLOCK * (EVENTS // BLOCK)
    tokens, gaps = (torch.from_numpy(x[:events])[None] for x in (STREAM.tokens, STREAM.gaps))
    with torch.inference_mode():
        keys = trained.encoder(tokens, gaps).layers[-1].keys[0].double()
    quantizer = trained.encoder.stack.quantizers()[-1]
    squared = (keys[:, :, None] - quantizer.codebook.double()[:, None]).square().sum(-1)
    squared = torch.where(quantizer.alive[:, None], squared, torch.inf)
    nearest, codes = squared.min(-1)
    assert np.array_equal(whole.codes[:events], codes.T.numpy())
    np.testing.assert_allclose(whole.code_distance[:events], nearest.T.numpy(), rtol=1e-4, atol=1e-5)


def test_codes_and_percentiles_are_in_range(trained: TrainedModel, whole: ExplainedEvents) -> None:
    assert whole.codes.shape == whole.code_distance.shape == whole.code_percentile.shape == (EVENTS, SMALL.heads)
    alive = trained.encoder.stack.quantizers()[-1].alive.numpy()
    assert alive[np.arange(SMALL.heads), whole.codes].all()
    assert (whole.code_distance >= 0).all()
    assert whole.code_percentile.min() >= 0
    assert whole.code_percentile.max() <= 100
    expected = trained.statistics.percentile(whole.codes, whole.code_distance)
    assert np.array_equal(whole.code_percentile, expected)
