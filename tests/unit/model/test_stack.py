"""Whatever mixes: causal, the same in pieces, beside other streams, in segments and from a state laid together."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from model import EncoderConfig
from model.config import Mixer
from model.stack import SEGMENT, Stack, StackState, rows_of
from tests.unit.model.examples import MIXERS, SMALL, small_stack

B, BLOCK = 3, SMALL.block
LENGTH = 5 * BLOCK
EVERY = pytest.mark.parametrize("mixer", MIXERS)


def vectors(length: int = LENGTH, seed: int = 0) -> Tensor:
    return torch.randn(B, length, SMALL.width, generator=torch.Generator().manual_seed(seed))


def tensors(state: StackState) -> list[dict[str, Tensor]]:
    return [*state.layers, {"position": state.position}]


def assert_same_state(found: StackState | None, expected: StackState | None) -> None:
    assert found is not None
    assert expected is not None
    for one, other in zip(tensors(found), tensors(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@EVERY
def test_no_event_reaches_an_output_before_it_and_every_later_one_feels_it(mixer: Mixer) -> None:
    """By the Jacobian; the negative control is that the allowed side is not zero."""
    x = vectors().requires_grad_()
    y = small_stack(mixer)(x).y
    for step in (0, BLOCK - 1, BLOCK, 2 * BLOCK + 3, LENGTH - 1):
        gradient = torch.autograd.grad(y[1, step].square().sum(), x, retain_graph=True)[0]
        reach = gradient.abs().sum(-1)
        assert reach[1, step + 1 :].eq(0).all()
        assert reach[1, : step + 1].gt(0).all()
        assert reach[[0, 2]].eq(0).all(), "streams of a batch do not mix"


@EVERY
@torch.no_grad()
def test_a_changed_event_changes_what_follows_and_nothing_before(mixer: Mixer) -> None:
    """A Jacobian cannot see what leaks through codes."""
    stack, x, at = small_stack(mixer), vectors(), 2 * BLOCK + 1
    changed = x.clone()
    changed[1, at] = -x[1, at]
    before, after = stack(x).y, stack(changed).y
    assert torch.equal(before[1, :at], after[1, :at])
    assert (before[1, at:] != after[1, at:]).any(-1).all()
    assert torch.equal(before[[0, 2]], after[[0, 2]])


@EVERY
@torch.no_grad()
def test_pieces_with_carried_state_equal_the_whole(mixer: Mixer) -> None:
    stack, x = small_stack(mixer), vectors()
    whole = stack(x)
    for cuts in ([0, BLOCK, LENGTH], [0, 2 * BLOCK, 3 * BLOCK, LENGTH]):
        state, found = None, []
        for first, last in pairwise(cuts):
            out = stack(x[:, first:last], state)
            state = out.state
            found.append(out.y)
        torch.testing.assert_close(torch.cat(found, 1), whole.y, rtol=1e-4, atol=1e-5)
        assert_same_state(state, whole.state)
        assert state.position.tolist() == [LENGTH] * B


@EVERY
@torch.no_grad()
def test_a_stream_gives_the_same_beside_others(mixer: Mixer) -> None:
    stack, x = small_stack(mixer), vectors()
    together = stack(x)
    for row, state in enumerate(together.state.rows()):
        alone = stack(x[row : row + 1])
        torch.testing.assert_close(together.y[row : row + 1], alone.y, rtol=1e-4, atol=1e-5)
        assert_same_state(state, alone.state)


@EVERY
@torch.no_grad()
def test_a_length_that_is_no_multiple_of_the_block_changes_nothing_before_its_end(mixer: Mixer) -> None:
    stack, x = small_stack(mixer), vectors()
    whole = stack(x).y
    for length in (1, BLOCK - 1, LENGTH - 3):
        torch.testing.assert_close(stack(x[:, :length]).y, whole[:, :length], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mixer", [mixer for mixer in MIXERS if mixer != "lstm"])
@torch.no_grad()
def test_inside_a_block_there_is_no_state(mixer: Mixer) -> None:
    assert small_stack(mixer)(vectors(BLOCK + 1)).state is None


@EVERY
@pytest.mark.parametrize("grad", [False, True])
def test_a_sweep_equals_the_whole(monkeypatch: pytest.MonkeyPatch, mixer: Mixer, grad: bool) -> None:
    monkeypatch.setitem(SEGMENT, "cpu", 2 * BLOCK + 1)
    stack, x = small_stack(mixer), vectors().requires_grad_(grad)
    with torch.set_grad_enabled(grad):
        whole, (y, state) = stack(x), stack.sweep(x)
    torch.testing.assert_close(y, whole.y, rtol=1e-4, atol=1e-5)
    assert_same_state(state, whole.state)
    if grad:
        leaves = [x, *(leaf for leaf in stack.parameters() if leaf.requires_grad)]
        ours = torch.autograd.grad(y.square().sum(), leaves, allow_unused=True)
        theirs = torch.autograd.grad(whole.y.square().sum(), leaves, allow_unused=True)
        assert [one is None for one in ours] == [other is None for other in theirs]
        for one, other in zip(ours, theirs, strict=True):
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


class Written(TorchDispatchMode):
    """Counts the numbers that operations return."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = found if isinstance(found, tuple | list) else (found,)
        self.numbers += sum(tensor.numel() for tensor in tensors if isinstance(tensor, Tensor))
        return found


