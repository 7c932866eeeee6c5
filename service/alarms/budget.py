"""How many alarms a day a source may raise, and the threshold that keeps to it while the source drifts.

A threshold solved once from known-good lines is wrong as soon as the source changes. This one follows the stream in two
ways. It is a quantile of the source's own latest strengths: what becomes usual stops being an alarm. And the share of
windows above it is steered by what was raised so far: every incident opened lowers it, every part of a day without one
raises it. That is the update of adaptive conformal inference (Gibbs and Candès, NeurIPS 2021), on the logarithm of
the share because alarms are rare, with the saturation of conformal PID control's integrator (Angelopoulos, Candès and
Tibshirani, NeurIPS 2023) against winding up.

    share = budget per window * exp(GAIN * (incidents owed - incidents opened))

It begins at what the bundle's calibration gives, which goes on to count beside the sample for as much as some windows.
What is steered is incidents opened, since each is one notification; windows that join an open incident are free, and
only windows that could have opened one are sampled, unless one goes on for long. Time is that of the events.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ingestion.watermark import Watermark
from service.errors import BadSetting

DAY_SECONDS = 86_400.0
# A source's clock that leaps ahead and is set back must not stand still until time has caught up: windows in a row that
# end so far before it take it back with them. A session may be complete days after its last line, so that no less does.
SET_BACK_SECONDS = 7 * DAY_SECONDS
# Windows of a source whose lines carry no time: so many are a day.
UNTIMED_WINDOWS_PER_DAY = 500.0
# Latest strengths the threshold is a quantile of.
SAMPLE_WINDOWS = 400
# How many windows the bundle's calibration counts for beside them; with as many seen, both count alike.
CALIBRATION_WINDOWS = 60
# After one incident too many, the next needs a window this much rarer, as a power of e.
GAIN = 1.25
# Incidents owed or overdrawn beyond so many are forgotten: a quiet month is not followed by a month's alarms.
MAX_CREDIT = 4.0
# A window beyond the threshold is sampled as at most so much beyond it, in log10 of a share: one fault, however
# strange, must not keep the next quiet. With a source that changed for good, it is caught up in an alarm a decade.
MAX_LEAP = 1.0
# No more than so many of the windows that could open an incident do, whatever is owed: if most were alarms, they would
# run together into one, and nothing would ever be raised again.
MAX_SHARE = 0.25
# A budget that nobody stated is a limit, not a wish: a window that one in so many good ones resembles is not raised for
# it. A source that writes two windows a day would otherwise have every other one raised.
UNSTATED_SHARE = 0.01
# And its limit is about days to come: of the first day nobody knows what it is like, and somebody looks. So many more
# are raised in it, and no debt left from it.
FIRST_DAY = 3.0
# What so many times as many windows reach is nearly an alarm, and keeps an incident open; not what one window in ten
# reaches, however low the threshold. It is a share of the source's latest windows: as one of the threshold's strength,
# what a changed source writes all day kept one incident open for days, and each later fault was in it.
NEARLY = 3.5
NEARLY_SHARE = 0.1
# Of the sample, so many of the largest tell how its tail goes on: an exponential with their mean excess.
_TAIL_WINDOWS = 10
_PRIOR_EXCESS = 1.0 / math.log(10)
# Weight of the newest window in the mean time between windows.
_PACE_WEIGHT = 1 / 200
_ENTRY = struct.Struct("<qf")
_UNITS = {"m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Budget:
    """Alarms that a source may raise.

    Attributes:
        alarms: so many
        seconds: in so long.
        stated: whether somebody asked for it.
    """

    alarms: float = 1.0
    seconds: float = DAY_SECONDS
    stated: bool = False

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read `2` (a day) or `2/8h` (a shift of eight hours).

        Raises:
            BadSetting: it is no budget.
        """
        alarms, per, span = text.partition("/")
        length = re.fullmatch(r"(\d+)([mhd])", span)
        try:
            count = float(alarms)
        except ValueError:
            count = math.nan
        if not 0 < count < 100_000 or (per and (length is None or int(length[1]) == 0)):
            raise BadSetting(
                f"a budget of {text!r} is not usable; give alarms a day, a number above 0 such as 1, or alarms a "
                "shift, such as 2/8h"
            )
        return cls(count, DAY_SECONDS if length is None else float(int(length[1]) * _UNITS[length[2]]), stated=True)

    def __str__(self) -> str:
        """Return what a person reads."""
        span = "a day" if self.seconds == DAY_SECONDS else f"every {self.seconds / 3600:g} hours"
        return f"{self.alarms:g} {span}"

    @property
    def per_day(self) -> float:
        """Alarms a day."""
        return self.alarms * DAY_SECONDS / self.seconds


