"""The encoder: what a prediction is made of, pieces, its state by name, what it refuses."""

import pytest
import torch
from torch import Tensor

from model import EmptyBatch, TokenOutOfRange
from model.config import Mixer
from model.encoder import GAP_BUCKETS, START, Encoder, EncoderState, gap_bucket
from tests.unit.model.examples import MIXERS, SMALL, with_mixer

B = 2
LENGTH = 5 * SMALL.block
EVERY = pytest.mark.parametrize("mixer", MIXERS)


def encoder(mixer: Mixer = "centroid") -> Encoder:
    torch.manual_seed(4)
    return Encoder(with_mixer(mixer)).eval()


def events(length: int = LENGTH, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, SMALL.vocab_size, (B, length), generator=generator)
    return tokens, torch.rand(B, length, generator=generator) * 100


@EVERY
@torch.no_grad()
def test_pieces_with_carried_state_equal_the_whole(mixer: Mixer) -> None:
    module, (tokens, gaps), cut = encoder(mixer), events(), 2 * SMALL.block
    whole = module(tokens, gaps)
    first = module(tokens[:, :cut], gaps[:, :cut])
    second = module(tokens[:, cut:], gaps[:, cut:], first.state)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole.logits, rtol=1e-4, atol=1e-5)
    assert set(second.state.tensors()) == set(whole.state.tensors())
    for name, tensor in whole.state.tensors().items():
        torch.testing.assert_close(second.state.tensors()[name], tensor, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_stream_scores_the_same_beside_others() -> None:
    module, (tokens, gaps) = encoder(), events()
    together = module(tokens, gaps).logits
    for row in range(B):
        torch.testing.assert_close(module(tokens[row : row + 1], gaps[row : row + 1]).logits[0], together[row])


@torch.no_grad()
def test_a_length_that_is_no_multiple_of_the_block_changes_nothing_before_its_end() -> None:
    module, (tokens, gaps) = encoder(), events()
    short = module(tokens[:, : LENGTH - 3], gaps[:, : LENGTH - 3])
    torch.testing.assert_close(short.logits, module(tokens, gaps).logits[:, : LENGTH - 3])
    assert short.state is None


@EVERY
def test_an_event_is_predicted_from_those_before_it_alone_and_feels_all_of_them(mixer: Mixer) -> None:
    """By the Jacobian; the negative control is that the allowed side is not zero."""
    module, (tokens, gaps) = encoder(mixer), events()
    seen: list[Tensor] = []
    handle = module.token.register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    logits = module(tokens, gaps).logits[..., 1:]
    handle.remove()
    # Row t of `seen` is the event t - 1, the input of step t.
    for step in (0, SMALL.block - 1, SMALL.block, 2 * SMALL.block + 3, LENGTH - 1):
        gradient = torch.autograd.grad(logits[0, step].square().sum(), seen[0], retain_graph=True)[0]
        reach = gradient[0].abs().sum(-1)
        assert reach[step + 1 :].eq(0).all()
        assert reach[: step + 1].gt(0).all()
        assert gradient[1].eq(0).all(), "streams of a batch do not mix"


@EVERY
@torch.no_grad()
def test_changing_an_event_changes_later_predictions_only(mixer: Mixer) -> None:
    module, (tokens, gaps), at = encoder(mixer), events(), 2 * SMALL.block + 1
    changed = tokens.clone()
    changed[:, at] = tokens[:, at] % (SMALL.vocab_size - 1) + 1
    before, after = module(tokens, gaps).logits, module(changed, gaps).logits
    assert torch.equal(before[:, : at + 1], after[:, : at + 1])
    assert (before[:, at + 1 :, 1:] != after[:, at + 1 :, 1:]).any(-1).all()


@torch.no_grad()
def test_a_gap_changes_the_prediction_of_its_own_event_and_later_ones_only() -> None:
    module, (tokens, gaps), at = encoder(), events(), 2 * SMALL.block + 1
    changed = gaps.clone()
    changed[:, at] = 1e6
    before, after = module(tokens, gaps).logits, module(tokens, changed).logits
    assert torch.equal(before[:, :at], after[:, :at])
    assert (before[:, at:, 1:] != after[:, at:, 1:]).any(-1).all()


@torch.no_grad()
def test_inputs_are_dropped_out_in_training_alone() -> None:
    """All of them here, so that no event and no gap is seen."""
    module, (tokens, gaps) = encoder(), events()
    module.dropout.p = 1.0
    for block in module.stack.blocks:
        block.dropout.p = 0.0
    others = events(seed=1)
    assert torch.equal(module.train()(tokens, gaps).logits, module(*others).logits)
    assert not torch.equal(module.eval()(tokens, gaps).logits, module(*others).logits)


@torch.no_grad()
def test_the_start_of_a_stream_is_never_predicted() -> None:
    logits = encoder()(*events()).logits
    assert logits[..., START].eq(float("-inf")).all()
    assert logits[..., START + 1 :].isfinite().all()


@EVERY
@torch.no_grad()
def test_a_state_comes_back_from_its_tensors_by_name(mixer: Mixer) -> None:
    state = encoder(mixer)(*events()).state
    again = EncoderState.from_tensors(state.tensors())
    assert again.last.tolist() == events()[0][:, -1].tolist()
    assert again.stack.position.tolist() == [LENGTH] * B
    torch.testing.assert_close(again.stack.layers, state.stack.layers, rtol=0, atol=0)


@torch.no_grad()
def test_a_state_of_many_layers_comes_back_in_their_order() -> None:
    position = torch.zeros(1, dtype=torch.long)
    tensors = {f"{layer}.tail": torch.full((1, 1), float(layer)) for layer in reversed(range(12))}
    again = EncoderState.from_tensors(tensors | {"last": position, "position": position})
    assert [float(layer["tail"]) for layer in again.stack.layers] == list(range(12))


@EVERY
@torch.no_grad()
def test_rows_laid_together_again_are_the_state_bit_for_bit(mixer: Mixer) -> None:
    state = encoder(mixer)(*events()).state
    rows = state.rows()
    assert [row.last.tolist() for row in rows] == [[int(token)] for token in state.last]
    again = EncoderState.joined(rows).tensors()
    for name, tensor in state.tensors().items():
        assert torch.equal(again[name], tensor), name


@pytest.mark.parametrize("token", [-1, START, SMALL.vocab_size])
def test_a_token_outside_the_vocabulary_is_refused(token: int) -> None:
    with pytest.raises(TokenOutOfRange, match=str(token)):
        encoder().check(torch.tensor([1, token, 2]))


def test_the_tokens_at_both_ends_of_the_vocabulary_are_taken() -> None:
    encoder().check(torch.tensor([1, SMALL.vocab_size - 1]))


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(EmptyBatch):
        encoder().check(torch.tensor([], dtype=torch.long))


def test_a_sequence_without_events_is_refused() -> None:
    with pytest.raises(EmptyBatch):
        encoder()(*events(0))


def test_gaps_fall_into_bounded_buckets_whatever_the_clock_says() -> None:
    gaps = torch.tensor([[0.0, -5.0, float("nan"), 0.05, 3600.0, 1e30, float("inf")]])
    buckets = gap_bucket(gaps)[0].tolist()
    assert buckets[:4] == [0, 0, 0, 1]
    assert 1 < buckets[4] < GAP_BUCKETS - 1
    assert buckets[5:] == [GAP_BUCKETS - 1] * 2
