"""How many codewords live: twins merge, the deserted die, the worst split, and the number follows the keys."""

import pytest
import torch
from torch import Tensor

from model.quantizer import EMA_DECAY, MERGE_COSINE, SPLITS, TEND_EVERY, Quantizer, codewords, nearest_code

H, K, S = 3, 7, 11
HEAD = 1
CLUSTERS, NOISE = 9, 0.03


def random(seed: int = 9) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def about_to_tend() -> Quantizer:
    """A codebook of separate codewords, all of them as often used and without error, whose next update tends it."""
    module = Quantizer(H, S, K)
    module.codebook = 3 * torch.nn.functional.one_hot(torch.arange(S) % K, K).float().expand(H, -1, -1).clone()
    module.codebook[:, K:] *= -1
    module.ema_sum = module.codebook.clone()
    module.updates = torch.tensor(TEND_EVERY - 1)
    return module


def tend(module: Quantizer, keys: Tensor | None = None, weight: float = 1.0) -> None:
    """Update with keys, or with one at every living codeword, which changes no codeword."""
    found = module.codebook[None] if keys is None else keys
    codes = nearest_code(found, module.search)
    module.update(found, codes, torch.full((1, found.shape[2]), weight), random())


def twin(module: Quantizer, cosine: float) -> None:
    """Let codes 2 and 5 of a head have this angle, 5 being used three times as often."""
    first = module.codebook[HEAD, 2]
    other = torch.zeros(K)
    other[5] = 3 * (1 - cosine**2) ** 0.5
    module.codebook[HEAD, 5] = cosine * first + other
    module.ema_count[HEAD, 5] = 3
    module.ema_sum[HEAD] = module.codebook[HEAD] * module.ema_count[HEAD][:, None]


def test_a_codebook_of_separate_codewords_in_use_stays() -> None:
    module = about_to_tend()
    before = module.codebook.clone()
    tend(module)
    assert module.alive.all()
    torch.testing.assert_close(module.codebook, before)


def test_twins_become_one_with_the_keys_of_both() -> None:
    module = about_to_tend()
    twin(module, (1 + MERGE_COSINE) / 2)
    total, before = module.ema_sum[HEAD, 2] + module.ema_sum[HEAD, 5], module.codebook.clone()
    tend(module, before[None])
    expected = torch.ones(H, S, dtype=torch.bool)
    expected[HEAD, 2] = False
    assert torch.equal(module.alive, expected)
    # Both codes got one key in this update.
    torch.testing.assert_close(module.ema_count[HEAD, 5], torch.tensor(EMA_DECAY * 4 + (1 - EMA_DECAY) * 2))
    mean = EMA_DECAY * total + (1 - EMA_DECAY) * (before[HEAD, 2] + before[HEAD, 5])
    torch.testing.assert_close(module.codebook[HEAD, 5], mean / module.ema_count[HEAD, 5])
    for statistic in (module.ema_count, module.ema_sum, module.ema_error):
        assert float(statistic[HEAD, 2].abs().sum()) == 0
    torch.testing.assert_close(module.codebook[[0, 2]], before[[0, 2]])


def test_what_only_resembles_each_other_stays_apart() -> None:
    module = about_to_tend()
    twin(module, MERGE_COSINE - 0.01)
    tend(module)
    assert module.alive.all()


def test_codewords_of_which_one_is_not_alive_do_not_merge() -> None:
    module = about_to_tend()
    twin(module, 1.0)
    module.alive[HEAD, 2] = False
    tend(module)
    assert module.alive[HEAD].tolist() == [code != 2 for code in range(S)]


def test_a_codebook_is_tended_only_now_and_then() -> None:
    module = about_to_tend()
    twin(module, 1.0)
    module.updates = torch.tensor(TEND_EVERY)
    for _ in range(TEND_EVERY - 1):
        tend(module)
        assert module.alive.all()
    tend(module)
    assert int(module.alive.sum()) == H * S - 1


