"""Known-good lines without those of faults that somebody has confirmed: a fault is never learned as normal.

Faults are found by their time, in whatever file holds it. Windows that carry none are found by their lines: all in a
row, or wherever they are where the lines are of a session, whose key they hold.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ingestion import Event, Record, SourceFormat, SourceParser, Vocabulary
from service.errors import BadFeedback
from service.explain import iso
from service.feedback_store import FeedbackStore
from service.packing import unpack
from service.store import Store
from service.training import GoodLines

# Times and windows that a message names.
_NAMED = 5

Span = tuple[float, float]


def leave_out_faults(
    good: GoodLines, again: Iterable[Record], store: Store, source: str, tell: Callable[[str], None]
) -> GoodLines:
    """Return known-good lines without those of a source's confirmed faults.

    Args:
        good: the lines.
        again: the same once more: where faults without a time are is known before the first line is read.
        store: what holds the faults.
        source: whose.
        tell: told what is left out, when all lines are read.

    Raises:
        BadFeedback: neither times nor lines of a fault are stored.
    """
    feedback = FeedbackStore(store)
    faults, windows = feedback.faults(source), faulty_windows(store, feedback.timeless_faults(source))
    if not faults and not windows:
        tell(f"no fault of {source} is confirmed, so nothing is left out: is it another --source?")
        return good
    spans, lacking = spans_of(again, windows, good.source_format) if windows else ([], [])

    def kept() -> Iterator[Record]:
        left_out = yield from without_faults(good.records, faults, good.source_format, spans)
        tell(told_of(left_out, faults, lacking, good.name, source))

    return replace(good, records=kept())


@dataclass(frozen=True)
class FaultyWindow:
    """A window of a fault that carries no time.

    Attributes:
        id: its id.
        texts: of its events.
        by_session: whether others may have come between them.
    """

    id: str
    texts: tuple[str, ...]
    by_session: bool


def faulty_windows(store: Store, ids: Iterable[str]) -> list[FaultyWindow]:
    """Return windows with their lines.

    Raises:
        BadFeedback: a window's lines are no longer stored.
    """
    found = []
    for window_id in ids:
        window = store.window(window_id)
        if window is None or window["record"] is None:
            raise BadFeedback(
                f"{window_id} is of a confirmed fault and carries no time, and its lines are no longer stored, so that "
                "nothing tells them in a file: take all lines of its faults out of the file, and train without "
                "--feedback"
            )
        texts = tuple(line[2] for line in unpack(window["record"])["lines"])
        found.append(FaultyWindow(window_id, texts, window["key"] is not None))
    return found


def spans_of(
    records: Iterable[Record], windows: Sequence[FaultyWindow], source_format: SourceFormat
) -> tuple[list[Span], list[str]]:
    """Return where a file has the lines of some windows, first and last position of each; and the windows it lacks."""
    ends, sessions = defaultdict[str, list[FaultyWindow]](list), defaultdict[str, list[FaultyWindow]](list)
    for window in windows:
        for text in window.texts if window.by_session else window.texts[-1:]:
            (sessions if window.by_session else ends)[text].append(window)
    parser = SourceParser(source_format, Vocabulary([]))
    recent = deque[Event](maxlen=max(len(window.texts) for window in windows))
    spans, found = list[Span](), set[str]()
    for record in itertools.chain(records, [None]):
        for event in parser.flush() if record is None else parser.feed(record):
            if not isinstance(event, Event):
                continue
            recent.append(event)
            last = max(event.position, event.next_position - 1)
            for window in sessions.get(event.text, ()):
                spans.append((event.position, last))
                found.add(window.id)
            for window in ends.get(event.text, ()):
                row = list(itertools.islice(reversed(recent), len(window.texts)))[::-1]
                if tuple(each.text for each in row) == window.texts:
                    spans.append((row[0].position, last))
                    found.add(window.id)
    return spans, [window.id for window in windows if window.id not in found]


def without_faults(
    records: Iterable[Record],
    faults: Sequence[Span],
    source_format: SourceFormat,
    spans: Sequence[Span] = (),
) -> Generator[Record, None, int]:
    """Yield the records that are neither of a fault's time nor where its lines are; return how many are left out.

    Times are those of the events that training makes of the records. A record without a time belongs to the event
    before; one that packs several events is left out where any of them is of a fault's time.

    Args:
        records: in order, of one stream.
        faults: first and last second of each, epoch seconds, ends included.
        source_format: how the lines are written.
        spans: first and last position of each stretch of lines to leave out as well.
    """
    of_time, of_place = _merged(faults), _merged(spans)
    left_out, faulty = 0, False
    for record, times in _timed(records, source_format):
        if times:
            faulty = any(_lies_in(of_time, time) for time in times)
        if faulty or _lies_in(of_place, record.position):
            left_out += 1
        else:
            yield record
    return left_out


def told_of(left_out: int, faults: Sequence[Span], lacking: Sequence[str], file: str, source: str) -> str:
    """Return what to tell whoever trains of the lines that were left out, and of faults whose lines were not found."""
    said = []
    if left_out:
        said.append(f"left out {left_out:,} lines of {file}: they are of confirmed faults of {source}")
    elif faults:
        said.append(
            f"warning: nothing is left out: no line of {file} is of the time of a confirmed fault of {source} "
            f"({_named([f'{iso(start)} to {iso(end)}' for start, end in faults])}); if {file} has their lines, its "
            "time is not read as it is when they are served: see `logvq inspect`"
        )
    if lacking:
        said.append(
            f"warning: {file} has not all lines, in a row and as they were served, of {_named(lacking)}, which are of "
            f"confirmed faults of {source} and carry no time: if it has some of them, take these out of it"
        )
    return "\n".join(said)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _lies_in(spans: Sequence[Span], value: float) -> bool:
    at = bisect_right(spans, value, key=lambda span: span[0]) - 1
    return at >= 0 and value <= spans[at][1]


def _timed(records: Iterable[Record], source_format: SourceFormat) -> Iterator[tuple[Record, Sequence[float]]]:
    """Return every record with the times of the events it is part of: none where those have none, or it is of none."""
    parser = SourceParser(source_format, Vocabulary([]))
    # Records of the open event, and those dropped meanwhile, which make no event and go with it.
    waiting: deque[Record] = deque()
    times: list[float] = []
    for record in itertools.chain(records, [None]):
        made = parser.flush() if record is None else parser.feed(record)
        waiting.extend([] if record is None else [record])
        for event in made:
            if not isinstance(event, Event):
                continue
            if event.time is not None:
                times.append(event.time)
            # All but the last event of a record end where it begins.
            if event.next_position > event.position:
                while waiting and waiting[0].position < event.next_position:
                    yield waiting.popleft(), times
                times = []
        while waiting and not parser.is_open:
            yield waiting.popleft(), ()


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
