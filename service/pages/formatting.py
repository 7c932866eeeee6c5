"""Numbers, shares and moments as a reader wants them; what is missing shows as a dash."""

import math
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from markupsafe import Markup, escape

MISSING = "–"

REASON_NAMES = {
    "unseen-template": "A line never seen in training",
    "rare-transition": "A line that does not usually come here",
    "missing-event": "A line that should have come and did not",
    "unusual-counts": "An unusual mix of lines",
    "silence": "Waits longer than usual",
    "parameter-out-of-range": "A number outside its range",
    "novel-code": "A situation unlike those in training",
    "site-rule": "A site rule",
}


def number(value: Any) -> float | None:
    """The value as a finite float, or None where it is no such thing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def count(value: Any) -> str:
    """A whole number with thousands separated by commas."""
    known = number(value)
    return MISSING if known is None else f"{round(known):,}"


def fixed(value: Any, digits: int = 2) -> str:
    """A number with a fixed number of decimals."""
    known = number(value)
    return MISSING if known is None else f"{known:,.{digits}f}"


def signed(value: Any, digits: int = 2) -> str:
    """A change with its sign and a fixed number of decimals."""
    known = number(value)
    return MISSING if known is None else f"{known:+,.{digits}f}".replace("-", "−")


def rate(value: Any) -> str:
    """A number with two significant digits below ten and whole above, for rates whose size varies a lot."""
    known = number(value)
    if known is None:
        return MISSING
    if known == 0 or known >= 10:
        return f"{known:,.0f}"
    return f"{known:.1f}" if known >= 1 else f"{known:.2g}"


def percent(value: Any) -> str:
    """A share in [0, 1] as a percentage, with its size kept readable at both ends."""
    known = number(value)
    if known is None:
        return MISSING
    if 0 < known < 0.0001:
        return "< 0.01 %"
    digits = 2 if 0 < known < 0.001 else 1 if known < 0.1 else 0
    return f"{100 * known:.{digits}f} %"


def one_in(score: Any) -> str:
    """What a score says in words: -log10 of a tail probability as "1 in N", two significant digits."""
    known = number(score)
    if known is None:
        return MISSING
    windows = 10 ** min(max(known, 0.0), 12.0)
    if windows < 10:
        return f"1 in {windows:.2g}"
    step = 10 ** (math.floor(math.log10(windows)) - 1)
    return f"1 in {round(windows / step) * step:,}"


def duration(seconds: Any) -> str:
    """A span of seconds in its two largest units."""
    known = number(seconds)
    if known is None:
        return MISSING
    if known < 10:
        return f"{known:.1f} s"
    whole = round(known)
    for size, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"


def reason_name(kind: Any) -> str:
    """A reason's kind in words; an unknown kind is shown as it is."""
    return REASON_NAMES.get(str(kind), str(kind)) if kind else MISSING


def ordinal(rank: int) -> str:
    """1 as "1st"."""
    ending = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"


def zone_named(name: Any) -> tzinfo:
    """The IANA zone of that name, UTC where it is absent or unknown on this host."""
    if not isinstance(name, str) or not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def moment_of(value: Any) -> datetime | None:
    """An RFC 3339 text (or aware datetime) as a UTC moment, None where it cannot be read."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        return aware.astimezone(UTC)
    except OverflowError:
        return None


def _local(moment: datetime, zone: tzinfo) -> datetime:
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


def stamp(moment: datetime, zone: tzinfo) -> str:
    """Date, time to the second and zone as plain text."""
    local = _local(moment, zone)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname() or ''}".rstrip()


def local_time(value: Any, zone: tzinfo) -> str:
    """Date and time to the millisecond in the zone as plain text, a dash where there is none."""
    moment = moment_of(value)
    return MISSING if moment is None else _local(moment, zone).replace(tzinfo=None).isoformat(" ", "milliseconds")


def _time_tag(moment: datetime, shown: str, title: str = "") -> Markup:
    machine = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if title:
        return Markup('<time datetime="{}" title="{}">{}</time>').format(machine, title, shown)
    return Markup('<time datetime="{}">{}</time>').format(machine, shown)


def when(value: Any, zone: tzinfo = UTC) -> Markup:
    """A full moment in the zone as a time element, a dash where there is none."""
    moment = moment_of(value)
    return escape(MISSING) if moment is None else _time_tag(moment, stamp(moment, zone))


def clock(value: Any, zone: tzinfo = UTC) -> Markup:
    """Time of day to the millisecond as a time element; the date is in its title."""
    moment = moment_of(value)
    if moment is None:
        return escape(MISSING)
    local = _local(moment, zone)
    return _time_tag(moment, f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}", stamp(moment, zone))


def period(start: Any, end: Any, zone: tzinfo = UTC) -> Markup:
    """First and last moment as two time elements, the date said once where it is the same."""
    first, last = moment_of(start), moment_of(end)
    if first is None or last is None or first == last:
        return when(start if first is not None else end, zone)
    local_first, local_last = _local(first, zone), _local(last, zone)
    if local_first.date() == local_last.date():
        shown = f"{local_last:%H:%M:%S} {local_last.tzname() or ''}".rstrip()
        return _time_tag(first, f"{local_first:%Y-%m-%d %H:%M:%S}") + Markup(" to ") + _time_tag(last, shown)
    return _time_tag(first, f"{local_first:%Y-%m-%d %H:%M:%S}") + Markup(" to ") + when(last, zone)