def test_a_code_that_no_key_comes_to_dies() -> None:
    module = about_to_tend()
    for count, code in ((1e-3, 4), (0.5, 6)):
        module.ema_count[HEAD, code] = count
        module.ema_sum[HEAD, code] = module.codebook[HEAD, code] * count
    tend(module, module.codebook[None, :, :4])
    expected = torch.ones(H, S, dtype=torch.bool)
    expected[HEAD, 4] = False
    assert torch.equal(module.alive, expected)
    assert (nearest_code(module.codebook[None], module.search)[0, HEAD] != 4).all()


def living(module: Quantizer, count: int) -> Tensor:
    """Leave so many codes of a head alive, and return keys (1, h, l, k) at them."""
    module.alive[HEAD, count:] = False
    for statistic in (module.ema_count, module.ema_sum):
        statistic[HEAD, count:] = 0
    return module.codebook[None, :, :count]


def test_what_is_few_keys_is_told_by_how_many_codes_are_alive() -> None:
    """Of four codes one has 1.5 % of the keys: a tenth of an even share is 2.5 % of four, and 0.9 % of all eleven."""
    module = about_to_tend()
    keys = living(module, 4)
    module.ema_count[HEAD, 3] = 0.015 / 0.985 * 3
    module.ema_sum[HEAD, 3] = module.codebook[HEAD, 3] * module.ema_count[HEAD, 3]
    tend(module, keys[:, :, :3])
    assert not module.alive[HEAD, 3]


def test_two_codewords_stay_whatever_comes() -> None:
    module = about_to_tend()
    module.ema_count[:, 1:] = 1e-6
    module.ema_sum = module.codebook * module.ema_count[..., None]
    tend(module, module.codebook[None, :, :1])
    assert module.alive.sum(-1).tolist() == [2] * H
    module.codebook[:] = module.codebook[:, :1]
    module.ema_sum = module.codebook * module.ema_count[..., None]
    module.updates = torch.tensor(TEND_EVERY - 1)
    tend(module, module.codebook[None, :, :1])
    assert module.alive.sum(-1).tolist() == [2] * H


def poor(module: Quantizer, free: int = 8) -> Tensor:
    """Free a code, let one of a head cause most of the error, and return keys (1, h, l, k), some of them its own."""
    module.alive[HEAD, free] = False
    for statistic in (module.ema_count, module.ema_sum):
        statistic[HEAD, free] = 0
    module.ema_error[:] = 1
    module.ema_error[HEAD, 3] = 50
    keys = module.codebook[None].clone()
    keys[0, HEAD, 8:] = module.codebook[HEAD, 3] + 0.1 * torch.arange(3.0)[:, None]
    return keys


def test_the_code_of_the_most_error_shares_its_keys_with_a_free_one() -> None:
    module = about_to_tend()
    keys = poor(module)
    count, error = EMA_DECAY + (1 - EMA_DECAY) * 4, EMA_DECAY * 50
    tend(module, keys)
    assert module.alive.all()
    own = keys[0, HEAD][nearest_code(keys, about_to_tend().codebook)[0, HEAD] == 3]
    assert len(own) == 4
    assert float((own - module.codebook[HEAD, 8]).square().sum(-1).min()) < 1e-10
    for code in (3, 8):
        assert float(module.ema_count[HEAD, code]) == pytest.approx(count / 2)
        assert float(module.ema_error[HEAD, code]) == pytest.approx(error / 4, rel=1e-3)
    total = EMA_DECAY * about_to_tend().codebook[HEAD, 3] + (1 - EMA_DECAY) * own.sum(0)
    torch.testing.assert_close(module.codebook[HEAD, 3], total / count)


def test_a_round_splits_no_more_codes_of_a_head_than_told() -> None:
    """Of five equally poor codes each stands out until it is split."""
    module = about_to_tend()
    keys = living(module, 5)
    module.ema_error[HEAD, :5] = 100
    tend(module, keys)
    assert int(module.alive[HEAD].sum()) == 5 + SPLITS


