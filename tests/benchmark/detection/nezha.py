"""Faults injected into the services of a booking site, inside a budget of three alarms a service a day.

One day of each service is taken as it comes, faults left in and no labels used. Windows are minutes; a minute's lines
are those of the requests (trace and span) begun in it, read one by one, and gaps are those within a request. A minute
is judged by what the rest of the day holds but for the hour around it: a fault that comes back within the hour must not
pass for a habit (leaving out what lies within h of a point; Burman, Chow and Nolan, Biometrika 1994). The day's
threshold is the lowest that opens no more than three incidents, joined as the product joins them: each is one
notification, and goes on while minutes stay strange. A fault counts as found when a minute within three of its
injection is an alarm of the very service it was injected into. The same with the three strangest minutes, three minutes
apart, each an alarm that joins nothing, is told beside it.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from ingestion import PADDING, learn_vocabulary, words
from service.alarms.incidents import IncidentTracker, Told
from service.detection.detector import Detector, Judged, Observed
from service.detection.ngrams import NGrams
from service.detection.novelty import PARTS
from tests.benchmark.detection.streams import is_nearly
from tests.benchmark.report import keep

FILE = "nezha_0129/nezha_2023-01-29.tar.zst"
ALARMS = 3
FAULT_MINUTES = 3
MIN_MINUTES = 20
# Minutes around a stretch of log that it is not judged by.
APART = 60
_MINUTE = 60.0
_PREFIX = re.compile(r"^\S+ +")
_REQUEST = re.compile(r"TraceID: (\S+ SpanID: \S+) ")
_TOLD = Told("", "", "", "warning", {}, {}, ())


@dataclass(frozen=True)
class Line:
    """A line of one service.

    Attributes:
        seconds: since the epoch.
        request: trace and span; empty where it names none.
        text: without time, trace and span.
    """

    seconds: float
    request: str
    text: str


@dataclass(frozen=True)
class Day:
    """One service's minutes, judged.

    Attributes:
        minutes: since the epoch, of those with lines.
        judged: what was found in each.
    """

    minutes: list[int]
    judged: list[Judged]

    @property
    def strengths(self) -> np.ndarray:
        """How strange each minute is, in nats."""
        return np.array([found.strength for found in self.judged])

    def alarms(self) -> dict[int, int]:
        """Return by minute which of the day's incidents it is an alarm of, by the lowest threshold for the budget."""
        alarms: dict[int, int] = {}
        for threshold in np.sort(self.strengths)[::-1]:
            found = self._alarms(float(threshold))
            if len(set(found.values())) > ALARMS:
                break
            alarms = found
        return alarms

    def _alarms(self, threshold: float) -> dict[int, int]:
        tracker, opened, alarms = IncidentTracker(), 0, dict[int, int]()
        for minute, strength in zip(self.minutes, self.strengths.tolist(), strict=True):
            row: dict[str, Any] = {
                "id": str(minute), "source": "", "bundle": "", "start": minute * _MINUTE, "events": 0,
                "end": (minute + 1) * _MINUTE, "sequence": minute, "score": strength, "strength": strength,
                "threshold": threshold, "incident": None, "decided_by": None,
            }  # fmt: skip
            alarm = strength >= threshold
            opened += alarm and not tracker.takes(row)
            tracker.follow(row, _TOLD if alarm else None, nearly=is_nearly(strength, threshold))
            if alarm:
                alarms[minute] = opened
        return alarms

    def strangest(self) -> dict[int, int]:
        """Return the three strangest minutes, three minutes apart, with their rank."""
        chosen: list[int] = []
        for index in np.argsort(-self.strengths, kind="stable").tolist():
            if len(chosen) < ALARMS and all(abs(self.minutes[index] - minute) > FAULT_MINUTES for minute in chosen):
                chosen.append(self.minutes[index])
        return {minute: rank for rank, minute in enumerate(chosen, 1)}

    def says(self, first: int) -> str:
        """Return how strange a fault's strangest minute is among the day's, and what speaks most in it."""
        mine = [index for index, minute in enumerate(self.minutes) if first <= minute <= first + FAULT_MINUTES]
        if not mine:
            return "no line in its time"
        strengths = self.strengths
        best = max(mine, key=lambda index: float(strengths[index]))
        found = self.judged[best]
        said = {**found.parts, **found.alone, "news": found.news}
        name = max(said, key=lambda each: said[each])
        rank = 1 + int((strengths > strengths[best]).sum())
        return (
            f"strange minute {rank} of {len(self.minutes)}: {name} {said[name]:.1f} nats, {found.strength:.1f} in all"
        )


def nezha(data: Path) -> None:
    """Count the injected faults that are among each service's alarms."""
    lines, faults = read(data)
    services = sorted({fault["inject_pod"] for fault in faults})
    days = {service: judge(lines[service]) for service in services}
    told, strict = _found(days, faults, Day.alarms), _found(days, faults, Day.strangest)
    rows: list[list[Any]] = []
    for fault, alarm, strongest in zip(faults, told, strict, strict=True):
        why = "" if alarm else days[fault["inject_pod"]].says(_minute(fault))
        shown = [fault["inject_time"], fault["inject_pod"], fault["inject_type"]]
        rows.append([*shown, alarm is not None, alarm or "", strongest is not None, why])
    total, alone = sum(alarm is not None for alarm in told), sum(alarm is not None for alarm in strict)
    figures = {
        "found": total,
        "found_alone": alone,
        "faults": len(rows),
        "incidents": {service: len(set(day.alarms().values())) for service, day in days.items()},
        "rows": rows,
    }
    columns = ["injected", "service", "fault", "found", "alarm", "among three strangest minutes", "why not"]
    keep("detection_nezha", figures, columns, [*rows, ["", "", "found", total, "", alone, ""]])


