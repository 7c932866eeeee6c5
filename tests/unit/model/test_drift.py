"""A million events in float32 stand where float64 does: nothing is summed that grows, and what fades is forgotten.

So they do where products are in bfloat16: decays, counts and means are not.
"""

import pytest
import torch
from torch import Tensor

from model import EncoderConfig, reference
from model.attention import State, VQAttention
from model.config import CODED, Mixer
from model.encoder import Encoder
from model.ssm import SelectiveSSM, chunked_scan

EVENTS, BLOCK, SEGMENT = 1_000_000, 64, 128 * 64
HEADS, WIDTH, CODES, HORIZON = 1, 16, 11, 1024
SSM_HEADS, SSM_STATE, CHANNELS = 4, 3, 2
TOLERANCE = 1e-4


def segment(codebook: Tensor, index: int) -> tuple[list[Tensor], Tensor]:
    """Return queries, keys and values (1, h, l, k), and the codes that are meant.

    Keys sit so near to their codewords that rounding moves none to another code; what they mean wanders, so that a mean
    that stopped following would show.
    """
    generator = torch.Generator().manual_seed(index)
    query, noise, value = (torch.randn(1, HEADS, SEGMENT, WIDTH, generator=generator) for _ in range(3))
    codes = torch.randint(0, CODES, (1, HEADS, SEGMENT), generator=generator)
    shift = 0.2 * torch.sin(torch.tensor(index / 3.0))
    key = codebook[0, codes] + 0.1 * noise + shift
    return [query, key, value + 3 + shift], codes


