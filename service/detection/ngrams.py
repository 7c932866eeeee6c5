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

    def __init__(self, streams: Iterable[Sequence[int]], order: int = ORDER) -> None:
        self.order = order
        self._after: dict[tuple[int, ...], dict[int, int]] = {}
        after = self._after
        for stream in streams:
            past = (*(START,) * order, *stream)
            for index in range(order, len(past)):
                token = past[index]
                for start in range(index, index - order - 1, -1):
                    context = past[start:index]
                    counts = after.get(context)
                    if counts is None:
                        # Longer forms of a context wait until it comes again, so that each event makes at most one.
                        after[context] = {token: 1}
                        break
                    counts[token] = counts.get(token, 0) + 1
        self._total = {context: sum(counts.values()) for context, counts in after.items()}
        self.vocabulary = len(after.get((), ())) + 1

    def surprisal(self, tokens: Sequence[int], before: Sequence[int] = ()) -> list[float]:
        """Return the nats of each token.

        Args:
            tokens: the events.
            before: what the stream wrote before them; the last `order` tokens matter.
        """
        order = self.order
        past = (*(START,) * order, *before)[-order:] + tuple(tokens)
        found = []
        for index in range(order, len(past)):
            token = past[index]
            probability = 1 / self.vocabulary
            for start in range(index, index - order - 1, -1):
                counts = self._after.get(past[start:index])
                if counts is None:
                    break
                kinds = len(counts)
                total = self._total[past[start:index]]
                probability = (counts.get(token, 0) + kinds * probability) / (total + kinds)
            found.append(-math.log(probability))
        return found
