"""Windows, scores and incidents are a function of the bundle and the source's own lines, and of nothing else."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingestion import Record, WindowSpec
from service.alarms.budget import Budget
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.packing import unpack
from service.pipeline import Produced, SourcePipeline, score, take
from service.store import Batch, SourceRow, Store

POLICY = AlarmPolicy(Budget(20, stated=True))
LINES = 3000
KINDS = [
    "64",
    "1h,late=10m,max=100",
    r"session:\|(\w+),idle=30m,max=200",
    r"session:\|\w+\|(\w+),idle=1d,max=100,open=20,late=5m",
]


def records(lines: Sequence[bytes], source: str = "mazak01") -> list[Record]:
    return [Record(source, "file:x", n, n + 1, line, None) for n, line in enumerate(lines)]


def versions(store: Store) -> dict[str, int]:
    """What a lone worker knows of how often its source was stored."""
    row = store.load_source("mazak01")
    return {} if row is None else {"mazak01": row.version}


def shuffled(lines: Sequence[bytes]) -> list[bytes]:
    """Out of order by a few places, as lines of several processes of one machine are."""
    draw = random.Random(0)
    return [line for _, line in sorted((n + draw.uniform(0, 6), line) for n, line in enumerate(lines))]


@pytest.fixture(scope="module", params=KINDS)
def windowed(bundle: Bundle, request: pytest.FixtureRequest) -> Bundle:
    return replace(bundle, window=WindowSpec.parse(request.param))


@pytest.fixture(scope="module")
def lines(machine_lines: list[bytes]) -> list[bytes]:
    return shuffled(machine_lines[:LINES])


class OneSource:
    """A pipeline with its scorer."""

    def __init__(self, bundle: Bundle, row: SourceRow | None = None) -> None:
        self.scorer = bundle.scorer()
        self.pipeline = SourcePipeline("mazak01", bundle, self.scorer, POLICY, row)

    def feed(self, lines: Sequence[Record], *, now: bool = False) -> Produced:
        self.pipeline.feed(lines)
        score(self.scorer, [self.pipeline], now=now)
        return take(self.scorer, [self.pipeline])[0]


@pytest.fixture(scope="module")
def whole(windowed: Bundle, lines: list[bytes]) -> tuple[Produced, list[dict[str, Any]]]:
    """What comes of all lines at once, and the windows left open."""
    source = OneSource(windowed)
    produced = source.feed(records(lines), now=True)
    assert len(produced.windows) > 10
    return produced, source.pipeline.provisional().provisional


def batches(lines: Sequence[Record], draw: random.Random) -> Iterator[list[Record]]:
    rest = iter(lines)
    while batch := list(itertools.islice(rest, draw.choice((1, 3, 100, 300)))):
        yield batch


def by_id(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in rows}


def test_how_records_were_cut_and_when_they_were_scored_changes_nothing(
    windowed: Bundle, lines: list[bytes], whole: tuple[Produced, list[dict[str, Any]]]
) -> None:
    cut, draw = OneSource(windowed), random.Random(1)
    windows: list[dict[str, Any]] = []
    for batch in batches(records(lines), draw):
        now = draw.random() < 0.3
        windows += cut.feed(batch, now=now).windows
        if now:
            cut.pipeline.provisional()
    windows += cut.feed([], now=True).windows
    assert windows == whole[0].windows
    open_windows = {row["id"] for row in whole[1]}
    assert {row["id"] for row in cut.pipeline.provisional().provisional} <= open_windows


def test_sources_beside_it_change_nothing(
    windowed: Bundle, lines: list[bytes], whole: tuple[Produced, list[dict[str, Any]]]
) -> None:
    scorer, draw = windowed.scorer(), random.Random(2)
    names = ["mazak01", "other", "third"]
    pipelines = {name: SourcePipeline(name, windowed, scorer, POLICY, None) for name in names}
    feeds = {name: batches(records(lines, name), draw) for name in names}
    windows: list[dict[str, Any]] = []
    while feeds:
        for name in list(feeds):
            batch = next(feeds[name], None)
            if batch is None:
                del feeds[name]
            elif draw.random() < 0.8:
                pipelines[name].feed(batch)
            else:
                feeds[name] = itertools.chain([batch], feeds[name])
        score(scorer, pipelines.values(), now=not feeds)
        windows += take(scorer, pipelines.values())[0].windows
    assert windows == whole[0].windows


def test_a_restart_at_any_checkpoint_changes_nothing(
    windowed: Bundle, lines: list[bytes], whole: tuple[Produced, list[dict[str, Any]]], tmp_path: Path
) -> None:
    store, draw = Store(tmp_path / "a.sqlite"), random.Random(3)
    incidents: dict[str, dict[str, Any]] = {}
    for batch in batches(records(lines), draw):
        current = OneSource(windowed, store.load_source("mazak01"))
        for part in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            produced = current.feed(part, now=draw.random() < 0.3)
            stored = current.pipeline.checkpoint()
            store.commit(
                Batch(
                    sources=[stored],
                    versions=versions(store),
                    windows=produced.windows,
                    incidents=produced.incidents,
                )
            )
            incidents |= by_id(produced.incidents)
            if draw.random() < 0.2:
                # A batch that is never stored: the process dies.
                current.feed(records([b"2016-12-28T00:00:00Z|never|stored"] * 40), now=True)
                current = OneSource(windowed, store.load_source("mazak01"))
    last = OneSource(windowed, store.load_source("mazak01"))
    produced = last.feed([], now=True)
    store.commit(Batch(windows=produced.windows))
    rows = sorted(store.find_windows(limit=-1), key=lambda row: row["index"])
    found = {row["id"]: store.window(row["id"]) for row in rows}
    assert found == by_id(whole[0].windows)
    assert incidents | by_id(produced.incidents) == by_id(whole[0].incidents)
    assert by_id(last.pipeline.provisional().provisional) == by_id(whole[1])
    store.close()


def test_a_window_holds_the_events_it_should(
    windowed: Bundle, lines: list[bytes], whole: tuple[Produced, list[dict[str, Any]]]
) -> None:
    shown = []
    for row in [*whole[0].windows, *whole[1]]:
        record = unpack(row["record"])
        assert len(record["lines"]) == len(record["surprisal"]) == row["events"]
        for position, time, text, *_ in record["lines"]:
            assert text.encode() == lines[position]
            assert row["start"] <= time <= row["end"]
            if row["key"] is not None:
                assert f"|{row['key']}" in text
        shown += [line[0] for line in record["lines"]]
        assert row["status"] in {"final", "provisional"}
        assert not (row["status"] == "provisional" and (row["anomalous"] or row["incident"]))
    assert sorted(shown) == list(range(len(lines)))


def test_surprisal_is_that_of_the_whole_stream_whichever_windows_cut_it(
    bundle: Bundle, windowed: Bundle, lines: list[bytes], whole: tuple[Produced, list[dict[str, Any]]]
) -> None:
    plain = OneSource(replace(bundle, window=WindowSpec(events=50)))

    def surprisals(rows: Sequence[dict[str, Any]]) -> dict[int, float]:
        unpacked = [unpack(row["record"]) for row in rows]
        return {
            line[0]: nats
            for record in unpacked
            for line, nats in zip(record["lines"], record["surprisal"], strict=True)
        }

    windows = plain.feed(records(lines), now=True).windows
    expected = surprisals([*windows, *plain.pipeline.provisional().provisional])
    assert surprisals([*whole[0].windows, *whole[1]]) == expected


def test_a_checkpoint_writes_what_came_not_what_waits(bundle: Bundle, lines: list[bytes]) -> None:
    """A window open for a shift costs no more a batch than one open for a second."""
    source = OneSource(replace(bundle, window=WindowSpec(events=4000)))
    sizes, chunks = [], set[int]()
    for at in range(0, LINES, 50):
        source.feed(records(lines)[at : at + 50])
        row = source.pipeline.checkpoint()
        assert all(events is not None for events in row.chunks.values())
        chunks |= row.chunks.keys()
        sizes.append(sum(len(events or b"") for events in row.chunks.values()))
    assert len(chunks) == len([size for size in sizes if size])
    assert max(sizes[-20:]) < 3 * max(sizes[:20])


def test_dropped_windows_leave_no_chunk_behind(windowed: Bundle, lines: list[bytes]) -> None:
    source = OneSource(windowed)
    stored: dict[int, bytes] = {}
    for at in range(0, LINES, 50):
        source.feed(records(lines)[at : at + 50])
        for number, events in source.pipeline.checkpoint().chunks.items():
            if events is None:
                stored.pop(number)
            else:
                stored[number] = events
    waiting = source.pipeline.summary()["open_events"]
    packed = sum(len(events) for events in stored.values())
    assert packed <= 400 * (3 * waiting + 1024 + 50)
    assert len(stored) <= waiting


def test_another_bundle_begins_anew_and_drops_what_the_old_one_kept(
    bundle: Bundle, lines: list[bytes], tmp_path: Path
) -> None:
    store = Store(tmp_path / "a.sqlite")
    old = OneSource(replace(bundle, window=WindowSpec(events=4000), id="b-old"))
    old.feed(records(lines[:500]), now=True)
    store.commit(Batch(sources=[old.pipeline.checkpoint()]))
    before = store.load_source("mazak01")
    assert before is not None
    assert before.chunks
    new = OneSource(bundle, before)
    assert new.pipeline.summary()["lines"]["consumed"] == 500
    new.feed(records(lines[500:600]), now=True)
    store.commit(Batch(sources=[new.pipeline.checkpoint()], versions=versions(store)))
    after = store.load_source("mazak01")
    assert after is not None
    assert len(after.chunks) == 1
    assert new.pipeline.summary()["open_events"] == 100 % bundle.window.events
    store.close()
