"""What a sample tells of its times, above all their zone, and what it cannot; for `logvq inspect`, which asks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from ingestion.format import SourceFormat
from ingestion.timestamps import MIN_SHARE, ORDERS, SEARCH_COLUMNS, Clock, orders_of, time_expression, zone

Certainty = Literal["certain", "likely", "a guess"]
# Zones tried when a second time in the line tells the offset, and one per script where nothing else does.
_COMMON_ZONES = (
    "UTC", "Asia/Tokyo", "Asia/Shanghai", "Asia/Singapore", "Asia/Kolkata", "Europe/Berlin", "Europe/London",
    "Europe/Helsinki", "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles",
    "America/Sao_Paulo", "Australia/Sydney",
)  # fmt: skip
# Names that are not one offset everywhere, or at all times, with zones that have them.
_SEVERAL = {
    "IST": "Asia/Kolkata, Europe/Dublin or Asia/Jerusalem",
    "CST": "America/Chicago or Asia/Shanghai",
    "CDT": "America/Chicago or America/Havana",
    "EST": "America/New_York or America/Panama",
    "EDT": "America/New_York or America/Toronto",
    "MST": "America/Denver or America/Phoenix",
    "MDT": "America/Denver or America/Edmonton",
    "PST": "America/Los_Angeles or Asia/Manila",
    "PDT": "America/Los_Angeles or America/Vancouver",
    "AST": "America/Halifax or Asia/Riyadh",
    "BST": "Europe/London or Asia/Dhaka",
    "SST": "Asia/Singapore or Pacific/Pago_Pago",
    "ICT": "Asia/Bangkok or Asia/Ho_Chi_Minh",
    "AEST": "Australia/Sydney or Australia/Brisbane",
    "AEDT": "Australia/Sydney or Australia/Melbourne",
    "HKT": "Asia/Hong_Kong",
    "SGT": "Asia/Singapore",
    "MSK": "Europe/Moscow",
}
_SEVERAL_AFTER = re.compile(rf"[:\d.,]* ?\(?({'|'.join(_SEVERAL)})(?![0-9A-Za-z])")
_KANA = re.compile(r"[\u3041-\u30ff\uff66-\uff9d]")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_JAPANESE_ENCODINGS = frozenset({"cp932", "eucjp-ms", "euc_jis_2004", "euc_jisx0213"})
_TIME_OF_DAY = re.compile(r"(?<![\d:])\d{1,2}[:時]\d{2}[:分]\d{2}(?!\d)")
# Offsets of one place are two, in summer and in winter; more are numbers of the message, or several places.
_MANY_OFFSETS = 3


@dataclass(frozen=True)
class ZoneGuess:
    """A zone for a source's times.

    Attributes:
        zone: its IANA name; where times carry an offset, that of people who read such clocks.
        certainty: how sure that is.
        reason: what speaks for it.
        otherwise: what else it could be.
        unknown: what the sample could not tell.
    """

    zone: str
    certainty: Certainty
    reason: str
    otherwise: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def guess_zone(lines: Sequence[str], source_format: SourceFormat) -> ZoneGuess:
    """Return the zone of a sample's times, as far as the lines tell.

    Args:
        lines: of the sample, decoded.
        source_format: its encoding, its time pattern and its year count.
    """
    pattern = source_format.time_pattern
    if pattern is None:
        return ZoneGuess("UTC", "a guess", "the lines carry no time")
    expression = time_expression(pattern)
    times = [match for line in lines if (match := expression.search(line))]
    offsets = [match["z"] for match in times if match["z"]] if "z" in expression.groupindex else []
    if pattern == "epoch" or (times and len(offsets) == len(times)):
        kinds = sorted(set(offsets))
        many = (
            f"Offsets: {len(kinds)} different ones follow the times ({', '.join(kinds[:_MANY_OFFSETS])}, …); where "
            "they are numbers of the message, declare a time pattern of your own.",
        )
        reason = "the times carry their own offset, or count from the epoch in UTC"
        there = _zones_of(times, pattern, source_format.year) if len(kinds) <= _MANY_OFFSETS else []
        if there:
            reason = f"the times carry their own offset, {' or '.join(kinds)}, which clocks have there"
            return ZoneGuess(there[0], "likely", reason, tuple(there[1:]))
        return ZoneGuess("UTC", "certain", reason, unknown=many if len(kinds) > _MANY_OFFSETS else ())
    hint = _zone_beside(lines, pattern, source_format.year)
    if hint is not None and hint[1]:
        hours, names = hint
        return ZoneGuess(
            names[0],
            "likely",
            f"a second time in the lines is in UTC, and these are {hours:+g} h from it",
            tuple(names[1:]),
            (f"Which zone {hours:+g} h from UTC means: {', '.join(names)} had that offset then.",),
        )
    return _by_words(lines, source_format.encoding, times, len(offsets))


def _by_words(lines: Sequence[str], encoding: str, times: Sequence[re.Match[str]], offsets: int) -> ZoneGuess:
    """Guess from the language where no number tells; say which names of zones were seen."""
    names = Counter(found[1] for match in times if (found := _SEVERAL_AFTER.match(match.string, match.end("M"))))
    if offsets:
        seen = f"{offsets:,} of {len(times):,} times carry an offset; nothing names the zone of the others"
    elif names.total() > 0.5 * len(times):
        name = names.most_common(1)[0][0]
        seen = f"{name} after the times may mean {_SEVERAL[name]}"
    else:
        seen = "nothing in the lines names a zone"
    japanese, chinese = _languages(lines, encoding)
    if japanese is not None:
        unknown = f"The time zone: Asia/Tokyo is taken because {japanese}; declare it with --tz."
        return ZoneGuess("Asia/Tokyo", "a guess", f"{japanese}; {seen}", chinese, (unknown,))
    if chinese:
        language = "the lines have Chinese characters that Japanese does not use"
        unknown = f"The time zone: {chinese[0]} is taken because {language}; declare it with --tz."
        return ZoneGuess(chinese[0], "a guess", f"{language}; {seen}", unknown=(unknown,))
    unknown = f"The time zone: {seen}, and the times are taken as UTC; declare it with --tz."
    return ZoneGuess("UTC", "a guess", seen, unknown=(unknown,))


def _languages(lines: Sequence[str], encoding: str) -> tuple[str | None, tuple[str, ...]]:
    """Return why the lines are Japanese, and the zones of Chinese where they may be or are Chinese."""
    some = 0.05 * len(lines)
    if encoding in _JAPANESE_ENCODINGS or encoding.startswith("iso2022_jp"):
        return f"{encoding} is an encoding of Japanese", ()
    if sum(1 for line in lines if _KANA.search(line)) > some:
        return "the lines are Japanese", ()
    han = [line for line in lines if _HAN.search(line)]
    if len(han) <= some:
        return None, ()
    # CP932 lacks the characters that mainland China simplified otherwise than Japan did.
    foreign = sum(1 for line in han if any(not character.encode("cp932", "ignore") for character in _HAN.findall(line)))
    if foreign > 0.05 * len(han):
        return None, ("Asia/Shanghai",)
    return "the lines have kanji without kana: Japanese, or Chinese", ("Asia/Shanghai", "Asia/Taipei")


def _zone_beside(lines: Sequence[str], pattern: str, year: int) -> tuple[float, list[str]] | None:
    """Return the offset that a time in epoch seconds beside the local one tells, in hours, and zones that had it."""
    local, absolute = Clock(pattern, "UTC", year), Clock("epoch", "UTC", year)
    offsets: Counter[int] = Counter()
    moment = 0.0
    for line in lines[:200]:
        seconds, beside = local.read(line)[0], absolute.read(line)[0]
        if seconds is not None and beside is not None:
            offsets[round((seconds - beside) / 900)] += 1
            moment = beside
    if not offsets or not local.writes_year:
        return None
    quarters, count = offsets.most_common(1)[0]
    if count < 0.9 * offsets.total() or count < 5 or abs(quarters) > 14 * 4:
        return None
    return quarters / 4, _with_offset(_COMMON_ZONES, moment, quarters * 900)


def _with_offset(names: Iterable[str], moment: float, seconds: float) -> list[str]:
    """Return the zones of some whose clocks are so far from UTC at a moment, in epoch seconds."""
    then = datetime.fromtimestamp(moment, UTC)
    return [name for name in names if then.astimezone(zone(name)).utcoffset() == timedelta(seconds=seconds)]


def _zones_of(times: Sequence[re.Match[str]], pattern: str, year: int) -> list[str]:
    """Return the zones, of those tried, whose clocks have the offsets that times carry; none where that is UTC's.

    Such times can be read without a zone. What people say of them, when maintenance is and when a fault was, cannot.
    """
    clock = Clock(pattern, "UTC", year)
    names = list(_COMMON_ZONES)
    for match in times[:200] if pattern != "epoch" else ():
        line = match.string
        absolute = clock.read(line)[0]
        local = clock.read(line[: match.start("z")] + line[match.end("z") :])[0]
        if absolute is None or local is None:
            return []
        names = _with_offset(names, absolute, local - absolute)
    return [] if "UTC" in names else names


# --- what stays open ---------------------------------------------------------------------------------------------


def unknown_of_times(lines: Sequence[str], pattern: str, year: int) -> list[str]:
    """Return what the times of a sample cannot tell.

    Args:
        lines: of the sample, decoded.
        pattern: the name of their time pattern.
        year: first year of times that write none.
    """
    unknown = []
    if others := other_orders(lines, pattern):
        orders = " or ".join((pattern, *others))
        unknown.append(f"Day or month first: every time in the sample reads {len(others) + 1} ways ({orders}).")
    if pattern in ORDERS[1]:
        unknown.append("The century: the lines write two digits of the year, which are taken as 20xx.")
    if half := _half_days(lines, pattern):
        unknown.append(half)
    if not writes_year(lines, pattern):
        unknown.append(f"The year: the lines write none; {year} is taken for the first and then counted on.")
    return unknown


def other_orders(lines: Sequence[str], pattern: str) -> tuple[str, ...]:
    """Return the other orders of day, month and year in which every time of the sample reads, too."""
    first = [Clock(pattern, "UTC", 2000).read(line)[0] for line in lines]
    timed = [line for line, time in zip(lines, first, strict=True) if time is not None]
    others = [name for name in orders_of(lines, pattern) if name != pattern]
    return tuple(name for name in others if all(Clock(name, "UTC", 2000).read(line)[0] is not None for line in timed))


def writes_year(lines: Sequence[str], pattern: str) -> bool:
    """Whether the times of a sample write their year."""
    expression = time_expression(pattern)
    if pattern != "month-name":
        return Clock(pattern, "UTC", 2000).writes_year
    return any(match["Y"] for line in lines[:50] if (match := expression.search(line)))


def _half_days(lines: Sequence[str], pattern: str) -> str | None:
    """Say so where AM or PM follows some times only: it may be a word of the message."""
    expression = time_expression(pattern)
    name = next((name for name in ("q", "p") if name in expression.groupindex), None)
    if name is None:
        return None
    times = [match for line in lines if (match := expression.search(line))]
    halves = sum(1 for match in times if match[name])
    if not 0 < halves < 0.9 * len(times):
        return None
    return (
        f"AM or PM: {halves:,} of {len(times):,} times are followed by it and read as halves of a day; where PM is a "
        "word of the message, declare a time pattern of your own."
    )


def without_time(lines: Sequence[str]) -> tuple[str, str]:
    """Return what lines without a date have instead, and what that means and the way out."""
    of_day = sum(1 for line in lines if _TIME_OF_DAY.search(line[:SEARCH_COLUMNS])) > MIN_SHARE * len(lines)
    if of_day:
        seen = "the lines write a time of day without a date"
        way_out = "a time of day alone is not read, for nothing says of which day it is: let the logger write the date"
    else:
        seen = "no known pattern is on half of the lines"
        way_out = "where they do write a date, declare a time pattern"
    return seen, (
        "When things happened: the lines carry no date. Lines that are followed, pushed or read from Kafka have the "
        f"time of their receipt; those of a file read whole have none, and gaps and rates cannot be judged; {way_out}."
    )
