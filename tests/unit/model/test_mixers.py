"""What LongVQ is compared with equals its definition, and each mixer reaches as far as it says."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from model.attention import Mixed, State
from model.config import EncoderConfig, Mixer
from model.mixers import MIXERS, FullAttention
from tests.unit.model.oracles import linear_attention, softmax_attention

B, H, K, BLOCK, HORIZON = 2, 3, 7, 5, 13
LENGTH = 4 * BLOCK


def mixing(mixer: Mixer) -> nn.Module:
    torch.manual_seed(5)
    config = EncoderConfig(vocab_size=3, heads=H, head_width=K, codes=11, block=BLOCK, horizon=HORIZON, mixer=mixer)
    module = MIXERS[mixer](config).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def inputs(length: int = LENGTH, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(B, H, length, K, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(3)]


def mix(module: nn.Module, *parts: Tensor, state: State | None = None, before: int = 0) -> Mixed:
    state = state or module.initial_state(B)  # type: ignore[operator]
    found: Mixed = module(*parts, state, torch.full((B,), before))
    return found


def window(module: nn.Module, *parts: Tensor) -> Tensor:
    return softmax_attention(*parts, block=BLOCK, bias=module.window.distance_bias)  # type: ignore[union-attr]


ORACLES: dict[Mixer, Callable[..., Tensor]] = {
    "full": lambda _module, *parts: softmax_attention(*parts),
    "linear": lambda _module, *parts: linear_attention(*parts),
    "window": window,
    "ssm": lambda _module, _query, _key, value: value,
}


@pytest.mark.parametrize("mixer", ORACLES)
def test_a_mixer_equals_its_definition_in_values_and_gradients(mixer: Mixer) -> None:
    module, parts = mixing(mixer), inputs()
    found, expected = mix(module, *parts).out, ORACLES[mixer](module, *parts)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    weight = inputs(seed=1)[0].detach()
    leaves = [parts[2]] if mixer == "ssm" else [*parts, *module.parameters()]
    ours = torch.autograd.grad((found * weight).sum(), leaves)
    theirs = torch.autograd.grad((expected * weight).sum(), leaves)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("mixer", ORACLES)
@torch.no_grad()
def test_a_mixer_in_pieces_equals_its_definition(mixer: Mixer) -> None:
    module, parts, cut = mixing(mixer), inputs(), 2 * BLOCK
    first = mix(module, *(x[:, :, :cut] for x in parts))
    state = {name: tensor.clone() for name, tensor in first.state.items()}
    second = mix(module, *(x[:, :, cut:] for x in parts), state=first.state, before=cut)
    expected = ORACLES[mixer](module, *parts)
    torch.testing.assert_close(torch.cat([first.out, second.out], 2), expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(first.state, state, rtol=0, atol=0)


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_mixer_reaches_as_far_as_it_says(mixer: Mixer) -> None:
    module, parts = mixing(mixer), inputs()
    out = mix(module, *parts).out
    for step in (0, BLOCK, 2 * BLOCK - 1, 3 * BLOCK + 2):
        reach = torch.autograd.grad(out[1, :, step].sum(), parts[2], retain_graph=True)[0].abs().sum(-1)
        first = {"window": max(0, (step // BLOCK - 1) * BLOCK), "ssm": step}.get(mixer, 0)
        assert reach[1, :, first : step + 1].gt(0).all()
        assert reach[1, :, :first].eq(0).all()
        assert reach[1, :, step + 1 :].eq(0).all()
        assert reach[0].eq(0).all()


@torch.no_grad()
def test_full_attention_keeps_of_earlier_calls_the_latest_events_of_its_horizon() -> None:
    module, parts = mixing("full"), inputs()
    assert isinstance(module, FullAttention)
    cut = 3 * BLOCK
    first = mix(module, *(x[:, :, :cut] for x in parts))
    assert first.state["keys"].shape[2] == HORIZON
    second = mix(module, *(x[:, :, cut:] for x in parts), state=first.state, before=cut)
    expected = softmax_attention(*(x[:, :, cut - HORIZON :] for x in parts))[:, :, HORIZON:]
    torch.testing.assert_close(second.out, expected, rtol=1e-11, atol=1e-12)


@torch.no_grad()
def test_full_attention_hides_what_came_before_its_stream_began() -> None:
    module, parts = mixing("full"), inputs()
    state = mix(module, *inputs(2 * BLOCK, seed=1)).state
    found = module(*parts, state, torch.tensor([2 * BLOCK, 3]))
    keys, values = (torch.cat([state[name], part], 2) for name, part in zip(("keys", "values"), parts[1:], strict=True))
    queries = torch.nn.functional.pad(parts[0], (0, 0, 2 * BLOCK, 0))
    for row, first in ((0, 0), (1, 2 * BLOCK - 3)):
        expected = softmax_attention(*(x[row : row + 1, :, first:] for x in (queries, keys, values)))
        torch.testing.assert_close(found.out[row], expected[0, :, 2 * BLOCK - first :], rtol=1e-11, atol=1e-12)


@torch.no_grad()
def test_a_linear_weight_of_nothing_gives_a_finite_output() -> None:
    """Features of keys far below zero vanish, and with them the sum that divides."""
    query, key, value = inputs()
    assert mix(mixing("linear"), query, key - 1e4, value).out.isfinite().all()
