"""The encoder: causality, pieces, padding, what it refuses."""

import pytest
import torch
from torch import Tensor

from model import EmptyBatch, EncoderConfig, TokenOutOfRange
from model.config import Memory
from model.encoder import GAP_BUCKETS, START, Encoder, gap_bucket
from tests.unit.model.examples import SMALL

B = 2
LENGTH = 5 * SMALL.block


def encoder(memory: Memory = "centroid") -> Encoder:
    torch.manual_seed(4)
    return Encoder(EncoderConfig(**{**SMALL.to_dict(), "memory": memory})).eval()


def events(length: int = LENGTH, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, SMALL.vocab_size, (B, length), generator=generator)
    return tokens, torch.rand(B, length, generator=generator) * 100


@pytest.mark.parametrize("memory", ["centroid", "static"])
@torch.no_grad()
def test_pieces_with_carried_state_equal_the_whole(memory: Memory) -> None:
    module, (tokens, gaps), cut = encoder(memory), events(), 2 * SMALL.block
    whole = module(tokens, gaps)
    first = module(tokens[:, :cut], gaps[:, :cut])
    second = module(tokens[:, cut:], gaps[:, cut:], first.state)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole.logits)
    for name, tensor in whole.state.tensors().items():
        torch.testing.assert_close(second.state.tensors()[name], tensor)


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


@pytest.mark.parametrize("memory", ["centroid", "static"])
def test_no_event_reaches_a_prediction_before_it_and_every_later_block_feels_it(memory: Memory) -> None:
    """By the Jacobian; the negative control is that the allowed side is not zero."""
    module, (tokens, gaps) = encoder(memory), events()
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


@torch.no_grad()
def test_changing_an_event_changes_later_predictions_only() -> None:
    module, (tokens, gaps), at = encoder(), events(), 2 * SMALL.block + 1
    changed = tokens.clone()
    changed[:, at] = tokens[:, at] % (SMALL.vocab_size - 1) + 1
    before, after = module(tokens, gaps).logits, module(changed, gaps).logits
    assert torch.equal(before[:, : at + 1], after[:, : at + 1])
    assert (before[:, at + 1 :, 1:] != after[:, at + 1 :, 1:]).any(-1).all()


@torch.no_grad()
def test_the_start_of_a_stream_is_never_predicted() -> None:
    logits = encoder()(*events()).logits
    assert logits[..., START].eq(float("-inf")).all()
    assert logits[..., START + 1 :].isfinite().all()


@torch.no_grad()
def test_state_is_bounded() -> None:
    module = encoder()
    sizes = set()
    state = None
    for seed in range(6):
        state = module(*events(seed=seed), state).state
        sizes.add(sum(tensor.numel() for tensor in state.tensors().values()))
    assert len(sizes) == 1


@pytest.mark.parametrize("token", [-1, START, SMALL.vocab_size])
def test_a_token_outside_the_vocabulary_is_refused(token: int) -> None:
    with pytest.raises(TokenOutOfRange, match=str(token)):
        encoder().check(torch.tensor([1, token, 2]))


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(EmptyBatch):
        encoder().check(torch.tensor([], dtype=torch.long))


def test_gaps_fall_into_bounded_buckets_whatever_the_clock_says() -> None:
    gaps = torch.tensor([[0.0, -5.0, float("nan"), 0.05, 3600.0, 1e30, float("inf")]])
    buckets = gap_bucket(gaps)[0].tolist()
    assert buckets[:4] == [0, 0, 0, 1]
    assert 1 < buckets[4] < GAP_BUCKETS - 1
    assert buckets[5:] == [GAP_BUCKETS - 1] * 2
