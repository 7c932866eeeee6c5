"""Looking at a sample: a proposed format, what each of its choices does to the lines, and what cannot be known.

Every figure comes from parsing the sample with the proposed format, or with another one, by the code that will parse
the source; nothing is estimated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ingestion.dating import Certainty, guess_zone, other_orders, unknown_of_times, without_time, writes_year
from ingestion.decimals import MIN_COMMAS, guess_decimal
from ingestion.envelopes import RawEnvelope, Unopened
from ingestion.errors import DROP_REASONS, EMPTY_REASONS, BadInput
from ingestion.format import SourceFormat
from ingestion.framing import Framing
from ingestion.looking import SHOWN, SHOWN_CHARACTERS, Choice, Look, look_at_encoding
from ingestion.masking import words
from ingestion.parsing import UNTIMED, Accounting, Dropped, Event, SourceParser, event_shape
from ingestion.proposing import (
    LeftOut,
    broken_rows,
    first_lines,
    format_under,
    left_out,
    opening_share,
    propose_envelope,
    propose_masks,
    sample_lines,
)
from ingestion.records import Record
from ingestion.templates import learn_vocabulary
from ingestion.timestamps import (
    AMBIGUOUS,
    CLOCK_AHEAD,
    CLOCK_BACK,
    NONEXISTENT,
    zone,
)
from ingestion.vocabulary import Vocabulary
from ingestion.years import guess_year, last_lines

# Of the fields that are left out, so many are named, and so much of each name and value is shown.
_SHOWN_FIELDS, _FIELD_CHARACTERS = 12, 40


@dataclass(frozen=True)
class Inspection:
    """What a sample shows.

    Attributes:
        name: of the file.
        lines: lines looked at.
        source_format: what is proposed.
        choices: one entry a choice.
        templates: number of templates of the sample, as proposed and with one choice undone.
        accounting: what became of the sample's lines under the proposal; all shapes count as unparsed, for nothing has
            been learned yet.
        unknown: what the sample could not tell.
    """

    name: str
    lines: int
    source_format: SourceFormat
    choices: tuple[Choice, ...]
    templates: dict[str, int]
    accounting: Accounting
    unknown: tuple[str, ...] = ()


def inspect_sample(
    sample: bytes,
    *,
    name: str,
    encoding: str | None = None,
    zone_name: str | None = None,
    changed: float,
    end: bytes = b"",
) -> Inspection:
    """Look at the beginning of a file.

    Args:
        sample: whole lines.
        name: how messages name the file.
        encoding: what the user declares; None guesses from the whole sample.
        zone_name: what the user declares; None takes what the lines tell, or UTC.
        changed: when the file was last written to, epoch seconds.
        end: its last bytes.

    Raises:
        BadInput: the sample holds no text.
    """
    if not sample.strip(b"\x00\r\n\t "):
        raise BadInput(f"{name} is empty; give a log file with at least one line")
    look = Look(sample, name)
    found = look_at_encoding(look, encoding)
    lines = sample_lines(sample, found)
    if not lines:
        raise BadInput(f"{name} holds no line of text; give a log file")
    envelope = propose_envelope(lines)
    proposed = format_under(lines, SourceFormat(encoding=found, envelope=envelope))
    proposed = replace(proposed, zone=_zone(look, lines, proposed, zone_name))
    proposed = replace(proposed, year=_year(look, lines, proposed, end, changed))
    proposed = replace(proposed, masks=_masks(parse_sample(sample, proposed)[0], proposed))
    events, accounting = parse_sample(sample, proposed)
    _envelope(look, lines, proposed)
    _time(look, lines, proposed, events, accounting)
    _framing(look, proposed, events, accounting)
    _decimal(look, proposed, events)
    templates = _templates(look, proposed, events)
    for reason, count in accounting.dropped.items():
        if reason not in EMPTY_REASONS:
            look.unknown.append(f"{count:,} lines would be dropped as {reason}: {DROP_REASONS[reason]}.")
    order = ["encoding", "envelope", "time", "zone", "year", "framing", "delimiter", "decimal", "masks"]
    choices = tuple(sorted(look.choices, key=lambda choice: order.index(choice.name)))
    return Inspection(name, len(lines), proposed, choices, templates, accounting, tuple(look.unknown))


def parse_sample(sample: bytes, source_format: SourceFormat) -> tuple[list[Event], Accounting]:
    """Return the events of a sample under a format, and what became of its lines."""
    parser = SourceParser(source_format, Vocabulary([]))
    made: list[Event | Dropped] = []
    for number, line in enumerate(first_lines(sample, source_format.encoding)):
        made.extend(parser.feed(Record("", "sample", number, number + 1, line, None)))
    made.extend(parser.flush())
    return [item for item in made if isinstance(item, Event)], parser.accounting


def _envelope(look: Look, lines: Sequence[str], proposed: SourceFormat) -> None:
    envelope = proposed.envelope
    if broken := broken_rows(lines):
        look.unknown.append(f"Where rows end: {broken}.")
    if envelope.kind == "raw":
        reason = "no other envelope opens nearly all lines"
        look.choose("envelope", "raw", "likely", f"{reason}: {broken}" if broken else reason)
        return
    share = opening_share(lines, envelope)
    shows = []
    for line in lines[: SHOWN + 1]:
        try:
            contents = envelope.open(line)
        except Unopened as unopened:
            shows.append(f"dropped as {unopened.reason}: {line[:SHOWN_CHARACTERS]}")
            continue
        for content in contents:
            time = "in the line" if content.time is None else content.time or "missing"
            shows.append(f"time {time}, message {content.message[:SHOWN_CHARACTERS]}")
    parts = [
        f"{key} = {value}" for key, value in vars(envelope).items() if value not in (None, ()) and key != "columns"
    ]
    certainty: Certainty = "certain" if share == 1.0 else "likely"
    reason = f"{share:.1%} of {len(lines):,} lines open in it"
    look.choose("envelope", " ".join([envelope.kind, *parts]), certainty, reason, shows=tuple(shows[:SHOWN]))
    if getattr(envelope, "message", None) and len(envelope.message) > 1:  # type: ignore[union-attr]
        look.unknown.append("Which field is the message: none has a usual name, so all that vary are joined.")
    if fields := left_out(lines, envelope):
        look.unknown.append(_left_out(fields, envelope.message))  # type: ignore[union-attr]


def _left_out(fields: Sequence[LeftOut], message: Sequence[str]) -> str:
    """Say which fields are not read, and what takes them in."""
    shown = [
        f"{field.path[:_FIELD_CHARACTERS]} ({field.example[:_FIELD_CHARACTERS]}"
        f"{'' if field.everywhere else '; not in every line'})"
        for field in fields[:_SHOWN_FIELDS]
    ]
    if len(fields) > _SHOWN_FIELDS:
        shown.append(f"{len(fields) - _SHOWN_FIELDS:,} more")
    common = [field.path for field in fields if field.everywhere and len(field.path) <= _FIELD_CHARACTERS]
    such = f", such as message = {json.dumps([*message, common[0]], ensure_ascii=False)}" if common else ""
    return (
        f"Whether these fields matter, which are left out: {', '.join(shown)}. `message` takes in those that every "
        f"line has{such}: a line that lacks one is dropped as missing-field."
    )


# --- time --------------------------------------------------------------------------------------------------------


def _zone(look: Look, lines: Sequence[str], proposed: SourceFormat, declared: str | None) -> str:
    if declared is not None:
        zone(declared)
        look.choose("zone", declared, "certain", "declared")
        return declared
    found = guess_zone(lines, proposed)
    look.choose("zone", found.zone, found.certainty, found.reason, otherwise=found.otherwise)
    look.unknown += found.unknown
    return found.zone


def _year(look: Look, lines: Sequence[str], proposed: SourceFormat, end: bytes, changed: float) -> int:
    if proposed.time_pattern is None or writes_year(lines, proposed.time_pattern):
        return proposed.year
    written = datetime.fromtimestamp(changed, UTC)
    found = guess_year(lines, last_lines(end, proposed.encoding), proposed, changed)
    latest = "the latest in which no line is later than" if found else "that of"
    reason = f"the lines write none; it is {latest} the file's last change, on {written.date()}"
    look.choose("year", str(found or written.year), "a guess", reason)
    return found or written.year


def _time(
    look: Look, lines: Sequence[str], proposed: SourceFormat, events: Sequence[Event], accounting: Accounting
) -> None:
    pattern = proposed.time_pattern
    if pattern is None:
        seen, unknown = without_time(lines)
        look.choose("time", "none", "likely", seen)
        look.unknown.append(unknown)
        return
    timed = [event for event in events if event.time is not None]
    shows = [_timed(event, proposed.zone) for event in timed[:SHOWN]]
    if timed:
        first, last = timed[0].time, timed[-1].time
        assert first is not None
        assert last is not None
        shows.append(f"from {_iso(first, 'UTC')} to {_iso(last, 'UTC')}")
    odd = {name: accounting.noticed[name] for name in _ODD if name in accounting.noticed}
    shows += [f"{count:,} × {_ODD[name]}" for name, count in odd.items()]
    certainty: Certainty = "a guess" if not timed else "certain" if len(timed) == len(events) else "likely"
    others = other_orders(lines, pattern)
    if others:
        certainty = "a guess"
    elif certainty == "certain" and not writes_year(lines, pattern):
        certainty = "likely"
    look.unknown += unknown_of_times(lines, pattern, proposed.year)
    reason = f"{len(timed):,} of {len(events):,} events have such a time"
    look.choose("time", pattern, certainty, reason, shows=tuple(shows), otherwise=others)


_ODD = {
    AMBIGUOUS: "an hour that the zone's clocks repeat: `fold` says which pass",
    NONEXISTENT: "an hour that the zone's clocks skip: is the zone right?",
    CLOCK_BACK: "the clock goes back by more than an hour: was it set, or do several processes write?",
    UNTIMED: "no time where the envelope has a place for it: the event takes the place of the one before",
    CLOCK_AHEAD: "the clock is ahead of the time of receipt by more than an hour",
}


def _timed(event: Event, zone_name: str) -> str:
    assert event.time is not None
    line = event.text.split("\n", 1)[0][:SHOWN_CHARACTERS]
    return f"{_iso(event.time, zone_name)} = {_iso(event.time, 'UTC')}  {line}"


def _iso(seconds: float, zone_name: str) -> str:
    shown = datetime.fromtimestamp(seconds, UTC).astimezone(zone(zone_name)).isoformat(timespec="milliseconds")
    return shown.replace("+00:00", "Z")


# --- framing, decimals, delimiter, masks, templates --------------------------------------------------------------


def _framing(look: Look, proposed: SourceFormat, events: Sequence[Event], accounting: Accounting) -> None:
    start = proposed.framing.start
    if start == "line":
        look.choose("framing", "line", "likely", "no lines look like continuations; every line is an event")
        return
    longest = max(events, key=lambda event: event.lines)
    lines = sum(event.lines for event in events)
    shows = [f"{lines:,} lines make {len(events):,} events; the longest has {longest.lines:,} lines:"]
    shows += [f"│ {line[:SHOWN_CHARACTERS]}" for line in longest.text.split("\n")[: SHOWN + 1]]
    what = "a line without a time" if start == "time" else f"a line with {proposed.framing.pattern}"
    value = f"{start}: {what} belongs to the event before"
    look.choose("framing", value, "likely", "indented lines and stack traces follow", shows=tuple(shows))
    if longest.lines >= proposed.framing.max_lines:
        look.unknown.append("Where the longest event ends: it reaches the cap on lines.")


def _decimal(look: Look, proposed: SourceFormat, events: Sequence[Event]) -> None:
    found = guess_decimal(event.message for event in events)
    parts = [f"{found.commas:,} with a comma before decimals, such as {found.example}"] if found.commas else []
    parts += [f"{found.points:,} with a point before decimals"] if found.points else []
    reason = " and ".join(parts) or "no number that stands by itself has decimals"
    doubtful = found.either > 0 and not parts
    if doubtful:
        read = "read with either sign, as decimals or as thousands, and none with one alone"
        reason = f"the usual sign; {found.either:,} numbers such as {found.either_example} {read}"
    look.choose("decimal", proposed.decimal, "a guess" if doubtful else "likely", reason)
    if proposed.decimal == "." and found.commas >= MIN_COMMAS:
        look.unknown.append(
            f"The decimal sign: {reason}. Those with a comma are not held against their range, unless "
            'decimal = "," is declared.'
        )


def _masks(events: Sequence[Event], proposed: SourceFormat) -> tuple[tuple[str, str], ...]:
    """Return masks for identifiers that the built-in masks leave, where they make fewer templates of the sample."""
    kept: tuple[tuple[str, str], ...] = ()
    fewest = _count(events, proposed)
    for mask in propose_masks([words(event.message, proposed.delimiter) for event in events]):
        count = _count(events, replace(proposed, masks=(*kept, mask)))
        if count < fewest:
            kept, fewest = (*kept, mask), count
    return kept


def _shapes(events: Sequence[Event], source_format: SourceFormat) -> list[tuple[list[str], str]]:
    return [(event_shape(event, source_format), event.text) for event in events]


def _count(events: Sequence[Event], source_format: SourceFormat) -> int:
    return len(learn_vocabulary(_shapes(events, source_format)).templates)


def _templates(look: Look, proposed: SourceFormat, events: Sequence[Event]) -> dict[str, int]:
    """Count the sample's templates as proposed, and with one choice undone at a time."""
    counts = {"as proposed": _count(events, proposed)}
    if proposed.masks:
        counts["without masks"] = _count(events, replace(proposed, masks=()))
    if proposed.delimiter is not None:
        counts["without delimiter"] = _count(events, replace(proposed, delimiter=None))
    for name, other in (
        ("without envelope", replace(proposed, envelope=RawEnvelope())),
        ("without framing", replace(proposed, framing=Framing())),
    ):
        if other != proposed:
            counts[name] = _count(parse_sample(look.sample, other)[0], other)
    shapes = _shapes(events, proposed)
    typical = list(dict.fromkeys(" ".join(shape)[:SHOWN_CHARACTERS] for shape, _ in shapes))[:SHOWN]
    delimiter = proposed.delimiter
    effect = f"{counts['as proposed']:,} templates"
    if delimiter is not None:
        undone = counts["without delimiter"]
        reason = f"on nearly every line; {effect} with it, {undone:,} without"
        look.choose("delimiter", repr(delimiter), "likely", reason)
    else:
        look.choose("delimiter", "none", "likely", "no character separates fields on nearly every line")
    value = ", ".join(f"{name} {pattern}" for pattern, name in proposed.masks) or "the built-in ones"
    reason = f"{effect} with them, {counts['without masks']:,} without" if proposed.masks else effect
    if slow := proposed.mask_set().digit_sensitive:
        reason += f"; {', '.join(slow)} tells digits apart, so that lines are looked up a slower way"
    look.choose("masks", value, "a guess" if proposed.masks else "likely", reason, shows=tuple(typical))
    return counts
