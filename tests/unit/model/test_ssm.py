"""The chunked state-space form equals its recurrence; the convolution carries its tail."""

import pytest
import torch
from torch import Tensor

from model import reference
from model.ssm import CONV_TAPS, HALF_LIVES, CausalConv, SelectiveSSM, chunked_scan

B, H, N, P, CHUNK = 2, 3, 5, 7, 11


def scan_inputs(length: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(B, length, H, P), (B, length, H), (B, length, N), (B, length, N), (B, H, N, P)]
    inputs, decay, into, out_of, hidden = (torch.randn(size, generator=generator, dtype=dtype) for size in sizes)
    return inputs, -decay.exp(), into, out_of, hidden


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("parts", [1, 4])
def test_chunked_scan_equals_the_recurrence(dtype: torch.dtype, tolerance: float, parts: int) -> None:
    inputs, decay, into, out_of, hidden = scan_inputs(parts * CHUNK, dtype)
    found, after = chunked_scan(inputs, decay, into, out_of, hidden, CHUNK)
    expected, expected_after = reference.state_space(inputs, decay, into, out_of, hidden)
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()
    assert (after - expected_after).abs().max() <= tolerance * expected_after.abs().max()


def test_gradients_of_the_chunked_scan_are_exact() -> None:
    leaves = [x.requires_grad_() for x in scan_inputs(2 * CHUNK, torch.float64)]
    assert torch.autograd.gradcheck(lambda *x: chunked_scan(*x, CHUNK), leaves, fast_mode=True)


def test_decays_of_any_size_stay_finite() -> None:
    inputs, decay, into, out_of, hidden = scan_inputs(2 * CHUNK, torch.float32)
    y, after = chunked_scan(inputs, 1e4 * decay, into, out_of, hidden, CHUNK)
    assert y.isfinite().all()
    assert after.isfinite().all()


def test_layer_in_pieces_equals_the_whole() -> None:
    torch.manual_seed(0)
    layer = SelectiveSSM(H * P, H, N)
    x, hidden = torch.randn(B, 3 * CHUNK, H * P), torch.randn(B, H, N, P)
    whole, after = layer(x, hidden, CHUNK)
    first, between = layer(x[:, :CHUNK], hidden, CHUNK)
    second, last = layer(x[:, CHUNK:], between, CHUNK)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(last, after)


def test_heads_begin_with_half_lives_from_a_reflex_to_a_shift() -> None:
    step = torch.nn.functional.softplus(SelectiveSSM(H * P, H, N).step_bias.double())
    half_lives = torch.log(torch.tensor(2.0, dtype=torch.float64)) / step
    assert half_lives[0].item() == pytest.approx(HALF_LIVES[0], rel=1e-4)
    assert half_lives[-1].item() == pytest.approx(HALF_LIVES[1], rel=1e-2)
    ratios = half_lives[1:] / half_lives[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios), rtol=1e-2, atol=0)


def test_convolution_sees_the_last_events_and_no_later_one() -> None:
    torch.manual_seed(0)
    conv = CausalConv(P)
    x = torch.randn(1, 9, P, requires_grad=True)
    y, tail = conv(x, torch.zeros(1, CONV_TAPS - 1, P))
    reach = torch.autograd.grad(y[0, 5].sum(), x)[0][0].abs().sum(-1) > 0
    assert reach.tolist() == [2 <= t <= 5 for t in range(9)]
    torch.testing.assert_close(tail, x[:, -3:])


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
