"""Several measurements of one window, one strength.

Each measurement becomes minus the log of the share of held-out good windows with as much. Those that see the same thing
from several sides are added (Fisher, Statistical Methods for Research Workers, 1925), and their sum is measured against
the same windows once more, because measurements of one window go together. Weak signs that agree then count, which the
largest alone would not let them.

Measurements that hardly ever have anything to say are not added so: eight windows in ten would bring nothing but noise,
and what speaks would have to be louder. They count by what they have beyond `SHARE_ALONE`, rarer than which a good
window is at most one time in so many; with E ~ Exp(1) for a good window, P(sum + (E - f)+ > s) is at most
e^-s (1 + s e^-f), a few per cent over e^-s. Some of them support a claim and never make one: they are taken to be no
rarer than the sample shows. What all amount to is measured against held-out good windows a last time, so that the share
of good windows that reach a threshold is the one promised.

News is not measured against held-out windows: its chance is known from the good windows themselves, and it is added as
it is. A good window without news reaches a strength s with a chance of e^-s; news adds its own chance to that.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# The sample speaks for itself up to its ten largest, or its largest fifth where it is small; an exponential with their
# mean excess goes on from there (Pickands, Annals of Statistics, 1975; shape zero).
TAIL_WINDOWS = 10
TAIL_SHARE = 0.2
# One excess of one unit more, so that a sample that ends flat still orders what lies beyond it.
PRIOR_EXCESS = 1.0
# Measurements that stand alone count by what is rarer than this: no more good windows than that may be alarms.
SHARE_ALONE = 0.01


class UpperTail:
    """The upper tail of a measurement, from held-out good windows.

    Args:
        sample: measurements, or the largest of them.
        size: how many there were; None where the sample is all of them.
        resolution: a measurement that is larger by no more than this is not larger.
        least_scale: units that a nat is worth beyond the sample, at least.

    Attributes:
        sample: sorted measurements.
        size: how many there were.
    """

    def __init__(
        self,
        sample: Sequence[float] | Floats,
        size: int | None = None,
        resolution: float = 0.0,
        least_scale: float = 0.0,
    ) -> None:
        self.sample: Floats = np.sort(np.asarray(sample, np.float64))
        self.size = len(self.sample) if size is None else size
        self.resolution = resolution
        self._ordered: list[float] = self.sample.tolist()
        count = max(1, min(TAIL_WINDOWS, math.ceil(TAIL_SHARE * self.size), len(self.sample)))
        self._start = float(self.sample[-count])
        beyond = self.sample[self.sample > self._start] - self._start
        self._scale = max(float(beyond.sum() + PRIOR_EXCESS) / (len(beyond) + 1), least_scale)
        self._start_nats = -math.log((len(beyond) + 1) / (self.size + 1))

    def nats(self, value: float) -> float:
        """Return minus the log of the share of good windows at least as large, the window itself counted in.

        Where only the largest of a sample are kept, the smallest of them is as ordinary as those that are not.
        """
        value -= self.resolution
        if value > self._start:
            return self._start_nats + (value - self._start) / self._scale
        if self.size > len(self._ordered) and value <= self._ordered[0]:
            return 0.0
        at_least = len(self._ordered) - bisect_left(self._ordered, value)
        return -math.log((at_least + 1) / (self.size + 1))


@dataclass(frozen=True)
class Combination:
    """Tails of each measurement, of those that are added, and of all together.

    Attributes:
        tails: one for each measurement that is added.
        alone: one for each measurement that stands alone.
        together: of the sum of the added ones' nats.
        whole: of what all but news amounts to, in nats.
        supporting: measurements that stand alone and are taken to be no rarer than the sample shows.
    """

    tails: Mapping[str, UpperTail]
    alone: Mapping[str, UpperTail]
    together: UpperTail
    whole: UpperTail
    supporting: frozenset[str]

    @classmethod
    def fit(
        cls,
        measured: Sequence[Mapping[str, float]],
        names: Sequence[str],
        supporting: frozenset[str] = frozenset(),
        resolution: Mapping[str, float] | None = None,
        least_scale: Mapping[str, float] | None = None,
    ) -> Combination:
        """Fit to held-out good windows.

        Args:
            measured: the measurements of each; a window that lacks one of `names` shows how the others vary, and
                stands for no whole.
            names: of the measurements that are added.
            supporting: names of measurements that never make a claim.
            resolution: by name, how much larger a measurement must be to be larger.
            least_scale: by name, units of a measurement that a nat is worth beyond the sample, at least.

        Raises:
            ValueError: no window has all measurements that are added.
        """
        values: dict[str, list[float]] = {}
        for window in measured:
            for name, value in window.items():
                values.setdefault(name, []).append(value)
        least, fine = least_scale or {}, resolution or {}
        fitted = {
            name: UpperTail(values[name], None, fine.get(name, 0.0), least.get(name, 0.0)) for name in sorted(values)
        }
        tails = {name: fitted[name] for name in names if name in fitted}
        alone = {name: tail for name, tail in fitted.items() if name not in names}
        complete = [index for index, window in enumerate(measured) if all(name in window for name in names)]
        if not complete:
            raise ValueError("no window has all measurements")
        sums = [sum(tails[name].nats(measured[index][name]) for name in names) for index in complete]
        unfinished = cls(tails, alone, UpperTail(sums), UpperTail([0.0]), supporting)
        totals = [unfinished.total(measured[index]) for index in complete]
        return cls(tails, alone, unfinished.together, UpperTail(totals), supporting)

    @property
    def windows(self) -> int:
        """Held-out good windows that the strength rests on."""
        return self.whole.size

    def parts(self, measured: Mapping[str, float]) -> dict[str, float]:
        """Return what each added measurement of a window says, in nats."""
        return {name: tail.nats(measured[name]) for name, tail in self.tails.items()}

    def beyond(self, measured: Mapping[str, float]) -> dict[str, float]:
        """Return what each measurement that stands alone adds, in nats."""
        return {
            name: max(0.0, self._nats(name, tail, measured[name]) + math.log(SHARE_ALONE))
            for name, tail in self.alone.items()
            if name in measured
        }

    def _nats(self, name: str, tail: UpperTail, value: float) -> float:
        nats = tail.nats(value)
        return min(nats, math.log(tail.size + 1)) if name in self.supporting else nats

    def total(self, measured: Mapping[str, float]) -> float:
        """Return what all measurements amount to, in nats, before the last calibration."""
        return self.together.nats(sum(self.parts(measured).values())) + sum(self.beyond(measured).values())

    def strength(self, measured: Mapping[str, float], news_nats: float) -> float:
        """Return how strange a window is, in nats; windows beyond the sample are ordered, not given a probability."""
        return self.whole.nats(self.total(measured)) + news_nats


def threshold_nats(alarm_share: float) -> float:
    """Return the strength that about this share of good windows reach."""
    return -math.log(alarm_share)
