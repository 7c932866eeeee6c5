"""The next alarm of packaging machines, and faults injected into services, inside a budget of alarms.

    LOGVQ_DATA=… python -m tests.benchmark.detection.alarms [alpi] [nezha]

`alpi` gives nats an alarm in the later windows of machines, learnt from the earlier ones. The windows of this data set
overlap: each is read from its own start, and nothing is learnt from the later ones, which would only be read again.
`nezha` takes one day of services as it comes, faults left in: minutes of a service are measured by what its other
eighths of the day hold, and the three strangest of a service, three minutes apart, are its alarms. A fault counts as
found only by an alarm of the service it was injected into, within three minutes.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import zstandard

from ingestion import learn_vocabulary, words
from service.detection.detector import Detector, Observed
from service.detection.ngrams import NGrams, learn_weights
from service.detection.novelty import PARTS
from tests.benchmark.markov import Markov
from tests.benchmark.report import keep
from tests.benchmark.tasks.examples import data_directory

ALPI = "alpi_packaging/all_alarms.npz"
NEZHA = "nezha_0129/nezha_2023-01-29.tar.zst"
MARKOV_ORDERS = (5, 2)
ALARMS = 3
FAULT_MINUTES = 3
MIN_MINUTES = 20
_PREFIX = re.compile(r"^\S+ +")
_TRACE = re.compile(r"TraceID: (\S+) SpanID: \S+ ")


def alpi(data: Path) -> None:
    """Compare surprisal of the next alarm."""
    with np.load(data / ALPI) as arrays:
        learnt, later = (
            [[int(alarm) for alarm in row if alarm] for row in arrays[f"x_{part}"]] for part in ("train", "test")
        )
    vocabulary = 1 + len({alarm for window in (*learnt, *later) for alarm in window})
    models: dict[str, Callable[[list[int]], Iterable[float]]] = {}
    for order in MARKOV_ORDERS:
        models[f"markov-{order}"] = _from_start(order, learnt, vocabulary)
    models["n-grams"] = NGrams(learnt).surprisal
    models["n-grams, weighted"] = NGrams(learnt, learn_weights(learnt, within=True)).surprisal
    count = sum(map(len, later))
    nats = {name: sum(sum(surprisal(window)) for window in later) / count for name, surprisal in models.items()}
    rows = [[name, f"{each:.4f}", f"{each / nats['markov-5'] - 1:+.1%}"] for name, each in nats.items()]
    keep("detection_alpi", {"alarms": count, "nats": nats}, ["model", "nats an alarm", "against markov-5"], rows)


def _from_start(order: int, windows: list[list[int]], vocabulary: int) -> Callable[[list[int]], Iterable[float]]:
    """Return the surprisal of a window read from its start; windows are laid end to end with starts between."""
    start = [-1] * order
    model = Markov(order, [alarm for window in windows for alarm in (*start, *window)], vocabulary)
    model.past = list(start)
    return model.surprisal


def nezha(data: Path) -> None:
    """Count the injected faults that are among each service's alarms."""
    lines, faults = _nezha(data)
    alarms = {service: _strangest(services) for service, services in lines.items()}
    rows = []
    for fault in faults:
        minute = int(datetime.fromisoformat(fault["inject_time"]).replace(tzinfo=UTC).timestamp() // 60)
        found = any(minute <= alarm <= minute + FAULT_MINUTES for alarm in alarms.get(fault["inject_pod"], []))
        rows.append([fault["inject_time"], fault["inject_pod"], fault["inject_type"], found])
    total = sum(bool(row[-1]) for row in rows)
    figures = {"found": total, "faults": len(rows), "alarms": sum(map(len, alarms.values())), "rows": rows}
    keep("detection_nezha", figures, ["injected", "service", "fault", "found"], [*rows, ["", "", "found", total]])


def _nezha(data: Path) -> tuple[dict[str, list[tuple[int, str, str]]], list[dict[str, str]]]:
    """Return each service's lines, as minute, trace and text, and the faults."""
    seen: set[tuple[str, str, str]] = set()
    faults: list[dict[str, str]] = []
    with (data / NEZHA).open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        for name, content in _members(stream):
            if name.endswith("fault_list.json"):
                faults = [fault for hour in json.loads(content).values() for fault in hour]
            elif name.endswith("_log.csv"):
                for row in csv.DictReader(io.StringIO(content)):
                    seen.add((row["TimeUnixNano"], row["PodName"], row["Log"]))
    lines = defaultdict(list)
    for nanoseconds, service, log in sorted(seen):
        # A few records are two documents run together: the first is the line.
        text = json.JSONDecoder().raw_decode(log)[0]["log"] if log.startswith("{") else log
        trace = _TRACE.search(text)
        short = _TRACE.sub("", _PREFIX.sub("", text, count=1))
        lines[service].append((int(nanoseconds) // 60_000_000_000, trace[1] if trace else "", short))
    return lines, faults


def _members(stream: object) -> Iterator[tuple[str, str]]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                yield member.name, content.read().decode()


def _strangest(lines: list[tuple[int, str, str]]) -> list[int]:
    """Return the minutes of one service's alarms."""
    shapes = [tuple(words(text.split("\n", 1)[0], None)) for _, _, text in lines]
    vocabulary = learn_vocabulary([(shape, "") for shape in shapes])
    token = {shape: vocabulary.token(shape) for shape in set(shapes)}
    traces: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for (minute, trace, _), shape in zip(lines, shapes, strict=True):
        traces[minute][trace].append(token[shape])
    minutes = sorted(traces)
    if len(minutes) < MIN_MINUTES:
        return []
    end = len(vocabulary)
    sessions = [[(*trace, end) for trace in traces[minute].values()] for minute in minutes]
    part = np.arange(len(minutes)) * PARTS // len(minutes)
    observed: list[Observed] = []
    for number in range(PARTS):
        model = NGrams([trace for index in np.flatnonzero(part != number) for trace in sessions[index]])
        for index in np.flatnonzero(part == number):
            tokens = tuple(t for trace in sessions[index] for t in trace)
            nats = np.array([n for trace in sessions[index] for n in model.surprisal(trace)])
            observed.append(Observed(tokens, tuple((t, "") for t in tokens), nats))
    strength = np.zeros(len(minutes))
    for number in range(PARTS):
        detector = Detector.fit([observed[index] for index in np.flatnonzero(part != number)])
        for index in np.flatnonzero(part == number):
            strength[index] = detector.judge(observed[index]).strength
    chosen: list[int] = []
    for index in np.argsort(-strength, kind="stable"):
        if len(chosen) < ALARMS and all(abs(minutes[index] - minute) > FAULT_MINUTES for minute in chosen):
            chosen.append(minutes[index])
    return chosen


def main() -> None:
    """Run what the command line names, or both."""
    for name in sys.argv[1:] or ("alpi", "nezha"):
        {"alpi": alpi, "nezha": nezha}[name](data_directory())


if __name__ == "__main__":
    main()
