"""Small encoders, every mixer, and a grammar they can learn."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import torch

from model import EncoderConfig, TokenStream
from model.config import Mixer
from model.stack import Stack

MIXERS: tuple[Mixer, ...] = get_args(Mixer)
# Sizes that no two axes share, so that swapped axes fail.
SMALL = EncoderConfig(
    vocab_size=13, width=20, layers=2, heads=3, head_width=7, codes=11, block=8, horizon=50, ssm_heads=5, ssm_state=3
)
# Blocks of 32 events, as every preset has: a row's results come out the same to the last bit beside any others.
EVEN = EncoderConfig(
    vocab_size=16,
    width=48,
    layers=2,
    heads=3,
    head_width=16,
    codes=16,
    block=32,
    horizon=64,
    ssm_heads=3,
    ssm_state=16,
)
# Every fifth event of the grammar is one of two.
GRAMMAR_NATS = math.log(2) / 5


def with_mixer(mixer: Mixer) -> EncoderConfig:
    return replace(SMALL, mixer=mixer)


def small_stack(mixer: Mixer) -> Stack:
    torch.manual_seed(4)
    stack = Stack(with_mixer(mixer)).eval()
    for quantizer in stack.quantizers():
        quantizer.alive[:, 3] = False
    return stack


def grammar(events: int, seed: int) -> TokenStream:
    """Return a cycle 2 3 4 5 6 in which 6 may be 7."""
    random = np.random.default_rng(seed)
    tokens = np.tile(np.array([2, 3, 4, 5, 6], np.int64), events // 5 + 1)[:events]
    tokens[4::5] += random.integers(0, 2, len(tokens[4::5]))
    gaps = random.choice(np.array([0.0, 0.2, 30.0], np.float32), events)
    return TokenStream(tokens, gaps)


def broken_grammar(events: int, seed: int) -> TokenStream:
    """Return a stream of the grammar whose second third is noise."""
    part, random = grammar(events, seed), np.random.default_rng(seed)
    tokens = part.tokens.copy()
    noise = slice(events // 3, events // 2)
    tokens[noise] = random.integers(1, SMALL.vocab_size, len(tokens[noise]))
    return TokenStream(tokens, part.gaps)