def _found(days: Mapping[str, Day], faults: Sequence[Mapping[str, str]], alarms: Any) -> list[int | None]:
    """Return for each fault the number of the alarm that found it; None where none did."""
    raised = {service: alarms(day) for service, day in days.items()}
    found = []
    for fault in faults:
        first, mine = _minute(fault), raised[fault["inject_pod"]]
        found.append(next((mine[m] for m in range(first, first + FAULT_MINUTES + 1) if m in mine), None))
    return found


def _minute(fault: Mapping[str, str]) -> int:
    return int(datetime.fromisoformat(fault["inject_time"]).replace(tzinfo=UTC).timestamp() // _MINUTE)


def read(data: Path) -> tuple[dict[str, list[Line]], list[dict[str, str]]]:
    """Return each service's lines in order, and the faults."""
    seen: set[tuple[int, str, str]] = set()
    faults: list[dict[str, str]] = []
    with (data / FILE).open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        for name, content in _members(stream):
            if name.endswith("fault_list.json"):
                faults = [fault for hour in json.loads(content).values() for fault in hour]
            elif name.endswith("_log.csv"):
                for row in csv.DictReader(io.StringIO(content)):
                    seen.add((int(row["TimeUnixNano"]), row["PodName"], row["Log"]))
    lines = defaultdict(list)
    for nanoseconds, service, log in sorted(seen):
        # One record carries a collector's empty time, in 1754.
        if nanoseconds < 0:
            continue
        # A few records are two documents run together: the first is the line.
        text = json.JSONDecoder().raw_decode(log)[0]["log"] if log.startswith("{") else log
        request = _REQUEST.search(text)
        short = _REQUEST.sub("", _PREFIX.sub("", text, count=1))
        lines[service].append(Line(nanoseconds / 1e9, request[1] if request else "", short))
    return lines, faults


def _members(stream: object) -> Iterator[tuple[str, str]]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                yield member.name, content.read().decode()


def judge(lines: Sequence[Line]) -> Day:
    """Judge one service's minutes, each by what the others hold that lie more than an hour away."""
    shapes = [tuple(words(line.text.split("\n", 1)[0], None)) for line in lines]
    vocabulary = learn_vocabulary([(shape, "") for shape in shapes])
    token = {shape: vocabulary.token(shape) for shape in set(shapes)}
    requests: dict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)
    for line, shape in zip(lines, shapes, strict=True):
        # Lines of no request stand by themselves.
        key = (line.request, 0) if line.request else ("", int(line.seconds // _MINUTE))
        requests[key].append((line.seconds, token[shape]))
    begun: dict[int, list[_Request]] = defaultdict(list)
    for steps in requests.values():
        begun[int(steps[0][0] // _MINUTE)].append(_Request.of(steps, len(vocabulary)))
    minutes = np.array(sorted(begun))
    windows = [begun[minute] for minute in minutes]
    # Recorded are stretches of a few minutes, hours apart or some minutes: each is left out as a whole.
    stretch = np.concatenate([[0], np.cumsum(np.diff(minutes) > FAULT_MINUTES)])
    judged: list[Judged] = []
    for number in np.unique(stretch):
        mine = np.flatnonzero(stretch == number)
        near = (minutes >= minutes[mine[0]] - APART) & (minutes <= minutes[mine[-1]] + APART)
        rest = np.flatnonzero(~near)
        if len(rest) < MIN_MINUTES:
            raise ValueError(f"only {len(rest)} minutes lie further than {APART} minutes from a stretch of log")
        part = np.arange(len(rest)) * PARTS // len(rest)
        known = [
            window
            for one in range(PARTS)
            for window in _observed([windows[i] for i in rest[part == one]], [windows[i] for i in rest[part != one]])
        ]
        detector = Detector.fit(known)
        read_by_rest = _observed([windows[i] for i in mine], [windows[i] for i in rest])
        judged += [detector.judge(window) for window in read_by_rest]
    return Day(minutes.tolist(), judged)


@dataclass(frozen=True)
class _Request:
    """One request's lines: tokens with an end, the token before each, and the seconds since."""

    tokens: tuple[int, ...]
    before: tuple[int, ...]
    gaps: tuple[float, ...]

    @classmethod
    def of(cls, steps: Sequence[tuple[float, int]], end: int) -> _Request:
        seconds, tokens = zip(*steps, strict=True)
        gaps = (0.0, *np.diff(seconds).tolist(), 0.0)
        return cls((*tokens, end), (PADDING, *tokens), gaps)


def _observed(windows: Sequence[Sequence[_Request]], learnt: Sequence[Sequence[_Request]]) -> list[Observed]:
    model = NGrams([request.tokens for window in learnt for request in window])
    found = []
    for window in windows:
        tokens = tuple(token for request in window for token in request.tokens)
        found.append(
            Observed(
                tokens,
                tuple((token, "") for token in tokens),
                np.array([nats for request in window for nats in model.surprisal(request.tokens)]),
                tuple(token for request in window for token in request.before),
                np.array([gap for request in window for gap in request.gaps]),
            )
        )
    return found
