"""ListOps of the Long Range Arena (Tay et al., arXiv 2011.04006; google-research/long-range-arena, data/listops.py).

Trees are drawn many at once, level by level, as arrays: a hundred thousand of them have 10^8 nodes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from tests.benchmark.tasks.examples import Examples, Task

PAD, DIGIT, OPERATOR, CLOSE = 0, 1, 11, 15
SYMBOLS = ("", *"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]")
# Accuracy in per cent on the task at full size, as the Long Range Arena's README and table 7 of LION (Afzal et al.,
# arXiv 2502.16249) collect it; S4's is the revised one, Mamba's and xLSTM's are LION's.
PUBLISHED = {
    "Linear Transformer": 16.13,
    "Performer": 18.01,
    "Mamba": 32.5,
    "BigBird": 36.05,
    "Transformer": 36.37,
    "Luna-256": 37.25,
    "Reformer": 37.27,
    "xLSTM": 41.1,
    "H-Transformer-1D": 49.53,
    "Mega-chunk": 58.76,
    "S4": 59.60,
    "LRU": 60.2,
    "S5": 62.15,
    "Mega": 63.14,
}
FULL_SIZE = {"shortest": 500, "longest": 2000, "train": 96_000, "test": 2000}
_MAX_DEPTH, _MAX_ARGUMENTS, _OPERATOR_SHARE = 10, 10, 0.25
_FOREST = 20_000
# Start of a tree that is not kept, so that the starts of all its nodes are negative, too.
_NOWHERE = -(1 << 40)

Integers: TypeAlias = npt.NDArray[np.int64]


def listops(
    cache: Path,
    *,
    shortest: int = FULL_SIZE["shortest"],
    longest: int = FULL_SIZE["longest"],
    train: int = FULL_SIZE["train"],
    test: int = FULL_SIZE["test"],
    seed: int = 0,
) -> Task:
    """Return nested lists of digits under MIN, MAX, MED and SM, and their values.

    Args:
        cache: directory to keep the examples in.
        shortest: an expression has more symbols than this, brackets included,
        longest: and fewer than this.
        train: examples.
        test: examples. The published validation set is left out, because nothing is chosen by one here.
        seed: decides the examples.

    Raises:
        ValueError: no expression is of such a length.
    """
    count = train + test
    path = cache / f"listops-{shortest}-{longest}-{count}-{seed}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        symbols, offsets, values = expressions(count, shortest, longest, seed)
        # Renamed when whole, so that nothing half-written has the name; runs side by side each write their own.
        partial = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(partial, symbols=symbols, offsets=offsets, values=values)
        partial.rename(path)
    with np.load(path, allow_pickle=False) as kept:
        symbols, offsets, values = kept["symbols"], kept["offsets"], kept["values"]
    lengths = np.diff(offsets)
    inputs = np.zeros((count, lengths.max()), np.uint8)
    inputs[np.arange(inputs.shape[1]) < lengths[:, None]] = symbols
    every = torch.from_numpy(inputs), torch.from_numpy(values).long(), torch.from_numpy(lengths)
    # A byte a symbol until `Examples.rows`: at full size, int64 would be 1.5 GB.
    learnt, tested = (Examples(*(part[rows] for part in every)) for rows in (slice(train), slice(train, None)))
    return Task(learnt, {"test": tested}, len(SYMBOLS), 10)


def expressions(
    count: int, shortest: int, longest: int, seed: int
) -> tuple[npt.NDArray[np.uint8], Integers, npt.NDArray[np.uint8]]:
    """Draw different expressions with shortest < length < longest.

    Returns:
        symbols: (total,) uint8, indices into `SYMBOLS`, expression after expression.
        offsets: (count + 1,) int64, where each begins and the last ends.
        values: (count,) uint8 in [0, 10).

    Raises:
        ValueError: no expression is of such a length.
    """
    if longest - shortest < 2:
        raise ValueError(f"no length is more than {shortest} and less than {longest}")
    generator = np.random.default_rng(seed)
    # In the order drawn, which is random, and not in a set's, which differs from run to run.
    found: dict[bytes, int] = {}
    while len(found) < count:
        symbols, offsets, values = forest(min(_FOREST, 10 * count), shortest, longest, generator)
        for (start, end), value in zip(pairwise(offsets), values, strict=True):
            found.setdefault(symbols[start:end].tobytes(), int(value))
    texts = list(found)[:count]
    offsets = np.cumsum([0, *map(len, texts)])
    return np.frombuffer(b"".join(texts), np.uint8), offsets, np.array(list(found.values())[:count], np.uint8)


@dataclass
class _Level:
    """The nodes of all trees at one depth, children of one node side by side, in the order of their parents.

    Attributes:
        parent: (n,) index into the level above.
        operator: (n,) 0 to 3, or -1 for a digit.
        value: (n,) of the digit or the list.
        length: (n,) symbols.
    """

    parent: Integers
    operator: Integers
    value: Integers
    length: Integers

    @classmethod
    def drawn(cls, parent: Integers, operator_share: float, generator: np.random.Generator) -> _Level:
        size = len(parent)
        operator = np.where(generator.random(size) <= operator_share, generator.integers(0, 4, size), -1)
        return cls(parent, operator, generator.integers(0, 10, size), np.ones(size, np.int64))

    def evaluate(self, below: _Level) -> None:
        """Give the lists of this level their values and lengths."""
        lists = np.flatnonzero(self.operator >= 0)
        first = np.searchsorted(below.parent, lists)
        count = np.diff(first, append=len(below.parent))
        self.length[lists] = 2 + np.add.reduceat(below.length, first)
        ordered = np.sort(below.parent * 10 + below.value) % 10
        # The mean of the two in the middle, or of the one with itself, rounded down as int() does.
        median = (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) // 2
        results = ordered[first], ordered[first + count - 1], median, np.add.reduceat(below.value, first) % 10
        self.value[lists] = np.choose(self.operator[lists], results)

    def starts(self, above: Integers) -> Integers:
        """Return where each node's symbols begin: after the parent's own symbol and the siblings before."""
        before = np.cumsum(self.length) - self.length
        first = np.searchsorted(self.parent, self.parent)
        starts: Integers = above[self.parent] + 1 + before - before[first]
        return starts


def forest(
    trees: int, shortest: int, longest: int, generator: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], Integers, Integers]:
    """Draw trees and return those of a length asked for, equal ones too; see `expressions`."""
    # A lone digit is never long enough, so that every root is a list.
    levels = [_Level.drawn(np.arange(trees), 1.0, generator)]
    for depth in range(2, _MAX_DEPTH + 1):
        lists = np.flatnonzero(levels[-1].operator >= 0)
        parent = np.repeat(lists, generator.integers(2, _MAX_ARGUMENTS + 1, len(lists)))
        levels.append(_Level.drawn(parent, _OPERATOR_SHARE if depth < _MAX_DEPTH else -1.0, generator))
    for level, below in reversed(list(pairwise(levels))):
        level.evaluate(below)
    root = levels[0]
    kept = (root.length > shortest) & (root.length < longest)
    offsets = np.cumsum([0, *root.length[kept]])
    symbols = np.zeros(offsets[-1], np.uint8)
    start = np.full(trees, _NOWHERE)
    start[kept] = offsets[:-1]
    for depth, level in enumerate(levels):
        start = level.starts(start) if depth else start
        here = start >= 0
        is_list = here & (level.operator >= 0)
        symbols[start[here]] = np.where(level.operator >= 0, OPERATOR + level.operator, DIGIT + level.value)[here]
        symbols[start[is_list] + level.length[is_list] - 1] = CLOSE
    return symbols, offsets, root.value[kept]
