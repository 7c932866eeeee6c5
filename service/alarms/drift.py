"""Whether a source still is what its bundle was calibrated on.

A strength is minus log10 of a share p of the calibration's windows. While the source is exchangeable with them,
p is uniform or larger, and betting against that wins nothing in the mean (conformal test martingales; Vovk, Nouretdinov
and Gammerman, ICML 2003). The bet here is that windows are stranger than promised,

    capital *= 1 + BET * (1/2 - p),   never below 1,

which reaches c falsely less often than once in c windows (the e-CUSUM of Shin, Ramdas and Rinaldo, New England Journal
of Statistics in Data Science, 2023). A bet so large also forgives what a small calibration misjudges: a mean p that is
off by up to 0.07, as that of twenty windows is, loses money all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

BET = 1.5
# Falsely less than once in ten thousand windows.
DRIFTED = 4.0
# What is won beyond this is given away, so that a source that came back is told so within two hundred windows.
_MOST = 10.0


class DriftTest:
    """The capital of one source's bet, as its log10.

    Attributes:
        evidence: log10 of the capital; 0 says nothing.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self.evidence: float = state["evidence"] if state is not None else 0.0

    def state(self) -> dict[str, Any]:
        """Return what a restart needs, as JSON values."""
        return {"evidence": self.evidence}

    def follow(self, strength: float) -> None:
        """Take a window that raised no alarm: those that do say so themselves."""
        p = min(1.0, math.pow(10.0, -strength))
        won = math.log10(1 + BET * (0.5 - p))
        self.evidence = min(max(0.0, self.evidence + won), _MOST)

    @property
    def drifted(self) -> bool:
        """Whether the source has left its calibration."""
        return self.evidence >= DRIFTED

    def summary(self) -> dict[str, Any]:
        """Return what the API shows of it."""
        return {"evidence": round(self.evidence, 2), "drifted": self.drifted}
