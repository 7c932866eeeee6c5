"""Encoders are ranked by what is said of them: by windows or sessions, from where the training ended."""

import numpy as np
import pytest

from model import EncoderConfig, NewEvents, Scorer, TokenStream, TrainingOptions, train
from tests.benchmark.mixers import Log, judge, read
from tests.unit.model.examples import grammar

NO_STREAM = TokenStream(np.zeros(0, np.int64), np.zeros(0, np.float32))


def log(*, by_mean: bool) -> Log:
    """Four groups over two streams, the last of them anomalous; the first two events are of none."""
    groups = [np.array([-1, -1, 0, 0, 1]), np.array([2, 2, 3, 3, 3])]
    quiet = [np.array([True, True, False, False, False]), np.zeros(5, bool)]
    return Log(9, NO_STREAM, NO_STREAM, [], groups, np.array([False, False, False, True]), quiet, by_mean)


# By group: 1 and 5; 4; 2 and 2; 0, 6 and 0.
SURPRISAL = [np.array([7.0, 8.0, 1.0, 5.0, 4.0]), np.array([2.0, 2.0, 0.0, 6.0, 0.0])]


def test_windows_rank_by_their_most_surprising_event() -> None:
    assert judge(log(by_mean=False), SURPRISAL) == {"nats": 7.5, "auroc": 1.0, "ap": 1.0}


def test_sessions_rank_by_their_mean_and_equal_ones_share_a_place() -> None:
    """Means of 3, 4, 2 and 2: the anomalous one and one other come last together."""
    found = judge(log(by_mean=True), SURPRISAL)
    assert found == {"nats": 7.5, "auroc": pytest.approx(1 / 6), "ap": pytest.approx(1 / 4)}


def test_every_stream_is_read_from_where_the_training_ended_as_the_scorer_reads_it() -> None:
    config = EncoderConfig(vocab_size=13, width=16, layers=1, heads=1, head_width=8, codes=4, block=8)
    learnt, held_out = grammar(200, 1), grammar(64, 2)
    model = train(config, [learnt], [held_out], TrainingOptions(span=32, min_steps=5, max_steps=5))
    streams = [grammar(length, length) for length in (40, 3, 17)]
    scorer = Scorer(model)
    warm = scorer.initial_state()
    for part in (learnt, held_out):
        scorer.score([NewEvents(warm, part.tokens.tolist(), part.gaps.tolist())])
    batch = [NewEvents(warm.copy(), stream.tokens.tolist(), stream.gaps.tolist()) for stream in streams]
    for found, expected in zip(read(model, (learnt, held_out), streams), scorer.score(batch), strict=True):
        np.testing.assert_allclose(found, expected.surprisal_nats, rtol=1e-4, atol=1e-5)
