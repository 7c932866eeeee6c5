"""Lines that became no event: which are kept, where they go, and how many are too many."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Protocol

from ingestion import DROP_REASONS, EMPTY_REASONS, Dropped
from service.errors import TooManyDeadLetters

# The share is taken over the latest lines: enough that a handful of bad ones decides nothing, few enough that a wrong
# setting drains little of the input.
LATEST_LINES = 10_000
FEWEST_LINES = 1000
_SHOWN_BYTES = 120
# What says nothing is counted and not kept.
KEPT_REASONS = tuple(reason for reason in DROP_REASONS if reason not in EMPTY_REASONS)


def kept(dropped: Sequence[Dropped]) -> list[Dropped]:
    """Return those that are kept, as dead letters."""
    return [one for one in dropped if one.reason in KEPT_REASONS]


class DeadLetterSink(Protocol):
    """Where dead letters go besides the database."""

    def send(self, letters: Sequence[tuple[str, Dropped]]) -> None:
        """Return when they are safe; raises `DeadLettersUndelivered`."""

    def close(self) -> None:
        """Release the connection."""


class DeadLetterShare:
    """The share of dead letters among the latest lines of one worker.

    Args:
        limit: the largest share to go on with; 1 never stops.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._counts: deque[tuple[int, int]] = deque()
        self._lines = 0
        self._dead = 0

    def add(self, lines: int, dead: int) -> None:
        """Count lines that were stored, and how many of them are dead letters."""
        self._counts.append((lines, dead))
        self._lines, self._dead = self._lines + lines, self._dead + dead
        while self._lines - self._counts[0][0] >= LATEST_LINES:
            gone_lines, gone_dead = self._counts.popleft()
            self._lines, self._dead = self._lines - gone_lines, self._dead - gone_dead

    def check(self, lines: int, letters: Sequence[tuple[str, Dropped]]) -> None:
        """Look at lines before they are stored.

        Raises:
            TooManyDeadLetters: with them the share would be above the limit.
        """
        total, dead = self._lines + lines, self._dead + len(letters)
        if not letters or total < FEWEST_LINES or dead <= self._limit * total:
            return
        (source, reason), _ = Counter((source, one.reason) for source, one in letters).most_common(1)[0]
        example = next(one for where, one in letters if (where, one.reason) == (source, reason))
        raise TooManyDeadLetters(
            f"{dead:,} of the latest {total:,} lines are dead letters, more than {self._limit:.0%}; most now: {reason} "
            f"of source {source!r}, such as {example.value[:_SHOWN_BYTES]!r} at {example.position} of "
            f"{example.stream}. Nothing of this batch was stored. Correct the format of that source and start again, "
            "or allow more with --max-dead-share"
        )
