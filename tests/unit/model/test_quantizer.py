"""Codebooks: assignment, averages against hand-built ones, padding, revival."""

import math

import pytest
import torch
from torch import Tensor

from model.quantizer import DEAD_SHARE, EMA_DECAY, Quantizer, codewords, nearest_code

B, H, L, K, S = 2, 3, 13, 5, 7


def keys(seed: int = 0, length: int = L) -> Tensor:
    return torch.randn(B, H, length, K, generator=torch.Generator().manual_seed(seed))


def quantizer() -> Quantizer:
    torch.manual_seed(1)
    return Quantizer(H, S, K)


def random() -> torch.Generator:
    return torch.Generator().manual_seed(9)


def test_a_key_takes_the_code_of_the_nearest_codeword() -> None:
    found = nearest_code(keys(), quantizer().codebook)
    distance = (keys()[:, :, :, None] - quantizer().codebook[None, :, None]).square().sum(-1)
    assert torch.equal(found, distance.argmin(-1))


def test_of_codewords_equally_near_the_first_wins() -> None:
    assert nearest_code(torch.ones(1, 1, 1, K), torch.ones(1, S, K)).item() == 0


def test_codewords_are_those_of_their_own_head() -> None:
    module, codes = quantizer(), torch.randint(0, S, (B, H, L), generator=random())
    found = codewords(codes, module.codebook)
    assert torch.equal(found[1, 2, 4], module.codebook[2, codes[1, 2, 4]])


def test_averages_move_as_built_by_hand() -> None:
    module, weight = quantizer(), torch.ones(B, L)
    before, codes = (module.ema_count.clone(), module.ema_sum.clone()), nearest_code(keys(), module.codebook)
    module.update(keys(), codes, weight, random())
    for head in range(H):
        for code in range(S):
            members = keys()[:, head][codes[:, head] == code]
            count = EMA_DECAY * before[0][head, code] + (1 - EMA_DECAY) * len(members)
            total = EMA_DECAY * before[1][head, code] + (1 - EMA_DECAY) * members.sum(0)
            torch.testing.assert_close(module.ema_count[head, code], count)
            torch.testing.assert_close(module.ema_sum[head, code], total)
            torch.testing.assert_close(module.codebook[head, code], total / count)


def test_padding_moves_nothing() -> None:
    weight = (torch.arange(L) < 8).float().expand(B, L)
    short, padded = quantizer(), quantizer()
    short.update(keys()[:, :, :8], nearest_code(keys()[:, :, :8], short.codebook), weight[:, :8], random())
    wild = torch.where(weight[:, None, :, None] > 0, keys(), 1e3)
    padded.update(wild, nearest_code(wild, padded.codebook), weight, random())
    torch.testing.assert_close(padded.codebook, short.codebook)
    torch.testing.assert_close(padded.ema_count, short.ema_count)


def test_padding_places_no_codeword() -> None:
    module, weight = quantizer(), (torch.arange(L) < 8).float().expand(B, L)
    module.init_from(torch.where(weight[:, None, :, None] > 0, keys(), 1e3), weight, random())
    assert module.codebook.abs().max() < 10
    before = module.codebook.clone()
    module.init_from(keys(), torch.zeros(B, L), random())
    assert torch.equal(module.codebook, before)


def test_updating_leaves_the_graph_its_buffers() -> None:
    module, weight = quantizer(), torch.ones(B, L)
    leaf = keys().requires_grad_()
    codes = nearest_code(leaf, module.codebook)
    loss = module.commitment(leaf, codes, weight)
    held = module.codebook
    module.update(leaf.detach(), codes, weight, random())
    module.init_from(leaf.detach(), weight, random())
    loss.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    assert module.codebook is not held
    torch.testing.assert_close(leaf.grad, 2 * (keys() - codewords(codes, held)) / (B * H * L))


def test_commitment_is_the_mean_squared_distance_of_what_is_no_padding() -> None:
    module, weight = quantizer(), (torch.arange(L) < 8).float().expand(B, L)
    codes = nearest_code(keys(), module.codebook)
    expected = (keys() - codewords(codes, module.codebook))[:, :, :8].square().sum(-1).mean()
    torch.testing.assert_close(module.commitment(keys(), codes, weight), expected)


def test_a_dead_code_moves_to_a_key_with_the_mean_count() -> None:
    module = quantizer()
    module.ema_count[1, 4] = 0.5 * DEAD_SHARE
    module.codebook[1, 4] = 1e3
    module.ema_sum = module.codebook * module.ema_count[..., None]
    module.update(keys(), nearest_code(keys(), module.codebook), torch.ones(B, L), random())
    assert (keys()[:, 1] - module.codebook[1, 4]).square().sum(-1).min() < 1e-8
    others = [code for code in range(S) if code != 4]
    assert module.ema_count[1, 4] > 0.5 * module.ema_count[1, others].mean()


def test_k_means_finds_separate_clusters() -> None:
    module = Quantizer(1, 2, K)
    centres = torch.tensor([-5.0, 5.0])
    points = centres[torch.arange(L * 4) % 2][None, None, :, None] + 0.1 * torch.randn(1, 1, L * 4, K)
    module.init_from(points, torch.ones(1, L * 4), random())
    assert sorted(module.codebook[0].mean(-1).round().tolist()) == [-5.0, 5.0]


def test_k_means_of_fewer_keys_than_codes_repeats_them() -> None:
    module = quantizer()
    module.init_from(keys(length=1), torch.ones(B, 1), random())
    assert module.codebook.isfinite().all()


@pytest.mark.parametrize(("count", "expected"), [([1.0] * S, float(S)), ([1.0] + [0.0] * (S - 1), 1.0)])
def test_perplexity_counts_the_codes_in_use(count: list[float], expected: float) -> None:
    module = quantizer()
    module.ema_count = torch.tensor(count).expand(H, S)
    assert math.isclose(float(module.perplexity()), expected, rel_tol=1e-5)
