"""A window's surprisal against the spread of known-good windows as long as it.

The mean surprisal of a short window varies by chance; that of a long one varies because windows differ. Both spreads
are estimated from good windows, var(mean of n events) = between + within / n (the random-effects model of Laird and
Ware, Biometrics 1982), so that one number is fair to windows of any length.

A line that goes on to repeat itself tells little more than it did at first: a rare one that comes a hundred times in a
row is one oddity, and that there were a hundred is for its counts to tell. The surprisal of a repeat is therefore that
of a model mixed with what the window has shown of such repeats (a cache as that of Kuhn and De Mori, IEEE PAMI 12(6),
1990).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_ROUNDS = 20
# Nats of a whole window that are never more than one standard deviation: where good windows are all alike, as those of
# a machine that repeats one cycle, the last digits of their surprisal are no evidence.
LEAST_NATS = 0.25
_SMALLEST = 1e-12
# Share of what the window has shown in the mixture, at most. From a fifth to a half it matters little.
SHOWN_SHARE = 0.5
# Windows that an encoder was fitted on are good windows like others while it is surer of them by no more than this.
SURER = 1.1
# Where the source was quieter later, they are more surprising than the others, and pass: whatever they would have been
# to an encoder that had not read them, beside them no other window is rarer than it was without them.


def fresh(tokens: Sequence[int], surprisal_nats: Floats) -> Floats:
    """Return the surprisal of a window's events to whoever remembers which of them repeat themselves.

    Args:
        tokens: the events, in order.
        surprisal_nats: of each; what it says beyond them stays as it is.

    Returns:
        Of an event like the one before, at most -ln((1 - w) p + w c / n): p is what the model gave it, n how often one
        like it came before with another event after it, itself left out, c how often that was one like it again, and
        w = `SHOWN_SHARE` n / (n + 1). Of a long run the first two tell all they would alone, later ones less and less,
        and the last about ln 2. Of any other event what the model says.
    """
    found = surprisal_nats.tolist()
    came: dict[int, int] = {}
    repeated: dict[int, int] = {}
    for place, (before, token) in zip(range(1, len(found)), pairwise(tokens), strict=False):
        if before == token:
            times, again = came.get(token, 0), repeated.get(token, 0)
            if again:
                weight = SHOWN_SHARE * times / (times + 1)
                found[place] = min(
                    found[place], -math.log((1 - weight) * math.exp(-found[place]) + weight * again / times)
                )
            repeated[token] = again + 1
        came[before] = came.get(before, 0) + 1
    return np.array(found)


def as_unread(fitted: Sequence[Floats], held_out: Sequence[Floats]) -> list[Floats] | None:
    """Return the surprisal of windows that an encoder was fitted on as if it had not read them.

    Args:
        fitted: surprisal of the events of each window that its weights were fitted to.
        held_out: of each that they were not.

    Returns:
        Surprisal raised to as much an event as that of held-out windows, where it is less; None where it is so much
        less that the encoder knows them by heart, or there is nothing to compare.
    """
    read, unread = (np.concatenate([*side, np.zeros(0)]) for side in (fitted, held_out))
    if not len(read) or not len(unread):
        return None
    mean, more = float(read.mean()), float(unread.mean()) - float(read.mean())
    if more > (SURER - 1) * mean and more * len(read) / len(fitted) > LEAST_NATS:
        return None
    return [nats * (1 + max(0.0, more) / (mean + _SMALLEST)) for nats in fitted]


@dataclass(frozen=True)
class Spread:
    """How the mean surprisal of good windows is spread.

    Attributes:
        mean_nats: mean over windows.
        between: variance between long windows.
        within: variance that shrinks with the number of events.
    """

    mean_nats: float
    between: float
    within: float

    @classmethod
    def fit(cls, mean_nats: Sequence[float] | Floats, events: Sequence[int] | npt.NDArray[np.int64]) -> Spread:
        """Estimate from good windows: the mean surprisal of each and its number of events.

        By weighted least squares on the squared deviations, both parts held at zero or above, until it settles.
        """
        means, per_event = np.asarray(mean_nats, np.float64), 1 / np.asarray(events, np.float64)
        weight = np.ones_like(means)
        centre = between = within = 0.0
        for _ in range(_ROUNDS):
            centre = float((weight * means).sum() / weight.sum())
            squared, heavy = (means - centre) ** 2, weight**2
            a, b, c = heavy.sum(), (heavy * per_event).sum(), (heavy * per_event**2).sum()
            x, y = (heavy * squared).sum(), (heavy * per_event * squared).sum()
            determinant = a * c - b * b
            if determinant > _SMALLEST * a * c:
                between, within = float((c * x - b * y) / determinant), float((a * y - b * x) / determinant)
            else:
                # All of one length: the two parts cannot be told apart, and need not be.
                between, within = float(x / a), 0.0
            if between < 0:
                between, within = 0.0, float(y / c)
            elif within < 0:
                between, within = float(x / a), 0.0
            weight = 1 / (between + within * per_event + _SMALLEST)
        return cls(centre, between, within)

    def deviations(self, mean_nats: float, events: int) -> float:
        """Return by how many standard deviations a window's mean surprisal is above that of good windows."""
        return (mean_nats - self.mean_nats) / float(
            np.sqrt(self.between + self.within / events + (LEAST_NATS / events) ** 2)
        )
