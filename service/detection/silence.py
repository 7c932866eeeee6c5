"""How long a source was silent, against how long it is silent after the same event when all is well.

A gap of ten minutes says nothing at the end of a shift and much in the middle of a cycle: gaps are compared with those
that known-good lines left after the same event. Only the largest of each event are kept, on a logarithmic scale, where
the tails of waiting times are about exponential; memory is bounded by the number of events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.detection.combining import UpperTail

Floats = npt.NDArray[np.float64]

# Largest gaps kept of each event: more than a tail is fitted to.
KEPT = 32
# Stands for every event: what an event that nobody knows is compared with.
ANY = -1
# What no clock of a plant resolves; a gap of 0 has a logarithm then.
RESOLUTION_SECONDS = 1e-3


@dataclass(frozen=True)
class Gap:
    """A silence.

    Attributes:
        event: index in the window of the event that ended it.
        before: token of the event that it followed.
        seconds: how long it was.
        usual_seconds: the longest after such an event in known-good lines.
        nats: how strange it is.
    """

    event: int
    before: int
    seconds: float
    usual_seconds: float
    nats: float


class KnownGaps:
    """The longest gaps after each event.

    Attributes:
        counts: per token, how many gaps followed it; `ANY` stands for all.
        largest: per token, the logarithms of the `KEPT` longest, ascending.
    """

    def __init__(self, counts: dict[int, int], largest: dict[int, Floats]) -> None:
        self.counts, self.largest = counts, largest
        self._tails = {token: UpperTail(sample, counts[token]) for token, sample in largest.items()}
        # Most gaps are shorter than all that are kept, and are passed over at once.
        self._floors = {
            token: float(sample[0]) if counts[token] > len(sample) else -np.inf for token, sample in largest.items()
        }

    @classmethod
    def fit(cls, before: Sequence[int] | npt.NDArray[np.int64], seconds: Sequence[float] | Floats) -> KnownGaps:
        """Learn from known-good gaps: the token each followed, and its length."""
        tokens, logs = np.asarray(before, np.int64), _log(np.asarray(seconds, np.float64))
        tokens, logs = np.append(tokens, np.full(len(tokens), ANY)), np.append(logs, logs)
        order = np.lexsort((logs, tokens))
        tokens, logs = tokens[order], logs[order]
        found, starts = np.unique(tokens, return_index=True)
        parts = np.split(logs, starts[1:]) if len(found) else []
        names = found.tolist()
        return cls(
            {token: len(part) for token, part in zip(names, parts, strict=True)},
            {token: part[-KEPT:] for token, part in zip(names, parts, strict=True)},
        )

    def longest(self, before: Sequence[int], seconds: Sequence[float] | Floats) -> Gap | None:
        """Return the strangest gap of a window; None where it has none."""
        best: Gap | None = None
        everything, floor = self._tails.get(ANY), self._floors.get(ANY, np.inf)
        for event, (token, log) in enumerate(zip(before, _log(np.asarray(seconds, np.float64)).tolist(), strict=True)):
            if log < self._floors.get(token, floor):
                continue
            tail = self._tails.get(token, everything)
            if tail is not None and (nats := tail.nats(log)) > (best.nats if best else 0.0):
                usual = float(np.exp(tail.sample[-1]))
                best = Gap(event, token, float(seconds[event]), usual, nats)
        return best


def _log(seconds: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(seconds, RESOLUTION_SECONDS)))
