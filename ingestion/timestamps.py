"""Event times: which pattern a source writes, and reading it in the source's own time zone.

The host's time zone is never used: a pattern without an offset is read in the zone declared for the source. An
offset that a line does write counts, as do names of zones that mean one offset everywhere (UTC, JST); others, such as
IST, are not guessed. What a local time alone cannot say is declared too: `fold` is which of the two passes of the hour
that clocks repeat in autumn is meant. Such times, and times that the zone skips in spring, are counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ingestion.errors import BadFormat
from ingestion.patterns import Expression

# A time stands near the start of a line; searching further finds times that belong to the message.
SEARCH_COLUMNS = 96
MIN_SHARE = 0.5
# Without a year in the line, a time this much before the last one is late; anything earlier is next year's.
LATE_SECONDS = 30 * 86_400.0
_YEAR_SECONDS = 365 * 86_400.0
# A clock that goes back by more, or runs ahead of the broker's by more, was set or is wrong; sources that merge
# several processes are out of order by seconds to minutes.
STEP_SECONDS = 3600.0
AMBIGUOUS = "ambiguous-time"
NONEXISTENT = "nonexistent-time"
CLOCK_BACK = "clock-back"
CLOCK_AHEAD = "clock-ahead"
EARLIEST_YEAR = 1970
# A time that is read lies between that year and here, two days before the end of year 9999: the last that a calendar
# can show in every zone.
LATEST_SECONDS = 253_402_300_799 - 2 * 86_400
# A leap second is the 60th.
MAX_SECOND = 61.0
# Distinct minutes remembered; lines of one minute follow each other.
_MEMO_SIZE = 4096
_MONTHS = {
    name: number
    for number, month in enumerate(
        ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
         "december"], 1
    )
    for name in (month, month[:3])
}  # fmt: skip
# First year of an era less one (令和元年 is 2019).
_ERAS = {"令和": 2018, "R": 2018, "平成": 1988, "H": 1988, "昭和": 1925, "S": 1925}
# Full-width digits and separators, one character for one, so that columns stay.
_NARROW = {0xFF10 + digit: 0x30 + digit for digit in range(10)} | str.maketrans("：／．－，　", ":/.-, ")
# Names of zones that mean one offset wherever they are written, in hours; IST or CST are several zones' names.
_ZONE_NAMES = {
    "UTC": 0, "GMT": 0, "JST": 9, "KST": 9, "CET": 1, "CEST": 2, "MEZ": 1, "MESZ": 2, "EET": 2, "EEST": 3
}  # fmt: skip
# Seconds with their fraction.
_SECOND = r"(?P<S>\d{2}(?:[.,]\d{1,9}|))"
# `(?:…|)` finds what `(?:…)?` finds, some 50 ns a line sooner in Python's engine, which makes a loop of the latter.
_CLOCK = r"(?P<H>\d{1,2}):(?P<M>\d{2})(?::" + _SECOND + r"|)"
_JAPANESE_CLOCK = (
    r"(?:(?P<p>午前|午後)\s?|)(?P<H>\d{1,2})[:時](?P<M>\d{1,2})(?:[:分](?P<S>\d{1,2}(?:[.,]\d{1,9}|))秒?|分|)"
)
_WEEKDAY = r"(?:\s?[(（][月火水木金土日][)）]|)"
# `PM-07` is a machine, not an afternoon.
_HALF_DAY = r"(?: ?(?P<{}>[AaPp](?:[Mm]|\.[Mm]\.))(?![0-9A-Za-z]|[-_/.:]\w(?!\d:?\d\d))|)"
# A number after a time is an offset where it can be one: ` -5`, ` -12 mm`, `+12.5` and ` -05%` stay in the message, as
# does the ` Z` of an axis. Hours without minutes, apart from the time, count with their leading zero only.
_OFFSET = (
    r"(?: ?(?P<z>(?<=\d)[Zz]|(?:UTC|GMT)?[+-](?:(?:0\d|1[0-4]):?(?:00|15|30|45)|0\d|(?<=\S[+-])1[0-4])"
    rf"|(?:UTC|GMT)[+-]\d|{'|'.join(_ZONE_NAMES)})(?![0-9A-Za-z%°℃]|[-+.,:/]\d)|)"
)
# What begins like neither, as most lines go on, is passed over at once.
_TAIL = rf"(?:(?= ?[AaPpZz+\-UGJKCME]){_HALF_DAY.format('p')}{_OFFSET}|)"
_JAPANESE_TAIL = rf"(?:(?= ?[AaPpZz+\-UGJKCME]){_HALF_DAY.format('q')}{_OFFSET}|)"
_MONTH = r"(?P<b>[A-Z][A-Za-z]{2})"
# Ordered: where two patterns match a sample equally well, one that writes the year wins, then the earlier.
PATTERNS: dict[str, str] = {
    "iso": r"(?P<Y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})[Tt ,\t]+" + _CLOCK + _TAIL,
    "bluegene": r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)-(?P<H>\d\d)\.(?P<M>\d\d)\.(?P<S>\d\d\.\d{1,9})" + _TAIL,
    "year-first": r"(?P<Y>\d{4})[/.](?P<m>\d{1,2})[/.](?P<d>\d{1,2})"
    + _WEEKDAY
    + r"[T ,\t]+"
    + _JAPANESE_CLOCK
    + _JAPANESE_TAIL,
    "japanese": r"(?P<Y>\d{4})年\s?(?P<m>\d{1,2})月\s?(?P<d>\d{1,2})日"
    + _WEEKDAY
    + r"\s*"
    + _JAPANESE_CLOCK
    + _JAPANESE_TAIL,
    "era": r"(?<![A-Za-z0-9])(?P<era>令和|平成|昭和|[RHS])\s?(?P<ey>元|\d{1,2})(?:年\s?|[./-])(?P<m>\d{1,2})"
    r"(?:月\s?|[./-])(?P<d>\d{1,2})日?" + _WEEKDAY + r"[\sT,]*" + _JAPANESE_CLOCK + _JAPANESE_TAIL,
    # `date` writes the zone between the time and the year, whatever its name.
    "month-name": r"(?P<b>[A-Z][a-z]{2}) +(?P<d>\d{1,2}) +"
    + _CLOCK
    + _TAIL
    + r"(?: +(?:[A-Z]{2,3}T +|)(?P<Y>(?:19|20)\d{2})(?!\d)|)",
    "month-name-year": r"(?P<b>[A-Z][a-z]{2,8})\.? +(?P<d>\d{1,2}),? +(?P<Y>\d{4}),?(?: at)? +" + _CLOCK + _TAIL,
    "common-log": r"(?P<d>\d{1,2})/" + _MONTH + r"/(?P<Y>\d{4}):" + _CLOCK + _OFFSET,
    "day-month-name": r"(?P<d>\d{1,2})[- ]" + _MONTH + r"[- ](?P<Y>\d{4})[T ,:]+" + _CLOCK + _TAIL,
    "year-month-name": r"(?P<Y>\d{4})[-/ ]" + _MONTH + r"[-/ ](?P<d>\d{1,2})[T ,:]+" + _CLOCK + _TAIL,
    "day-first": r"(?<!\d)(?P<d>\d{1,2})[./-](?P<m>\d{1,2})[./-](?P<Y>\d{4})[T ,\t]+" + _CLOCK + _TAIL,
    "month-first": r"(?<!\d)(?P<m>\d{1,2})[./-](?P<d>\d{1,2})[./-](?P<Y>\d{4})[T ,\t]+" + _CLOCK + _TAIL,
    "two-digit-year": r"(?<!\d)(?P<y>\d{2})/(?P<m>\d{1,2})/(?P<d>\d{1,2}) +" + _CLOCK + _TAIL,
    "compact-year": r"(?<!\d)(?P<Y>(?:19|20)\d{2})(?P<m>\d{2})(?P<d>\d{2})[Tt _-]?(?P<H>\d{2}):?(?P<M>\d{2}):?"
    + _SECOND
    + r"(?!\d)"
    + _OFFSET,
    "compact": r"(?<!\d)(?P<y>\d{2})(?P<m>\d{2})(?P<d>\d{2}) (?P<H>\d{2})(?P<M>\d{2})(?P<S>\d{2})(?!\d)" + _OFFSET,
    "epoch": r"(?<![\d.])(?P<e>1\d{9}(?:\.\d{1,9})?)(?P<sub>\d{3}(?:\d{3}){0,2})?(?!\d)",
    "month-day": r"(?<![\d/-])(?P<m>\d{1,2})[/-](?P<d>\d{1,2}) +" + _CLOCK + _TAIL,
    "day-first-short": r"(?<![\d./-])(?P<d>\d{1,2})[./-](?P<m>\d{1,2})[./-](?P<y>\d{2})[T ,\t]+" + _CLOCK + _TAIL,
    "month-first-short": r"(?<![\d./-])(?P<m>\d{1,2})[./-](?P<d>\d{1,2})[./-](?P<y>\d{2})[T ,\t]+" + _CLOCK + _TAIL,
}
# Patterns that differ in the order of day, month and a year of two digits alone, and may read the same lines.
ORDERS = (("day-first", "month-first"), ("two-digit-year", "day-first-short", "month-first-short"))
_GROUPS = frozenset("YymdbHMSzpqe") | {"era", "ey", "sub"}
_NOTHING = (None, 0, 0)


def zone(name: str) -> tzinfo:
    """Return the IANA time zone `name`.

    Raises:
        BadFormat: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadFormat(f"unknown time zone {name!r}; give an IANA name such as Asia/Tokyo or UTC") from error


