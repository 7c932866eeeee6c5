"""What operators have said of a source, and which windows what they called normal quiets.

A window that was called normal is remembered by the shapes of the lines that carried its alarm, and by how often each
was in it. Of another window, lines of those shapes are excused where they are hardly more than they were then; the
window is quiet when what is left of it would raise no alarm. So one with something else in it, too, is still an alarm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Windows a source remembers: of more, the latest said.
MAX_PATTERNS = 200
# Shapes of a window that are remembered: a flood of new lines is not quieted line by line.
MAX_SHAPES = 500
# A shape of which there are up to so many times as many as then is the same thing.
SLACK = 2
# The patterns that excuse most are tried first, and no more than these: judging a window once more is not free.
MAX_TRIED = 5

Left = Callable[[Sequence[int]], float]


@dataclass(frozen=True)
class Pattern:
    """What was unusual about one window.

    Attributes:
        counts: the shapes of the lines that carried its alarm, and how many lines of it had each.
    """

    counts: Mapping[str, int]

    @classmethod
    def of(cls, shapes: Sequence[str], carrying: Iterable[int]) -> Pattern:
        """Take it from the shapes of a window's lines, in order, and the places of those that carry its alarm."""
        counts = Counter(shapes)
        return cls({shape: counts[shape] for shape in list(dict.fromkeys(shapes[p] for p in carrying))[:MAX_SHAPES]})

    @classmethod
    def quieting(
        cls, shapes: Sequence[str], heavy: Sequence[int], new: Sequence[int], threshold: float, left: Left
    ) -> Pattern:
        """Take it from the lines that carry most, twice as many at each look, until it quiets the window itself.

        Args:
            shapes: of the window's lines, in order.
            heavy: places of those that carry most, heaviest first.
            new: places of those whose shape nobody knows.
            threshold: the strength from which on it is an alarm.
            left: the strength of the window with only these of its lines.
        """
        count = 1
        while True:
            pattern = cls.of(shapes, [*heavy[:count], *new])
            if count >= len(heavy) or pattern.strength_left(shapes, left) < threshold:
                return pattern
            count *= 2

    def strength_left(self, shapes: Sequence[str], left: Left) -> float:
        """Return the strength of what it does not excuse."""
        gone = set(self.excused(shapes))
        rest = [place for place in range(len(shapes)) if place not in gone]
        return left(rest) if rest else 0.0

    def excused(self, shapes: Sequence[str]) -> list[int]:
        """Return the places of the lines of another window that this one excuses."""
        counts = Counter(shapes)
        known = {shape for shape, most in self.counts.items() if counts[shape] <= SLACK * most}
        return [place for place, shape in enumerate(shapes) if shape in known]

    def covers(self, other: Pattern) -> bool:
        """Whether it excuses all that was unusual about another window."""
        return all(count <= SLACK * self.counts.get(shape, 0) for shape, count in other.counts.items())

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"counts": dict(self.counts)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Pattern:
        """Rebuild it."""
        return cls(values["counts"])


@dataclass(frozen=True)
class Confirmation:
    """A window that somebody called normal.

    Attributes:
        feedback: number of what was said.
        pattern: what the window looked like.
        until: the source's time from which on it excuses nothing; None for good.
    """

    feedback: int
    pattern: Pattern
    until: float | None = None


@dataclass(frozen=True)
class Quieted:
    """What of a window was called normal before.

    Attributes:
        feedback: number of what was said.
        places: of the lines that it excuses.
        strength: of what is left of the window.
    """

    feedback: int
    places: Sequence[int]
    strength: float


@dataclass(frozen=True)
class Heard:
    """What operators have said of one source.

    Attributes:
        confirmed: windows that were called normal.
        shelved: number of what was said, and until when, by the source's time, nothing is an alarm.
        faults: indexes of windows that were confirmed to be faults.
        fault_incidents: ids of incidents that were: windows that join one later are faults, too.
    """

    confirmed: Sequence[Confirmation] = ()
    shelved: Sequence[tuple[int, float]] = ()
    faults: Collection[int] = ()
    fault_incidents: Collection[str] = ()


class Confirmed:
    """What one source's operators have called normal, latest last."""

    def __init__(self, confirmations: Sequence[Confirmation] = ()) -> None:
        self._known = tuple(confirmations[-MAX_PATTERNS:])

    def __len__(self) -> int:
        return len(self._known)

    def quiet(self, shapes: Sequence[str], time: float | None, threshold: float, left: Left) -> Quieted | None:
        """Return why a window that would be an alarm is none; None where it is one: see `excuse`."""
        found = self.excuse(shapes, time, threshold, left)
        return found if found is not None and found.strength < threshold else None

    def excuse(self, shapes: Sequence[str], time: float | None, threshold: float, left: Left) -> Quieted | None:
        """Return what quiets a window that would be an alarm or, where nothing does, what leaves least of it.

        Args:
            shapes: of its lines, in order.
            time: of its last event, epoch seconds; None where its events have none.
            threshold: the strength from which on it is an alarm.
            left: the strength of the window with only these of its lines.

        Returns:
            None where nothing of it was called normal.
        """
        tried: list[tuple[int, int, Pattern]] = []
        for confirmation in self._known:
            if confirmation.until is not None and (time is None or time >= confirmation.until):
                continue
            places = confirmation.pattern.excused(shapes)
            if places:
                tried.append((len(places), confirmation.feedback, confirmation.pattern))
        tried.sort(key=lambda item: (-item[0], item[1]))
        least: Quieted | None = None
        for _, feedback, pattern in tried[:MAX_TRIED]:
            found = Quieted(feedback, pattern.excused(shapes), pattern.strength_left(shapes, left))
            if least is None or found.strength < least.strength:
                least = found
            if found.strength < threshold:
                break
        return least
