"""Events never seen, weighed by how often known-good windows bring such news.

News is not equally strange everywhere: a machine brings a new program comment with every new program, and hardly ever
a new fault. Events have a family, such as the first word of their line. How often a family brings something new is read
from the known-good windows themselves: cut into parts, what only one part holds was news there (the reading of
I. J. Good, Biometrika 1953, with parts of time in place of single events, because news comes in bursts and stays). A
family that brings news to more windows than may ever be alarms says nothing by it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

PRIOR = 0.5
# News that comes to a larger share of good windows is no evidence; no more than this share may ever be alarms.
MAX_SHARE = 0.01
# Parts that good windows are cut into.
PARTS = 8

Named = tuple[Hashable, str]


@dataclass(frozen=True)
class Novelty:
    """What good windows hold, and how often they brought news.

    Attributes:
        known: every event they hold.
        news: per family, how many windows hold an event of it that only their part holds.
        windows: how many windows there were.
    """

    known: frozenset[Hashable]
    news: Mapping[str, int]
    windows: int

    @classmethod
    def fit(cls, windows: Sequence[Iterable[Named]], parts: Sequence[int] | None = None) -> Novelty:
        """Learn from good windows.

        Args:
            windows: the events of each, each an event and its family.
            parts: which part each window belongs to; None cuts them into runs of equal length.
        """
        distinct = [set(window) for window in windows]
        if parts is None:
            parts = [index * PARTS // len(distinct) for index in range(len(distinct))]
        held: defaultdict[Hashable, set[int]] = defaultdict(set)
        for part, window in zip(parts, distinct, strict=True):
            for event, _ in window:
                held[event].add(part)
        news: Counter[str] = Counter()
        for window in distinct:
            news.update({family for event, family in window if len(held[event]) == 1})
        return cls(frozenset(held), dict(news), len(distinct))

    def nats(self, window: Iterable[Named]) -> float:
        """Return how strange the news in a window is: minus the log of its chance, summed over families."""
        families = {family for event, family in window if event not in self.known}
        return sum(nats for family in sorted(families) if (nats := self.family_nats(family)) >= -math.log(MAX_SHARE))

    def family_nats(self, family: str) -> float:
        """Return minus the log of the chance that a window brings news of this family."""
        return -math.log((self.news.get(family, 0) + PRIOR) / (self.windows + 1))
