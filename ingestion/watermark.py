"""How far a source's own clock has come, and which of its events are late.

The watermark is the latest event time seen less the declared lateness. An event behind it is late: it is counted, and
joins a window that is still open, because no line may vanish.

A clock that leaps ahead is believed at once: a machine that was off over the weekend looks the same. What must not
happen is that a leap of days, taken back a moment later, makes everything late until real time has caught up. So the
watermark follows the clock back as soon as `STEP_EVENTS` events in a row lie far behind it. Single strays, such as the
boot messages of a controller that has no time yet, move nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# Events in a row that must lie far behind the latest before the clock is taken to have been set back.
STEP_EVENTS = 3
# Nothing that is declared to be merely late is taken for a clock set back, and nothing less than this either: an hour
# covers daylight saving time written without an offset.
STEP_SECONDS = 3600.0


@dataclass
class Watermark:
    """One source's event clock.

    Attributes:
        lateness: seconds by which events may come out of order.
        latest: the latest event time, epoch seconds; None before the first.
        late: events that came behind the watermark.
        steps: times the clock was set back.
        behind: how many events in a row have been far behind.
    """

    lateness: float
    latest: float | None = None
    late: int = 0
    steps: int = 0
    behind: int = 0

    @property
    def value(self) -> float | None:
        """Event time up to which windows are final, epoch seconds; None before the first event with a time."""
        return None if self.latest is None else self.latest - self.lateness

    def observe(self, time: float | None) -> bool:
        """Take the next event's time; return whether it shows that the clock was set back."""
        if time is None:
            return False
        if self.latest is None or time >= self.latest:
            self.latest, self.behind = time, 0
            return False
        if time >= self.latest - self.lateness:
            self.behind = 0
            return False
        self.late += 1
        if time >= self.latest - max(self.lateness, STEP_SECONDS):
            self.behind = 0
            return False
        self.behind += 1
        if self.behind < STEP_EVENTS:
            return False
        self.latest, self.behind = time, 0
        self.steps += 1
        return True

    def state(self) -> dict[str, Any]:
        """Return what a restart needs, as JSON values."""
        return asdict(self)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Watermark:
        """Go on from what `state` returned."""
        return cls(**state)
