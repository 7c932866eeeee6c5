"""Every line accounted for, whatever it holds and wherever it was cut."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import BadFormat, Record, SourceFormat, SourceParser
from ingestion.decoding import split_lines
from ingestion.files import read_records
from ingestion.framing import Framing
from ingestion.parsing import Dropped, Event
from ingestion.templates import learn_vocabulary
from ingestion.vocabulary import Vocabulary

VOCABULARY = learn_vocabulary([(["door", word], "") for word in ("open", "closed")] * 200)
FRAMED = SourceFormat(time_pattern="iso", framing=Framing(start="time"), max_line_bytes=200)
PLAIN = SourceFormat(time_pattern="iso", max_line_bytes=200)
HOSTILE = st.lists(
    st.one_of(
        st.binary(max_size=250),
        st.sampled_from(
            [b"", b"   ", b"2026-01-01 00:00:00 door open", b"\tat some.where", b"x" * 500, b"\xff\xfe\x00"]
        ),
    ),
    max_size=40,
)


def records(values: list[bytes]) -> list[Record]:
    return [Record("s", "file:x", n, n + 1, value, None) for n, value in enumerate(values)]


def parse(parser: SourceParser, values: list[Record]) -> list[Event | Dropped]:
    return [item for record in values for item in parser.feed(record)]


@given(HOSTILE, st.sampled_from([FRAMED, PLAIN]))
def test_consumed_is_parsed_and_unparsed_and_dropped(values: list[bytes], source_format: SourceFormat) -> None:
    parser = SourceParser(source_format, VOCABULARY)
    for record in records(values):
        parser.feed(record)
        now = parser.accounting
        assert now.consumed == now.parsed + now.unparsed + sum(now.dropped.values())
    parser.flush()
    assert parser.accounting.consumed == sum(len(split_lines(value, b"\n")) for value in values)


@given(HOSTILE, st.integers(0, 40), st.sampled_from([FRAMED, PLAIN]))
def test_a_restart_anywhere_changes_nothing(values: list[bytes], cut: int, source_format: SourceFormat) -> None:
    undisturbed = SourceParser(source_format, VOCABULARY)
    expected = parse(undisturbed, records(values)) + list(undisturbed.flush())
    first = SourceParser(source_format, VOCABULARY)
    found = parse(first, records(values)[:cut])
    second = SourceParser(source_format, VOCABULARY)
    second.restore(json.loads(json.dumps(first.state())))
    found += parse(second, records(values)[cut:]) + list(second.flush())
    assert found == expected
    assert second.accounting == undisturbed.accounting


def test_lines_without_a_time_join_the_event_before() -> None:
    parser = SourceParser(FRAMED, VOCABULARY)
    lines = [b"2026-01-01 00:00:00 door open", b"\tat a.b", b"\tat c.d", b"2026-01-01 00:00:05 door closed"]
    (event,) = parse(parser, records(lines))
    assert isinstance(event, Event)
    assert (event.lines, event.position, event.next_position) == (3, 0, 3)
    (last,) = parser.flush()
    assert last.time == event.time + 5  # type: ignore[operator]


def test_a_line_too_long_is_dropped_with_its_bytes() -> None:
    (dropped,) = SourceParser(PLAIN, VOCABULARY).feed(records([b"y" * 201])[0])
    assert dropped == Dropped("file:x", 0, "too-long", b"y" * 201)


def test_positions_are_the_bytes_of_the_file(tmp_path: Path) -> None:
    content = "一行目\r\n\r\nthird\nlast without end".encode()
    (tmp_path / "a.log").write_bytes(content)
    found = list(read_records(tmp_path / "a.log", "s", "utf-8"))
    assert b"".join(content[r.position : r.next_position] for r in found) == content
    assert [r.value for r in found] == ["一行目\r".encode(), b"\r", b"third", b"last without end"]
    with gzip.open(tmp_path / "a.log.gz", "wb") as packed:
        packed.write(content)
    assert [r.value for r in read_records(tmp_path / "a.log.gz", "s", "utf-8")] == [r.value for r in found]
    wide = "一行目\n第二\n".encode("utf-16-le")
    (tmp_path / "w.log").write_bytes(wide)
    assert [r.value.decode("utf-16-le") for r in read_records(tmp_path / "w.log", "s", "utf-16-le")] == [
        "一行目",
        "第二",
    ]


def test_formats_refuse_what_they_do_not_know() -> None:
    assert SourceFormat.from_dict(FRAMED.to_dict()) == FRAMED
    with pytest.raises(BadFormat, match=r"unknown key 'codec'.*encoding"):
        SourceFormat.from_dict({"codec": "utf-8"})
    with pytest.raises(BadFormat, match="framing"):
        SourceFormat.from_dict({"framing": {"start": "pages"}})
    assert Vocabulary([]).token(["anything"]) == 1
