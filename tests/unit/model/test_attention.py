"""Block-linear attention equals its definition, in values and in gradients."""

import math

import pytest
import torch
from torch import Tensor

from model import EncoderConfig, reference
from model.attention import FORGOTTEN, AttentionState, VQAttention
from model.config import Memory
from model.quantizer import codewords, nearest_code

B, H, K, S, BLOCK = 2, 3, 7, 11, 5
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def attention(memory: Memory, dtype: torch.dtype = torch.float64, horizon: int = 23) -> VQAttention:
    torch.manual_seed(5)
    config = EncoderConfig(vocab_size=3, heads=H, head_width=K, codes=S, block=BLOCK, horizon=horizon, memory=memory)
    module = VQAttention(config).to(dtype)
    torch.nn.init.normal_(module.distance_bias)
    torch.nn.init.normal_(module.log_temperature, std=0.3)
    return module


def inputs(length: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(B, H, length, K, dtype=dtype, generator=generator) for _ in range(3)]


def scaled(module: VQAttention, query: Tensor) -> Tensor:
    return query * (K**-0.5 * module.log_temperature.exp())[:, None, None]


def padded(tensors: list[Tensor]) -> list[Tensor]:
    return [torch.nn.functional.pad(x, (0, 0, 0, -x.shape[2] % BLOCK)) for x in tensors]


