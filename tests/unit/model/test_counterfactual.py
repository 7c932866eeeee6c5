"""What a code's effect is: the surprisal of a stream read again with the code hidden, and nothing else changed."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from model import ExplainedEvents, NewEvents, Scorer, TrainedModel
from model.counterfactual import ASKED, SURPRISING_NATS, asked
from tests.unit.model.examples import EVEN, SMALL, broken_grammar

EVENTS = 9 * SMALL.block + 3
STREAM = broken_grammar(EVENTS, 7)


def explained(scorer: Scorer, tokens: list[int], gaps: list[float], stops: tuple[int, ...] = ()) -> ExplainedEvents:
    state = scorer.initial_state()
    cuts = [0, *stops, len(tokens)]
    return ExplainedEvents.joined(
        [scorer.explain([NewEvents(state, tokens[a:b], gaps[a:b])])[0] for a, b in pairwise(cuts)]
    )


@pytest.fixture(scope="module")
def scorer(trained: TrainedModel) -> Scorer:
    return Scorer(trained)


@pytest.fixture(scope="module")
def whole(scorer: Scorer) -> ExplainedEvents:
    return explained(scorer, STREAM.tokens.tolist(), STREAM.gaps.tolist())


def test_the_effect_of_a_code_is_that_of_hiding_it(scorer: Scorer, whole: ExplainedEvents) -> None:
    events = np.flatnonzero(np.isfinite(whole.top_code_effect[:, 0]))
    late = [int(event) for event in events if event >= 3 * SMALL.block]
    assert len(late) > 3
    changed = 0.0
    for event in late:
        for rank in range(3):
            code = divmod(int(whole.top_codes[event, rank]), SMALL.codes)
            new = NewEvents(scorer.initial_state(), STREAM.tokens.tolist(), STREAM.gaps.tolist())
            hidden = scorer.score([new], without=[code])[0].surprisal_nats
            effect = float(whole.top_code_effect[event, rank])
            assert effect == pytest.approx(hidden[event] - whole.surprisal_nats[event], abs=2e-5)
            changed = max(changed, abs(effect))
    assert changed > 0.01, "some code decides something"


def test_hiding_codes_changes_what_is_predicted_and_no_state(scorer: Scorer, whole: ExplainedEvents) -> None:
    tokens, gaps = STREAM.tokens.tolist(), STREAM.gaps.tolist()
    seen, hidden = scorer.initial_state(), scorer.initial_state()
    everything = [(head, code) for head in range(SMALL.heads) for code in range(SMALL.codes)]
    plain = scorer.score([NewEvents(seen, tokens, gaps)])[0]
    blind = scorer.score([NewEvents(hidden, tokens, gaps)], without=everything)[0]
    assert np.array_equal(plain.surprisal_nats, whole.surprisal_nats)
    assert np.array_equal(blind.codes, plain.codes)
    assert float(blind.cache_mass.max()) == 0
    assert float(plain.cache_mass.max()) > 0.1
    early = slice(0, 2 * SMALL.block)
    np.testing.assert_allclose(blind.surprisal_nats[early], plain.surprisal_nats[early], atol=1e-6)
    assert hidden.to_bytes() == seen.to_bytes()


def test_a_code_without_mass_has_no_effect(scorer: Scorer, whole: ExplainedEvents) -> None:
    unused = int(whole.code_mass.max(0).argmin())
    head, code = divmod(unused, SMALL.codes)
    assert float(whole.code_mass[:, head, code].max()) == 0
    new = NewEvents(scorer.initial_state(), STREAM.tokens.tolist(), STREAM.gaps.tolist())
    hidden = scorer.score([new], without=[(head, code)])[0]
    np.testing.assert_allclose(hidden.surprisal_nats, whole.surprisal_nats, atol=1e-6)


def test_the_first_surprising_events_of_every_block_are_asked_about(whole: ExplainedEvents) -> None:
    finite = np.isfinite(whole.top_code_effect).all(1)
    assert np.array_equal(finite, np.isfinite(whole.top_code_effect).any(1))
    high = whole.surprisal_nats >= SURPRISING_NATS
    assert not (finite & ~high).any()
    for start in range(0, EVENTS, SMALL.block):
        block = slice(start, start + SMALL.block)
        assert np.flatnonzero(finite[block]).tolist() == np.flatnonzero(high[block])[:ASKED].tolist()
    assert (high & ~finite).any(), "noise has more"


def test_what_follows_decides_nothing() -> None:
    surprisal = torch.full((2, 11), 9.0)
    row, step = asked(surprisal, 8)
    places = [0, 1, 2, 3, 8, 9, 10]
    assert (row.tolist(), step.tolist()) == ([0] * 7 + [1] * 7, places * 2)
    for length in range(1, 11):
        row, step = asked(surprisal[:, :length], 8)
        assert step[row == 0].tolist() == [place for place in places if place < length]


def test_effects_keep_their_bits_however_a_stream_is_cut(even: TrainedModel) -> None:
    stream = broken_grammar(12 * EVEN.block + 5, 3)
    tokens, gaps = stream.tokens.tolist(), stream.gaps.tolist()
    scorer = Scorer(even)
    whole = explained(scorer, tokens, gaps)
    assert np.isfinite(whole.top_code_effect).any()
    cut = explained(scorer, tokens, gaps, (7, 40, 41, 200, 256, 300))
    assert np.array_equal(whole.top_codes, cut.top_codes)
    assert whole.top_code_mass.tobytes() == cut.top_code_mass.tobytes()
    assert whole.top_code_effect.tobytes() == cut.top_code_effect.tobytes()
