"""How far the codes that a window's situations hit are from their usual shares."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# A code never hit in training is as rare as one hit by every ten-thousandth event.
RAREST_SHARE = 1e-4


class KnownCodes:
    """How rare each code is.

    Args:
        usage: (h, s) share of each head's codes in training.
    """

    def __init__(self, usage: npt.NDArray[np.floating]) -> None:
        share = usage.astype(np.float64) + RAREST_SHARE
        share /= share.sum(axis=1, keepdims=True)
        rarity = -np.log(share)
        mean = (share * rarity).sum(axis=1, keepdims=True)
        spread = np.sqrt((share * (rarity - mean) ** 2).sum(axis=1, keepdims=True)) + RAREST_SHARE
        self._excess = (rarity - mean) / spread

    def excess(self, codes: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Return by how many standard deviations the code of each event is rarer than codes are; codes are (n, h)."""
        return np.asarray(self._excess[np.arange(codes.shape[1]), codes].mean(axis=1))


def deviations(excess: npt.NDArray[np.float64]) -> float:
    """Return by how many standard deviations the codes of a window together are rarer, so that its length is fair."""
    return max(0.0, float(excess.sum()) / float(np.sqrt(len(excess))))
