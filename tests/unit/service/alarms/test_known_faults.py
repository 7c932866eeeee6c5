"""Lines of a confirmed fault's time are not learned from, however their time is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import Event, Record, SourceFormat, SourceParser, Vocabulary
from service.alarms.confirmed import Pattern
from service.cli import main
from service.errors import BadFeedback
from service.feedback_store import FeedbackStore, Said
from service.known_faults import FaultyWindow, faulty_windows, spans_of, without_faults
from service.packing import pack
from service.store import Batch, Store

FORMAT = SourceFormat(time_pattern="iso", zone="UTC")
JSON: dict[str, Any] = {"envelope": {"kind": "json", "message": ["msg"], "time": "ts"}}
CSV: dict[str, Any] = {"envelope": {"kind": "delimited", "columns": ["msg", "ts"], "message": ["msg"], "time": "ts"}}
LONG = "x" * 200
# 2026-01-05 00:00:00 UTC.
DAY = 1_767_571_200
FAULT = (DAY + 4.0, DAY + 6.0)


def record(number: int, text: str, encoding: str = "utf-8") -> Record:
    return Record("s", "file:x", number, number + 1, text.encode(encoding), None)


def at(second: int) -> str:
    return f"1970-01-01T00:{second // 60:02}:{second % 60:02}Z line"


def clock(second: int) -> str:
    return datetime.fromtimestamp(DAY + second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def left(records: Iterable[Record], faults: Sequence[tuple[float, float]], source_format: SourceFormat) -> list[int]:
    return [item.position for item in without_faults(records, faults, source_format)]


def test_lines_without_a_time_go_with_the_line_before() -> None:
    lines = [record(0, at(1)), record(1, at(5)), record(2, "  more of it"), record(3, at(9))]
    assert left(lines, [(4, 6)], FORMAT) == [0, 3]


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=6))
def test_what_is_left_out_is_what_any_fault_holds(faults: list[tuple[int, int]]) -> None:
    ranges = [(float(start), float(start + length)) for start, length in faults]
    found = set(left([record(n, at(n)) for n in range(400)], ranges, FORMAT))
    assert found == {n for n in range(400) if not any(start <= n <= end for start, end in ranges)}


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (JSON | {"time": "iso"}, lambda n: json.dumps({"msg": LONG, "ts": clock(n)})),
        (JSON | {"time": "epoch"}, lambda n: json.dumps({"ts": DAY + n, "msg": "door open"})),
        (JSON | {"time": "iso"}, lambda n: json.dumps({"msg": f"next service {clock(5)}", "ts": clock(n)})),
        (JSON | {"time": "iso", "zone": "Asia/Tokyo"}, lambda n: json.dumps({"msg": "a", "ts": clock(n + 9 * 3600)})),
        (CSV | {"time": "iso"}, lambda n: f'"{LONG}, {clock(5)}",{clock(n)}'),
        ({"time": "era", "encoding": "cp932"}, lambda n: f"令和8年1月5日 0時00分{n:02}秒 プレス"),
        ({"time": "month-day", "year": 2026}, lambda n: f"01/05 00:00:{n:02} door open"),
        ({"time": "iso", "envelope": {"kind": "shdr"}}, lambda n: f"{clock(n)}Z|execution|READY|door|OPEN"),
    ],
    ids=["beyond column 96", "epoch", "another time first", "zone", "rows", "encoding", "year", "pairs"],
)
def test_a_line_is_left_out_by_the_time_of_its_event(values: dict[str, Any], line: Any) -> None:
    source_format = SourceFormat.from_dict(values)
    lines = [record(n, line(n), source_format.encoding) for n in range(10)]
    assert left(lines, [FAULT], source_format) == [0, 1, 2, 3, 7, 8, 9]


def test_a_record_that_packs_events_is_left_out_where_one_of_them_is_of_a_fault() -> None:
    def packed(*seconds: int) -> str:
        messages = [f"<34>1 {clock(second)}Z host app - - - door open" for second in seconds]
        return "".join(f"{len(message)} {message}" for message in messages)

    lines = [packed(1, 2), packed(2, 5, 9), packed(10, 11)]
    source_format = SourceFormat.from_dict({"time": "iso", "envelope": {"kind": "syslog"}})
    assert left([record(n, line) for n, line in enumerate(lines)], [FAULT], source_format) == [0, 2]


KINDS = {"timed": "{} pump failed", "more": "  at pump.c:5", "blank": "", "report": "  since {}", "time": "{}"}


@given(
    st.lists(st.sampled_from(list(KINDS)), max_size=40),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=3),
    st.sampled_from([{"start": "line"}, {"start": "time"}, {"start": "unless", "pattern": "^ "}]),
)
def test_what_is_left_makes_the_events_that_are_of_no_fault(
    kinds: list[str], spans: list[tuple[int, int]], framing: dict[str, Any]
) -> None:
    source_format = SourceFormat.from_dict({"time": "iso", "framing": framing})
    lines = [record(n, KINDS[kind].format(clock(n))) for n, kind in enumerate(kinds)]
    faults = [(float(DAY + start), float(DAY + start + length)) for start, length in spans]

    def of_no_fault(events: Iterable[Event]) -> Iterator[Event]:
        faulty = False
        for event in events:
            if event.time is not None:
                faulty = any(start <= event.time <= end for start, end in faults)
            if not faulty:
                yield event

    assert events_of(without_faults(lines, faults, source_format), source_format) == list(
        of_no_fault(events_of(lines, source_format))
    )


def events_of(records: Iterable[Record], source_format: SourceFormat) -> list[Event]:
    parser = SourceParser(source_format, Vocabulary([]))
    made = [item for given in records for item in parser.feed(given)] + parser.flush()
    return [item for item in made if isinstance(item, Event)]


def window(index: int, start: float | None, bundle: str = "b", incident: str | None = None) -> dict[str, Any]:
    return {
        "id": f"w-{bundle}{index}", "source": "press07", "index": index, "key": None, "sequence": float(index),
        "bundle": bundle, "status": "final", "start": start, "end": start and start + 2, "stream": "x",
        "first_position": 0, "next_position": 1, "events": 3, "score": 2.0, "strength": 4.0, "threshold": 3.0,
        "anomalous": True, "incident": incident, "sentence": "", "record": None, "decided_by": None, "rules": None,
        "pattern": pack(Pattern.of(["pump failed"], [0]).to_dict()),
    }  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "logvq.sqlite")
    yield opened
    opened.close()


def say(store: Store, about: str, verdict: str = "real") -> dict[str, Any]:
    return FeedbackStore(store).say(about, Said(verdict=verdict, who="Sato", reason="seen it"))


def test_a_fault_of_one_bundle_is_none_of_another_bundles_windows(store: Store) -> None:
    store.commit(Batch(windows=[window(0, 10.0, "a"), window(0, 50.0, "b"), window(1, 90.0, "b")]))
    for about in ("w-a0", "w-b1"):
        say(store, about)
    say(store, "w-b0", "false-alarm")
    assert FeedbackStore(store).faults("press07") == [(10.0, 12.0), (90.0, 92.0)]
    say(store, "w-a0", "false-alarm")
    assert FeedbackStore(store).faults("press07") == [(90.0, 92.0)]


def timeless(index: int, texts: Sequence[str], key: str | None = None) -> dict[str, Any]:
    record = {"lines": [[n, None, text, 0] for n, text in enumerate(texts)]}
    return window(index, None) | {"record": pack(record), "key": key}


def untimed(store: Store, *windows: dict[str, Any]) -> list[FaultyWindow]:
    store.commit(Batch(windows=list(windows)))
    for row in windows:
        say(store, row["id"])
    return faulty_windows(store, FeedbackStore(store).timeless_faults("press07"))


NO_TIME = SourceFormat(time_pattern=None)


def test_lines_of_a_fault_without_a_time_are_left_out_where_they_come_in_a_row(store: Store) -> None:
    faults = untimed(store, timeless(0, ["door open", "pump failed", "door shut"]), timeless(1, ["never", "seen"]))
    texts = ["door open", "pump ok", "door shut", "door open", "pump failed", "door shut", "pump failed", "door shut"]
    lines = [record(10 * n, text) for n, text in enumerate([*texts, *texts])]
    spans, lacking = spans_of(lines, faults, NO_TIME)
    kept = [item.position // 10 for item in without_faults(lines, [], NO_TIME, spans)]
    assert kept == [0, 1, 2, 6, 7, 8, 9, 10, 14, 15]
    assert lacking == ["w-b1"]


def test_lines_of_a_session_without_a_time_are_left_out_wherever_they_are(store: Store) -> None:
    faults = untimed(store, timeless(0, ["open blk_1", "failed blk_1"], key="blk_1"))
    lines = [record(n, text) for n, text in enumerate(["open blk_1", "open blk_2", "failed blk_1", "failed blk_2"])]
    spans, lacking = spans_of(lines, faults, NO_TIME)
    assert [item.position for item in without_faults(lines, [], NO_TIME, spans)] == [1, 3]
    assert lacking == []


def test_an_event_of_several_lines_without_a_time_is_left_out_whole(store: Store) -> None:
    faults = untimed(store, timeless(0, ["! door open", "! pump failed\n  at pump.c:5"]))
    source_format = SourceFormat.from_dict({"framing": {"start": "unless", "pattern": "^ "}})
    lines = [
        record(n, text) for n, text in enumerate(["! ok", "! door open", "! pump failed", "  at pump.c:5", "! ok"])
    ]
    spans, _ = spans_of(lines, faults, source_format)
    assert [item.position for item in without_faults(lines, [], source_format, spans)] == [0, 4]


def test_a_fault_with_neither_time_nor_lines_is_refused_with_what_to_do(store: Store) -> None:
    with pytest.raises(BadFeedback, match=r"w-b1 .* no longer stored.*out of the file.*without --feedback"):
        untimed(store, window(0, 10.0), window(1, None))


@pytest.fixture
def trained(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Give the command a file of 50 events, which is too few to train on: they are read and counted all the same."""

    def train(*options: str, first: int = 0) -> str:
        log = tmp_path / "press07.log"
        log.write_text("".join(json.dumps({"msg": f"door {LONG}", "ts": DAY + first + n}) + "\n" for n in range(50)))
        config = tmp_path / "logvq.toml"
        config.write_text(
            '[file."press07.log"]\ntime = "epoch"\n'
            '[file."press07.log".envelope]\nkind = "json"\nmessage = ["msg"]\ntime = "ts"\n'
        )
        given = ["--config", str(config), "--feedback", str(tmp_path / "logvq.sqlite"), "--out", str(tmp_path / "b")]
        assert main(["train", str(log), *given, *options]) == 2
        return " ".join(capsys.readouterr().err.split())

    return train


