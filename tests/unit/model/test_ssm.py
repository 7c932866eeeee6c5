"""The chunked state-space form equals its recurrence; the convolution carries its tail."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from model import reference
from model.ssm import CONV_TAPS, HALF_LIVES, CausalConv, SelectiveSSM, chunked_scan

B, H, N, P, CHUNK = 2, 3, 5, 7, 11


def scan_inputs(length: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(B, length, H, P), (B, length, H), (B, length, N), (B, length, N), (B, H, N, P)]
    inputs, decay, into, out_of, hidden = (torch.randn(size, generator=generator).to(dtype) for size in sizes)
    return inputs, -decay.exp(), into, out_of, hidden


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("parts", [1, 4])
def test_chunked_scan_equals_the_recurrence_in_values_and_gradients(
    dtype: torch.dtype, tolerance: float, parts: int
) -> None:
    leaves = [x.requires_grad_() for x in scan_inputs(parts * CHUNK, dtype)]
    ours, theirs = chunked_scan(*leaves, CHUNK), reference.state_space(*leaves)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(x.shape, dtype=torch.float64, generator=generator) for x in theirs]
    for found, expected in zip(ours, theirs, strict=True):
        assert found.dtype == dtype
        assert (found - expected).abs().max() <= tolerance * expected.abs().max()
    gradients = [
        torch.autograd.grad(sum((x * weight).sum() for x, weight in zip(pair, weights, strict=True)), leaves)
        for pair in (ours, theirs)
    ]
    for found, expected in zip(*gradients, strict=True):
        assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def test_the_result_does_not_depend_on_the_chunk() -> None:
    parts = scan_inputs(6 * CHUNK, torch.float64)
    for one, other in pairwise(chunked_scan(*parts, chunk) for chunk in (1, 2, CHUNK, 6 * CHUNK)):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_decays_of_any_size_stay_finite_in_values_and_gradients() -> None:
    inputs, decay, into, out_of, hidden = (x.requires_grad_() for x in scan_inputs(2 * CHUNK, torch.float32))
    y, after = chunked_scan(inputs, 1e4 * decay, into, out_of, hidden, CHUNK)
    assert y.isfinite().all()
    assert after.isfinite().all()
    for gradient in torch.autograd.grad(y.sum() + after.sum(), [inputs, decay, into, out_of, hidden]):
        assert gradient.isfinite().all()


def test_layer_in_pieces_equals_the_whole() -> None:
    torch.manual_seed(0)
    layer = SelectiveSSM(H * P, H, N)
    x, hidden = torch.randn(B, 3 * CHUNK, H * P), torch.randn(B, H, N, P)
    whole, after = layer(x, hidden, CHUNK)
    first, between = layer(x[:, :CHUNK], hidden, CHUNK)
    second, last = layer(x[:, CHUNK:], between, CHUNK)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(last, after)


def test_the_layer_is_its_recurrence_with_steps_of_the_input_and_a_skip() -> None:
    torch.manual_seed(0)
    layer = SelectiveSSM(H * P, H, N)
    torch.nn.init.normal_(layer.skip)
    x, hidden = torch.randn(B, 2 * CHUNK, H * P), torch.randn(B, H, N, P)
    with torch.no_grad():
        found, after = layer(x, hidden, CHUNK)
        into, out_of, step = layer.project(x).split([N, N, H], -1)
        step = (1 + (step + layer.step_bias).double().exp()).log()
        y, last = reference.state_space(x.view(B, -1, H, P) * step[..., None], -step, into, out_of, hidden)
    torch.testing.assert_close(found.double(), y.flatten(2) + layer.skip * x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.double(), last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [32, 96, 256])
@pytest.mark.parametrize("seed", [0, 1, 3])
@torch.no_grad()
def test_a_long_block_is_as_near_to_the_recurrence_as_a_short_one(seed: int, block: int) -> None:
    torch.manual_seed(seed)
    layer = SelectiveSSM(H * P, H, N)
    torch.nn.init.zeros_(layer.skip)
    # Steps from 0 to 18: over 256 events they sum to hundreds, of which the small ones are differences.
    layer.project.weight[2 * N :] *= 10
    x, hidden = torch.randn(B, 768, H * P), torch.randn(B, H, N, P)
    found, after = layer(x, hidden, block)
    into, out_of, step = layer.project(x).split([N, N, H], -1)
    step = torch.nn.functional.softplus(step + layer.step_bias)
    y, last = reference.state_space(x.view(B, -1, H, P) * step[..., None], -step, into, out_of, hidden)
    assert (found - y.flatten(2)).abs().max() <= 1e-5 * y.abs().max()
    assert (after - last).abs().max() <= 1e-5 * last.abs().max()


@pytest.mark.parametrize("heads", [2, H, 5])
def test_heads_begin_with_half_lives_from_a_reflex_to_a_shift(heads: int) -> None:
    step = torch.nn.functional.softplus(SelectiveSSM(heads * P, heads, N).step_bias.double())
    half_lives = torch.log(torch.tensor(2.0, dtype=torch.float64)) / step
    assert half_lives[0].item() == pytest.approx(HALF_LIVES[0], rel=1e-4)
    assert half_lives[-1].item() == pytest.approx(HALF_LIVES[1], rel=1e-2)
    assert HALF_LIVES == (2.0, 16_384.0)
    ratios = half_lives[1:] / half_lives[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios), rtol=1e-2, atol=0)


def test_a_head_without_input_halves_its_state_in_its_half_life() -> None:
    layer = SelectiveSSM(H * P, H, N)
    torch.nn.init.zeros_(layer.project.weight)
    torch.nn.init.zeros_(layer.project.bias)
    hidden = torch.ones(B, H, N, P)
    with torch.no_grad():
        _, after = layer(torch.zeros(B, 2 * CHUNK, H * P), hidden, CHUNK)
    torch.testing.assert_close(after[:, 0], torch.full((B, N, P), 0.5 ** (2 * CHUNK / 2)), rtol=1e-4, atol=0)


def test_convolution_sees_the_last_events_and_no_later_one() -> None:
    torch.manual_seed(0)
    conv = CausalConv(P)
    x = torch.randn(1, 9, P, requires_grad=True)
    y, tail = conv(x, torch.zeros(1, CONV_TAPS - 1, P))
    reach = torch.autograd.grad(y[0, 5].sum(), x)[0][0].abs().sum(-1) > 0
    assert reach.tolist() == [2 <= t <= 5 for t in range(9)]
    torch.testing.assert_close(tail, x[:, -3:])


def test_convolution_is_a_weighted_sum_per_channel() -> None:
    torch.manual_seed(0)
    conv = CausalConv(P)
    torch.nn.init.normal_(conv.bias)
    x, tail = torch.randn(B, 6, P), torch.randn(B, CONV_TAPS - 1, P)
    with torch.no_grad():
        y, _ = conv(x, tail)
        full = torch.cat([tail, x], 1)
        summed = conv.bias + sum(conv.weight[tap] * full[:, 4 + tap] for tap in range(CONV_TAPS))
    torch.testing.assert_close(y[:, 4], torch.nn.functional.silu(summed))


def test_convolution_in_pieces_equals_the_whole_even_of_one_event() -> None:
    torch.manual_seed(0)
    conv = CausalConv(P)
    x, tail = torch.randn(B, 6, P), torch.randn(B, CONV_TAPS - 1, P)
    whole, _ = conv(x, tail)
    pieces = []
    for t in range(6):
        y, tail = conv(x[:, t : t + 1], tail)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)
