"""Surprisal of each event after the events before it, by counting.

Orders are mixed by the back-off of Witten and Bell (IEEE Trans. Information Theory, 1991), the longest context seen
first. It learns in seconds, so it speaks before an encoder is trained, and beside it afterwards.

How far counts are to be trusted differs: what came once says less than it seems to in one log and more in another, and
where windows overlap, what looks well supported was counted many times over. `learn_weights` learns from held-out
streams what each count is worth. What a stream has shown of itself says more of what comes next than the past does (the
cache of Kuhn and De Mori, IEEE Trans. Pattern Analysis and Machine Intelligence, 1990), and nothing of whether that is
well: it is counted where events are forecast, and not where they are judged, since what is wrong would excuse itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Long enough that what follows is settled by what came before in logs of few hundred templates.
ORDER = 8
START = -1
# Held out to learn weights by: the last of so many parts of the streams, of it about so many events at most.
HELD_OUT_OF = 4
MAX_HELD_OUT = 50_000
# A search for weights, one at a time, by factors and within bounds; it stops when a round gains less nats an event.
MAX_ROUNDS = 8
STEPS = (0.125, 0.5, 2.0, 8.0)
BOUNDS = (2.0**-10, 2.0**12)
LEAST_GAIN = 1e-4


@dataclass(frozen=True)
class Weights:
    """What a count is worth.

    Attributes:
        order: of each order's context, shortest first: how many events the shorter one's chance is worth, for every
            kind of event seen after it.
        within: the same of what the stream itself has shown: its events, and those that came after the same event in
            it; empty leaves these out.
    """

    order: tuple[float, ...]
    within: tuple[()] | tuple[float, float] = ()

    @classmethod
    def plain(cls, order: int = ORDER) -> Weights:
        """Return Witten and Bell's."""
        return cls((1.0,) * (order + 1))


class NGrams:
    """Counts of what came after each context.

    Args:
        streams: known-good tokens, each stream read from its start. Tokens are not negative.
        weights: what each count is worth, of every order up to that of the longest context; None for Witten and Bell's.
    """

    def __init__(self, streams: Iterable[Sequence[int]] = (), weights: Weights | None = None) -> None:
        self.weights = weights or Weights.plain()
        self.order = len(self.weights.order) - 1
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

    def surprisal(self, tokens: Sequence[int], before: Sequence[int] = ()) -> Floats:
        """Return the nats of each token.

        Args:
            tokens: the events.
            before: what the stream wrote before them; the last `order` tokens matter.
        """
        return _nats(self.seen(tokens, before), self.weights, self.vocabulary)

    def seen(self, tokens: Sequence[int], before: Sequence[int] = ()) -> Floats:
        """Return (orders, 3, n): how often each token came after each context, how many kinds did, how many events.

        Where weights say so, the same of what the stream itself has shown follows.
        """
        past = self._past(tokens, before)
        found = np.zeros((len(tokens), self.order + 1 + len(self.weights.within), 3))
        for index in range(self.order, len(past)):
            rows = []
            for start in range(index, index - self.order - 1, -1):
                context = past[start:index]
                counts = self._after.get(context)
                if counts is None:
                    break
                rows.append((counts.get(past[index], 0), len(counts), self._total[context]))
            if rows:
                found[index - self.order, : len(rows)] = rows
        if self.weights.within:
            found[:, -2:] = _shown(tokens)
        return np.ascontiguousarray(found.transpose(1, 2, 0))


def learn_weights(streams: Sequence[Sequence[int]], order: int = ORDER, *, within: bool = False) -> Weights:
    """Return the weights under which the last of the streams are likeliest after all before.

    Args:
        streams: known-good tokens in order, each stream read from its start.
        order: tokens of the longest context.
        within: count what a stream has shown of itself, too.
    """
    best = Weights((1.0,) * (order + 1), (8.0, 8.0) if within else ())
    if not streams:
        return best
    cut = len(streams) * (HELD_OUT_OF - 1) // HELD_OUT_OF
    model, later = NGrams(streams[:cut], best), streams[cut:]
    every = max(1, sum(map(len, later)) // MAX_HELD_OUT)
    seen = np.concatenate([model.seen(stream) for stream in later[::every]], axis=2)
    least = _nats(seen, best, model.vocabulary).mean()
    for _ in range(MAX_ROUNDS):
        before = least
        # The longest context first, which the others only stand in for.
        for place in (*range(order, -1, -1), *range(order + 1, len(seen))):
            for tried in [_scaled(best, place, step) for step in STEPS]:
                if (found := _nats(seen, tried, model.vocabulary).mean()) < least:
                    best, least = tried, found
        if before - least < LEAST_GAIN:
            break
    return best


def _scaled(weights: Weights, place: int, step: float) -> Weights:
    scaled = [*weights.order, *weights.within]
    scaled[place] = min(max(scaled[place] * step, BOUNDS[0]), BOUNDS[1])
    orders = len(weights.order)
    return Weights(tuple(scaled[:orders]), (scaled[-2], scaled[-1]) if weights.within else ())


def _shown(tokens: Sequence[int]) -> list[list[tuple[int, int, int]]]:
    """Return what a stream has shown of itself before each token: of all its events, and after the same event."""
    events: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    firsts: Counter[int] = Counter()
    last, found = START, []
    for index, token in enumerate(tokens):
        found.append([(events[token], 1, index), (pairs[last, token], 1, firsts[last])])
        events[token] += 1
        pairs[last, token] += 1
        firsts[last] += 1
        last = token
    return found


def _nats(seen: Floats, weights: Weights, vocabulary: int) -> Floats:
    """Return minus the log of each token's chance; see `NGrams.seen`."""
    chance = np.full(seen.shape[2], 1 / vocabulary)
    for (count, kinds, total), weight in zip(seen, (*weights.order, *weights.within), strict=True):
        # A context that never came says nothing.
        known = np.maximum(total + weight * kinds, np.finfo(float).tiny)
        chance = np.where(kinds > 0, (count + weight * kinds * chance) / known, chance)
    return np.asarray(-np.log(chance))
