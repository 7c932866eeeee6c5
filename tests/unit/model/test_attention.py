"""Block-linear attention equals its definition, in values and in gradients."""

import math

import pytest
import torch
from torch import Tensor

from model import EncoderConfig, reference
from model.attention import FORGOTTEN, Mixed, State, VQAttention, Window
from model.config import Mixer
from model.quantizer import codewords, nearest_code
from tests.unit.model.oracles import static_attention

B, H, K, S, BLOCK = 2, 3, 7, 11, 5
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
CODED = pytest.mark.parametrize("mixer", ["centroid", "static"])


def attention(mixer: Mixer, dtype: torch.dtype = torch.float64, horizon: int = 23) -> VQAttention:
    torch.manual_seed(5)
    config = EncoderConfig(vocab_size=3, heads=H, head_width=K, codes=S, block=BLOCK, horizon=horizon, mixer=mixer)
    module = VQAttention(config).to(dtype)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    module.quantizer.alive[1, 6] = False
    return module


def inputs(length: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(B, H, length, K, dtype=torch.float64, generator=generator).to(dtype) for _ in range(3)]


def attend(module: VQAttention, *parts: Tensor, state: State | None = None, before: int = 0, **kept: bool) -> Mixed:
    """Attend, filling the last block up; `before` events are in the state."""
    query, key, value = (torch.nn.functional.pad(x, (0, 0, 0, -x.shape[2] % BLOCK)) for x in parts)
    position = torch.full((query.shape[0],), before)
    found: Mixed = module(query, key, value, state or module.initial_state(len(query)), position, **kept)
    return found


def oracle(module: VQAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return reference.attention(
        query,
        key,
        value,
        module.quantizer.search,
        module.window.distance_bias,
        block=BLOCK,
        keep=module.keep,
        count_share=module.count_share,
    )


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert found.shape == expected.shape
    # One event alone has nothing to choose from: its scores have no gradient but rounding.
    assert (found - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-2)


@CODED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [1, BLOCK, 3 * BLOCK + 2, 31])
def test_block_form_equals_the_quadratic_oracle_in_values_and_gradients(
    mixer: Mixer, dtype: torch.dtype, length: int
) -> None:
    """Of static memory the keys are left out: their gradients are defined otherwise, and have a test of their own."""
    module = attention(mixer, dtype)
    query, key, value = (x.requires_grad_() for x in inputs(length, dtype))
    found, expected = attend(module, query, key, value).out[:, :, :length], oracle(module, query, key, value)
    assert_near(found, expected, TOLERANCE[dtype])
    weight = inputs(length, torch.float64, seed=1)[0]
    leaves = [query, value, *module.parameters()] + ([key] if mixer == "centroid" else [])
    ours = torch.autograd.grad((found * weight).sum(), leaves, allow_unused=True)
    theirs = torch.autograd.grad((expected * weight).sum(), leaves, allow_unused=True)
    for leaf, *pair in zip(leaves, ours, theirs, strict=True):
        # While nothing is cached yet, the oracle asks for no count.
        one, other = (torch.zeros_like(leaf) if gradient is None else gradient for gradient in pair)
        assert_near(one, other, TOLERANCE[dtype])


@CODED
def test_codes_that_no_key_was_assigned_take_no_mass(mixer: Mixer) -> None:
    module = attention(mixer)
    query, key, value = inputs(6 * BLOCK)
    key = module.quantizer.codebook[:, 4][None, :, None].expand_as(key) + 1e-3 * key
    with torch.no_grad():
        output = attend(module, query, key, value, keep_weights=True)
        expected = oracle(module, query, key, value)
    assert output.codes is not None
    assert set(output.codes.flatten().tolist()) == {4}
    assert output.weights is not None
    cached = output.weights[..., :S]
    assert cached[..., 4].max() > 0
    assert float(cached.sum(-1).sub(cached[..., 4]).abs().max()) == 0
    torch.testing.assert_close(output.out, expected, rtol=1e-12, atol=1e-12)


