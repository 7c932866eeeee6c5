"""From evidence to probability: how often does a normal window of this source show as much?

Every kind of evidence is a number of nats that is larger the stranger a window is. Its tail probability comes from
windows of known-good lines that neither the model nor the vocabulary was fitted on. The strongest kind decides, and
its strength is calibrated once more, because the strongest of several is larger by chance than any one of them.

Kinds do not speak with one voice: `novel-code` must be ten times as rare as the others to be the strongest, and is
never taken to be rarer than the sample shows (weighted Bonferroni, Genovese et al., Biometrika 2006).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.kinds import NOVEL_CODE as SUPPORTING

Floats = npt.NDArray[np.float64]

# The body of the tail model is the sample itself; above this quantile an exponential continues it.
_TAIL_QUANTILE = 0.9
# One pseudo-observation of one nat beyond the quantile: evidence in nats has e^-x tails where the sample is silent.
_PRIOR_NATS = 1.0
# However large the budget, no more than one normal window in a hundred is called an alarm.
MAX_ALARM_SHARE = 0.01
UNTIMED_WINDOWS_PER_DAY = 500.0
_SUPPORTING_HANDICAP = 1.0


class Tail:
    """The upper tail of one number, from a sample of it.

    Attributes:
        sample: sorted values on held-out normal windows.
    """

    def __init__(self, sample: Sequence[float] | Floats) -> None:
        self.sample: Floats = np.sort(np.asarray(sample, dtype=np.float64))
        self._start = float(np.quantile(self.sample, _TAIL_QUANTILE))
        beyond = self.sample[self.sample > self._start] - self._start
        self._scale = float((beyond.sum() + _PRIOR_NATS) / (len(beyond) + 1))
        self._share = (len(beyond) + 1) / (len(self.sample) + 1)

    def p_value(self, value: float) -> float:
        """Return the conformal p-value: the share of normal windows at least as large, the window itself counted in.

        Vovk et al., Algorithmic Learning in a Random World, 2005: valid whatever the distribution, and never below
        1 / (n + 1).
        """
        at_least = len(self.sample) - int(np.searchsorted(self.sample, value, side="left"))
        return (at_least + 1) / (len(self.sample) + 1)

    def strength(self, value: float) -> float:
        """Return -log10 of the tail probability, continued by an exponential beyond the sample.

        It orders windows that are all beyond the sample; it is never shown as a probability.
        """
        if value <= self._start:
            return -math.log10(self.p_value(value))
        return -math.log10(self._share) + (value - self._start) / (self._scale * math.log(10))


@dataclass(frozen=True)
class Calibration:
    """Tails of every kind of evidence and of their combination.

    Attributes:
        kinds: a tail per kind, in nats.
        combined: the tail of the largest strength among the kinds.
        windows_per_day: windows a day over the known-good lines; None where they carry no times.
    """

    kinds: Mapping[str, Tail]
    combined: Tail
    windows_per_day: float | None

    @classmethod
    def fit(cls, evidence: Mapping[str, Sequence[float]], windows_per_day: float | None) -> Calibration:
        """Fit the tails to held-out normal windows: `evidence` maps every kind to one value a window."""
        kinds = {kind: Tail(values) for kind, values in evidence.items()}
        strongest = [
            max(_strengths(kinds, dict(zip(evidence, values, strict=True))).values())
            for values in zip(*evidence.values(), strict=True)
        ]
        return cls(kinds, Tail(strongest), windows_per_day)

    @property
    def windows(self) -> int:
        """Number of windows the calibration rests on."""
        return len(self.combined.sample)

    @property
    def cap(self) -> float:
        """The largest score the sample size supports, log10(n + 1)."""
        return math.log10(self.windows + 1)

    def judge(self, evidence: Mapping[str, float]) -> tuple[float, float, dict[str, float]]:
        """Judge one window.

        Returns:
            Its score, -log10 of the tail probability and at most `cap`; its strength, the same without the cap, which
            orders windows beyond the sample; and the strength of every kind of evidence.
        """
        strengths = _strengths(self.kinds, evidence)
        strength = self.combined.strength(max(strengths.values()))
        return min(strength, self.cap), strength, strengths

    def threshold(self, alarms_per_day: float) -> float:
        """Return the strength from which on normal windows raise about this many alarms a day.

        Where the good lines carry no times, a day is taken to be `UNTIMED_WINDOWS_PER_DAY` windows.
        """
        share = alarms_per_day / (self.windows_per_day or UNTIMED_WINDOWS_PER_DAY)
        return -math.log10(min(share, MAX_ALARM_SHARE))

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as JSON values."""
        return {
            "kinds": {kind: tail.sample.tolist() for kind, tail in self.kinds.items()},
            "combined": self.combined.sample.tolist(),
            "windows_per_day": self.windows_per_day,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Rebuild a calibration."""
        kinds = {kind: Tail(sample) for kind, sample in values["kinds"].items()}
        return cls(kinds, Tail(values["combined"]), values["windows_per_day"])


def _strengths(kinds: Mapping[str, Tail], evidence: Mapping[str, float]) -> dict[str, float]:
    strengths = {kind: kinds[kind].strength(value) for kind, value in evidence.items()}
    if SUPPORTING in strengths:
        shown = -math.log10(kinds[SUPPORTING].p_value(evidence[SUPPORTING]))
        strengths[SUPPORTING] = max(0.0, shown - _SUPPORTING_HANDICAP)
    return strengths
