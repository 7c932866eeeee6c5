"""Training learns, repeats under its seed, and says what went wrong."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model import (
    BadConfig,
    BadEvents,
    EmptyBatch,
    HeldOut,
    NewEvents,
    NotFinite,
    Scorer,
    TokenOutOfRange,
    TokenStream,
    TrainedModel,
    TrainingOptions,
    TrainingProgress,
    stack,
    train,
    training,
)
from model.config import Mixer
from model.encoder import Encoder
from model.fit import Fit, Plan
from model.quantizer import codewords
from tests.unit.model.examples import GRAMMAR_NATS, MIXERS, SMALL, grammar, with_mixer

NOTHING = TokenStream(np.zeros(0, np.int64), np.zeros(0, np.float32))


def test_training_learns_the_grammar_to_its_entropy(trained: TrainedModel) -> None:
    start = math.log(SMALL.vocab_size - 1)
    assert trained.history[-1].held_out_nats < GRAMMAR_NATS + 0.1 < start / 5
    scorer, part = Scorer(trained), grammar(200, 5)
    found = scorer.score([NewEvents(scorer.initial_state(), part.tokens.tolist(), part.gaps.tolist())])[0]
    assert found.surprisal_nats[20:].mean() < GRAMMAR_NATS + 0.1


def test_training_repeats_under_its_seed_and_leaves_random_numbers_alone(
    trained: TrainedModel, options: TrainingOptions
) -> None:
    torch.manual_seed(77)
    expected = torch.rand(3)
    torch.manual_seed(77)
    again = train(SMALL, [grammar(2_000, 1)], [grammar(300, 2)], options)
    assert torch.equal(torch.rand(3), expected)
    assert again.fingerprint == trained.fingerprint
    assert again.history == trained.history


def test_another_seed_gives_another_model(options: TrainingOptions) -> None:
    short = replace(options, max_steps=2, min_steps=2)
    found = {
        train(SMALL, [grammar(300, 1)], [grammar(100, 2)], replace(short, seed=seed)).fingerprint for seed in (0, 1)
    }
    assert len(found) == 2


def test_the_best_weights_are_kept(options: TrainingOptions) -> None:
    """Noise learned by heart makes the held-out side worse, well before the last step."""
    random = np.random.default_rng(0)
    noise, other = (TokenStream(random.integers(1, 13, 30), np.zeros(30, np.float32)) for _ in range(2))
    model = train(SMALL, [noise], [other], replace(options, patience=8))
    kept, evaluated = model.history[-1].held_out_nats, [point.held_out_nats for point in model.history[:-1]]
    assert kept == min(evaluated) < evaluated[-1] - 0.1
    tokens, gaps = torch.from_numpy(other.tokens)[None], torch.from_numpy(other.gaps)[None]
    with torch.no_grad():
        nats = torch.nn.functional.cross_entropy(model.encoder(tokens, gaps).logits[0], tokens[0])
    assert float(nats) == pytest.approx(kept, rel=1e-5)


def test_the_best_of_all_evaluations_counts_and_not_that_before(
    options: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, weights = iter((3.0, 1.0, 2.0, 1.5, 1.2, 0.9)), []

    def evaluated(encoder: Encoder, _streams: Any, step: int) -> HeldOut:
        weights.append(encoder.head.bias.detach().clone())
        return HeldOut(step, next(told), 0.0, 0.0, 0.0, 0.0)

    monkeypatch.setattr("model.fit.evaluate", evaluated)
    short = replace(options, max_steps=8, min_steps=8, patience=3)
    model = train(SMALL, [grammar(500, 1)], [grammar(100, 2)], short)
    assert [point.held_out_nats for point in model.history] == [3.0, 1.0, 2.0, 1.5, 1.2, 1.0]
    assert torch.equal(model.encoder.head.bias, weights[1])


def test_training_stops_when_the_held_out_side_gets_no_better(options: TrainingOptions) -> None:
    random = np.random.default_rng(0)
    noise, other = (TokenStream(random.integers(1, 13, 30), np.zeros(30, np.float32)) for _ in range(2))
    seen: list[TrainingProgress] = []
    train(SMALL, [noise], [other], replace(options, patience=1), seen.append)
    assert seen[-1].step < seen[-1].steps


def test_state_is_carried_from_span_to_span(options: TrainingOptions) -> None:
    """Spans of 8 in a cycle of 5: begun anew each time, the first event of each would cost ln 5 for ever."""
    cycle = TokenStream(np.tile(np.array([2, 3, 4, 5, 6], np.int64), 300), np.zeros(1_500, np.float32))
    seen: list[TrainingProgress] = []
    train(SMALL, [cycle], [cycle], replace(options, span=8, max_steps=150, min_steps=150, patience=9), seen.append)
    assert seen[-1].loss < math.log(5) / 8 / 2


def test_every_pass_begins_anew() -> None:
    tokens = torch.from_numpy(grammar(400, 1).tokens).view(4, -1)
    plan = Plan(seed=3, steps=20, span=32, learning_rate=1e-2, patience=9, keys_first=0.0, checkpoint=None)
    run = Fit(Encoder(SMALL), tokens, torch.zeros(tokens.shape), [(tokens[0], torch.zeros(100))], plan)
    seen: list[tuple[int, int]] = []
    run.run(lambda _: seen.append((int(run.state.stack.position.max()), run.standing.at)))
    assert all(position <= at for position, at in seen)
    assert sum(before > at for (_, before), (_, at) in pairwise(seen)) > 2, "passes"


def test_some_lanes_begin_anew_as_streams_in_service_do(options: TrainingOptions) -> None:
    lanes = 64
    tokens = torch.from_numpy(grammar(lanes * 4_000, 1).tokens).view(lanes, -1)
    plan = Plan(seed=3, steps=40, span=32, learning_rate=1e-2, patience=9, keys_first=0.0, checkpoint=None)
    fit = Fit(Encoder(SMALL), tokens, torch.zeros(tokens.shape), [(tokens[0, :40], torch.zeros(40))], plan)
    anew: list[float] = []
    fit.run(lambda _: anew.append(float((fit.state.stack.position == 0).float().mean())))
    assert 0.005 < sum(anew) / len(anew) < 0.06
    assert max(anew) < 0.5


def test_where_keys_are_learnt_first_streams_begin_anew_when_codewords_are_placed() -> None:
    """What the cache holds was folded by codes that are no more."""
    tokens = torch.from_numpy(grammar(8_000, 1).tokens).view(4, -1)
    plan = Plan(seed=3, steps=40, span=32, learning_rate=1e-2, patience=9, keys_first=0.5, checkpoint=None)
    fit = Fit(Encoder(SMALL), tokens, torch.zeros(tokens.shape), [(tokens[0, :40], torch.zeros(40))], plan)
    anew: list[bool] = []
    exact: list[bool] = []

    def look(_: TrainingProgress) -> None:
        anew.append(bool((fit.state.stack.position == 0).all()))
        exact.append(all(block.attention.exact for block in fit.encoder.stack.blocks))

    fit.run(look)
    assert [step for step, begun in enumerate(anew) if begun] == [0, 20]
    assert exact == [step <= 20 for step in range(40)]


def test_a_training_whose_keys_come_first_does_not_stop_before_its_codes(options: TrainingOptions) -> None:
    noise = TokenStream(np.random.default_rng(5).integers(1, SMALL.vocab_size, 300), np.zeros(300, np.float32))
    eager = replace(options, patience=1, keys_first=0.8, max_steps=40, min_steps=40)
    model = train(SMALL, [grammar(2_000, 1)], [noise], eager)
    assert model.history[-1].step > 32
    assert not model.encoder.stack.exact
    assert train(SMALL, [grammar(2_000, 1)], [noise], replace(eager, keys_first=0.0)).history[-1].step < 32


def test_only_centroid_learns_keys_first(options: TrainingOptions) -> None:
    short = replace(options, max_steps=20, min_steps=20)
    for mixer, alike in (("static", True), ("full", True), ("centroid", False)):
        first, at_once = (
            train(with_mixer(mixer), [grammar(500, 1)], [grammar(100, 2)], replace(short, keys_first=share))
            for share in (0.5, 0.0)
        )
        assert (first.fingerprint == at_once.fingerprint) == alike, mixer


def test_no_step_follows_a_gradient_longer_than_one() -> None:
    encoder, tokens = Encoder(SMALL), torch.from_numpy(grammar(256, 1).tokens).view(4, -1)
    with torch.no_grad():
        encoder.head.weight *= 100
    plan = Plan(seed=3, steps=1, span=32, learning_rate=1e-2, patience=9, keys_first=0.0, checkpoint=None)
    fit = Fit(encoder, tokens, torch.zeros(tokens.shape), [(tokens[0], torch.zeros(64))], plan)
    followed: list[Tensor] = []

    def look(*_: Any) -> None:
        gradients = [weight.grad for weight in encoder.parameters() if weight.grad is not None]
        followed.append(torch.stack([gradient.norm() for gradient in gradients]).norm())

    fit.optimizer.register_step_pre_hook(look)
    fit.run(None)
    assert [float(length) for length in followed] == [pytest.approx(1.0, abs=1e-4)]


def test_keys_are_drawn_to_their_codewords_as_much_as_commitment_weighs(
    options: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = []
    for weight in (0.0, 1.0):
        monkeypatch.setitem(stack.COMMITMENT, "centroid", weight)
        model = train(SMALL, [grammar(2_000, 1)], [grammar(300, 2)], replace(options, max_steps=30, min_steps=30))
        errors.append(model.history[-1].quantisation_error)
    assert errors[1] < errors[0] / 2


def test_codewords_begin_at_the_keys_of_events_and_never_at_padding(options: TrainingOptions) -> None:
    model = train(SMALL, [grammar(5, 1)], [grammar(5, 2)], replace(options, max_steps=1, min_steps=1))
    assert len(model.encoder.stack.quantizers()) == SMALL.layers
    for quantizer in model.encoder.stack.quantizers():
        # Five events in a span of 32; a code without any counts for 1e-3.
        torch.testing.assert_close(quantizer.ema_count.sum(-1), torch.full((SMALL.heads,), 5.0), atol=0.02, rtol=0)


@pytest.mark.parametrize("mixer", MIXERS)
def test_progress_is_told_after_every_step(options: TrainingOptions, mixer: Mixer) -> None:
    seen: list[TrainingProgress] = []
    config = with_mixer(mixer)
    model = train(
        config, [grammar(500, 1)], [grammar(100, 2)], replace(options, max_steps=16, min_steps=16), seen.append
    )
    assert [progress.step for progress in seen] == list(range(1, 17))
    assert seen[-1].loss < seen[0].loss
    assert all(after.loss >= 0.95 * before.loss for before, after in pairwise(seen)), "a running mean"
    assert seen[0].held_out_nats is None
    assert seen[-1].held_out_nats is not None
    end = model.history[-1]
    assert 0 <= end.cache_mass <= 1
    if config.coded:
        assert 1 <= seen[-1].perplexity <= SMALL.codes
        assert end.quantisation_error > 0
        assert end.cache_mass > 0
    else:
        assert (seen[-1].perplexity, end.perplexity, end.quantisation_error, end.dead_share) == (0, 0, 0, 0)
        assert (end.cache_mass, model.statistics.usage.sum()) == (0, 0)


def test_quantisation_error_is_the_distance_of_held_out_keys(options: TrainingOptions) -> None:
    # Too few for a second lane.
    held_out = grammar(56, 2)
    model = train(SMALL, [grammar(500, 1)], [held_out], replace(options, max_steps=16, min_steps=16))
    with torch.no_grad():
        output = model.encoder(torch.from_numpy(held_out.tokens)[None], torch.from_numpy(held_out.gaps)[None])
    errors = []
    for quantizer, layer in zip(model.encoder.stack.quantizers(), output.layers, strict=True):
        away = layer.keys[0, :, :, None] - quantizer.search[:, None]
        errors.append(float(away.square().mean(-1).amin(-1).mean()))
    assert model.history[-1].quantisation_error == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_a_stream_shorter_than_a_block_trains(options: TrainingOptions) -> None:
    model = train(SMALL, [grammar(5, 1), NOTHING], [grammar(3, 2), NOTHING], replace(options, max_steps=2, min_steps=2))
    assert math.isfinite(model.history[-1].held_out_nats)


def test_nothing_to_train_on_is_refused(options: TrainingOptions) -> None:
    for streams, held_out in ([], [grammar(50, 1)]), ([grammar(50, 1)], []), ([NOTHING], [NOTHING]):
        with pytest.raises(EmptyBatch):
            train(SMALL, streams, held_out, options)


@pytest.mark.parametrize("token", [0, SMALL.vocab_size])
def test_a_token_outside_the_vocabulary_is_refused(options: TrainingOptions, token: int) -> None:
    wrong = TokenStream(np.array([2, token, 3], np.int64), np.zeros(3, np.float32))
    with pytest.raises(TokenOutOfRange):
        train(SMALL, [wrong], [grammar(50, 1)], options)
    with pytest.raises(TokenOutOfRange):
        train(SMALL, [grammar(50, 1)], [wrong], options)


def test_a_span_that_cuts_blocks_is_refused(options: TrainingOptions) -> None:
    with pytest.raises(BadConfig, match="span"):
        train(SMALL, [grammar(50, 1)], [grammar(50, 2)], replace(options, span=SMALL.block + 1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"seed": 2**63},
        {"seed": 0.5},
        {"epochs": 0},
        {"max_steps": 0, "min_steps": 0},
        {"min_steps": 801},
        {"lanes": 0},
        {"lanes": True},
        {"span": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.inf},
        {"learning_rate": math.nan},
        {"learning_rate": "fast"},
        {"patience": 0},
        {"keys_first": 0.91},
        {"keys_first": -0.1},
        {"keys_first": math.nan},
        {"keys_first": "half"},
    ],
)
def test_options_that_no_training_can_follow_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match=next(iter(wrong))):
        TrainingOptions(**wrong)


def test_the_largest_seed_trains(options: TrainingOptions) -> None:
    short = replace(options, seed=2**63 - 1, max_steps=2, min_steps=2)
    assert train(SMALL, [grammar(300, 1)], [grammar(100, 2)], short).history


def test_a_loss_that_is_not_finite_is_told(options: TrainingOptions) -> None:
    with pytest.raises(NotFinite, match="step"):
        train(SMALL, [grammar(500, 1)], [grammar(50, 2)], replace(options, learning_rate=1e30))


@pytest.mark.parametrize("learning_rate", [1e10, 1e30])
def test_held_out_events_that_cost_no_number_are_told_after_one_step(
    options: TrainingOptions, learning_rate: float
) -> None:
    """The loss of a step is of before it: that of the last step no other would tell."""
    one = replace(options, max_steps=1, min_steps=1, learning_rate=learning_rate)
    with pytest.raises(NotFinite, match="step 1; train with a lower learning rate"):
        train(SMALL, [grammar(500, 1)], [grammar(50, 2)], one)


@pytest.mark.parametrize(
    ("tokens", "gaps"),
    [
        (np.array([2.0, 3.0]), np.zeros(2)),
        (np.array([2, 3], np.int32), np.zeros(2)),
        (np.array(["2", "3"]), np.zeros(2)),
        (np.array([2, 3]), np.zeros(1)),
        (np.array([2, 3]), np.zeros((2, 1))),
        (np.array([[2, 3]]), np.zeros((1, 2))),
    ],
)
def test_a_stream_that_is_not_whole_numbers_with_a_gap_each_is_refused(tokens: Any, gaps: Any) -> None:
    with pytest.raises(BadEvents, match="tokens"):
        TokenStream(tokens, gaps)


def test_statistics_describe_the_training_events(trained: TrainedModel) -> None:
    statistics = trained.statistics
    np.testing.assert_allclose(statistics.usage.sum(-1), 1, rtol=1e-5)
    assert statistics.top_tokens.shape == (SMALL.heads, SMALL.codes, 5)
    assert set(np.unique(statistics.top_tokens)) <= {0, 2, 3, 4, 5, 6, 7}
    assert (np.diff(statistics.distance_quantiles, axis=-1) >= 0).all()
    assert 1 <= statistics.perplexity <= SMALL.codes


def test_statistics_are_of_the_latest_events(options: TrainingOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_STATISTICS_EVENTS", 100)
    early, late = grammar(400, 1), TokenStream(np.full(100, 9), np.zeros(100, np.float32))
    model = train(SMALL, [early, late], [grammar(50, 2)], replace(options, max_steps=2, min_steps=2))
    assert set(np.unique(model.statistics.top_tokens)) == {0, 9}


def test_statistics_are_of_events_read_on_from_those_before(options: TrainingOptions) -> None:
    """As sixteen streams of nine blocks, of which the last is read by itself."""
    stream = grammar(16 * 9 * SMALL.block, 1)
    model = train(SMALL, [stream], [grammar(50, 2)], replace(options, max_steps=20, min_steps=20))
    tokens, gaps = (torch.from_numpy(part).view(16, -1) for part in (stream.tokens, stream.gaps))
    with torch.no_grad():
        layer = model.encoder(tokens, gaps).layers[-1]
    codebook = model.encoder.stack.quantizers()[-1].codebook
    assert layer.codes is not None
    distance = (layer.keys - codewords(layer.codes, codebook)).square().sum(-1).transpose(0, 1).flatten(1).numpy()
    for head, codes in enumerate(layer.codes.transpose(0, 1).flatten(1).numpy()):
        usage = np.bincount(codes, minlength=SMALL.codes) / len(codes)
        np.testing.assert_allclose(model.statistics.usage[head], usage, atol=1e-6)
        for code in np.flatnonzero(usage * len(codes) >= 200):
            expected = np.quantile(distance[head, codes == code], np.linspace(0, 1, 101))
            np.testing.assert_allclose(model.statistics.distance_quantiles[head, code], expected, rtol=1e-3, atol=1e-5)


def test_the_unigram_gives_every_token_a_price(trained: TrainedModel) -> None:
    assert float(trained.unigram[0]) == 0
    assert (trained.unigram[1:] > 0).all()
    assert float(trained.unigram.sum()) == pytest.approx(1)
    assert float(trained.unigram[2]) == pytest.approx(0.2, abs=0.01)