def test_what_a_code_splits_to_is_decided_by_the_generator() -> None:
    found = set()
    for seed in range(12):
        module = about_to_tend()
        keys = poor(module)
        module.update(keys, nearest_code(keys, module.search), torch.ones(1, S), random(seed))
        found.add(tuple(module.codebook[HEAD, 8].tolist()))
    assert len(found) > 1


def test_without_keys_of_its_own_a_code_does_not_split() -> None:
    module = about_to_tend()
    tend(module, poor(module), weight=0.0)
    assert not module.alive[HEAD, 8]


def test_a_code_splits_only_where_it_stands_out() -> None:
    module = about_to_tend()
    keys = poor(module)
    module.ema_error[HEAD] = 50.0 * module.alive[HEAD]
    tend(module, keys.where(torch.arange(S)[:, None] < 8, module.codebook[HEAD, 3]))
    assert not module.alive[HEAD, 8]


def test_a_code_that_stands_for_one_point_does_not_split() -> None:
    module = about_to_tend()
    keys = poor(module).where(torch.arange(S)[:, None] < 8, module.codebook[HEAD, 3])
    module.ema_error /= 1e5
    tend(module, keys)
    assert not module.alive[HEAD, 8]


def clusters(generator: torch.Generator, centres: Tensor, noise: float) -> Tensor:
    """Return keys (2, h, 64, k) around centres (n, k), of mean square 1."""
    which = torch.randint(len(centres), (2, H, 64), generator=generator)
    keys = centres[which] + noise * torch.randn(2, H, 64, K, generator=generator)
    return keys * torch.rsqrt(keys.square().mean(-1, keepdim=True))


def follow(module: Quantizer, centres: Tensor, rounds: int) -> float:
    """Update with keys of the clusters, and return the mean squared distance of others to their codewords."""
    generator = random()
    for _ in range(rounds):
        keys = clusters(generator, centres, NOISE)
        module.update(keys, nearest_code(keys, module.search), torch.ones(2, 64), generator)
    keys = clusters(generator, centres, NOISE)
    codes = nearest_code(keys, module.search)
    assert module.alive[torch.arange(H)[:, None], codes].all()
    return float((keys - codewords(codes, module.codebook)).square().mean())


def centres() -> Tensor:
    found = torch.randn(CLUSTERS, K, generator=random(4))
    return found * torch.rsqrt(found.square().mean(-1, keepdim=True))


def placed(count: int) -> Quantizer:
    module = Quantizer(H, S, K)
    module.init_from(clusters(random(), centres()[:count], NOISE), torch.ones(2, 64), random())
    return module


def test_keys_of_few_clusters_leave_few_codes_alive_and_lose_no_error() -> None:
    module = placed(3)
    assert module.alive.all()
    error = follow(module, centres()[:3], 200)
    assert module.alive.sum(-1).tolist() == [3] * H
    assert error < 1.1 * NOISE**2
    assert (module.ema_error / module.ema_count / K).nanmean().item() == pytest.approx(error, rel=0.2)


@pytest.mark.parametrize("few", [2, 3])
def test_keys_of_many_clusters_make_codes_alive_again(few: int) -> None:
    module = placed(few)
    follow(module, centres()[:few], 150)
    assert module.alive.sum(-1).tolist() == [few] * H
    error = follow(module, centres(), 400)
    assert module.alive.sum(-1).ge(CLUSTERS).all()
    assert error < 1.5 * NOISE**2


def test_one_cluster_more_makes_a_code_alive_again() -> None:
    module = placed(CLUSTERS - 3)
    follow(module, centres()[: CLUSTERS - 3], 150)
    assert module.alive.sum(-1).tolist() == [CLUSTERS - 3] * H
    error = follow(module, centres()[: CLUSTERS - 2], 400)
    assert module.alive.sum(-1).tolist() == [CLUSTERS - 2] * H
    assert error < 1.5 * NOISE**2
