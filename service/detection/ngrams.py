"""Surprisal of each event after the events before it, by counting.

Orders are mixed by the back-off of Witten and Bell (IEEE Trans. Information Theory, 1991), the longest context seen
first. It learns in seconds, so it speaks before an encoder is trained, and beside it afterwards.

How far counts are to be trusted differs: where windows overlap, what looks well supported was counted many times over,
and what the window itself has shown says more than the past (the cache of Kuhn and De Mori, IEEE Trans. Pattern
Analysis and Machine Intelligence, 1990). `tuned` learns from held-out streams what each count is worth.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

# Long enough that what follows is settled by what came before in logs of few hundred templates.
ORDER = 8
START = -1
# Held out to learn weights by: the last of so many parts of the streams, of it at most so many streams.
HELD_OUT_OF = 4
MAX_HELD_OUT = 300
TUNING_ROUNDS = 2
STEPS = (0.125, 0.5, 2.0, 8.0, 64.0)
CACHED = 8.0

# Of one event, by order: how often it came after the context, how many kinds did, how many events did.
Seen = list[tuple[int, int, int]]


@dataclass(frozen=True)
class Weights:
    """What a count is worth.

    Attributes:
        order: of each order's context, shortest first: how many events the shorter one's chance is worth, for every
            kind of event seen after it.
        window: how many events that chance is worth beside those of the window so far; None leaves these out.
        pair: the same beside those that came after the same event in the window.
    """

    order: tuple[float, ...]
    window: float | None = None
    pair: float | None = None


class NGrams:
    """Counts of what came after each context.

    Args:
        streams: known-good tokens, each stream read from its start. Tokens are not negative.
        order: tokens of the longest context.
        weights: what each count is worth; None for Witten and Bell's.
    """

    def __init__(
        self, streams: Iterable[Sequence[int]] = (), order: int = ORDER, weights: Weights | None = None
    ) -> None:
        self.order = order
        self.weights = weights or Weights((1.0,) * (order + 1))
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
        return [
            -math.log(chance) for chance in _mixed(tokens, self._seen(tokens, before), self.vocabulary, self.weights)
        ]

    def _seen(self, tokens: Sequence[int], before: Sequence[int]) -> Iterator[Seen]:
        past = self._past(tokens, before)
        for index in range(self.order, len(past)):
            seen: Seen = []
            for start in range(index, index - self.order - 1, -1):
                counts = self._after.get(past[start:index])
                if counts is None:
                    break
                seen.append((counts.get(past[index], 0), len(counts), self._total[past[start:index]]))
            yield seen


def tuned(streams: Sequence[Sequence[int]], order: int = ORDER) -> NGrams:
    """Learn from streams, weights first: those under which the last of them were likeliest after all before.

    Args:
        streams: known-good tokens in order, each stream read from its start.
        order: tokens of the longest context.
    """
    cut = len(streams) * (HELD_OUT_OF - 1) // HELD_OUT_OF
    model = NGrams(streams[:cut], order)
    held_out = streams[cut :: max(1, (len(streams) - cut) // MAX_HELD_OUT)]
    read = [(stream, list(model._seen(stream, ()))) for stream in held_out]

    def nats(weights: Weights) -> float:
        return -sum(math.log(p) for stream, seen in read for p in _mixed(stream, seen, model.vocabulary, weights))

    best = replace(model.weights, window=CACHED, pair=CACHED)
    least = nats(best)
    for _ in range(TUNING_ROUNDS):
        for place in (*range(order, -1, -1), "window", "pair"):
            for tried in [_scaled(best, place, step) for step in STEPS]:
                if (found := nats(tried)) < least:
                    best, least = tried, found
    return NGrams(streams, order, best)


def _scaled(weights: Weights, place: int | str, step: float) -> Weights:
    if place == "window":
        return replace(weights, window=(weights.window or CACHED) * step)
    if place == "pair":
        return replace(weights, pair=(weights.pair or CACHED) * step)
    return replace(weights, order=tuple(w * step if at == place else w for at, w in enumerate(weights.order)))


def _mixed(tokens: Sequence[int], seen_after: Iterable[Seen], vocabulary: int, weights: Weights) -> Iterator[float]:
    """Yield the chance of each token."""
    window: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    firsts: Counter[int] = Counter()
    last = START
    for index, (token, seen) in enumerate(zip(tokens, seen_after, strict=True)):
        chance = 1 / vocabulary
        for (count, kinds, total), weight in zip(seen, weights.order, strict=False):
            chance = (count + weight * kinds * chance) / (total + weight * kinds)
        if weights.window is not None:
            chance = (window[token] + weights.window * chance) / (index + weights.window)
            window[token] += 1
        if weights.pair is not None:
            chance = (pairs[last, token] + weights.pair * chance) / (firsts[last] + weights.pair)
            pairs[last, token] += 1
            firsts[last] += 1
            last = token
        yield chance