def time_expression(pattern: str) -> re.Pattern[str] | Expression:
    """Return the expression of a time pattern: a name in `PATTERNS`, or one in RE2's syntax with its named groups.

    Raises:
        BadFormat: it is neither.
    """
    if pattern in PATTERNS:
        return re.compile(PATTERNS[pattern])
    names = ", ".join(PATTERNS)
    if "(?P<" not in pattern:
        raise BadFormat(f"unknown time pattern {pattern!r}; one of {names}, or an expression with groups (?P<H>…)")
    expression = Expression(
        pattern, f"the time pattern {pattern!r}", "match what is beside the time outside its groups"
    )
    groups = set(expression.groupindex)
    if groups - _GROUPS:
        raise BadFormat(f"the time pattern {pattern!r} has unknown groups {sorted(groups - _GROUPS)}")
    dated = {"d"} <= groups and groups & {"m", "b"} and {"H", "M"} <= groups
    if not dated and "e" not in groups:
        raise BadFormat(f"the time pattern {pattern!r} needs the groups d, m or b, H and M; or e for epoch seconds")
    return expression


def detect_pattern(lines: Sequence[str]) -> str | None:
    """Return the name of the time pattern most lines start with, or None.

    At least half of the lines must carry it: the others may be continuations of a multi-line event.
    """
    best, best_rank = None, (MIN_SHARE * len(lines), False)
    found: dict[str, tuple[int, float]] = {}
    for name in PATTERNS:
        clock = Clock(name, "UTC", 2000)
        times = [time for line in lines if (time := clock.read(line)[0]) is not None]
        rank = (len(times), clock.writes_year)
        found[name] = len(times), max(times, default=0.0) - min(times, default=0.0)
        if rank[0] > best_rank[0] or (rank[0] == best_rank[0] and rank > best_rank and best is not None):
            best, best_rank = name, rank
    # From line to line the day changes, the month seldom and the year hardly ever: the right order spans least.
    orders = [name for name in orders_of(lines, best) if found[name][0] == best_rank[0]] if best is not None else []
    return min(orders, key=lambda name: found[name][1], default=best)


