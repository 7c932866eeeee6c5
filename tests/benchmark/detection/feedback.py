"""What an operator's answers are worth: F1 and alarms on streams that drift, alarms answered at once from the labels.

    LOGVQ_DATA=… python -m tests.benchmark.detection.feedback [stream…]

Beside ours with and without answers stands a memory of count vectors: the strength of a window is its distance to the
nearest known one, measured against held-out windows, and false alarms join the memory. All have the threshold that
follows a budget, so that they raise about as many incidents, and the same answers: what was a fault leaves the sample.
Training is as it comes, windows count as alarms one by one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from service.alarms.confirmed import Confirmation, Confirmed, Pattern
from service.citing import heaviest
from service.detection.combining import UpperTail
from service.detection.detector import some
from service.evidence import line_nats, weigh
from tests.benchmark.detection import baselines
from tests.benchmark.detection.figures import f1
from tests.benchmark.detection.protocol import Windows
from tests.benchmark.detection.streams import LABELLED, STREAMS, Stream, Watch
from tests.benchmark.report import keep
from tests.benchmark.tasks.examples import data_directory

# Incidents over the whole stream that the budget allows.
ALLOWED = (25, 50, 100)


class System(Protocol):
    """What is asked about every window, and told what an alarm was."""

    def strength(self, index: int) -> float:
        """Return how strange a window is, as -log10 of a share."""

    def quieted(self, index: int, threshold: float) -> float | None:
        """Return what is left of a window that answers excuse; None where they do not."""

    def false_alarm(self, index: int, threshold: float) -> None:
        """Take in that a window was normal, which was an alarm from a threshold on."""


class Ours:
    """The product's detector, and its memory of what was called normal."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._said: list[Confirmation] = []
        self._shapes = [[str(token) for token in window.tokens] for window in stream.observed]

    def strength(self, index: int) -> float:
        return self._stream.strengths[index]

    def quieted(self, index: int, threshold: float) -> float | None:
        found = Confirmed(self._said).quiet(self._shapes[index], None, threshold, partial(self._left, index))
        return None if found is None else found.strength

    def false_alarm(self, index: int, threshold: float) -> None:
        window, detector = self._stream.observed[index], self._stream.detector
        heavy = heaviest(line_nats(weigh(detector, window, detector.judge(window))), len(window.tokens))
        known = detector.memory.novelty.known
        new = [place for place, (shape, _) in enumerate(window.shapes) if shape not in known]
        pattern = Pattern.quieting(self._shapes[index], heavy, new, threshold, partial(self._left, index))
        self._said.append(Confirmation(index, pattern))

    def _left(self, index: int, places: Sequence[int]) -> float:
        return self._stream.detector.judge(some(self._stream.observed[index], places)).strength / math.log(10)


class CountMemory:
    """The nearest known count vector."""

    def __init__(self, stream: Stream) -> None:
        fit, test = stream.row.fit, stream.row.test
        tokens = sorted({token for window in (*fit.tokens, *test.tokens) for token in window})
        column = {token: place for place, token in enumerate(tokens)}
        known = sorted({tuple(sorted(window)) for window in fit.tokens})[: baselines.MAX_NEIGHBOURS]
        self._known = np.array([baselines.vector(window, column) for window in known])
        self._vectors = [baselines.vector(window, column) for window in test.tokens]
        cut = len(fit) * 3 // 4
        held_out = baselines.nearest_counts(Windows.of(fit.tokens[:cut]), Windows.of(fit.tokens[cut:]))
        self._tail = UpperTail(held_out)

    def strength(self, index: int) -> float:
        distance = float(np.abs(self._known - self._vectors[index]).sum(1).min())
        return self._tail.nats(distance) / math.log(10)

    def quieted(self, index: int, threshold: float) -> float | None:
        return None

    def false_alarm(self, index: int, threshold: float) -> None:
        self._known = np.vstack([self._known, self._vectors[index]])


def run(stream: Stream, system: System, allowed: int, *, answers: bool) -> dict[str, Any]:
    """Return F1 and alarms of one system."""
    row = stream.row
    assert row.test.starts is not None
    watch = Watch(stream, allowed / stream.days, seconds=row.window_seconds or 0.0)
    faults: set[int] = set()
    quiet = []
    for index, start in enumerate(row.test.starts.tolist()):
        strength, threshold = system.strength(index), watch.value
        left = None
        if answers and strength >= threshold:
            left = system.quieted(index, threshold)
        if left is not None:
            quiet.append(index)
        if watch.take(index, start, strength, left) and answers:
            if row.anomalous[index]:
                faults.add(index)
                watch.threshold.leave_out(faults)
            else:
                system.false_alarm(index, threshold)
    alarms = np.zeros(len(row.anomalous), bool)
    alarms[watch.alarms] = True
    return {
        "f1": round(f1(row.anomalous, alarms, row.test.copies), 3),
        "alarms": len(watch.alarms),
        "of_faults": int((alarms & row.anomalous).sum()),
        "incidents": len(watch.opened),
        "quieted": len(quiet),
        "quieted_faults": int(row.anomalous[quiet].sum()) if quiet else 0,
    }


SYSTEMS: dict[str, tuple[Callable[[Stream], System], bool]] = {
    "ours, answered": (Ours, True),
    "ours, not answered": (Ours, False),
    "count memory, answered": (CountMemory, True),
    "count memory, not answered": (CountMemory, False),
}


def main() -> None:
    """Run the streams that the command line names, or all that have labels."""
    rows, runs = [], []
    for name in sys.argv[1:] or LABELLED:
        stream = Stream.of(STREAMS[name](data_directory(), False))
        for allowed in ALLOWED:
            for system, (make, answers) in SYSTEMS.items():
                found = run(stream, make(stream), allowed, answers=answers)
                runs.append({"stream": name, "allowed": allowed, "system": system, **found})
                rows.append([name, int(stream.row.anomalous.sum()), allowed, system, *found.values()])
                print(*rows[-1], file=sys.stderr, flush=True)
    columns = ["stream", "faulty windows", "incidents allowed", "system", "F1", "alarms", "of faults", "incidents"]
    keep("detection_feedback", {"runs": runs}, [*columns, "quieted", "of faults"], rows)


if __name__ == "__main__":
    main()