def cached(codebook: Tensor, end: int, mixer: Mixer, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return counts (s,) and means (s, 2k) after `end` segments of a dtype, in float64 from what still weighs."""
    first = max(0, end - -(-20 * HORIZON // SEGMENT))
    parts = [segment(codebook, index) for index in range(first, end)]
    pair = torch.cat([torch.cat(part[0][1:], -1)[0, 0] for part in parts]).to(dtype).double()[:-BLOCK]
    codes = torch.cat([part[1][0, 0] for part in parts])[:-BLOCK]
    if mixer == "static":
        pair[:, :WIDTH] = codebook[0, codes].double()
    age = torch.arange(len(pair) // BLOCK - 1, -1, -1, dtype=torch.float64).repeat_interleave(BLOCK)
    weight = torch.nn.functional.one_hot(codes, CODES) * torch.exp(-age * BLOCK / HORIZON)[:, None]
    return weight.sum(0), weight.T @ pair / weight.sum(0)[:, None]


def attention(mixer: Mixer) -> VQAttention:
    torch.manual_seed(0)
    return VQAttention(
        EncoderConfig(
            vocab_size=2, heads=HEADS, head_width=WIDTH, codes=CODES, block=BLOCK, horizon=HORIZON, mixer=mixer
        )
    )


@pytest.mark.parametrize("mixer", CODED)
@torch.no_grad()
def test_a_cache_does_not_drift_in_a_million_events(mixer: Mixer) -> None:
    module = attention(mixer)
    codebook = module.quantizer.codebook.clone()
    state: State = module.initial_state(1)
    end = -(-EVENTS // SEGMENT)
    for index in range(end):
        parts, codes = segment(codebook, index)
        found = module(*parts, state, torch.tensor([index * SEGMENT]))
        assert torch.equal(found.codes, codes)
        state = found.state
    count, mean = cached(codebook, end, mixer)
    torch.testing.assert_close(state["count"][0, 0].double(), count, rtol=TOLERANCE, atol=0)
    assert (state["cache"][0, 0] - mean).abs().max() <= TOLERANCE * mean.abs().max()
    # Goes on from there as float64 goes on from the exact state.
    parts, _ = segment(codebook, end)
    exact = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    exact |= {"count": count[None, None], "cache": mean[None, None]}
    position = torch.tensor([end * SEGMENT])
    ours = module(*parts, state, position).out
    theirs = module.double()(*(x.double() for x in parts), exact, position).out
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


@torch.no_grad()
def test_a_state_space_does_not_drift_in_a_million_events() -> None:
    """At its half-lives of the beginning, and at one of a hundred shifts, which the state's whole past weighs in."""
    torch.manual_seed(0)
    step = torch.nn.functional.softplus(SelectiveSSM(SSM_HEADS - 1, SSM_HEADS - 1, SSM_STATE).step_bias)
    step = torch.cat([step, step[-1:] / 100])
    hidden = torch.zeros(1, SSM_HEADS, SSM_STATE, CHANNELS)
    exact = hidden.double()
    for index in range(-(-EVENTS // SEGMENT)):
        generator = torch.Generator().manual_seed(index)
        inputs, into, out_of = (
            torch.randn(1, SEGMENT, *size, generator=generator)
            for size in ((SSM_HEADS, CHANNELS), (SSM_STATE,), (SSM_STATE,))
        )
        rate = step * (0.5 + torch.rand(1, SEGMENT, SSM_HEADS, generator=generator))
        # The mean of B x is not zero: the state is a long sum.
        inputs, into = (inputs + 1) * rate[..., None], into + 1
        before, begun = exact, hidden
        y, hidden = chunked_scan(inputs, -rate, into, out_of, begun, BLOCK)
        total = rate.double().cumsum(1)
        left = (total - total[:, -1:]).exp()
        exact = before * (-total[:, -1]).exp()[..., None, None]
        exact += torch.einsum("blh,bln,blhp->bhnp", left, into.double(), inputs.double())
    difference = (hidden - exact).abs().amax((0, 2, 3))
    assert (difference <= TOLERANCE * exact.abs().amax((0, 2, 3))).all()
    expected, _ = reference.state_space(inputs, -rate, into, out_of, before)
    assert (y - expected).abs().max() <= TOLERANCE * expected.abs().max()


# --- products in bfloat16 --------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_cache_of_keys_and_values_in_bfloat16_counts_and_averages_in_float32() -> None:
    """With counts of up to a hundred: in bfloat16, one beside them would be lost in a hundred and twenty-eight."""
    module, end = attention("centroid"), 12
    codebook = module.quantizer.codebook
    state: State = module.initial_state(1)
    for index in range(end):
        parts, codes = segment(codebook, index)
        with torch.autocast("cpu", torch.bfloat16):
            found = module(*(x.bfloat16() for x in parts), state, torch.tensor([index * SEGMENT]))
        assert torch.equal(found.codes, codes)
        state = found.state
    count, mean = cached(codebook, end, "centroid", torch.bfloat16)
    assert (state["count"].dtype, state["cache"].dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(state["count"][0, 0].double(), count, rtol=1e-5, atol=0)
    assert (state["cache"][0, 0] - mean).abs().max() <= 1e-5 * mean.abs().max()


@torch.no_grad()
def test_a_state_space_decays_in_float32_where_products_are_in_bfloat16() -> None:
    """Over eight of its longest half-lives; in bfloat16 no decay is between 1 and that of a half-life of 177 events."""
    torch.manual_seed(0)
    width, events = SSM_HEADS * CHANNELS, 8 * 16_384
    layer = SelectiveSSM(width, SSM_HEADS, SSM_STATE)
    # Half-lives stay what they are at the beginning.
    layer.project.weight[2 * SSM_STATE :] = 0
    layer.project.bias[2 * SSM_STATE :] = 0
    hidden = torch.zeros(1, SSM_HEADS, SSM_STATE, CHANNELS)
    exact = hidden.double()
    for index in range(events // SEGMENT):
        x = torch.randn(1, SEGMENT, width, generator=torch.Generator().manual_seed(index)) + 1
        with torch.autocast("cpu", torch.bfloat16):
            into, _, step = layer.project(x).split([SSM_STATE, SSM_STATE, SSM_HEADS], -1)
            _, hidden = layer(x, hidden, BLOCK)
        step = torch.nn.functional.softplus(step.double() + layer.step_bias.double())
        total = step.cumsum(1)
        inputs = x.double().view(1, SEGMENT, SSM_HEADS, -1) * step[..., None]
        exact = exact * (-total[:, -1]).exp()[..., None, None]
        exact += torch.einsum("blh,bln,blhp->bhnp", (total - total[:, -1:]).exp(), into.double(), inputs)
    assert hidden.dtype == torch.float32
    difference = (hidden - exact).abs().amax((0, 2, 3))
    assert (difference <= 1e-5 * exact.abs().amax((0, 2, 3))).all()


@pytest.mark.parametrize("mixer", CODED)
@torch.no_grad()
def test_what_an_encoder_in_bfloat16_remembers_of_counts_means_and_decays_is_float32(mixer: Mixer) -> None:
    encoder = Encoder(EncoderConfig(vocab_size=7, width=16, heads=2, head_width=8, codes=5, block=8, mixer=mixer))
    state = encoder.initial_state(2)
    for _ in range(3):
        for layer in state.stack.layers:
            kept = {name: layer[name].dtype for name in ("count", "cache", "hidden")}
            assert set(kept.values()) == {torch.float32}, kept
        with torch.autocast("cpu", torch.bfloat16):
            state = encoder(torch.randint(1, 7, (2, 40)), torch.rand(2, 40), state).state
