"""Codebooks: assignment, averages against hand-built ones, padding, what is said of their health."""

import math

import pytest
import torch
from torch import Tensor

from model.quantizer import EMA_DECAY, Quantizer, codewords, nearest_code

B, H, L, K, S = 2, 3, 13, 5, 7
REAL = 8


def keys(seed: int = 0, length: int = L) -> Tensor:
    return torch.randn(B, H, length, K, generator=torch.Generator().manual_seed(seed))


def quantizer() -> Quantizer:
    torch.manual_seed(1)
    return Quantizer(H, S, K)


def random() -> torch.Generator:
    return torch.Generator().manual_seed(9)


def real() -> Tensor:
    """Weights (b, l) by which the last events are padding."""
    return (torch.arange(L) < REAL).float().expand(B, L)


def distances(found: Tensor, codebook: Tensor) -> Tensor:
    """Squared distances (b, h, l, s), in float64."""
    return (found.double()[:, :, :, None] - codebook.double()[None, :, None]).square().sum(-1)


def test_a_key_takes_the_code_of_the_nearest_codeword() -> None:
    found = nearest_code(keys(), quantizer().codebook)
    assert found.dtype == torch.long
    assert torch.equal(found, distances(keys(), quantizer().codebook).argmin(-1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_codes_are_chosen_in_the_precision_of_the_codebook(dtype: torch.dtype) -> None:
    coarse = keys(length=199).to(dtype)
    assert torch.equal(nearest_code(coarse, quantizer().codebook), distances(coarse, quantizer().codebook).argmin(-1))


def test_codes_are_chosen_in_the_precision_of_the_codebook_whatever_products_are_cast_to() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = nearest_code(keys(length=199), quantizer().codebook)
    assert torch.equal(found, distances(keys(length=199), quantizer().codebook).argmin(-1))


def test_of_codewords_equally_near_the_first_wins() -> None:
    assert nearest_code(torch.ones(1, 1, 1, K), torch.ones(1, S, K)).item() == 0
    codebook = quantizer().codebook
    codebook[:, 5] = codebook[:, 2]
    assert (nearest_code(codebook[None, :, 5:6], codebook) == 2).all()


def test_a_codeword_that_is_not_alive_is_nearest_to_no_key() -> None:
    module = quantizer()
    module.alive[1, 4], module.alive[2, 0] = False, False
    found = nearest_code(torch.cat([keys(length=199), module.codebook.expand(B, H, S, K)], 2), module.search)
    assert not (found[:, 1] == 4).any()
    assert not (found[:, 2] == 0).any()
    living = distances(keys(length=199), module.codebook).where(module.alive[None, :, None], math.inf)
    assert torch.equal(found[:, :, :199], living.argmin(-1))
    assert (found[:, 0] == 4).any()


def test_codewords_are_those_of_their_own_head() -> None:
    module, codes = quantizer(), torch.randint(0, S, (B, H, L), generator=random())
    found = codewords(codes, module.codebook)
    assert torch.equal(found[1, 2, 4], module.codebook[2, codes[1, 2, 4]])


def test_averages_move_as_built_by_hand() -> None:
    module, weight = quantizer(), torch.ones(B, L)
    before = [tensor.clone() for tensor in (module.ema_count, module.ema_sum, module.codebook)]
    module.ema_error = torch.full((H, S), 3.0)
    codes = nearest_code(keys(), module.codebook)
    module.update(keys(), codes, weight, random())
    assert int(module.updates) == 1
    for head in range(H):
        for code in range(S):
            members = keys()[:, head][codes[:, head] == code]
            count = EMA_DECAY * before[0][head, code] + (1 - EMA_DECAY) * len(members)
            total = EMA_DECAY * before[1][head, code] + (1 - EMA_DECAY) * members.sum(0)
            error = EMA_DECAY * 3 + (1 - EMA_DECAY) * (members - before[2][head, code]).square().sum()
            torch.testing.assert_close(module.ema_count[head, code], count)
            torch.testing.assert_close(module.ema_sum[head, code], total)
            torch.testing.assert_close(module.ema_error[head, code], error)
            torch.testing.assert_close(module.codebook[head, code], total / count)


def test_padding_moves_nothing() -> None:
    """Through two rounds of merging, burying and splitting, of which the second finds keys far from any codeword."""
    short, padded = quantizer(), quantizer()
    splits = 0
    for module in (short, padded):
        module.alive[0, 3] = False
    for step in range(20):
        found = keys(step) + (20.0 * (torch.arange(L) == 0)[:, None] if step > 10 else 0.0)
        wild = torch.where(real()[:, None, :, None] > 0, found, 1e3)
        for module, part, weight in ((short, found[:, :, :REAL], real()[:, :REAL]), (padded, wild, real())):
            before = int(module.alive.sum())
            module.update(part, nearest_code(part, module.search), weight, random().manual_seed(step))
            splits += int(module.alive.sum()) > before
    assert splits
    for name, buffer in short.named_buffers():
        torch.testing.assert_close(padded.get_buffer(name), buffer, msg=name)


def test_padding_places_no_codeword() -> None:
    module = quantizer()
    module.init_from(torch.where(real()[:, None, :, None] > 0, keys(), 1e3), real(), random())
    assert module.codebook.abs().max() < 10
    torch.testing.assert_close(module.ema_count.sum(-1), torch.full((H,), float(B * REAL)))
    before = module.codebook.clone()
    module.init_from(keys(), torch.zeros(B, L), random())
    assert torch.equal(module.codebook, before)


def test_placing_gives_every_code_its_keys_count_mean_and_error_and_life() -> None:
    module, found = quantizer(), keys(length=61)
    module.alive[:] = False
    module.init_from(found, torch.ones(B, 61), random())
    assert module.alive.all()
    # K-means has settled: assigning once more changes nothing.
    codes = nearest_code(found, module.codebook)
    for head in range(H):
        for code in range(S):
            members = found[:, head][codes[:, head] == code]
            torch.testing.assert_close(module.ema_count[head, code], torch.tensor(float(len(members))))
            torch.testing.assert_close(module.codebook[head, code], members.mean(0))
            torch.testing.assert_close(module.ema_sum[head, code], members.sum(0), rtol=1e-4, atol=1e-5)
    expected = distances(found, module.codebook).amin(-1).sum().float()
    torch.testing.assert_close(module.ema_error.sum(), expected, rtol=0.05, atol=0)


def test_updating_leaves_the_graph_its_buffers() -> None:
    module, weight = quantizer(), torch.ones(B, L)
    leaf = keys().requires_grad_()
    codes = nearest_code(leaf, module.codebook)
    loss = module.commitment(leaf, codes, weight)
    held, copy = module.codebook, module.codebook.clone()
    module.update(leaf.detach(), codes, weight, random())
    module.init_from(leaf.detach(), weight, random())
    loss.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    assert torch.equal(held, copy)
    assert not torch.equal(module.codebook, held)
    torch.testing.assert_close(leaf.grad, 2 * (keys() - codewords(codes, held)) / (B * H * L))


def test_commitment_is_the_mean_squared_distance_of_what_is_no_padding() -> None:
    module = quantizer()
    codes = nearest_code(keys(), module.codebook)
    expected = (keys() - codewords(codes, module.codebook))[:, :, :REAL].square().sum(-1).mean()
    torch.testing.assert_close(module.commitment(keys(), codes, real()), expected)
    assert float(module.commitment(keys(), codes, torch.zeros(B, L))) == 0


def test_k_means_finds_separate_clusters() -> None:
    module = Quantizer(1, 2, K)
    centres = torch.tensor([-5.0, 5.0])
    noise = torch.randn(1, 1, L * 4, K, generator=random())
    points = centres[torch.arange(L * 4) % 2][None, None, :, None] + 0.1 * noise
    module.init_from(points, torch.ones(1, L * 4), random())
    assert sorted(module.codebook[0].mean(-1).round().tolist()) == [-5.0, 5.0]


def test_k_means_of_fewer_keys_than_codes_repeats_them() -> None:
    module = quantizer()
    module.init_from(keys(length=1), torch.ones(B, 1), random())
    nearest = (module.codebook[:, :, None] - keys(length=1).transpose(0, 1)[:, None, :, 0]).abs().sum(-1).amin(-1)
    assert float(nearest.max()) == 0


@pytest.mark.parametrize(
    ("count", "expected"), [([1.0] * S, float(S)), ([1.0] + [0.0] * (S - 1), 1.0), ([2.0, 0, 2, 0, 0, 0, 4], 2**1.5)]
)
def test_perplexity_counts_the_codes_in_use(count: list[float], expected: float) -> None:
    module = quantizer()
    module.ema_count = torch.tensor(count).expand(H, S)
    assert math.isclose(float(module.perplexity()), expected, rel_tol=1e-5)


def test_health_is_the_mean_over_heads() -> None:
    module = quantizer()
    module.ema_count = torch.ones(H, S)
    module.ema_count[0, 1:] = 0
    assert math.isclose(float(module.perplexity()), (1 + S + S) / 3, rel_tol=1e-5)
    module.alive[0, :3] = False
    module.alive[1, 5] = False
    assert math.isclose(float(module.dead()), 4 / (H * S), rel_tol=1e-5)