class AlarmThreshold:
    """The strength from which on one source's next window is an alarm.

    Args:
        budget: what the source may raise.
        windows_per_day: windows a day over the known-good lines; None where they carry no times.
        state: of an earlier one, to go on from.
    """

    def __init__(self, budget: Budget, windows_per_day: float | None, state: Mapping[str, Any] | None = None) -> None:
        self.budget = budget
        self.owed = 0.0
        self.opened = 0
        self._credit = 0.0 if budget.stated else FIRST_DAY
        self._pace = DAY_SECONDS / (windows_per_day or UNTIMED_WINDOWS_PER_DAY)
        self._since_last = 0.0
        self._clock = Watermark(SET_BACK_SECONDS)
        self._seen = 0
        self._sample: deque[tuple[int, float]] = deque()
        self._left_out: frozenset[int] = frozenset()
        if state is not None:
            self.owed, self.opened, self._seen = state["owed"], state["opened"], state["seen"]
            self._credit, self._pace = state["credit"], state["pace"]
            self._since_last = state["since_last"]
            self._clock = Watermark(SET_BACK_SECONDS, state["last"], behind=state.get("behind", 0))
            self._sample.extend(_ENTRY.iter_unpack(base64.b64decode(state["sample"])))
        self._sorted = sorted(strength for _, strength in self._sample)
        self.value = self._solve()

    def state(self) -> dict[str, Any]:
        """Return what a restart needs, as JSON values."""
        packed = b"".join(_ENTRY.pack(*entry) for entry in self._sample)
        return {
            "owed": self.owed,
            "opened": self.opened,
            "seen": self._seen,
            "credit": self._credit,
            "pace": self._pace,
            "since_last": self._since_last,
            "last": self._clock.latest,
            "behind": self._clock.behind,
            "sample": base64.b64encode(packed).decode(),
        }

    def summary(self) -> dict[str, Any]:
        """Return what the API shows of it.

        `windows_missing` is how many windows it takes until the source's own count for as much as the calibration.
        """
        return {
            "budget": {"alarms": self.budget.alarms, "seconds": self.budget.seconds, "stated": self.budget.stated},
            "owed": round(self.owed, 3),
            "opened": self.opened,
            "realised": round(self.opened / self.owed, 3) if self.owed >= 1 else None,
            "threshold": self.value,
            "windows_missing": max(0, CALIBRATION_WINDOWS - self._seen),
        }

    def strange_from(self, cap: float) -> float:
        """Return the strength that good windows reach as often as the budget allows, or as anybody can tell.

        What reaches it and not the threshold is held back: it is strange, and too much that was strange came before.

        Args:
            cap: the largest score that the calibration supports.
        """
        promised = -math.log10(min(self._wanted_share(), MAX_SHARE if self.budget.stated else UNSTATED_SHARE))
        return min(promised, max(cap, -math.log10(UNSTATED_SHARE)))

    def leave_out(self, indexes: Collection[int]) -> None:
        """Take these windows out of the sample, and no others: they were confirmed faults."""
        self._left_out = frozenset(indexes)
        self._sorted = sorted(strength for index, strength in self._sample if index not in self._left_out)
        self.value = self._solve()

    def follow(
        self,
        index: int,
        time: float | None,
        strength: float,
        *,
        opened: bool,
        joined: bool = False,
        lasting: bool = False,
        counts: bool = True,
    ) -> None:
        """Take the next window, judged.

        Args:
            index: its number among the source's windows.
            time: of its last event, epoch seconds; None where its events have none.
            strength: how strange it is, with what is excused left out.
            opened: whether the model opened an incident with it.
            joined: whether an incident was open; the threshold learns from it only if that lasts.
            lasting: whether the open incident lasts.
            counts: whether it is of the time that the budget is about; not so where nobody would have been told.
        """
        elapsed = self._elapsed(time)
        if not counts:
            return
        owed = elapsed * self.budget.alarms / self.budget.seconds
        self.owed += owed
        self.opened += opened
        # Of what can open no incident, none is saved up: the longer one went on, the lower the threshold would come.
        saved = 0.0 if joined and lasting else owed
        self._credit = min(max(self._credit + saved - opened, -MAX_CREDIT), MAX_CREDIT)
        self._since_last += elapsed
        if lasting or not joined:
            self._pace += _PACE_WEIGHT * (self._since_last - self._pace)
            self._since_last = 0.0
            self._learn(index, min(strength, self.value + MAX_LEAP))
        self.value = self._solve()

    def _elapsed(self, time: float | None) -> float:
        """Return the seconds since the window before; a silence of more than a day counts as a day."""
        if time is None:
            return DAY_SECONDS / UNTIMED_WINDOWS_PER_DAY
        before = self._clock.latest
        self._clock.observe(time)
        return 0.0 if before is None else min(max(0.0, time - before), DAY_SECONDS)

    def _learn(self, index: int, strength: float) -> None:
        # As a checkpoint keeps it: a restart must not tell.
        entry: tuple[int, float] = _ENTRY.unpack(_ENTRY.pack(index, strength))
        self._seen += 1
        self._sample.append(entry)
        # An open window may have been called a fault before it was complete.
        if index not in self._left_out:
            insort(self._sorted, entry[1])
        if len(self._sample) > SAMPLE_WINDOWS:
            index, oldest = self._sample.popleft()
            if index not in self._left_out:
                del self._sorted[bisect_left(self._sorted, oldest)]

    def is_nearly(self, strength: float) -> bool:
        """Whether the next window is nearly an alarm, at this strength."""
        share = self.share_above(self.value)
        return self.share_above(strength) <= max(share, min(NEARLY * share, NEARLY_SHARE))

    def _wanted_share(self) -> float:
        """Return the share of windows that the budget allows to open an incident, were none owed or overdrawn."""
        return self.budget.alarms / self.budget.seconds * self._pace

    def _solve(self) -> float:
        """Return the strength that the wanted share of windows reaches."""
        share = min(self._wanted_share() * math.exp(GAIN * self._credit), MAX_SHARE)
        low = 0.0 if self.budget.stated else -math.log10(UNSTATED_SHARE)
        if self.share_above(low) <= share:
            return low
        high = low + 1.0
        while self.share_above(high) > share:
            low, high = high, 2 * high
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self.share_above(middle) > share else (low, middle)
        return high

    def share_above(self, strength: float) -> float:
        """Return the share of windows of at least this strength, of the source's latest and by the calibration.

        It is the p-value that the next window's alarm is decided by, and stays uniform while the source drifts.
        """
        promised = CALIBRATION_WINDOWS * math.pow(10.0, -strength)
        count = len(self._sorted)
        if not count:
            return promised / CALIBRATION_WINDOWS
        tail = min(_TAIL_WINDOWS, 1 + count // 10)
        start = self._sorted[-tail]
        if strength <= start:
            above = float(count - bisect_left(self._sorted, strength))
        else:
            scale = (sum(self._sorted[-tail:]) - tail * start + _PRIOR_EXCESS) / (tail + 1)
            above = tail * math.exp((start - strength) / scale)
        return (promised + above) / (CALIBRATION_WINDOWS + count)