def orders_of(lines: Sequence[str], pattern: str) -> Sequence[str]:
    """Return the patterns that differ from one in the order of day, month and year alone, and may be what lines mean.

    With dots between them, the day comes before the month everywhere.
    """
    orders = next((order for order in ORDERS if pattern in order), ())
    expression = time_expression(pattern)
    times = [match for line in lines if (match := expression.search(line, 0, SEARCH_COLUMNS))] if orders else []
    dotted = times and all("." in match.string[match.start() : match.start("H")] for match in times)
    return [name for name in orders if not (dotted and name.startswith("month-first"))]


@dataclass
class Clock:
    """Reads one source's event times.

    Attributes:
        pattern: what `time_expression` takes; None reads no times.
        zone_name: the IANA zone of times without an offset.
        year: the year of the last time read; the first year assumed by patterns that do not write one.
        fold: which pass of an hour that clocks repeat is meant, 0 the first, 1 the second.
        noticed: counts of what is odd about the times, by slug.
        last: the last time read, epoch seconds.
        writes_year: whether the last time read wrote its year.
        may_lack_year: whether times of its pattern may write none.
    """

    pattern: str | None
    zone_name: str
    year: int
    fold: int = 0
    noticed: dict[str, int] = field(default_factory=dict)
    last: float | None = None
    writes_year: bool = False
    may_lack_year: bool = False

    def __post_init__(self) -> None:
        self._zone = zone(self.zone_name)
        self._memo: dict[str, float] = {}
        if self.pattern is None:
            return
        expression = time_expression(self.pattern)
        self._search = expression.search
        self._groups = expression.groupindex
        self._second = expression.groupindex.get("S", 0)
        self.writes_year = bool({"Y", "y", "ey", "e"} & set(expression.groupindex))
        self.may_lack_year = not self.writes_year or self.pattern == "month-name"

    def read(self, line: str, received: float | None = None) -> tuple[float | None, int, int]:
        """Find and read the time of a line.

        Args:
            line: the line.
            received: when the line was received, epoch seconds, to see a clock that runs ahead.

        Returns:
            Epoch seconds and the span of the time in the line. Without a time in the line: None and an empty span.
            With one that cannot be, such as 30 February or a year before 1970: None and its span.
        """
        if self.pattern is None:
            return _NOTHING
        match = self._search(line, 0, SEARCH_COLUMNS)
        if match is None:
            if line.isascii():
                return _NOTHING
            line = line[:SEARCH_COLUMNS].translate(_NARROW)
            match = self._search(line)
            if match is None:
                return _NOTHING
        start, end = match.span()
        # The zone and the date are worked out once a minute; within it only the seconds differ.
        begin, stop = match.span(self._second)
        if begin < 0 or not self._second:
            within, text = 0.0, line[start:end]
        else:
            digits = line[begin:stop]
            try:
                within = float(digits.replace(",", ".") if "," in digits else digits)
            except ValueError:
                # A declared pattern may take any text for seconds.
                within = math.inf
            text = line[start:begin] + line[stop:end]
        minute = self._memo.get(text)
        last = self.last
        if minute is None or (self.may_lack_year and not self._is_near(minute)):
            try:
                minute = self._read_minute(match, text, received)
            except (ValueError, OverflowError):
                return None, start, end
        # Neither is what a declared pattern may take for a number, such as nan.
        if not within < MAX_SECOND:
            return None, start, end
        seconds = minute + within
        if last is not None and seconds < last - STEP_SECONDS:
            self._notice(CLOCK_BACK)
        if received is not None and seconds > received + STEP_SECONDS:
            self._notice(CLOCK_AHEAD)
        self.last = seconds
        return seconds, start, end

    def _notice(self, what: str) -> None:
        self.noticed[what] = self.noticed.get(what, 0) + 1

    def _is_near(self, seconds: float) -> bool:
        # A remembered time without a year holds while it is the one that `_nearest_year` would choose.
        return self.last is not None and self.last - LATE_SECONDS <= seconds < self.last + _YEAR_SECONDS - LATE_SECONDS

    def _read_minute(self, match: re.Match[str], text: str, received: float | None) -> float:
        found = {name: match[name] for name in self._groups if match[name] is not None}
        if epoch := found.get("e"):
            sub = found.get("sub")
            return _possible(float(epoch) + (int(sub) / 10 ** len(sub) if sub else 0.0))
        year = _written_year(found)
        self.writes_year = year is not None
        moment = self._moment(found, year) if year is not None else self._nearest_year(found, received)
        seconds = _possible(moment.timestamp())
        doubt = _doubt(moment)
        if doubt:
            self._notice(doubt)
            return seconds
        if len(self._memo) >= _MEMO_SIZE:
            self._memo.clear()
        self._memo[text] = seconds
        return seconds

    def _moment(self, found: dict[str, str], year: int) -> datetime:
        hour = int(found["H"])
        half = found.get("p") or found.get("q")
        # 14:00 PM is of a clock of 24 hours, whatever PM means there.
        if half and hour <= 12:
            hour = hour % 12 + (12 if half == "午後" or half[0] in "Pp" else 0)
        month = found.get("b")
        if month is not None and month.lower() not in _MONTHS:
            raise ValueError("no month")
        return datetime(
            year,
            int(found["m"]) if month is None else _MONTHS[month.lower()],
            int(found["d"]),
            hour,
            int(found["M"]),
            tzinfo=_offset(found.get("z")) or self._zone,
            fold=self.fold,
        )

    def _nearest_year(self, found: dict[str, str], received: float | None) -> datetime:
        """Return the time in the year that makes it the first not too late after the last time read.

        So December's lines that straggle in after New Year are last year's, and a source that was silent for months
        goes on in the year it came back. The first time read is of the declared year, or of the year before its
        receipt.
        """
        years: tuple[int, ...] = (self.year,)
        after = self.last
        if after is None and received is not None:
            after = received + STEP_SECONDS - _YEAR_SECONDS + LATE_SECONDS
            self.year = datetime.fromtimestamp(received, UTC).year
        elif after is not None:
            self.year = datetime.fromtimestamp(after, self._zone).year
        if after is not None:
            years = (self.year - 1, self.year, self.year + 1)
        moment, problem = None, ValueError("no year has this day")
        for year in years:
            try:
                moment = self._moment(found, year)
            except ValueError as error:
                problem = error
                continue
            if after is None or moment.timestamp() >= after - LATE_SECONDS:
                break
        if moment is None:
            raise problem
        self.year = moment.year
        return moment


