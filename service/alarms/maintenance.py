"""Times at which somebody works on a source, and nothing of it is an alarm."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

from service.errors import BadSetting

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEKLY = re.compile(rf"({'|'.join(_DAYS)}) (\d\d):(\d\d)-(\d\d):(\d\d)")
_DAY_MINUTES = 24 * 60
# A weekly time is not looked for in the calendar's last days, which a line of a broken clock may name.
_LATEST = datetime.max - timedelta(days=9)
# A silence that lasts longer is a clock that told no time.
_LONGEST_SECONDS = 366 * 86_400.0


@dataclass(frozen=True)
class Span:
    """When a window's events happened, epoch seconds, in the source's zone.

    Attributes:
        times: of those that have one.
        since: when the source wrote before; None where that is not known.
        zone: the source's.
    """

    times: Sequence[float]
    since: float | None
    zone: tzinfo


@dataclass(frozen=True, kw_only=True)
class Maintenance:
    """One `[[maintenance]]` of a rule file.

    Attributes:
        weekly: minute of the week it begins, and how many minutes it lasts.
        start, stop: where it has dates, in the source's zone unless they name an offset.
    """

    name: str
    source: str = "*"
    weekly: tuple[int, int] | None = None
    start: datetime | None = None
    stop: datetime | None = None

    def periods(self, first: float, last: float, zone: tzinfo) -> Iterator[tuple[float, float]]:
        """Return its begins and ends, epoch seconds, that lie between two times or around them."""
        for start, stop in self._all_from(first, zone):
            if start > last:
                return
            if stop > first:
                yield start, stop

    def _all_from(self, time: float, zone: tzinfo) -> Iterator[tuple[float, float]]:
        if self.weekly is None:
            assert self.start is not None
            assert self.stop is not None
            yield _epoch(self.start, zone), _epoch(self.stop, zone)
            return
        local = datetime.fromtimestamp(time, UTC).astimezone(zone).replace(tzinfo=None)
        monday = local.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=local.weekday())
        minute, length = self.weekly
        # That of the week before may go on.
        start = monday + timedelta(days=-7, minutes=minute)
        while start < _LATEST:
            yield _epoch(start, zone), _epoch(start + timedelta(minutes=length), zone)
            start += timedelta(days=7)


def muting(items: Sequence[Maintenance], span: Span) -> str | None:
    """Return the name of what mutes a window; None where nothing does.

    It is the maintenance in which one of its lines was written, or that was more than half of the silence before one.
    """
    if not items or not span.times:
        return None
    times, zone = sorted(span.times), span.zone
    moments = [span.since, *times] if span.since is not None and span.since < times[0] else times
    near = [item for item in items if any(item.periods(moments[0], moments[-1], zone))]
    for item in near:
        if any(any(item.periods(time, time, zone)) for time in times):
            return item.name
    for first, last in pairwise(moments):
        if last - first <= _LONGEST_SECONDS and _maintained(near, first, last, zone) > (last - first) / 2:
            return next(item.name for item in near if any(item.periods(first, last, zone)))
    return None


def _maintained(items: Sequence[Maintenance], first: float, last: float, zone: tzinfo) -> float:
    """Return for how many seconds between two times there was maintenance."""
    seconds, reached = 0.0, first
    for start, stop in sorted(period for item in items for period in item.periods(first, last, zone)):
        seconds += max(0.0, min(stop, last) - max(start, reached))
        reached = max(reached, stop)
    return seconds


def maintenance(table: Mapping[str, Any], name: str, source: str, weekly: str | None, where: str) -> Maintenance:
    """Return one `[[maintenance]]`, checked.

    Raises:
        BadSetting: it says no time, or one that is none; the message says `where`.
    """
    start, stop = table.get("from"), table.get("to")
    if (weekly is None) == (start is None or stop is None):
        raise BadSetting(f'{where}: say when: weekly = "Sun 02:00-06:00", or from = 2026-12-28T00:00:00 and to = …')
    if weekly is not None and (start is not None or stop is not None):
        raise BadSetting(f"{where}: it is either weekly or has dates; make it two")
    for key, value in (("from", start), ("to", stop)):
        if value is not None and not isinstance(value, datetime):
            raise BadSetting(f"{where}: {key} = {value!r} is no time; write 2026-12-28T06:00:00, without quotes")
    if start is not None and stop is not None:
        if (start.tzinfo is None) != (stop.tzinfo is None):
            raise BadSetting(f"{where}: one of from and to names an offset; let both, or neither")
        if stop <= start:
            raise BadSetting(f"{where}: it ends before it begins")
    week = None if weekly is None else _week(weekly, where)
    return Maintenance(name=name, source=source, weekly=week, start=start, stop=stop)


def _week(text: str, where: str) -> tuple[int, int]:
    found = _WEEKLY.fullmatch(text)
    if found is None:
        raise BadSetting(
            f'{where}: cannot read weekly = {text!r}; write it as "Sun 02:00-06:00", days {", ".join(_DAYS)}'
        )
    hours = [int(part) for part in found.groups()[1:]]
    begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if begin >= _DAY_MINUTES or end > _DAY_MINUTES or hours[1] > 59 or hours[3] > 59:
        raise BadSetting(f"{where}: weekly = {text!r} has no such time of day")
    # One that ends before it begins goes on into the next day.
    return _DAYS.index(found[1]) * _DAY_MINUTES + begin, (end - begin - 1) % _DAY_MINUTES + 1


def _epoch(moment: datetime, zone: tzinfo) -> float:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()
