"""What fails moves no state; what does not fit is halved; what cannot explain is refused."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import (
    BadConfig,
    BadEvents,
    CodeOutOfRange,
    EmptyBatch,
    NewEvents,
    NotFinite,
    OutOfMemory,
    RepeatedState,
    ScoredEvents,
    Scorer,
    SourceState,
    StateMismatch,
    TokenOutOfRange,
    TrainedModel,
)
from model.config import CODED, Mixer
from model.encoder import Encoder, EncoderOutput
from model.scoring import EVENTS_AT_ONCE
from model.trained import fingerprint
from tests.unit.model.examples import EVEN, MIXERS, broken_grammar

BLOCK = EVEN.block
LENGTHS = (5 * BLOCK, 3 * BLOCK + 5, 7, 4 * BLOCK, 6 * BLOCK + 1, 2 * BLOCK, BLOCK + 3)


@pytest.fixture
def scorer(even: TrainedModel) -> Scorer:
    return Scorer(even)


def another(model: TrainedModel, mixer: Mixer = "centroid") -> TrainedModel:
    encoder = Encoder(replace(model.encoder.config, mixer=mixer)).eval()
    return replace(model, encoder=encoder, fingerprint=fingerprint(encoder, model.statistics, model.unigram))


def begun(scorer: Scorer, lengths: Sequence[int] = (3, BLOCK + 4)) -> list[SourceState]:
    """Return states of streams that have events behind them."""
    states = [scorer.initial_state() for _ in lengths]
    scorer.score(
        [NewEvents(state, [2] * length, [0.0] * length) for state, length in zip(states, lengths, strict=True)]
    )
    return states


def streams(scorer: Scorer) -> list[NewEvents]:
    """Return streams that begin, of different lengths."""
    parts = [broken_grammar(length, seed) for seed, length in enumerate(LENGTHS)]
    return [NewEvents(scorer.initial_state(), part.tokens.tolist(), part.gaps.tolist()) for part in parts]


def bad_token(token: int) -> Callable[[Scorer, SourceState], NewEvents]:
    return lambda _scorer, state: NewEvents(state, [2] * 20 + [token], [0.0] * 21)


def odd(token: Any, gap: Any) -> Callable[[Scorer, SourceState], NewEvents]:
    """Bring an event of which no state could be saved, or that is no event at all."""
    return lambda _scorer, state: NewEvents(state, [2, token], [0.0, gap])


def foreign(scorer: Scorer, _state: SourceState) -> NewEvents:
    return NewEvents(Scorer(another(scorer.model)).initial_state(), [2], [0.0])


def without(head: int, code: int) -> Callable[[Scorer, SourceState], NewEvents]:
    return lambda _scorer, state: NewEvents(state, [2], [0.0], [(0, 0), (head, code)])


FAILURES = [
    pytest.param(bad_token(0), TokenOutOfRange, id="start"),
    pytest.param(bad_token(-1), TokenOutOfRange, id="negative"),
    pytest.param(bad_token(EVEN.vocab_size), TokenOutOfRange, id="beyond"),
    pytest.param(bad_token(2**63), TokenOutOfRange, id="beyond 64 bits"),
    *(
        pytest.param(odd(token, gap), BadEvents, id=f"{type(token).__name__} after {type(gap).__name__}")
        for token, gap in ((1.5, 0.0), (None, 0.0), (np.int64(2), 0.0), (2, None), (2, np.float32(1)))
    ),
    pytest.param(foreign, StateMismatch, id="foreign"),
    pytest.param(lambda _scorer, state: NewEvents(state, [], []), EmptyBatch, id="empty"),
    pytest.param(lambda _scorer, state: NewEvents(state, [2, 3], [0.0]), BadEvents, id="no gap"),
    *(
        pytest.param(without(*place), CodeOutOfRange, id=f"without {place}")
        for place in ((0, EVEN.codes), (EVEN.heads, 0), (-1, 0), (0, -1))
    ),
]


@pytest.mark.parametrize(("failing", "error"), FAILURES)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("wait", [False, True])
def test_a_failing_stream_moves_no_state_of_its_batch(
    scorer: Scorer, failing: Callable[..., NewEvents], error: type[Exception], place: int, wait: bool
) -> None:
    states = begun(scorer, (3, BLOCK + 4, 2 * BLOCK))
    before = [state.to_bytes() for state in states]
    batch = [NewEvents(state, [3] * 40, [0.5] * 40) for state in states[:2]]
    batch.insert(place, failing(scorer, states[2]))
    with pytest.raises(error):
        scorer.score(batch, wait=wait)
    assert [state.to_bytes() for state in states] == before


def test_weights_that_give_no_number_are_found_before_a_state_moves(even: TrainedModel) -> None:
    other = another(even)
    scorer = Scorer(other)
    states = begun(scorer)
    before = [state.to_bytes() for state in states]
    torch.nn.init.constant_(other.encoder.head.weight, float("nan"))
    with pytest.raises(NotFinite):
        scorer.score([NewEvents(state, [3] * 40, [0.5] * 40) for state in states])
    with pytest.raises(NotFinite):
        scorer.explain([NewEvents(states[0], [3], [0.0])])
    assert [state.to_bytes() for state in states] == before


def test_a_codebook_that_gives_no_distance_is_found_though_its_scores_are_numbers(even: TrainedModel) -> None:
    other = another(even)
    scorer = Scorer(other)
    other.encoder.stack.quantizers()[-1].codebook[0] = float("nan")
    states = [scorer.initial_state()]
    with pytest.raises(NotFinite, match="distance"):
        scorer.score([NewEvents(states[0], [3] * 40, [0.5] * 40)])
    assert states[0].position == 0


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_model_of_which_one_codeword_is_no_number_is_refused(even: TrainedModel, layer: int, number: float) -> None:
    """It would score: every key would take the first code, at a distance that is a number."""
    other = another(even)
    other.encoder.stack.quantizers()[layer].codebook[0, 0, 0] = number
    with pytest.raises(NotFinite, match="codebook"):
        Scorer(other)


def test_one_stream_of_many_that_gives_no_number_is_enough(scorer: Scorer) -> None:
    """A gap of the last stream's cannot be the cause: its bucket is bounded. A state can, and it comes from outside."""
    states = begun(scorer)
    states[1].boundary = states[1].boundary.map(lambda x: x * float("nan") if x.is_floating_point() else x)
    before = [state.to_bytes() for state in states]
    with pytest.raises(NotFinite):
        scorer.score([NewEvents(state, [3] * 40, [0.5] * 40) for state in states])
    assert [state.to_bytes() for state in states] == before


