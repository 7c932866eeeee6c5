"""A stream read without some of its codes: what is predicted changes, where the stream stands does not."""

import numpy as np
import pytest

from model import NewEvents, ScoredEvents, Scorer, SourceState, TrainedModel
from tests.unit.model.examples import EVEN, SMALL, broken_grammar

EVENTS = 9 * SMALL.block + 3
STREAM = broken_grammar(EVENTS, 7)
EVERYTHING = [(head, code) for head in range(SMALL.heads) for code in range(SMALL.codes)]


@pytest.fixture(scope="module")
def scorer(trained: TrainedModel) -> Scorer:
    return Scorer(trained)


def read(scorer: Scorer, without: list[tuple[int, int]]) -> tuple[ScoredEvents, SourceState]:
    state = scorer.initial_state()
    new = NewEvents(state, STREAM.tokens.tolist(), STREAM.gaps.tolist(), without)
    return scorer.score([new])[0], state


def test_without_all_codes_only_the_window_is_left_and_the_state_is_the_same(scorer: Scorer) -> None:
    plain, seen = read(scorer, [])
    blind, hidden = read(scorer, EVERYTHING)
    assert float(plain.cache_mass.max()) > 0.1
    assert float(blind.cache_mass.max()) == 0
    assert np.array_equal(blind.codes, plain.codes)
    assert hidden.to_bytes() == seen.to_bytes()
    early = slice(0, 2 * SMALL.block)
    np.testing.assert_allclose(blind.surprisal_nats[early], plain.surprisal_nats[early], atol=1e-6)
    assert float(np.abs(blind.surprisal_nats - plain.surprisal_nats).max()) > 0.01


def test_the_mass_of_a_hidden_code_is_shared_out_among_what_is_left(scorer: Scorer) -> None:
    new = NewEvents(scorer.initial_state(), STREAM.tokens.tolist(), STREAM.gaps.tolist())
    explained = scorer.explain([new])[0]
    head, code = np.unravel_index(int(explained.code_mass.max(0).argmax()), explained.code_mass.shape[1:])
    gone = NewEvents(scorer.initial_state(), STREAM.tokens.tolist(), STREAM.gaps.tolist(), [(int(head), int(code))])
    left = scorer.explain([gone])[0]
    mass = explained.code_mass[:, head].copy()
    share = mass[:, code].copy()
    assert share.max() > 0.1
    mass[:, code] = 0
    np.testing.assert_allclose(left.code_mass[:, head], mass / (1 - share)[:, None], atol=1e-5)
    others = [other for other in range(SMALL.heads) if other != head]
    assert np.array_equal(left.code_mass[:, others], explained.code_mass[:, others])


def test_a_code_that_nothing_reaches_decides_nothing(scorer: Scorer) -> None:
    new = NewEvents(scorer.initial_state(), STREAM.tokens.tolist(), STREAM.gaps.tolist())
    explained = scorer.explain([new])[0]
    unused = divmod(int(explained.code_mass.max(0).argmin()), SMALL.codes)
    assert float(explained.code_mass[:, unused[0], unused[1]].max()) == 0
    assert np.array_equal(read(scorer, [unused])[0].surprisal_nats, explained.surprisal_nats)


def test_what_one_stream_is_read_without_the_streams_beside_it_keep(even: TrainedModel) -> None:
    stream, scorer = broken_grammar(12 * EVEN.block + 5, 3), Scorer(even)
    tokens, gaps = stream.tokens.tolist(), stream.gaps.tolist()
    wanted = [[], [(0, code) for code in range(EVEN.codes)], [(1, 0)], []]
    alone = [scorer.score([NewEvents(scorer.initial_state(), tokens, gaps, codes)])[0] for codes in wanted]
    beside = scorer.score([NewEvents(scorer.initial_state(), tokens, gaps, codes) for codes in wanted])
    for one, other in zip(alone, beside, strict=True):
        assert one.surprisal_nats.tobytes() == other.surprisal_nats.tobytes()
    assert alone[0].surprisal_nats.tobytes() != alone[1].surprisal_nats.tobytes()
