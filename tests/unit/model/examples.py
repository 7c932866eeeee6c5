"""A small encoder of odd sizes, and a grammar it can learn."""

import math

import numpy as np

from model import EncoderConfig, TokenStream

# Sizes that no two axes share, so that swapped axes fail.
SMALL = EncoderConfig(
    vocab_size=13, width=20, layers=2, heads=3, head_width=7, codes=11, block=8, horizon=50, ssm_heads=5, ssm_state=3
)
# Every fifth event of the grammar is one of two.
GRAMMAR_NATS = math.log(2) / 5


def grammar(events: int, seed: int) -> TokenStream:
    """Return a cycle 2 3 4 5 6 in which 6 may be 7."""
    random = np.random.default_rng(seed)
    tokens = np.tile(np.array([2, 3, 4, 5, 6], np.int64), events // 5 + 1)[:events]
    tokens[4::5] += random.integers(0, 2, len(tokens[4::5]))
    gaps = random.choice(np.array([0.0, 0.2, 30.0], np.float32), events)
    return TokenStream(tokens, gaps)
