"""Events never seen, weighed by how often known-good windows bring such news.

News is not equally strange everywhere: a machine brings a new program comment with every new program, and hardly ever
a new fault. Events have a family, such as the first word of their line. How often a family brings something new is read
from the events that only one good window has (I. J. Good, Biometrika 1953): they were news when they came.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

PRIOR = 0.5

Named = tuple[Hashable, str]


@dataclass(frozen=True)
class Novelty:
    """What good windows hold, and how often they brought news.

    Attributes:
        known: every event they hold.
        once: per family, how many windows hold an event of it that no other window holds.
        windows: how many windows there were.
    """

    known: frozenset[Hashable]
    once: Mapping[str, int]
    windows: int

    @classmethod
    def fit(cls, windows: Sequence[Iterable[Named]]) -> Novelty:
        """Learn from good windows: the events of each, each an event and its family."""
        distinct = [set(window) for window in windows]
        held = Counter(event for window in distinct for event in window)
        once: Counter[str] = Counter()
        for window in distinct:
            once.update({family for event, family in window if held[event, family] == 1})
        return cls(frozenset(event for event, _ in held), dict(once), len(windows))

    def nats(self, window: Iterable[Named]) -> float:
        """Return how strange the news in a window is: over the families that bring some, minus the log of its chance."""
        return sum(self.family_nats(family) for family in {f for event, f in window if event not in self.known})

    def family_nats(self, family: str) -> float:
        """Return minus the log of the chance that a window brings an event of this family that was never seen."""
        return -math.log((self.once.get(family, 0) + PRIOR) / (self.windows + 1))
