"""Lines that became no event: which are kept, where they go, and how many are too many."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ingestion import DROP_REASONS, EMPTY_REASONS, Dropped
from ingestion.splitting import origin_of
from service.errors import TooManyDeadLetters

_LOG = logging.getLogger("logvq.worker")
# The share is taken over the latest lines, this many to twice as many: enough that a handful of bad ones decides
# nothing, few enough that a wrong setting drains little of the input.
LATEST_LINES = 5000
FEWEST_LINES = 1000
# A warning costs nobody anything, and who pushes a hundred lines in a wrong encoding wants to know.
FEWEST_WARNED_LINES = 100
_SHOWN_BYTES = 120
# Inputs that still have what was not stored: a stop loses nothing, and after a correction they are read again.
_REREADABLE = {"kafka": "topic", "file": "file"}
# What says nothing is counted and not kept.
KEPT_REASONS = tuple(reason for reason in DROP_REASONS if reason not in EMPTY_REASONS)
# Lines whose fate is known, by the stream they were read from and their source.
Lines = Mapping[tuple[str, str], int]
# Dead letters with their sources.
Letters = Sequence[tuple[str, Dropped]]


def kept(dropped: Sequence[Dropped]) -> list[Dropped]:
    """Return those that are kept, as dead letters."""
    return [one for one in dropped if one.reason in KEPT_REASONS]


class DeadLetterSink(Protocol):
    """Where dead letters go besides the database."""

    def send(self, letters: Letters) -> None:
        """Return when they are safe; raises `DeadLettersUndelivered`."""

    def close(self) -> None:
        """Release the connection."""


@dataclass
class _Latest:
    """Counts of the latest lines, in two parts of which the older is forgotten when the newer is full."""

    lines: int = 0
    dead: int = 0
    older_lines: int = 0
    older_dead: int = 0
    is_warned: bool = False

    def with_more(self, lines: int, dead: int) -> tuple[int, int]:
        return self.older_lines + self.lines + lines, self.older_dead + self.dead + dead

    def add(self, lines: int, dead: int) -> None:
        self.lines, self.dead = self.lines + lines, self.dead + dead
        if self.lines >= LATEST_LINES:
            self.older_lines, self.older_dead, self.lines, self.dead = self.lines, self.dead, 0, 0


class DeadLetterShares:
    """The shares of dead letters among the latest lines of what one worker reads.

    Where too many lines of a topic or a followed file cannot be read, its format is declared wrongly, and reading on
    would turn all of it into dead letters: the worker stops, and what it did not store is read again after a
    correction. What is pushed or piped cannot be read again, and whoever may push to one source must not be able to
    stop the others: there a warning names the source, and reading goes on.

    Args:
        limit: the largest share to go on with; 1 never stops or warns.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._latest: dict[str, _Latest] = {}

    def check(self, lines: Lines, letters: Letters) -> None:
        """Look at lines before they are stored.

        Raises:
            TooManyDeadLetters: with them the share of a topic or a file would be above the limit.
        """
        for name, (more, dead) in _by_name(lines, letters).items():
            kind, _, what = name.partition(":")
            counted, all_dead = self._latest.get(name, _Latest()).with_more(more, len(dead))
            if kind in _REREADABLE and dead and counted >= FEWEST_LINES and self._is_above(counted, all_dead):
                raise TooManyDeadLetters(
                    f"{self._described(counted, all_dead, f'{_REREADABLE[kind]} {what}', dead)}. Nothing of this batch "
                    "was stored. Correct the format of that source and start again, or allow more with "
                    "--max-dead-share"
                )

    def add(self, lines: Lines, letters: Letters) -> None:
        """Count lines that were stored; warn of a source that pushes or pipes too many that cannot be read."""
        for name, (more, dead) in _by_name(lines, letters).items():
            latest = self._latest.setdefault(name, _Latest())
            latest.add(more, len(dead))
            counted, all_dead = latest.with_more(0, 0)
            if counted < FEWEST_WARNED_LINES or not self._is_above(counted, all_dead):
                latest.is_warned = False
            elif dead and not latest.is_warned and name.partition(":")[0] not in _REREADABLE:
                latest.is_warned = True
                said = self._described(counted, all_dead, name.replace(":", " ", 1), dead)
                _LOG.warning("%s. They are kept, and reading goes on", said)

    def _is_above(self, lines: int, dead: int) -> bool:
        return dead > self._limit * lines

    def _described(self, lines: int, dead: int, of: str, letters: Letters) -> str:
        (source, reason), _ = Counter((source, one.reason) for source, one in letters).most_common(1)[0]
        example = next(one for where, one in letters if (where, one.reason) == (source, reason))
        return (
            f"{dead:,} of the latest {lines:,} lines of {of} are dead letters, more than {self._limit:.0%}; most now: "
            f"{reason} of source {source!r}, such as {example.value[:_SHOWN_BYTES]!r} at {example.position} of "
            f"{example.stream}"
        )


def _by_name(lines: Lines, letters: Letters) -> dict[str, tuple[int, Letters]]:
    """Return lines and dead letters by what has a share of its own: a topic, a file, or a source that pushes."""
    found: dict[str, tuple[int, list[tuple[str, Dropped]]]] = {}
    for (stream, source), count in lines.items():
        before, dead = found.get(name := _name(stream, source), (0, []))
        found[name] = (before + count, dead)
    for source, one in letters:
        found.setdefault(_name(one.stream, source), (0, []))[1].append((source, one))
    return dict(found)


def _name(stream: str, source: str) -> str:
    return origin_of(stream) if stream.partition(":")[0] in _REREADABLE else f"source:{source}"
