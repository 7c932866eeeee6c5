"""Known-good lines without the times of faults that somebody has confirmed: a fault is never learned as normal."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from ingestion import Record, SourceFormat


def without_faults(
    records: Iterable[Record], faults: Sequence[tuple[float, float]], source_format: SourceFormat
) -> Iterator[Record]:
    """Return the records that are not of a fault's time; a line without a time belongs to the line before.

    Args:
        records: in order.
        faults: first and last second of each, epoch seconds, ends included.
        source_format: how the lines are written.
    """
    ordered = _merged(faults)
    starts = [start for start, _ in ordered]
    clock, faulty = source_format.clock(), False
    for record in records:
        time = clock.read(record.value.decode(source_format.encoding, "replace"))[0]
        if time is not None:
            place = bisect_right(starts, time) - 1
            faulty = place >= 0 and time <= ordered[place][1]
        if not faulty:
            yield record


def _merged(faults: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(faults):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