def test_the_gradient_of_a_sweep_costs_twice_as_much_for_twice_the_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEGMENT, "cpu", BLOCK)
    stack, costs = small_stack("centroid"), []
    for segments in (40, 80):
        x = vectors(segments * BLOCK).requires_grad_()
        loss = stack.sweep(x)[0].square().sum()
        with Written() as written:
            torch.autograd.grad(loss, x)
        costs.append(written.numbers)
    assert costs[1] < 2.02 * costs[0]


@torch.no_grad()
def test_a_sweep_takes_as_many_events_at_once_as_its_device_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEGMENT, "cpu", 2 * BLOCK + 1)
    stack, taken = small_stack("centroid"), []
    stack.register_forward_hook(lambda _module, given, _out: taken.append(given[0].shape[1]))
    stack.sweep(vectors()[:, : 3 * BLOCK])
    assert taken == [2 * BLOCK, BLOCK]
    assert SEGMENT["cuda"] > 8 * 2048, "a GPU waits for small products"


@EVERY
@torch.no_grad()
def test_a_sweep_goes_on_from_a_state(mixer: Mixer) -> None:
    stack, x = small_stack(mixer), vectors()
    state = stack(x[:, : 2 * BLOCK]).state
    assert SEGMENT["cpu"] > LENGTH
    y, after = stack.sweep(x[:, 2 * BLOCK :], state)
    whole = stack(x)
    torch.testing.assert_close(y, whole.y[:, 2 * BLOCK :], rtol=1e-4, atol=1e-5)
    assert_same_state(after, whole.state)