def test_the_state_of_another_model_is_not_read(scorer: Scorer) -> None:
    other = another(scorer.model)
    with pytest.raises(StateMismatch, match=other.fingerprint):
        SourceState.from_bytes(Scorer(other).initial_state().to_bytes(), scorer.model)


@pytest.mark.parametrize("damage", [slice(0, 0), slice(0, 40), slice(0, -5), slice(8, None)])
def test_damaged_state_bytes_are_refused(scorer: Scorer, damage: slice) -> None:
    data = begun(scorer)[1].to_bytes()
    with pytest.raises(StateMismatch):
        SourceState.from_bytes(data[damage], scorer.model)


def test_state_bytes_nested_without_end_are_refused(scorer: Scorer) -> None:
    header = b"[" * 200_000
    with pytest.raises(StateMismatch, match="recursion"):
        SourceState.from_bytes(len(header).to_bytes(8, "little") + header, scorer.model)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_of_a_state_is_found_wherever_it_is(even: TrainedModel, where: float, bit: int) -> None:
    data = bytearray(begun(Scorer(even))[1].to_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    # As often in the header as in the tensors, which are longer by far.
    place = int(where * 2 * header) if where < 0.5 else int(header + (2 * where - 1) * (len(data) - header))
    data[place] ^= 1 << bit
    with pytest.raises(StateMismatch):
        SourceState.from_bytes(bytes(data), even)


def without_layer(state: SourceState) -> None:
    state.boundary.stack.layers.pop()


def with_layer(state: SourceState) -> None:
    state.boundary.stack.layers.append({name: x.clone() for name, x in state.boundary.stack.layers[0].items()})


def without_tensor(state: SourceState) -> None:
    del state.boundary.stack.layers[0]["count"]


def of_two_streams(state: SourceState) -> None:
    state.boundary = state.boundary.joined([state.boundary, state.boundary])


def of_whole_numbers(state: SourceState) -> None:
    state.boundary = state.boundary.map(torch.Tensor.long)


def with_gap_missing(state: SourceState) -> None:
    state.gaps.pop()


def with_a_whole_block_open(state: SourceState) -> None:
    state.tokens, state.gaps = [2] * BLOCK, [0.0] * BLOCK


def with_more_scored_than_came(state: SourceState) -> None:
    state.scored = len(state.tokens) + 1


def with_a_token_of_no_vocabulary(state: SourceState) -> None:
    state.tokens[0] = EVEN.vocab_size


@pytest.mark.parametrize(
    "damage",
    [
        without_layer,
        with_layer,
        without_tensor,
        of_two_streams,
        of_whole_numbers,
        with_gap_missing,
        with_a_whole_block_open,
        with_more_scored_than_came,
        with_a_token_of_no_vocabulary,
    ],
)
def test_a_state_that_this_model_cannot_have_is_refused(scorer: Scorer, damage: Callable[[SourceState], None]) -> None:
    state = begun(scorer)[1]
    SourceState.from_bytes(state.to_bytes(), scorer.model)
    damage(state)
    with pytest.raises(StateMismatch):
        SourceState.from_bytes(state.to_bytes(), scorer.model)


@pytest.mark.parametrize("wait", [False, True])
def test_one_state_twice_in_a_batch_is_refused_and_has_not_moved(scorer: Scorer, wait: bool) -> None:
    """Each would advance from where it stood: one of them would be lost."""
    states = begun(scorer)
    before = [state.to_bytes() for state in states]
    batch = [NewEvents(state, [3] * 40, [0.5] * 40) for state in (*states, states[0])]
    with pytest.raises(RepeatedState):
        scorer.score(batch, wait=wait)
    with pytest.raises(RepeatedState):
        scorer.explain(batch)
    assert [state.to_bytes() for state in states] == before
    scorer.score([NewEvents(state, [3], [0.5]) for state in (states[0], states[0].copy())])


@pytest.mark.parametrize("mixer", [mixer for mixer in MIXERS if mixer not in CODED])
def test_a_mixer_without_a_codebook_is_refused(trained: TrainedModel, mixer: Mixer) -> None:
    with pytest.raises(BadConfig, match=mixer):
        Scorer(another(trained, mixer))


def test_a_mixer_with_a_codebook_is_taken(trained: TrainedModel) -> None:
    for mixer in CODED:
        Scorer(another(trained, mixer))


# --- memory that does not suffice ------------------------------------------------------------------------------------


def short_of_memory(patch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let the encoder run out of memory above so many events at once; return how many are asked for, call by call."""
    asked, forward = [], Encoder.forward

    def limited(self: Encoder, tokens: torch.Tensor, *rest: Any, **options: Any) -> EncoderOutput:
        asked.append(tokens.numel())
        if tokens.numel() > most:
            raise torch.OutOfMemoryError("no memory")
        return forward(self, tokens, *rest, **options)

    patch.setattr(Encoder, "forward", limited)
    return asked


def assert_equal(found: list[ScoredEvents], expected: list[ScoredEvents]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.surprisal_nats, other.surprisal_nats)
        assert np.array_equal(one.codes, other.codes)
        assert np.array_equal(one.cache_mass, other.cache_mass)


@pytest.mark.parametrize("most", [BLOCK, 2 * BLOCK, 3 * BLOCK, 5 * BLOCK])
def test_what_does_not_fit_is_halved_and_scored_the_same(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, most: int
) -> None:
    """Half and half again of 2,048 come down to whole blocks, and then to what fits."""
    expected = scorer.score(streams(scorer)[:2])
    asked = short_of_memory(monkeypatch, most)
    batch = streams(scorer)[:2]
    with caplog.at_level(logging.WARNING, "model.scoring"):
        assert_equal(scorer.score(batch), expected)
    assert [new.state.position for new in batch] == list(LENGTHS[:2])
    assert max(asked) > most
    told = [record.args[0] for record in caplog.records if isinstance(record.args, tuple)]
    assert told == [EVENTS_AT_ONCE["cpu"] // 2**times for times in range(1, len(told) + 1)]
    fits = max(at_once for at_once in told if at_once // BLOCK * BLOCK <= most)
    assert told[-1] == fits, "halved until it fits and no further"
    asked.clear()
    assert_equal(scorer.score(streams(scorer)[:2]), expected)
    assert max(asked) <= most, "from now on"
    assert not scorer.device_fallback


@pytest.mark.parametrize("lanes", [2, 4])
def test_streams_that_wait_their_turn_are_grouped_anew_after_a_halving(
    even: TrainedModel, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    """Seven streams, in groups of which half a one fits: one halving is enough, whatever the number of groups."""
    monkeypatch.setitem(EVENTS_AT_ONCE, "cpu", lanes * BLOCK)
    scorer = Scorer(even)
    expected = scorer.score(streams(scorer))
    most = lanes // 2 * BLOCK
    asked = short_of_memory(monkeypatch, most)
    assert_equal(scorer.score(streams(scorer)), expected)
    assert sum(events > most for events in asked) == 1


def test_with_nothing_left_to_halve_the_error_is_told_and_no_state_moves(
    even: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(even)
    states = begun(scorer)
    before = [state.to_bytes() for state in states]
    asked = short_of_memory(monkeypatch, BLOCK - 1)
    with pytest.raises(OutOfMemory, match="one block"):
        scorer.score([NewEvents(state, [3] * 40, [0.5] * 40) for state in states])
    assert asked[-1] <= 2 * BLOCK
    assert [state.to_bytes() for state in states] == before
    monkeypatch.undo()
    assert scorer.score([NewEvents(states[0], [3], [0.0])])[0].surprisal_nats.shape == (1,)


def test_the_cpu_takes_over_from_a_gpu_without_room_for_one_block(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected, run = scorer.score(streams(scorer)), Scorer._run

    def full(self: Scorer, *rest: Any) -> EncoderOutput:
        if self._device.type == "cuda":
            raise torch.OutOfMemoryError("no memory")
        return run(self, *rest)

    monkeypatch.setattr(Scorer, "_run", full)
    monkeypatch.setattr(scorer, "_device", torch.device("cuda"))
    with caplog.at_level(logging.WARNING, "model.scoring"):
        assert_equal(scorer.score(streams(scorer)), expected)
    assert scorer.device_fallback
    assert "the CPU scores from now on" in caplog.messages[-1]


def test_other_errors_are_not_taken_for_a_lack_of_memory(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> EncoderOutput:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Encoder, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        scorer.score(streams(scorer))
