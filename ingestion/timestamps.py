"""Event times: which pattern a source writes, and reading it in the source's own time zone.

The host's time zone is never used: a pattern without an offset is read in the zone declared for the source.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ingestion.errors import BadFormat

# A time stands near the start of a line; searching further finds times that belong to the message.
SEARCH_COLUMNS = 96
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_CLOCK = r"(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?"
_OFFSET = r"(?:\s?(?P<z>Z|[+-]\d{2}:?\d{2}))?"
# Ordered: where two patterns match a sample equally well, the earlier and more specific wins.
PATTERNS: dict[str, str] = {
    "iso": r"(?P<Y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})[T ]+" + _CLOCK + _OFFSET,
    "bluegene": r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)-(?P<H>\d\d)\.(?P<M>\d\d)\.(?P<S>\d\d)\.(?P<f>\d{1,9})",
    "year-first": r"(?P<Y>\d{4})[/.](?P<m>\d{1,2})[/.](?P<d>\d{1,2})[T ]+" + _CLOCK,
    "japanese": r"(?P<Y>\d{4})年\s?(?P<m>\d{1,2})月\s?(?P<d>\d{1,2})日\s?"
    r"(?P<H>\d{1,2})時(?P<M>\d{1,2})分(?:(?P<S>\d{1,2})秒)?",
    "month-name": r"(?P<b>[A-Z][a-z]{2}) +(?P<d>\d{1,2}) +" + _CLOCK + r"(?: +(?P<Y>\d{4})(?!\d))?",
    "common-log": r"(?P<d>\d{1,2})/(?P<b>[A-Z][a-z]{2})/(?P<Y>\d{4}):" + _CLOCK + _OFFSET,
    "day-first": r"(?P<d>\d{1,2})[./](?P<m>\d{1,2})[./](?P<Y>\d{4})[T ,]+" + _CLOCK,
    "two-digit-year": r"(?P<y>\d{2})/(?P<m>\d{1,2})/(?P<d>\d{1,2}) +" + _CLOCK,
    "compact": r"(?<!\d)(?P<y>\d{2})(?P<m>\d{2})(?P<d>\d{2}) (?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})(?!\d)",
    "epoch": r"(?<![\d.])(?P<e>1\d{9})(?:\.(?P<f>\d{1,9})|(?P<ms>\d{3}))?(?!\d)",
}
MIN_SHARE = 0.5
# A clock that goes back by more than this, in a format without a year, has passed New Year.
_YEAR_TURN = timedelta(days=180)


def zone(name: str) -> tzinfo:
    """Return the IANA time zone `name`.

    Raises:
        BadFormat: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadFormat(f"unknown time zone {name!r}; give an IANA name such as Asia/Tokyo or UTC") from error


def detect_pattern(lines: Sequence[str]) -> str | None:
    """Return the name of the time pattern most lines start with, or None.

    At least half of the lines must carry it: the others may be continuations of a multi-line event.
    """
    best, best_count = None, MIN_SHARE * len(lines)
    for name, pattern in PATTERNS.items():
        clock = Clock(name, "UTC", 2000)
        expression = re.compile(pattern)
        count = sum(
            1 for line in lines if expression.search(line, 0, SEARCH_COLUMNS) and clock.read(line)[0] is not None
        )
        if count > best_count:
            best, best_count = name, count
    return best


@dataclass
class Clock:
    """Reads one source's event times.

    Attributes:
        pattern: a name in `PATTERNS`; None reads no times.
        zone_name: the IANA zone of times without an offset.
        year: the year of the last time read; the first year assumed by patterns that do not write one.
        last: the last time read, epoch seconds.
    """

    pattern: str | None
    zone_name: str
    year: int
    last: float | None = None

    def __post_init__(self) -> None:
        self._expression = re.compile(PATTERNS[self.pattern]) if self.pattern else None
        self._zone = zone(self.zone_name)

    def read(self, line: str) -> tuple[float | None, int, int]:
        """Find and read the time of a line.

        Returns:
            Epoch seconds (None where the line has no readable time) and the span of the time in the line.
        """
        if self._expression is None:
            return None, 0, 0
        match = self._expression.search(line, 0, SEARCH_COLUMNS)
        if match is None:
            return None, 0, 0
        try:
            seconds = self._fast_iso(match) if self.pattern == "iso" else None
            if seconds is None:
                seconds = self._seconds(match.groupdict())
        except (ValueError, OverflowError, KeyError):
            return None, 0, 0
        self.last = seconds
        return seconds, match.start(), match.end()

    def _fast_iso(self, match: re.Match[str]) -> float | None:
        # datetime.fromisoformat is C code; it wants two-digit fields, a dot and at most six digits.
        text = match.group()
        if " " in text[11:] or "," in text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).timestamp()

    def _seconds(self, found: dict[str, str | None]) -> float:
        fraction = float("0." + (found.get("f") or "0"))
        if epoch := found.get("e"):
            return int(epoch) + (int(found["ms"] or 0) / 1000 if found.get("ms") else fraction)
        month = _MONTHS[(found["b"] or "").lower()] if found.get("b") else int(found["m"] or 0)
        explicit = found.get("Y") or ("20" + (found["y"] or "") if found.get("y") else None)
        moment = datetime(
            int(explicit) if explicit else self.year,
            month,
            int(found["d"] or 0),
            int(found["H"] or 0),
            int(found["M"] or 0),
            int(found.get("S") or 0),
            tzinfo=_offset(found.get("z")) or self._zone,
        )
        if not explicit and self.last is not None:
            moment = self._turn_year(moment, self.last)
        return moment.timestamp() + fraction

    def _turn_year(self, moment: datetime, last: float) -> datetime:
        if moment.timestamp() < last - _YEAR_TURN.total_seconds():
            self.year += 1
            return moment.replace(year=self.year)
        return moment


def _offset(text: str | None) -> tzinfo | None:
    if not text:
        return None
    if text == "Z":
        return UTC
    digits = text[1:].replace(":", "")
    return timezone((1 if text[0] == "+" else -1) * timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))
