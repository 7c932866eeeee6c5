"""Streams with a clock, window by window, as alarms are decided on in the product."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from service.alarms.budget import DAY_SECONDS, AlarmThreshold, Budget
from service.alarms.incidents import IncidentTracker, Told
from service.detection.detector import Detector, Observed
from tests.benchmark.detection import machines, ours
from tests.benchmark.detection.protocol import Row, Windows

LINUX = "linux/Linux.log.gz"
_TOLD = Told("", "", "", "warning", {}, {}, ())


@dataclass(frozen=True)
class Stream:
    """A row whose windows are judged one after another.

    Attributes:
        row: windows to learn from and to judge, with their labels.
        detector: fitted to the windows to learn from.
        observed: the windows to judge.
        strengths: of each, as -log10 of a share of good windows.
    """

    row: Row
    detector: Detector
    observed: list[Observed]
    strengths: list[float]

    @classmethod
    def of(cls, row: Row) -> Stream:
        """Fit and judge."""
        detector, observed = ours.fitted(row), ours.observe_test(row)
        return cls(row, detector, observed, [detector.judge(w).strength / math.log(10) for w in observed])

    @property
    def windows_per_day(self) -> float:
        """Windows a day in training, which is what a calibration knows."""
        starts = self.row.fit.starts
        assert starts is not None
        return len(starts) * DAY_SECONDS / float(starts.max() - starts.min())

    @property
    def days(self) -> float:
        """Days that the stream's budget is about: a silence of more than a day counts as a day."""
        assert self.row.test.starts is not None
        return float(np.minimum(np.diff(self.row.test.starts), DAY_SECONDS).sum() / DAY_SECONDS)


def is_nearly(strength: float, threshold: float) -> bool:
    """Whether a strength is nearly an alarm to a threshold that does not follow.

    Where one good window in 500 is an alarm, one in 150 is; never what one in ten reaches.
    """
    return strength >= max(0.8 * threshold, min(threshold, 1.0))


class Watch:
    """One stream's threshold and incidents; a threshold that stays what it was where it does not follow.

    Attributes:
        opened: windows that opened an incident.
        alarms: windows that were alarms.
    """

    def __init__(self, stream: Stream, per_day: float, *, follows: bool = True, seconds: float = 0.0) -> None:
        self.threshold = AlarmThreshold(Budget(per_day, stated=True), stream.windows_per_day)
        self.opened: list[int] = []
        self.alarms: list[int] = []
        self._first, self._follows, self._seconds = self.threshold.value, follows, seconds
        self._tracker = IncidentTracker()

    @property
    def value(self) -> float:
        """The strength from which on the next window is an alarm."""
        return self.threshold.value if self._follows else self._first

    def take(self, index: int, start: float, strength: float, quieted: float | None = None) -> bool:
        """Take a window; return whether it is an alarm. `quieted` is what is left of one that feedback excuses."""
        alarm = quieted is None and strength >= self.value
        row: dict[str, Any] = {
            "id": str(index), "source": "", "bundle": "", "start": start, "end": start + self._seconds, "events": 0,
            "sequence": start, "score": strength, "strength": strength, "threshold": self.value, "incident": None,
            "decided_by": None if quieted is None else "feedback",
        }  # fmt: skip
        joins = self._tracker.takes(row)
        nearly = self.threshold.is_nearly(strength) if self._follows else is_nearly(strength, self._first)
        self._tracker.follow(row, _TOLD if alarm else None, nearly=nearly and quieted is None)
        if alarm:
            self.alarms.append(index)
            if not joins:
                self.opened.append(index)
        counted = strength if quieted is None else quieted
        lasting = self._tracker.lasts
        self.threshold.follow(index, start, counted, opened=alarm and not joins, joined=joins, lasting=lasting)
        return alarm


@cache
def _linux(data: Path) -> machines.Lines:
    lines = gzip.decompress((data / LINUX).read_bytes()).splitlines()
    return machines.parse(lines, "linux", np.zeros(len(lines), bool))


def _by_count(lines: machines.Lines, name: str, size: int) -> Row:
    """The earlier half as it comes to learn from, the later to judge, in windows of so many lines."""
    half = len(lines.shapes) // 2
    tokens, families = machines.tokens_of(lines.shapes, np.arange(len(lines.shapes)) < half)

    def cut(start: int, stop: int) -> tuple[Windows, np.ndarray]:
        index = np.arange(start, start + (stop - start) // size * size).reshape(-1, size)
        return Windows.of(tokens[index].tolist(), lines.times[index[:, 0]]), lines.anomalous[index].any(1)

    fit, fit_anomalous = cut(0, half)
    test, anomalous = cut(half, len(tokens))
    return Row(name, fit, fit_anomalous, test, anomalous, True, families)


def linux_20(data: Path, cleaned: bool) -> Row:
    """Linux syslog, windows of 20 lines; it has no labels to clean by."""
    del cleaned
    return _by_count(_linux(data), "linux-20", 20)


def mazak_32(data: Path, cleaned: bool) -> Row:
    """Mazak events, all lines to read, windows of 32 lines as they come."""
    del cleaned
    return _by_count(machines.mazak_lines(data, False), "mazak-32", 32)


STREAMS: dict[str, Callable[[Path, bool], Row]] = {
    "mazak-visible": machines.mazak_visible,
    "mazak-hidden": machines.mazak_hidden,
    "mazak-32": mazak_32,
    "bgl-20": machines.bgl_20,
    "linux-20": linux_20,
}
LABELLED: Sequence[str] = ("mazak-visible", "mazak-hidden", "bgl-20")