@CODED
def test_a_code_that_is_not_alive_is_assigned_to_no_key_not_even_its_own(mixer: Mixer) -> None:
    module = attention(mixer)
    query, key, value = inputs(6 * BLOCK)
    key[:, 1] = module.quantizer.codebook[1, 6]
    with torch.no_grad():
        output = attend(module, query, key, value, keep_weights=True)
    assert output.codes is not None
    assert not (output.codes[:, 1] == 6).any()
    assert float(output.state["count"][:, 1, 6].abs().max()) == 0


@CODED
def test_codes_fade_and_are_forgotten_together_with_the_oracle(mixer: Mixer) -> None:
    module = attention(mixer, horizon=BLOCK)
    query, key, value = inputs(20 * BLOCK)
    with torch.no_grad():
        output = attend(module, query, key, value)
        expected = oracle(module, query, key, value)
    count = output.state["count"]
    assert count.max() < BLOCK / (1 - math.exp(-1))
    assert ((count > 0) & (count < FORGOTTEN)).any()
    torch.testing.assert_close(output.out, expected, rtol=1e-11, atol=1e-11)


def test_static_memory_is_dense_attention_over_codewords() -> None:
    """The theorem of Transformer-VQ, with its gradients for queries and values.

    Keys get theirs straight through their codewords, exact for what is inside the window of a query. In the cache the
    codeword is a constant: from there no gradient comes.
    """
    module = attention("static")
    query, key, value = (x.requires_grad_() for x in inputs(6 * BLOCK))
    codebook = module.quantizer.codebook
    codes = nearest_code(key.float(), module.quantizer.search.float())
    quantised = codewords(codes, codebook).requires_grad_()
    bias, keep = module.window.distance_bias, module.keep
    found = attend(module, query, key, value).out
    expected = static_attention(query, quantised, value, bias, block=BLOCK, keep=keep)
    dense = reference.dense_attention(query, quantised, value, bias, block=BLOCK, keep=keep)
    torch.testing.assert_close(found, dense, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(expected, dense, rtol=1e-12, atol=1e-12)
    weight = inputs(6 * BLOCK, seed=1)[0]
    ours = torch.autograd.grad((found * weight).sum(), [query, key, value, bias])
    theirs = torch.autograd.grad((expected * weight).sum(), [query, quantised, value, bias])
    for one, other in zip(ours, theirs, strict=True):
        assert_near(one, other, 1e-12)


def test_static_memory_stops_gradients_of_keys_in_the_cache() -> None:
    module = attention("static")
    query, key, value = inputs(4 * BLOCK)
    key.requires_grad_()
    out = attend(module, query, key, value).out[:, :, -BLOCK:]
    gradient = torch.autograd.grad(out.square().sum(), key)[0]
    assert float(gradient[:, :, : 2 * BLOCK].abs().max()) == 0
    assert gradient[:, :, 2 * BLOCK :].abs().max() > 0


def test_centroid_memory_is_not_dense_attention_but_keeps_keys_exact_in_the_window() -> None:
    module = attention("centroid")
    query, key, value = inputs(4 * BLOCK)
    with torch.no_grad():
        found = attend(module, query, key, value).out
        bias = module.window.distance_bias
        dense = reference.dense_attention(query, key, value, bias, block=BLOCK, keep=module.keep)
    torch.testing.assert_close(found[:, :, : 2 * BLOCK], dense[:, :, : 2 * BLOCK], rtol=1e-12, atol=1e-12)
    assert (found[:, :, 2 * BLOCK :] - dense[:, :, 2 * BLOCK :]).abs().max() > 1e-3


def test_attending_exactly_is_dense_attention_in_values_and_gradients() -> None:
    module = attention("centroid")
    module.exact = True
    parts = [x.requires_grad_() for x in inputs(6 * BLOCK)]
    bias, weight = module.window.distance_bias, inputs(6 * BLOCK, seed=1)[0]
    found = attend(module, *parts).out
    dense = reference.dense_attention(*parts, bias, block=BLOCK, keep=module.keep)
    assert_near(found, dense, 1e-12)
    ours = torch.autograd.grad((found * weight).sum(), [*parts, bias])
    theirs = torch.autograd.grad((dense * weight).sum(), [*parts, bias])
    for one, other in zip(ours, theirs, strict=True):
        assert_near(one, other, 1e-12)


@torch.no_grad()
@pytest.mark.parametrize("horizon", [23, 512])
def test_attending_exactly_is_what_a_code_for_every_event_gives(horizon: int) -> None:
    """Codes of older calls fade, and a stream that begins beside one that goes on sees nothing of it."""
    length = 5 * BLOCK
    config = EncoderConfig(vocab_size=3, heads=H, head_width=K, codes=2 * length, block=BLOCK, horizon=horizon)
    module = VQAttention(config).double()
    torch.nn.init.normal_(module.count_share)
    query, key, value = inputs(2 * length)
    key = key[:1].expand(B, -1, -1, -1)
    module.quantizer.codebook = key[0].clone()
    first = attend(module, *(x[:, :, :length] for x in (query, key, value)))
    begun = torch.tensor([0, length])
    state = {name: x * (begun > 0).view(-1, *[1] * (x.dim() - 1)).to(x.dtype) for name, x in first.state.items()}
    later = [x[:, :, length:] for x in (query, key, value)]
    coded = module(*later, state, begun)
    module.exact = True
    exact = module(*later, state, begun)
    torch.testing.assert_close(exact.out, coded.out, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(exact.state, coded.state)
    module.quantizer.codebook = module.quantizer.codebook[:, :1].expand(-1, 2 * length, -1).contiguous()
    assert (module.eval()(*later, state, begun).out - exact.out).abs().max() > 1e-3, "only training attends exactly"


def test_gradients_of_centroid_memory_are_those_of_finite_differences() -> None:
    module = attention("centroid")
    generator = torch.Generator().manual_seed(2)
    # Keys sit close to their codewords, so that no finite difference moves one to another code.
    codes = torch.randint(0, 6, (1, H, 4 * BLOCK), generator=generator)
    noise = [torch.randn(1, H, 4 * BLOCK, K, dtype=torch.float64, generator=generator) for _ in range(3)]
    key = codewords(codes, module.quantizer.codebook) + 0.05 * noise[1]
    leaves = [noise[0].requires_grad_(), key.requires_grad_(), noise[2].requires_grad_()]

    def end(*parts: Tensor) -> Tensor:
        return attend(module, *parts).out[:, :, -BLOCK:]

    assert torch.autograd.gradcheck(end, leaves, fast_mode=True)
    first = torch.autograd.grad(end(*leaves).sum(), leaves[1])[0][:, :, :BLOCK]
    assert first.abs().max() > 0, "gradients reach keys through the cache"


@CODED
@pytest.mark.parametrize("cut", [BLOCK, 3 * BLOCK])
def test_pieces_with_carried_state_equal_the_whole(mixer: Mixer, cut: int) -> None:
    module, parts = attention(mixer), inputs(6 * BLOCK)
    with torch.no_grad():
        whole = attend(module, *parts)
        first = attend(module, *(x[:, :, :cut] for x in parts))
        second = attend(module, *(x[:, :, cut:] for x in parts), state=first.state, before=cut)
    torch.testing.assert_close(torch.cat([first.out, second.out], 2), whole.out, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(second.state, whole.state, rtol=1e-13, atol=1e-13)


@CODED
def test_a_stream_that_begins_sees_nothing_of_the_state_beside_one_that_goes_on(mixer: Mixer) -> None:
    module, parts = attention(mixer), inputs(3 * BLOCK)
    with torch.no_grad():
        state = attend(module, *parts).state
        begun = {name: torch.cat([tensor[:1], torch.zeros_like(tensor[1:])]) for name, tensor in state.items()}
        # What lies in the state's window must not be seen even where something lies there.
        begun["last"][1] = state["last"][1]
        mixed = module(*parts, begun, torch.tensor([3 * BLOCK, 0]))
        goes_on, begins = attend(module, *parts, state=state, before=3 * BLOCK), attend(module, *parts)
    torch.testing.assert_close(mixed.out[0], goes_on.out[0], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(mixed.out[1], begins.out[1], rtol=1e-13, atol=1e-13)
    for name in ("count", "cache"):
        torch.testing.assert_close(mixed.state[name][1], begins.state[name][1], rtol=1e-13, atol=1e-13)


def test_attention_mass_is_additive() -> None:
    module = attention("centroid", torch.float32)
    output = attend(module, *inputs(6 * BLOCK, torch.float32), keep_weights=True)
    assert output.weights is not None
    assert output.weights.shape == (B, H, 6 * BLOCK, S + 2 * BLOCK)
    torch.testing.assert_close(output.weights.sum(-1), torch.ones(B, H, 6 * BLOCK))


def test_attention_mass_is_the_share_of_each_event_in_the_output() -> None:
    """A value counts in an output by the mass on it: in its slot of the window, or by its code in the cache."""
    module, step = attention("centroid"), 3 * BLOCK + 2
    query, key, value = inputs(4 * BLOCK)
    value.requires_grad_()
    output = attend(module, query, key, value, keep_weights=True)
    assert output.weights is not None
    assert output.codes is not None
    share = torch.autograd.grad(output.out[:, :, step, 4].sum(), value)[0][..., 4]
    weights, window = output.weights[:, :, step].detach(), slice(2 * BLOCK, 4 * BLOCK)
    torch.testing.assert_close(share[:, :, window], weights[..., S:], rtol=1e-12, atol=1e-12)
    old = torch.zeros(B, H, S, dtype=torch.float64)
    old.scatter_add_(2, output.codes[:, :, : 2 * BLOCK], share[:, :, : 2 * BLOCK])
    torch.testing.assert_close(old, weights[..., :S], rtol=1e-12, atol=1e-12)


def test_weights_are_kept_only_when_asked_for() -> None:
    assert attend(attention("centroid"), *inputs(BLOCK)).weights is None


def test_windows_begin_with_weights_that_fall_with_the_distance() -> None:
    weights = Window(H, BLOCK).distance_bias.detach().exp()
    torch.testing.assert_close(weights, (1 / torch.arange(1.0, 2 * BLOCK + 1)).expand(H, -1))


def test_a_head_begins_with_distinct_situations_and_can_learn_to_count_events() -> None:
    config = EncoderConfig(vocab_size=3, heads=H, head_width=K, codes=S, block=BLOCK, horizon=23)
    torch.manual_seed(5)
    module, (query, key, value) = VQAttention(config).double(), inputs(6 * BLOCK)
    assert module.count_share is not None
    # All keys are one codeword: its mass beside the window's is then n to the power of the share.
    key = module.quantizer.codebook[:, 4][None, :, None].expand_as(key).contiguous()
    level = []
    for learned in (False, True):
        if learned:
            torch.nn.init.ones_(module.count_share)
        with torch.no_grad():
            weights = attend(module, query, key, value, keep_weights=True).weights
        assert weights is not None
        # The window's own weight of the event itself is 1.
        level.append(weights[:, :, -1, 4] / weights[:, :, -1, -1])
    torch.testing.assert_close(level[0], torch.ones_like(level[0]))
    count = sum(BLOCK * module.keep**age for age in range(4))
    torch.testing.assert_close(level[1], torch.full_like(level[1], count))


@CODED
def test_forward_leaves_the_state_it_was_given_alone(mixer: Mixer) -> None:
    module = attention(mixer)
    state = attend(module, *inputs(3 * BLOCK)).state
    before = {name: tensor.clone() for name, tensor in state.items()}
    attend(module, *inputs(3 * BLOCK, seed=1), state=state, before=3 * BLOCK)
    for name, tensor in before.items():
        assert torch.equal(state[name], tensor)