def _possible(seconds: float) -> float:
    if not 0 <= seconds <= LATEST_SECONDS:
        raise ValueError("no machine's clock is right there, and no calendar shows it in every zone")
    return seconds


def _doubt(moment: datetime) -> str | None:
    first, second = moment.replace(fold=0).utcoffset(), moment.replace(fold=1).utcoffset()
    if first == second or first is None or second is None:
        return None
    return AMBIGUOUS if first > second else NONEXISTENT


def _written_year(found: dict[str, str]) -> int | None:
    if "Y" in found:
        return int(found["Y"])
    if "y" in found:
        return 2000 + int(found["y"])
    if "era" in found:
        return _ERAS[found["era"]] + (1 if found["ey"] == "元" else int(found["ey"]))
    return None


def _offset(text: str | None) -> tzinfo | None:
    if not text:
        return None
    if text in ("Z", "z"):
        return UTC
    sign = max(text.find("+"), text.find("-"))
    if sign < 0:
        if text not in _ZONE_NAMES:
            raise ValueError("no zone of one offset")
        return timezone(timedelta(hours=_ZONE_NAMES[text]))
    digits = text[sign + 1 :].replace(":", "")
    hours, minutes = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, "0")
    return timezone((1 if text[sign] == "+" else -1) * timedelta(hours=int(hours), minutes=int(minutes)))
