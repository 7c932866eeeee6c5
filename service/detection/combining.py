"""Several measurements of one window, one strength.

Each measurement becomes minus the log of the share of held-out good windows with as much. Their sum (Fisher,
Statistical Methods for Research Workers, 1925) is measured against the same windows once more, because measurements of
one window go together. Weak signs that agree then count, which the largest alone would not let them.

News is not measured against held-out windows: its chance is known from the good windows themselves, and it is added as
it is. A good window without news reaches a strength s with a chance of e^-s; news adds its own chance to that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# The sample speaks for itself up to its ten largest; an exponential with their mean excess goes on from there
# (Pickands, Annals of Statistics, 1975; shape zero).
TAIL_WINDOWS = 10
# One excess of one unit more, so that a sample that ends flat still orders what lies beyond it.
PRIOR_EXCESS = 1.0


class UpperTail:
    """The upper tail of a measurement, from held-out good windows.

    Args:
        sample: measurements.
        least_scale: units that a nat is worth beyond the sample, at least.

    Attributes:
        sample: sorted measurements.
    """

    def __init__(self, sample: Sequence[float] | Floats, least_scale: float = 0.0) -> None:
        self.sample: Floats = np.sort(np.asarray(sample, np.float64))
        count = min(TAIL_WINDOWS, len(self.sample))
        self._start = float(self.sample[-count])
        mean_excess = float((self.sample[-count:] - self._start).sum() + PRIOR_EXCESS) / (count + 1)
        self._scale = max(mean_excess, least_scale)
        self._start_nats = -math.log((count + 1) / (len(self.sample) + 1))

    def nats(self, value: float) -> float:
        """Return minus the log of the share of good windows at least as large, the window itself counted in."""
        if value > self._start:
            return self._start_nats + (value - self._start) / self._scale
        at_least = len(self.sample) - int(np.searchsorted(self.sample, value, side="left"))
        return -math.log((at_least + 1) / (len(self.sample) + 1))


@dataclass(frozen=True)
class Combination:
    """Tails of each measurement and of their sum.

    Attributes:
        tails: one a measurement.
        together: of the sum of their nats.
    """

    tails: Mapping[str, UpperTail]
    together: UpperTail

    @classmethod
    def fit(
        cls, measured: Mapping[str, Sequence[float] | Floats], least_scale: Mapping[str, float] | None = None
    ) -> Combination:
        """Fit to held-out good windows: every measurement of each, in one order."""
        least = least_scale or {}
        tails = {name: UpperTail(values, least.get(name, 0.0)) for name, values in measured.items()}
        sums = [
            sum(tails[name].nats(value) for name, value in zip(measured, values, strict=True))
            for values in zip(*measured.values(), strict=True)
        ]
        return cls(tails, UpperTail(sums))

    def parts(self, measured: Mapping[str, float]) -> dict[str, float]:
        """Return what each measurement of a window says, in nats."""
        return {name: tail.nats(measured[name]) for name, tail in self.tails.items()}

    def strength(self, measured: Mapping[str, float], news_nats: float) -> float:
        """Return how strange a window is, in nats; windows beyond the sample are ordered, not given a probability."""
        return self.together.nats(sum(self.parts(measured).values())) + news_nats


def threshold_nats(alarm_share: float) -> float:
    """Return the strength that about this share of good windows reach."""
    return -math.log(alarm_share)
