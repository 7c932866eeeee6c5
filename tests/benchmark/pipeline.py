"""Lines per CPU-second from records in memory to judged windows in a database, and where the time goes.

    python -m tests.benchmark.pipeline [--lines N]

The lines are the later part of the bundled sample, written by one source or by fifty, each its own stretch of it, in
batches as an input hands them over. `together` is how the worker does it: a batch's events are scored side by side, in
whole blocks. `one by one` is the naive form: every source by itself, and every window at the moment it is complete.
Both give the same windows, bit for bit, which is checked. `sessions` are windows by the first field of a line.

Alarms cost more than other windows: `alarms` is their share. In `50 sources, flood` the sources share out the lines one
by one, and every window of theirs is an alarm. One thread; CPU seconds of the process, the best of several
rounds, forms in turn within a round.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ingestion import Record, WindowSpec
from model import TrainingOptions
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle, load_bundle, save_bundle
from service.pipeline import SourcePipeline, score, take
from service.process import settle
from service.sample import good_sample, later_lines
from service.store import Batch, Store
from service.training import train_bundle
from tests.benchmark.report import keep

ROUNDS = 3
BATCH = 4096
GOOD_LINES = 12_000
FORMS = ("together", "one by one")
STAGES = ("parse and window", "score", "collect", "judge", "checkpoint", "store")


class Stopwatch:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._last = time.process_time()

    def lap(self, stage: str) -> None:
        """Book the time since the last lap."""
        now = time.process_time()
        self.seconds[stage] += now - self._last
        self._last = now


def trained(directory: Path, window: str | None) -> Bundle:
    """Return a bundle with this kind of windows."""
    good = good_sample()
    good = replace(
        good,
        records=itertools.islice(good.records, GOOD_LINES),
        window=WindowSpec.parse(window) if window else None,
        training=TrainingOptions(max_steps=300),
    )
    save_bundle(train_bundle(good, lambda *_: None), directory)
    return load_bundle(directory)


def dealt(lines: int, sources: int, *, flood: bool) -> list[list[Record]]:
    """Return batches of records of sources that write in turn: each a stretch of its own or, in a flood, every line."""
    later = list(later_lines())
    apart = 1 if flood else len(later) // sources
    step = sources if flood else 1
    records = (
        Record(
            f"machine-{number}",
            "file:x",
            n * sources + number,
            n * sources + number + 1,
            later[(number * apart + n * step) % len(later)],
            None,
        )
        for n in range(lines // sources)
        for number in range(sources)
    )
    return list(iter(lambda: list(itertools.islice(records, BATCH)), []))


def run(
    bundle: Bundle, batches: Sequence[Sequence[Record]], form: str, store: Store
) -> tuple[Stopwatch, set[tuple[str, float, float, bool]]]:
    """Take records through to the store; return the time and the scores."""
    scorer, pipelines = bundle.scorer(), dict[str, SourcePipeline]()
    watch, versions = Stopwatch(), Counter[str]()
    found: set[tuple[str, float, float, bool]] = set()
    for batch in batches:
        by_source: dict[str, list[Record]] = {}
        for record in batch:
            by_source.setdefault(record.source, []).append(record)
        for source in by_source:
            if source not in pipelines:
                pipelines[source] = SourcePipeline(source, bundle, scorer, AlarmPolicy(), None)
        touched = [pipelines[source] for source in by_source]
        stored = Batch(
            positions={"file:x": batch[-1].next_position},
            positions_before={"file:x": batch[0].position or None},
            versions={source: versions[source] for source in by_source},
        )
        if form == "together":
            for source, records in by_source.items():
                pipelines[source].feed(records)
            watch.lap("parse and window")
            due = [(pipeline, events) for pipeline in touched if (events := pipeline.due(now=False)) is not None]
            explained = scorer.explain([events for _, events in due])
            watch.lap("score")
            for (pipeline, _), said in zip(due, explained, strict=True):
                pipeline.scored(said)
            watch.lap("collect")
            made = take(scorer, touched)
            watch.lap("judge")
        else:
            made = []
            for source, records in by_source.items():
                for record in records:
                    pipelines[source].feed([record])
                    if pipelines[source].is_waiting:
                        score(scorer, [pipelines[source]], now=True)
                        made += take(scorer, [pipelines[source]])
            watch.lap("score")
        for produced in made:
            stored.windows += produced.windows
            stored.incidents += produced.incidents
        stored.sources = [pipeline.checkpoint() for pipeline in touched]
        watch.lap("checkpoint")
        store.commit(stored)
        versions.update(by_source.keys())
        watch.lap("store")
        found |= {(row["id"], row["score"], row["strength"], row["anomalous"]) for row in stored.windows}
    return watch, found


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description="Lines per CPU-second from records to judged windows.")
    parser.add_argument("--lines", type=int, default=40_960)
    options = parser.parse_args()
    settle()
    torch.set_num_threads(1)
    rows, figures = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, window, sources, flood in (
            ("1 source", None, 1, False),
            ("50 sources", None, 50, False),
            ("50 sources, flood", None, 50, True),
            ("1 source, sessions", r"session:\|(\w+),idle=10m,max=64", 1, False),
        ):
            bundle = trained(Path(scratch, name), window)
            batches = dealt(options.lines, sources, flood=flood)
            lines = sum(map(len, batches))
            best: dict[str, Stopwatch] = {}
            for number in range(ROUNDS):
                found = {}
                for form in FORMS:
                    store = Store(Path(scratch, f"{name}-{form}-{number}.sqlite"))
                    watch, found[form] = run(bundle, batches, form, store)
                    store.close()
                    if form not in best or watch.seconds.total() < best[form].seconds.total():
                        best[form] = watch
                # What waits for its block at the end is judged in one form and not yet in the other.
                assert found["together"] <= found["one by one"], "the forms disagree"
            speeds = {form: lines / watch.seconds.total() for form, watch in best.items()}
            micros = {stage: best["together"].seconds[stage] / lines * 1e6 for stage in STAGES}
            alarms = sum(row[-1] for row in found["together"]) / len(found["together"])
            figures[name] = {"alarms": alarms, "lines_per_cpu_second": speeds, "microseconds_per_line": micros}
            rows.append(
                [
                    name,
                    f"{alarms:.0%}",
                    *(f"{speeds[form]:,.0f}" for form in FORMS),
                    f"{speeds['together'] / speeds['one by one']:.2f}",
                    *(f"{micros[stage]:.1f}" for stage in STAGES),
                ]
            )
    columns = [
        "",
        "alarms",
        *(f"{form}, lines/CPU-s" for form in FORMS),
        "ratio",
        *(f"{stage}, µs" for stage in STAGES),
    ]
    keep("pipeline", {"lines": options.lines, "batch": BATCH, "figures": figures}, columns, rows)


if __name__ == "__main__":
    main()