@EVERY
@torch.no_grad()
def test_forward_leaves_the_state_it_was_given_alone(mixer: Mixer) -> None:
    stack = small_stack(mixer)
    state = stack(vectors()).state
    before = state.map(torch.clone)
    stack(vectors(seed=1), state)
    for one, other in zip(tensors(state), tensors(before), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@EVERY
@torch.no_grad()
def test_a_row_of_zeros_is_a_stream_that_has_not_begun(mixer: Mixer) -> None:
    stack, x = small_stack(mixer), vectors(seed=1)
    fresh = stack.initial_state(B)
    assert all(not tensor.any() for layer in tensors(fresh) for tensor in layer.values())
    state = stack(vectors()).state
    keep = torch.tensor([1, 0, 1])
    found = stack(x, state.map(lambda tensor: tensor * keep.view(-1, *[1] * (tensor.dim() - 1)).to(tensor.dtype)))
    torch.testing.assert_close(found.y[1], stack(x).y[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.y[0], stack(x, state).y[0], rtol=1e-4, atol=1e-5)


@EVERY
@torch.no_grad()
def test_rows_laid_together_again_are_the_state_bit_for_bit(mixer: Mixer) -> None:
    state = small_stack(mixer)(vectors()).state
    rows = state.rows()
    assert [row.position.tolist() for row in rows] == [[LENGTH]] * B
    for one, other in zip(tensors(StackState.joined(rows)), tensors(state), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    for layer in (layer for row in rows for layer in tensors(row)):
        for tensor in layer.values():
            assert tensor.is_contiguous()
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


@pytest.mark.parametrize("mixer", [mixer for mixer in MIXERS if mixer != "full"])
@torch.no_grad()
def test_streams_of_different_age_go_on_side_by_side_as_alone(mixer: Mixer) -> None:
    """`full` has no place for it: what it keeps of streams of different age differs in size."""
    stack, x, y = small_stack(mixer), vectors(), vectors(2 * BLOCK, seed=1)
    ages = [0, BLOCK, LENGTH]
    states = [stack(x[row : row + 1, :age]).state if age else stack.initial_state(1) for row, age in enumerate(ages)]
    joined = StackState.joined(states)
    assert joined.position.tolist() == ages
    together = stack(y, joined)
    for row, (state, after) in enumerate(zip(states, together.state.rows(), strict=True)):
        alone = stack(y[row : row + 1], state)
        torch.testing.assert_close(together.y[row : row + 1], alone.y, rtol=1e-4, atol=1e-5)
        assert_same_state(after, alone.state)


@EVERY
@torch.no_grad()
def test_a_state_stops_growing(mixer: Mixer) -> None:
    stack, state, sizes = small_stack(mixer), None, []
    for seed in range(4):
        state = stack(vectors(2 * BLOCK * (SMALL.horizon // BLOCK // 2 + 1), seed), state).state
        sizes.append(sum(tensor.numel() for layer in state.layers for tensor in layer.values()))
    assert len(set(sizes)) == 1
    assert sizes[0] > 0


def test_rows_are_copies() -> None:
    whole = torch.arange(6.0).view(3, 2)
    rows = rows_of(whole)
    rows[1][:] = 0
    assert whole[1].tolist() == [2, 3]
    assert [row.shape for row in rows] == [(1, 2)] * 3


SIZES = [
    {},
    {"width": 64, "heads": 2},
    {"layers": 1},
    {"width": 128, "layers": 4, "heads": 4},
]


@pytest.mark.parametrize("sizes", SIZES)
def test_the_lstm_has_as_many_parameters_as_what_it_is_compared_with(sizes: dict[str, int]) -> None:
    def parameters(mixer: Mixer) -> int:
        stack = Stack(EncoderConfig(vocab_size=3, mixer=mixer, **sizes))
        return sum(parameter.numel() for parameter in stack.parameters())

    assert parameters("lstm") == pytest.approx(parameters("centroid"), rel=0.01)


@EVERY
def test_every_weight_learns_but_what_makes_queries_and_keys_that_nothing_reads(mixer: Mixer) -> None:
    stack = small_stack(mixer)
    stack(vectors()).y.square().sum().backward()
    inner = SMALL.heads * SMALL.head_width
    idle = {"gates.weight", "gates.bias", "log_temperature"} if mixer == "ssm" else set()
    for name, weight in stack.named_parameters():
        learns = weight.grad.abs() > 0 if weight.grad is not None else torch.zeros_like(weight, dtype=torch.bool)
        if name.partition(".")[2].partition(".")[2] in idle:
            assert not learns[: 2 * inner].any(), name
            learns = learns[2 * inner :]
        assert learns.all(), name


@pytest.mark.parametrize("train", [True, False])
def test_what_a_block_adds_is_dropped_out_in_training_alone(train: bool) -> None:
    """All of it here: no gradient comes to what only makes it, and one to what says how much is let through."""
    stack = small_stack("centroid").train(train)
    for block in stack.blocks:
        block.dropout.p = 1.0
    stack(vectors()).y.square().sum().backward()
    added, let_through = stack.blocks[-1], stack.blocks[-1].gates.weight.grad[-SMALL.width :]
    assert let_through.any()
    for layer in (added.out, added.ffn_out):
        assert layer.weight.grad.any() != train


@torch.no_grad()
def test_an_lstm_drops_out_between_its_layers_in_training_alone() -> None:
    stack, x = small_stack("lstm"), vectors()
    assert not torch.equal(stack.train()(x).y, stack(x).y)
    assert torch.equal(stack.eval()(x).y, stack(x).y)


@EVERY
def test_codebooks_are_one_a_layer_where_there_are_any(mixer: Mixer) -> None:
    stack, x, weight = small_stack(mixer), vectors(), torch.ones(B, LENGTH)
    coded = mixer in {"centroid", "static"}
    assert len(stack.quantizers()) == (SMALL.layers if coded else 0)
    with torch.no_grad():
        outputs = stack(x).layers
    before = [quantizer.codebook.clone() for quantizer in stack.quantizers()]
    assert (float(stack.commitment(outputs, weight)) > 0) == coded
    assert (stack.perplexity() > 1) == coded
    stack.update_codebooks(outputs, weight, torch.Generator())
    for quantizer, old in zip(stack.quantizers(), before, strict=True):
        assert not torch.equal(quantizer.codebook, old)


@pytest.mark.parametrize("place", [False, True])
@torch.no_grad()
def test_what_fills_a_block_up_moves_no_codebook(place: bool) -> None:
    """Events of weight 1 end inside the last block; what `forward` filled up behind them has no weight at all."""
    found = []
    for length in (LENGTH - 3, LENGTH):
        stack = small_stack("centroid")
        x = vectors().where(torch.arange(LENGTH)[:, None] < LENGTH - 3, torch.tensor(1e3))[:, :length]
        weight = (torch.arange(length) < LENGTH - 3).float().expand(B, length)
        outputs = stack(x).layers
        loss = stack.commitment(outputs, weight)
        stack.update_codebooks(outputs, weight, torch.Generator().manual_seed(0), place=place)
        found.append((loss, [quantizer.codebook for quantizer in stack.quantizers()]))
    torch.testing.assert_close(found[0], found[1])


def test_events_see_events_until_the_codewords_are_placed_and_nothing_draws_keys_together() -> None:
    stack, x, weight = small_stack("centroid").train(), vectors(), torch.ones(B, LENGTH)
    for block in stack.blocks:
        block.dropout.p = 0.0
    placing, committed, seen = [], [], []
    for step in range(11):
        placing += [step] if stack.prepare(step, 10, 0.5) else []
        outputs = stack(x)
        committed.append(float(stack.commitment(outputs.layers, weight).detach()) > 0)
        seen.append(outputs.y.detach())
    assert placing == [0, 5]
    assert committed == [step > 5 for step in range(11)]
    assert torch.equal(seen[0], seen[5])
    assert (seen[5] - seen[6]).abs().max() > 1e-4
    assert not small_stack("full").prepare(5, 10, 0.5)
    static = small_stack("static")
    assert [step for step in range(100) if static.prepare(step, 100, 0.5)] == [0, 10]
    assert float(static.commitment(static(x).layers, weight).detach()) > 0
