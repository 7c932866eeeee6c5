"""Alarms raised against alarms asked for, on streams that drift; a threshold that stays where it was beside it.

    LOGVQ_DATA=… python -m tests.benchmark.detection.budget [stream…]

The earlier part of a stream is learnt from, the later judged window by window; nothing looks ahead. Counted are
incidents opened, each one notification. Budgets are 1, 5 and 20 a day of the days on which the source wrote, and one in
100, 50 and 20 windows, where that is between 10 incidents and one in ten windows.
"""

from __future__ import annotations

import sys
from typing import Any

from service.alarms.budget import DAY_SECONDS
from tests.benchmark.detection.streams import STREAMS, Stream, Watch
from tests.benchmark.report import keep
from tests.benchmark.tasks.examples import data_directory

A_DAY = (1.0, 5.0, 20.0)
SHARES = (100, 50, 20)
MIN_INCIDENTS = 10
MAX_SHARE = 0.1


def budgets(stream: Stream) -> dict[str, float]:
    """Return what is asked for, a day, by how to say it."""
    windows = len(stream.strengths)
    found = {f"{each:g} a day": each for each in A_DAY}
    found |= {f"1 in {share} windows": windows / share / stream.days for share in SHARES}
    return {said: each for said, each in found.items() if MIN_INCIDENTS <= each * stream.days <= MAX_SHARE * windows}


def run(stream: Stream, per_day: float, *, follows: bool) -> dict[str, Any]:
    """Return what one threshold raises."""
    watch = Watch(stream, per_day, follows=follows, seconds=stream.row.window_seconds or 0.0)
    starts = stream.row.test.starts
    assert starts is not None
    for index, (start, strength) in enumerate(zip(starts.tolist(), stream.strengths, strict=True)):
        watch.take(index, start, strength)
    days = [int(starts[index] // DAY_SECONDS) for index in watch.opened]
    return {
        "opened": len(watch.opened),
        "ratio": round(len(watch.opened) / watch.threshold.owed, 2),
        "owed": round(watch.threshold.owed, 1),
        "most_in_a_day": max((days.count(day) for day in set(days)), default=0),
        "in_first_tenth": sum(index < len(stream.strengths) / 10 for index in watch.opened),
    }


def main() -> None:
    """Run the streams that the command line names, or all."""
    rows, runs = [], []
    for name in sys.argv[1:] or STREAMS:
        for cleaned in (False, True) if name in ("mazak-visible", "mazak-hidden", "bgl-20") else (False,):
            stream = Stream.of(STREAMS[name](data_directory(), cleaned))
            for said, per_day in budgets(stream).items():
                ours, static = (run(stream, per_day, follows=follows) for follows in (True, False))
                runs.append({"stream": name, "cleaned": cleaned, "budget": said, "ours": ours, "static": static})
                label = f"{name}, {'cleaned' if cleaned else 'as it comes'}"
                cells = [ours["opened"], ours["ratio"], ours["most_in_a_day"], static["opened"], static["ratio"]]
                rows.append([label, len(stream.strengths), round(stream.days, 1), said, ours["owed"], *cells])
                print(*rows[-1], file=sys.stderr, flush=True)
    columns = ["stream", "windows", "days", "budget", "allowed", "opened", "ratio", "most in a day"]
    keep("detection_budget", {"runs": runs}, [*columns, "opened, static", "ratio, static"], rows)


if __name__ == "__main__":
    main()