def test_training_says_how_many_lines_it_leaves_out(store: Store, trained: Any) -> None:
    store.commit(Batch(windows=[window(0, DAY + 4.0), window(1, DAY + 20.0)]))
    assert "no fault of press07 is confirmed" in trained()
    assert "no fault of press08 is confirmed, so nothing is left out: is it another --source?" in trained(
        "--source", "press08"
    )
    for index in range(2):
        say(store, f"w-b{index}")
    said = trained()
    assert "left out 6 lines of press07.log: they are of confirmed faults of press07" in said
    assert "press07.log has 44 known-good events" in said


def test_faults_with_and_without_a_time_are_left_out_together(store: Store, trained: Any) -> None:
    texts = [json.dumps({"msg": f"door {LONG}", "ts": DAY + n}) for n in (30, 31, 32)]
    store.commit(
        Batch(windows=[window(0, DAY + 4.0), timeless(1, texts), *(timeless(n, [f"{n}"]) for n in range(2, 9))])
    )
    for index in range(9):
        say(store, f"w-b{index}")
    said = trained()
    assert "left out 6 lines of press07.log: they are of confirmed faults of press07" in said
    assert "press07.log has not all lines, in a row and as they were served, of w-b2, " in said
    assert "w-b6 and 2 more, which" in said
    assert "press07.log has 44 known-good events" in said


def test_faults_that_all_lack_a_time_are_left_out_by_their_lines(store: Store, trained: Any) -> None:
    texts = [json.dumps({"msg": f"door {LONG}", "ts": DAY + n}) for n in (30, 31, 32)]
    untimed(store, timeless(0, texts))
    assert "left out 3 lines of press07.log" in trained()


def test_training_warns_where_a_file_has_no_line_of_the_faults(store: Store, trained: Any) -> None:
    store.commit(Batch(windows=[window(index, DAY + 10.0 * index) for index in range(7)]))
    for index in range(7):
        say(store, f"w-b{index}")
    said = trained(first=9 * 3600)
    assert "warning: nothing is left out: no line of press07.log is of the time of a confirmed fault of press07" in said
    assert "(2026-01-05T00:00:00.000Z to 2026-01-05T00:00:02.000Z, " in said
    assert "and 2 more)" in said
    assert "press07.log has 50 known-good events" in said
