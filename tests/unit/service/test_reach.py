"""What the known-good lines are not enough for is said of every source, with the way out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ingestion import Record
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.detection.ranges import KnownRanges
from service.detection.silence import KnownGaps
from service.pages.views import render_home
from service.reach import not_judged
from service.store import Store
from service.whole_files import score_records


def test_a_bundle_that_saw_times_judges_silence(bundle: Bundle) -> None:
    assert "silence" not in not_judged(bundle)


def test_what_a_bundle_cannot_judge_is_shown_of_its_sources(
    bundle: Bundle, machine_lines: list[bytes], tmp_path: Path
) -> None:
    detector = bundle.detector
    memory = replace(detector.memory, gaps=KnownGaps.fit([], []), ranges=KnownRanges({}))
    poor = replace(bundle, detector=replace(detector, memory=memory))
    store = Store(tmp_path / "a.sqlite")
    records = (Record("press", "file:x", n, n + 1, line, None) for n, line in enumerate(machine_lines[:200]))
    score_records(poor, store, records, AlarmPolicy(), lambda _: None)
    (source,) = store.source_summaries()
    assert set(source["not_judged"]) == {"silence", "parameter-out-of-range"}
    assert "time that the format reads" in source["not_judged"]["silence"]
    assert "not judged: waits longer than usual, a number outside its range" in render_home([source], [], [], "1")
    store.close()
