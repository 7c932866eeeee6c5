"""Surprisal of each event after the events before it, by counting.

Orders are mixed by the back-off of Witten and Bell (IEEE Trans. Information Theory, 1991), the longest context seen
first. It learns in seconds, so it speaks before an encoder is trained, and beside it afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

# Long enough that what follows is settled by what came before in logs of few hundred templates.
ORDER = 8
START = -1


class NGrams:
    """Counts of what came after each context.

    Args:
        streams: known-good tokens, each stream read from its start. Tokens are not negative.
        order: tokens of the longest context.
    """

    def __init__(self, streams: Iterable[Sequence[int]] = (), order: int = ORDER) -> None:
        self.order = order
        self._after: dict[tuple[int, ...], dict[int, int]] = {}
        self._total: dict[tuple[int, ...], int] = {}
        for stream in streams:
            self.learn(stream)

    @property
    def vocabulary(self) -> int:
        """How many tokens share what no count gives: those learnt, and one for all others."""
        return len(self._after.get((), ())) + 1

    def learn(self, tokens: Sequence[int], before: Sequence[int] = ()) -> None:
        """Count further events.

        Args:
            tokens: the events.
            before: what the stream wrote before them; the last `order` tokens matter.
        """
        past = self._past(tokens, before)
        for index in range(self.order, len(past)):
            token = past[index]
            for start in range(index, index - self.order - 1, -1):
                context = past[start:index]
                counts = self._after.get(context)
                if counts is None:
                    # Longer forms of a context wait until it comes again, so that each event makes at most one.
                    self._after[context] = {token: 1}
                    self._total[context] = 1
                    break
                counts[token] = counts.get(token, 0) + 1
                self._total[context] += 1

    def _past(self, tokens: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
        return (*(START,) * self.order, *before)[-self.order :] + tuple(tokens)

    def surprisal(self, tokens: Sequence[int], before: Sequence[int] = ()) -> list[float]:
        """Return the nats of each token.

        Args:
            tokens: the events.
            before: what the stream wrote before them; the last `order` tokens matter.
        """
        order, vocabulary = self.order, self.vocabulary
        past = self._past(tokens, before)
        found = []
        for index in range(order, len(past)):
            token = past[index]
            probability = 1 / vocabulary
            for start in range(index, index - order - 1, -1):
                counts = self._after.get(past[start:index])
                if counts is None:
                    break
                kinds = len(counts)
                total = self._total[past[start:index]]
                probability = (counts.get(token, 0) + kinds * probability) / (total + kinds)
            found.append(-math.log(probability))
        return found