def oracle(module: VQAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return reference.attention(
        scaled(module, query),
        key,
        value,
        module.quantizer.codebook,
        module.distance_bias,
        block=BLOCK,
        keep=module.keep,
        static=module.memory == "static",
    )


@pytest.mark.parametrize("memory", ["centroid", "static"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [1, BLOCK, 3 * BLOCK + 2, 31])
def test_block_form_equals_the_quadratic_oracle(memory: Memory, dtype: torch.dtype, length: int) -> None:
    module = attention(memory, dtype)
    query, key, value = inputs(length, dtype)
    with torch.no_grad():
        found = module(*padded([query, key, value]), module.initial_state(B)).out[:, :, :length]
        expected = oracle(module, query, key, value)
    assert (found - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()


@pytest.mark.parametrize("memory", ["centroid", "static"])
def test_codes_that_no_key_was_assigned_take_no_mass(memory: Memory) -> None:
    module = attention(memory)
    query, key, value = inputs(6 * BLOCK)
    key = module.quantizer.codebook[:, 4][None, :, None].expand_as(key) + 1e-3 * key
    with torch.no_grad():
        output = module(query, key, value, module.initial_state(B), keep_weights=True)
        expected = oracle(module, query, key, value)
    assert set(output.codes.flatten().tolist()) == {4}
    assert output.weights is not None
    cached = output.weights[..., :S]
    assert cached[..., 4].max() > 0
    assert float(cached.sum(-1).sub(cached[..., 4]).abs().max()) == 0
    torch.testing.assert_close(output.out, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory", ["centroid", "static"])
def test_codes_fade_and_are_forgotten_together_with_the_oracle(memory: Memory) -> None:
    module = attention(memory, horizon=BLOCK)
    query, key, value = inputs(20 * BLOCK)
    with torch.no_grad():
        output = module(query, key, value, module.initial_state(B))
        expected = oracle(module, query, key, value)
    assert output.state.count.max() < BLOCK / (1 - math.exp(-1))
    assert ((output.state.count > 0) & (output.state.count < FORGOTTEN)).any()
    torch.testing.assert_close(output.out, expected, rtol=1e-11, atol=1e-11)


def test_static_memory_is_dense_attention_over_codewords() -> None:
    """The theorem of Transformer-VQ, with its gradients for queries and values."""
    module = attention("static")
    query, key, value = (x.requires_grad_() for x in inputs(6 * BLOCK))
    found = module(query, key, value, module.initial_state(B)).out
    quantised = codewords(nearest_code(key.float(), module.quantizer.codebook.float()), module.quantizer.codebook)
    expected = reference.dense_attention(
        scaled(module, query), quantised, value, module.distance_bias, block=BLOCK, keep=module.keep
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn_like(found)
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), [query, value, module.distance_bias]),
        torch.autograd.grad((expected * weight).sum(), [query, value, module.distance_bias]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_centroid_memory_is_not_dense_attention_but_keeps_keys_exact_in_the_window() -> None:
    module = attention("centroid")
    query, key, value = inputs(4 * BLOCK)
    with torch.no_grad():
        found = module(query, key, value, module.initial_state(B)).out
        dense = reference.dense_attention(
            scaled(module, query), key, value, module.distance_bias, block=BLOCK, keep=module.keep
        )
    torch.testing.assert_close(found[:, :, : 2 * BLOCK], dense[:, :, : 2 * BLOCK], rtol=1e-12, atol=1e-12)
    assert (found[:, :, 2 * BLOCK :] - dense[:, :, 2 * BLOCK :]).abs().max() > 1e-3


def test_gradients_of_centroid_memory_are_exact() -> None:
    module = attention("centroid")
    generator = torch.Generator().manual_seed(2)
    # Keys sit close to their codewords, so that no finite difference moves one to another code.
    codes = torch.randint(0, S, (1, H, 4 * BLOCK), generator=generator)
    noise = [torch.randn(1, H, 4 * BLOCK, K, dtype=torch.float64, generator=generator) for _ in range(3)]
    key = codewords(codes, module.quantizer.codebook) + 0.05 * noise[1]

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out: Tensor = module(query, key, value, module.initial_state(1)).out
        return out[:, :, -BLOCK:]

    leaves = [noise[0].requires_grad_(), key.requires_grad_(), noise[2].requires_grad_()]
    assert torch.autograd.gradcheck(attend, leaves, fast_mode=True)
    first = torch.autograd.grad(attend(*leaves).sum(), leaves[1])[0][:, :, :BLOCK]
    assert first.abs().max() > 0, "gradients reach keys through the cache"


def test_static_memory_passes_gradients_straight_through_the_window_and_stops_them_in_the_cache() -> None:
    module = attention("static")
    query, key, value = inputs(4 * BLOCK)
    key.requires_grad_()
    out = module(query, key, value, module.initial_state(B)).out[:, :, -BLOCK:]
    gradient = torch.autograd.grad(out.square().sum(), key)[0]
    assert float(gradient[:, :, : 2 * BLOCK].abs().max()) == 0
    assert gradient[:, :, 2 * BLOCK :].abs().max() > 0


@pytest.mark.parametrize("memory", ["centroid", "static"])
@pytest.mark.parametrize("cut", [BLOCK, 3 * BLOCK])
def test_pieces_with_carried_state_equal_the_whole(memory: Memory, cut: int) -> None:
    module = attention(memory)
    query, key, value = inputs(6 * BLOCK)
    with torch.no_grad():
        whole = module(query, key, value, module.initial_state(B))
        first = module(*(x[:, :, :cut] for x in (query, key, value)), module.initial_state(B))
        second = module(*(x[:, :, cut:] for x in (query, key, value)), first.state)
    torch.testing.assert_close(torch.cat([first.out, second.out], 2), whole.out, rtol=1e-13, atol=1e-13)
    for name in AttentionState.__annotations__:
        torch.testing.assert_close(getattr(second.state, name), getattr(whole.state, name), rtol=1e-13, atol=1e-13)


def test_attention_mass_is_additive() -> None:
    module = attention("centroid", torch.float32)
    query, key, value = inputs(6 * BLOCK, torch.float32)
    output = module(query, key, value, module.initial_state(B), keep_weights=True)
    assert output.weights is not None
    assert output.weights.shape == (B, H, 6 * BLOCK, S + 2 * BLOCK)
    torch.testing.assert_close(output.weights.sum(-1), torch.ones(B, H, 6 * BLOCK))


def test_the_window_begins_with_the_mass_of_a_full_cache_and_near_before_far() -> None:
    config = EncoderConfig(vocab_size=3, heads=H, head_width=K, codes=S, block=BLOCK, horizon=777)
    weights = VQAttention(config).distance_bias.detach().exp()
    torch.testing.assert_close(weights.sum(-1), torch.full((H,), 777.0))
    torch.testing.assert_close(weights[:, 1], weights[:, 0] / 2)


def test_forward_leaves_the_state_it_was_given_alone() -> None:
    module = attention("centroid")
    state = module(*inputs(3 * BLOCK), module.initial_state(B)).state
    before = {name: getattr(state, name).clone() for name in AttentionState.__annotations__}
    module(*inputs(3 * BLOCK, seed=1), state)
    for name, tensor in before.items():
        assert torch.equal(getattr(state, name), tensor)
