"""Known-good lines without the times of faults that somebody has confirmed: a fault is never learned as normal."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence

from ingestion import Event, Record, SourceFormat, SourceParser, Vocabulary
from service.explain import iso

# Times that a message names.
_NAMED = 5


def without_faults(
    records: Iterable[Record], faults: Sequence[tuple[float, float]], source_format: SourceFormat
) -> Generator[Record, None, int]:
    """Yield the records that are not of a fault's time; return how many are left out.

    Times are those of the events that training makes of the records. A record without a time belongs to the event
    before; one that packs several events is left out where any of them is of a fault's time.

    Args:
        records: in order, of one stream.
        faults: first and last second of each, epoch seconds, ends included.
        source_format: how the lines are written.
    """
    ordered = _merged(faults)
    starts = [start for start, _ in ordered]
    left_out, faulty = 0, False
    for record, times in _timed(records, source_format):
        if times:
            places = [bisect_right(starts, time) - 1 for time in times]
            faulty = any(at >= 0 and time <= ordered[at][1] for at, time in zip(places, times, strict=True))
        if faulty:
            left_out += 1
        else:
            yield record
    return left_out


def told_of(left_out: int, faults: Sequence[tuple[float, float]], file: str, source: str) -> str:
    """Return what to tell whoever trains of the lines that were left out, and of it where there were none."""
    if left_out:
        return f"left out {left_out:,} lines of {file}: they are of confirmed faults of {source}"
    named = [f"{iso(start)} to {iso(end)}" for start, end in faults[:_NAMED]]
    more = f" and {len(faults) - _NAMED:,} more" if len(faults) > _NAMED else ""
    return (
        f"warning: nothing is left out: no line of {file} is of the time of a confirmed fault of {source} "
        f"({', '.join(named)}{more}); if {file} has their lines, its time is not read as it is when they are served: "
        "see `logvq inspect`"
    )


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


def _merged(faults: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(faults):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
