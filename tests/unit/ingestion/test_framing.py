"""Lines to multi-line events: where they begin, and what closes them."""

from __future__ import annotations

import pytest

from ingestion import BadFormat, Event, Record, SourceFormat, SourceParser
from ingestion.envelopes import JsonEnvelope
from ingestion.framing import Framing
from ingestion.vocabulary import Vocabulary


def events(source_format: SourceFormat, lines: list[tuple[bytes, float | None, str]]) -> list[list[str]]:
    parser = SourceParser(source_format, Vocabulary([]))
    made = [
        item
        for number, (line, received, stream) in enumerate(lines)
        for item in parser.feed(Record("s", stream, number, number + 1, line, received))
    ]
    return [item.text.split("\n") for item in [*made, *parser.flush()] if isinstance(item, Event)]


def plain(*lines: str) -> list[tuple[bytes, float | None, str]]:
    return [(line.encode(), None, "x") for line in lines]


def test_a_declared_pattern_starts_an_event() -> None:
    source_format = SourceFormat(framing=Framing(start="pattern", pattern=r"^\[\d+\]"))
    assert events(source_format, plain("[1] failed", "why", "where", "[2] fine")) == [
        ["[1] failed", "why", "where"],
        ["[2] fine"],
    ]


def test_a_pattern_looks_at_what_the_envelope_carries() -> None:
    source_format = SourceFormat(
        envelope=JsonEnvelope(message=("log",)), framing=Framing(start="pattern", pattern=r"^\S")
    )
    (first, second) = events(source_format, plain('{"log": "failed"}', '{"log": "\\tat x"}', '{"log": "fine"}'))
    assert (len(first), len(second)) == (2, 1)


def test_silence_by_the_times_of_receipt_closes_an_event() -> None:
    source_format = SourceFormat(time_pattern="iso", framing=Framing(start="time", idle_seconds=2.0))
    lines: list[tuple[bytes, float | None, str]] = [
        (b"2026-01-01 00:00:00 failed", 100.0, "x"),
        (b"\tat a", 101.9, "x"),
        (b"\tat b", 103.8, "x"),
        (b"\tat c", 105.9, "x"),
    ]
    assert [len(event) for event in events(source_format, lines)] == [3, 1]


def test_lines_of_another_stream_do_not_join() -> None:
    source_format = SourceFormat(time_pattern="iso", framing=Framing(start="time"))
    lines: list[tuple[bytes, float | None, str]] = [
        (b"2026-01-01 00:00:00 failed", None, "kafka:t:0"),
        (b"\tat a", None, "kafka:t:1"),
    ]
    assert [len(event) for event in events(source_format, lines)] == [1, 1]


def test_caps_close_an_event() -> None:
    by_lines = SourceFormat(framing=Framing(start="pattern", pattern="^start", max_lines=3))
    assert [len(e) for e in events(by_lines, plain("start", *["more"] * 7))] == [3, 3, 2]
    by_size = SourceFormat(framing=Framing(start="pattern", pattern="^start", max_characters=20))
    assert [len(e) for e in events(by_size, plain("start", *["x" * 10] * 4))] == [2, 2, 1]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"start": "pattern"}, "pattern"),
        ({"pattern": "^x"}, "pattern"),
        ({"start": "pattern", "pattern": "("}, "no regular expression"),
        ({"max_lines": 0}, "between 1 and 10000"),
        ({"idle_seconds": 0.0}, "idle_seconds"),
        ({"start": "page"}, "'line', 'time', 'pattern'"),
        ({"max_line": 3}, "unknown key 'max_line'; allowed are start, pattern"),
    ],
)
def test_a_framing_that_cannot_be_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(BadFormat, match=words):
        SourceFormat.from_dict({"framing": values})
