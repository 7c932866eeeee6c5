"""A window's surprisal against the spread of known-good windows as long as it.

The mean surprisal of a short window varies by chance; that of a long one varies because windows differ. Both spreads
are estimated from good windows, var(mean of n events) = between + within / n (the random-effects model of Laird and
Ware, Biometrics 1982), so that one number is fair to windows of any length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_ROUNDS = 20
# Nats of a whole window that are never more than one standard deviation: where good windows are all alike, as those of
# a machine that repeats one cycle, the last digits of their surprisal are no evidence.
LEAST_NATS = 0.25
_SMALLEST = 1e-12


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
