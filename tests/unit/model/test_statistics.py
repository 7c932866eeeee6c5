"""Statistics of codes against counts made by hand."""

import numpy as np
import pytest

from model import CodeStatistics


def collected() -> CodeStatistics:
    # Head 0: code 1 often, code 0 rarely. Head 1: always code 2.
    codes = np.stack([np.array([0] * 10 + [1] * 490), np.full(500, 2)], 1)
    distance = np.stack([np.arange(500.0), np.linspace(0, 1, 500)], 1).astype(np.float32)
    tokens = np.array([3] * 6 + [1] * 4 + [2] * 490)
    return CodeStatistics.of(codes, distance, tokens, (3, 5))


def test_usage_is_the_share_of_each_code_in_its_head() -> None:
    np.testing.assert_allclose(collected().usage, [[0.02, 0.98, 0], [0, 0, 1]], rtol=1e-6)


def test_perplexity_is_the_mean_over_heads_of_what_their_use_is_worth_in_even_codes() -> None:
    # Head 0 uses two codes at 2 and 98 %, head 1 one of them; the code nobody uses counts for nothing.
    first = 0.02**-0.02 * 0.98**-0.98
    assert collected().perplexity == pytest.approx((first + 1) / 2, rel=1e-5)


def test_tokens_that_came_are_ranked() -> None:
    assert collected().top_tokens[0].tolist() == [[3, 1, 0, 0, 0], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_a_distance_is_ranked_among_its_codes_own_or_with_few_keys_among_its_heads() -> None:
    found = collected().percentile(np.array([[1, 2], [0, 2], [1, 2]]), np.array([[255, 0.5], [255, -1], [9e9, 2]]))
    # Of the 490 distances of code 1, 10 to 499, half are below 255; of all 500, 51 in a hundred.
    np.testing.assert_allclose(found, [[50, 50], [51, 0], [100, 100]], atol=1)
