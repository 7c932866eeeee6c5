"""Made-up sequences that ask for exact recall."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from tests.benchmark.tasks.examples import IGNORED, Examples, Task

# The Mamba paper (Gu and Dao, arXiv 2312.00752, section 4.1) gives both of its tasks 16 tokens, special ones included.
_ALPHABET = 16
_NOISE, _MARKER, _FIRST_DATA = 0, 1, 2
_SPECIAL, _FIRST_ORDINARY = 0, 1


def mqar(
    *,
    length: int = 128,
    pairs: int = 12,
    vocabulary: int = 128,
    stretch: int = 8,
    train: int = 20_000,
    test: int = 512,
    seed: int = 0,
) -> Task:
    """Multi-query associative recall (Arora et al., arXiv 2312.04927; HazyResearch/zoology, multiquery_ar.py).

    The sequence begins with pairs of a key and its value. Then each key is asked once, at places spread uniformly
    (their `power_a` of 1, where the published runs ask sooner with 0.01), and every other position holds token 0 (their
    `random_non_queries` off). Keys are from the lower half of the vocabulary and values from the upper.

    Args:
        length: positions, even.
        pairs: of a key and a value.
        vocabulary: token ids.
        stretch: also test the same number of pairs in a sequence so many times as long, unless 1.
        train: examples.
        test: examples of each length.
        seed: decides the examples.
    """
    shape = (pairs, vocabulary)
    tests = {f"T={n:,}": _mqar(test, n, *shape, _generator(seed, n)) for n in dict.fromkeys((length, stretch * length))}
    return Task(_mqar(train, length, *shape, _generator(seed, 0)), tests, vocabulary, vocabulary)


def copying(*, length: int = 256, items: int = 16, train: int = 20_000, test: int = 512, seed: int = 0) -> Task:
    """Selective copying (Gu and Dao, arXiv 2312.00752, section 4.1; Jing et al. 2019).

    Items stand at random places among noise; at the markers after them they are asked for in order.

    Args:
        length: positions before the markers; the paper has 4,096.
        items: to remember.
        train: examples.
        test: examples.
        seed: decides the examples.
    """
    tests = {f"T={length + items:,}": _copying(test, length, items, _generator(seed, 1))}
    return Task(_copying(train, length, items, _generator(seed, 0)), tests, _ALPHABET, _ALPHABET)


def induction(*, length: int = 256, stretch: int = 8, train: int = 20_000, test: int = 512, seed: int = 0) -> Task:
    """Induction heads (Gu and Dao, arXiv 2312.00752, section 4.1; Olsson et al. 2022).

    A special token stands once among random ones and again at the end, where what followed it is asked for.

    Args:
        length: positions, the last included.
        stretch: also test sequences so many times as long, unless 1.
        train: examples.
        test: examples of each length.
        seed: decides the examples.
    """
    tests = {f"T={n:,}": _induction(test, n, _generator(seed, n)) for n in dict.fromkeys((length, stretch * length))}
    return Task(_induction(train, length, _generator(seed, 0)), tests, _ALPHABET, _ALPHABET)


def _generator(seed: int, part: int) -> Generator:
    """Return the random numbers of one part of a task; the generator heeds 32 bits of a seed, no more."""
    return Generator().manual_seed((seed << 16) + part)


def _distinct(rows: int, choices: int, picks: int, generator: Generator) -> Tensor:
    """Draw (rows, picks) int64 in [0, choices), in random order, without repetition in a row."""
    return torch.rand(rows, choices, generator=generator).topk(picks).indices


def _mqar(rows: int, length: int, pairs: int, vocabulary: int, generator: Generator) -> Examples:
    half, context = vocabulary // 2, 2 * pairs
    keys = 1 + _distinct(rows, half - 1, pairs, generator)
    values = half + _distinct(rows, vocabulary - half, pairs, generator)
    asked = context + 2 * _distinct(rows, (length - context) // 2, pairs, generator)
    inputs = torch.zeros(rows, length, dtype=torch.long)
    inputs[:, :context] = torch.stack([keys, values], -1).flatten(1)
    labels = torch.full_like(inputs, IGNORED)
    return Examples.whole(inputs.scatter_(1, asked, keys), labels.scatter_(1, asked, values))


def _copying(rows: int, length: int, items: int, generator: Generator) -> Examples:
    places = _distinct(rows, length, items, generator).sort().values
    data = torch.randint(_FIRST_DATA, _ALPHABET, (rows, items), generator=generator)
    inputs = torch.full((rows, length + items), _NOISE).scatter_(1, places, data)
    inputs[:, length:] = _MARKER
    labels = torch.full_like(inputs, IGNORED)
    labels[:, length:] = data
    return Examples.whole(inputs, labels)


def _induction(rows: int, length: int, generator: Generator) -> Examples:
    inputs = torch.randint(_FIRST_ORDINARY, _ALPHABET, (rows, length), generator=generator)
    # The token after the special one is at the last position but one at the latest.
    place = torch.randint(0, length - 2, (rows, 1), generator=generator)
    inputs.scatter_(1, place, _SPECIAL)
    inputs[:, -1] = _SPECIAL
    labels = torch.full_like(inputs, IGNORED)
    labels[:, -1] = inputs.gather(1, place + 1)[:, 0]
    return Examples.whole(inputs, labels)
