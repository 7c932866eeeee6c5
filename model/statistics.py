"""How codes were used in training: the measure of what is usual for a code, and its name in templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

QUANTILES = 101
TOP_TOKENS = 5
# A code with fewer training keys takes the distances of its whole head.
_MIN_KEYS = 200


@dataclass(frozen=True)
class CodeStatistics:
    """How the last layer's codes were used in training.

    Attributes:
        usage: (h, s) share of each code among its head's keys.
        distance_quantiles: (h, s, 101) quantiles of the squared distance of keys to their codeword.
        top_tokens: (h, s, 5) tokens that came most often in the situation, most often first; 0 where fewer came.
        perplexity: exp of the entropy of `usage`, mean over heads.
    """

    usage: npt.NDArray[np.float32]
    distance_quantiles: npt.NDArray[np.float32]
    top_tokens: npt.NDArray[np.int64]

    @property
    def perplexity(self) -> float:
        """Exp of the entropy of code use, mean over heads."""
        share = np.maximum(self.usage.astype(np.float64), 1e-12)
        return float(np.exp(-(share * np.log(share)).sum(-1)).mean())

    def percentile(self, codes: npt.NDArray[np.int64], distance: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the training percentile, 0 to 100, of distances (n, h) to codes (n, h)."""
        quantiles = self.distance_quantiles[np.arange(codes.shape[1]), codes]
        below: npt.NDArray[np.int64] = (quantiles < distance[..., None]).sum(-1)
        return np.asarray(below * (100.0 / QUANTILES), dtype=np.float32)

    @classmethod
    def none(cls, heads: int, size: int) -> CodeStatistics:
        """Return the statistics of a model without codebooks."""
        shape = (heads, size)
        quantiles, top = np.zeros((*shape, QUANTILES), np.float32), np.zeros((*shape, TOP_TOKENS), np.int64)
        return cls(np.zeros(shape, np.float32), quantiles, top)

    @classmethod
    def of(
        cls,
        codes: npt.NDArray[np.int64],
        distance: npt.NDArray[np.float32],
        tokens: npt.NDArray[np.int64],
        sizes: tuple[int, int],
    ) -> CodeStatistics:
        """Collect statistics from codes (n, h), distances (n, h) and tokens (n,); sizes are (s, vocabulary)."""
        size, vocabulary = sizes
        heads = codes.shape[1]
        usage = np.zeros((heads, size), np.float32)
        quantiles = np.zeros((heads, size, QUANTILES), np.float32)
        top = np.zeros((heads, size, TOP_TOKENS), np.int64)
        levels = np.linspace(0, 1, QUANTILES)
        for head in range(heads):
            usage[head] = np.bincount(codes[:, head], minlength=size) / len(codes)
            quantiles[head] = np.quantile(distance[:, head], levels)
            for code in range(size):
                hit = codes[:, head] == code
                if hit.sum() >= _MIN_KEYS:
                    quantiles[head, code] = np.quantile(distance[hit, head], levels)
                counts = np.bincount(tokens[hit], minlength=vocabulary)
                order = np.argsort(-counts, kind="stable")[:TOP_TOKENS]
                top[head, code, : len(order)] = np.where(counts[order] > 0, order, 0)
        return cls(usage, quantiles, top)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return every array by name, for saving."""
        return {
            "usage": self.usage,
            "distance_quantiles": self.distance_quantiles,
            "top_tokens": self.top_tokens,
        }
