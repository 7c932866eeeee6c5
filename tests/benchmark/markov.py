"""A Markov model of any tokens, mixed over its orders by Witten and Bell's back-off: what encoders stand beside."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence


class Markov:
    """Counts of what came after each context.

    Args:
        order: tokens of the longest context.
        learnt: tokens to count.
        vocabulary: how many tokens share what no count gives; None for those learnt and one more.
    """

    def __init__(self, order: int, learnt: Sequence[Hashable], vocabulary: int | None = None) -> None:
        self.order, self.past = order, list(learnt[-order:])
        self.counts: list[dict[tuple[Hashable, ...], Counter[Hashable]]] = [
            defaultdict(Counter) for _ in range(order + 1)
        ]
        for index, token in enumerate(learnt):
            for length in range(min(order, index) + 1):
                self.counts[length][tuple(learnt[index - length : index])][token] += 1
        self.vocabulary = vocabulary or len(self.counts[0][()]) + 1

    def surprisal(self, tokens: Sequence[Hashable]) -> Iterator[float]:
        """Return the nats of each token, read on from where the learning ended."""
        past = [*self.past, *tokens]
        for index in range(self.order, len(past)):
            probability = 1 / self.vocabulary
            for length in range(self.order + 1):
                seen = self.counts[length].get(tuple(past[index - length : index]))
                if seen:
                    probability = (seen[past[index]] + len(seen) * probability) / (seen.total() + len(seen))
            yield -math.log(probability)
