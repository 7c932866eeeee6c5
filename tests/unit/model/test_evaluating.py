"""What a training tells of itself, against counts made by hand; dead codes are among them."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
import torch

from model import TrainingProgress, fit
from model.block import Block
from model.encoder import START, Encoder
from model.evaluating import evaluate
from model.fit import Fit, Plan
from tests.unit.model.examples import SMALL, grammar

BLOCK, HEADS = SMALL.block, SMALL.heads


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(4)
    return Encoder(SMALL)


def streams(*lengths: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return streams that are too short for a second lane."""
    parts = [grammar(length, seed) for seed, length in enumerate(lengths)]
    return [(torch.from_numpy(part.tokens), torch.from_numpy(part.gaps)) for part in parts]


def test_dead_share_counts_the_codes_that_are_not_alive_over_layers_and_heads(encoder: Encoder) -> None:
    first, second = encoder.stack.quantizers()
    first.alive[0, :5] = False
    first.alive[2, 7] = False
    second.alive[1, 2:4] = False
    found = evaluate(encoder, streams(BLOCK), 9)
    assert found.step == 9
    assert found.dead_share == pytest.approx((5 + 1 + 2) / (2 * HEADS * SMALL.codes))


def test_perplexity_counts_the_codes_in_use_over_layers_and_heads(encoder: Encoder) -> None:
    for quantizer, used in zip(encoder.stack.quantizers(), (2, 4), strict=True):
        quantizer.ema_count = torch.zeros(HEADS, SMALL.codes)
        quantizer.ema_count[:, :used] = 3.0
        quantizer.alive = quantizer.ema_count > 0
    assert evaluate(encoder, streams(BLOCK), 0).perplexity == pytest.approx((2 + 4) / 2, rel=1e-5)


def test_held_out_nats_are_those_of_an_event_whatever_the_stream(encoder: Encoder) -> None:
    """Padding costs nothing, and a long stream weighs more than a short one."""
    with torch.no_grad():
        encoder.head.weight.zero_()
        encoder.head.bias.copy_(torch.arange(SMALL.vocab_size) / 3)
    price = np.log(np.exp(np.arange(1, SMALL.vocab_size) / 3).sum()) - np.arange(SMALL.vocab_size) / 3
    parts = streams(7 * BLOCK, 5)
    parts[1] = (torch.full((5,), 12), parts[1][1])
    tokens = torch.cat([tokens for tokens, _ in parts]).numpy()
    assert evaluate(encoder, parts, 0).held_out_nats == pytest.approx(price[tokens].mean(), rel=1e-5)


def test_cache_mass_is_the_share_of_older_events_where_all_weigh_alike(encoder: Encoder) -> None:
    """Queries that look for nothing: an event in the window weighs what its head's bias says, one in the cache 1.

    The longest stream is read as sixteen of nine blocks, of which the last is read by itself.
    """
    last = encoder.stack.blocks[-1]
    assert isinstance(last, Block)
    near = torch.tensor([1.0, 2.0, 5.0])
    with torch.no_grad():
        last.log_temperature.fill_(-1e9)
        last.attention.window.distance_bias.copy_(near.log()[:, None].expand(-1, 2 * BLOCK))
        last.attention.count_share.fill_(1.0)
    masses = []
    for length in (7 * BLOCK, 3 * BLOCK + 3, *16 * [9 * BLOCK]):
        for event in range(length):
            block, place = divmod(event, BLOCK)
            ages = range(max(0, block - 1))
            far = sum(BLOCK * np.exp(-age * BLOCK / SMALL.horizon) for age in ages)
            seen = min(block, 1) * BLOCK + place + 1
            masses.append(float((far / (far + near * seen)).mean()))
    found = evaluate(encoder, streams(7 * BLOCK, 3 * BLOCK + 3, 16 * 9 * BLOCK), 0)
    assert found.cache_mass == pytest.approx(np.mean(masses), rel=1e-5)


def test_progress_tells_events_a_second_and_codes_in_use(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that is read at the beginning and at the end of a step, a second apart; padding is no event."""
    clock: Iterator[int] = count()
    monkeypatch.setattr(fit, "perf_counter", lambda: float(next(clock)))
    lengths = (203, 203, 203, 191)
    tokens = torch.full((4, 203), START)
    for lane, length in enumerate(lengths):
        tokens[lane, :length] = torch.from_numpy(grammar(length, lane).tokens)
    plan = Plan(seed=3, steps=8, span=32, learning_rate=1e-2, patience=9, keys_first=0.0, checkpoint=None)
    run, checked = Fit(encoder, tokens, torch.zeros(tokens.shape), streams(40), plan), []

    def look(told: TrainingProgress) -> None:
        at = run.standing.at
        checked.append(at)
        events = sum(min(at, length) for length in lengths)
        assert told.tokens_per_second == pytest.approx(events / told.step)
        perplexities = []
        for quantizer in encoder.stack.quantizers():
            for usage in quantizer.ema_count.double().numpy():
                share = usage[usage > 0] / usage.sum()
                perplexities.append(np.exp(-(share * np.log(share)).sum()))
        assert told.perplexity == pytest.approx(np.mean(perplexities), rel=1e-4)

    run.run(look)
    assert checked == sorted(checked), "one pass, or the count above is another"
    assert checked[-1] >= 203, "the last events are read, and what fills them up"
