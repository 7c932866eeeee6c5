"""From strength to score: how sure the good lines allow anyone to be."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Calibration:
    """What the known-good windows support whose every measurement counts.

    Attributes:
        windows: how many there were.
        windows_per_day: windows a day over the known-good lines; None where they carry no times.
    """

    windows: int
    windows_per_day: float | None

    @property
    def cap(self) -> float:
        """The largest score that so many windows support, log10(n + 1)."""
        return math.log10(self.windows + 1)

    def score(self, nats: float) -> tuple[float, float]:
        """Return the score of a detector's strength, and the strength itself, both as -log10 of a share of windows.

        The score is at most `cap`; the strength orders windows beyond it, and is never shown as a probability.
        """
        strength = nats / math.log(10)
        return min(strength, self.cap), strength
