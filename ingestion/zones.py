"""Which time zone a sample's times are in, and what speaks for it; for `logvq inspect`, which asks a person."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ingestion.format import SourceFormat
from ingestion.timestamps import Clock, time_expression, zone

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
# Offsets of one place are two, in summer and in winter; more are numbers of the message, or several places.
_MANY_OFFSETS = 3


@dataclass(frozen=True)
class ZoneGuess:
    """A zone for a source's times.

    Attributes:
        zone: its IANA name.
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
    then = datetime.fromtimestamp(moment, UTC)
    names = []
    for name in _COMMON_ZONES:
        offset = then.astimezone(zone(name)).utcoffset()
        if offset is not None and offset.total_seconds() == quarters * 900:
            names.append(name)
    return quarters / 4, names
