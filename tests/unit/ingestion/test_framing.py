"""Lines to multi-line events: where they begin, and what closes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ingestion import BadFormat, Event, Record, SourceFormat, SourceParser, Windower, WindowSpec
from ingestion.envelopes import JsonEnvelope
from ingestion.framing import Framing
from ingestion.proposing import _CONTINUED, _GOES_ON
from ingestion.timestamps import Clock
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


def test_a_declared_pattern_says_what_continues_an_event() -> None:
    source_format = SourceFormat(framing=Framing(start="unless", pattern=r"^(?:\s|Caused by)"))
    assert events(source_format, plain("failed", "  why", "Caused by: rust", "fine", "also fine")) == [
        ["failed", "  why", "Caused by: rust"],
        ["fine"],
        ["also fine"],
    ]


def test_what_is_proposed_for_lines_without_a_time_says_what_python_s_own_expression_says() -> None:
    proposed = Framing(start="unless", pattern=_GOES_ON)
    starts = ("fine", "\u3000続き", "\xa0x", " at", "\tat", "Caused by: x", "Traceback (most", "java.io.IOException: x")
    for line in (*starts, "設備Exception: x", "Errors", "MyError", "MyErrors: 3", "", "x Caused by", "$Error."):
        made = events(SourceFormat(framing=proposed), plain("first", line or " "))
        assert (len(made) == 1) == bool(_CONTINUED.match(line) or not line.strip()), line


def test_no_line_makes_a_pattern_slow() -> None:
    # Python's own expressions need minutes for these: every repetition may end at every character.
    hostile = "a" * 1000 + "!"
    framed = SourceFormat(framing=Framing(start="pattern", pattern=r"^(\w+\s?)*:"))
    assert len(events(framed, plain("first", hostile, "a b: c"))) == 2
    (event,) = SourceParser(SourceFormat(), Vocabulary([])).feed(Record("s", "file:x", 0, 1, hostile.encode(), None))
    assert isinstance(event, Event)
    assert Windower(WindowSpec.parse(r"session:(\w+\s?)*;")).add(event)[0].key is None
    own = r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d) (?P<H>\d\d):(?P<M>\d\d)(\w+\s?)*;"
    assert Clock(own, "UTC", 2000).read(f"2026-01-05 10:00{hostile}") == (None, 0, 0)


@pytest.mark.parametrize("make", [
    lambda pattern: Framing(start="pattern", pattern=pattern),
    lambda pattern: WindowSpec(session=pattern),
    lambda pattern: Clock(rf"{pattern}(?P<d>\d)(?P<m>\d)(?P<H>\d)(?P<M>\d)", "UTC", 2000),
])  # fmt: skip
def test_what_re2_does_not_know_is_refused_with_the_way_out(make: Callable[[str], object]) -> None:
    for pattern in (r"(?<=x)y", r"(?!x)y"):
        with pytest.raises(BadFormat, match=r"RE2: .*no lookaround and no back-references; .*(start|group)"):
            make(pattern)


def test_a_lone_surrogate_of_json_is_no_error() -> None:
    source_format = SourceFormat(
        envelope=JsonEnvelope(message=("log",)),
        framing=Framing(start="pattern", pattern="^x"),
        time_pattern=r"(?P<e>1\d{9}) ",
    )
    made = events(source_format, plain('{"log": "x \\ud800 1795583106 "}', '{"log": "y\\ud800"}', '{"log": "x"}'))
    assert list(map(len, made)) == [2, 1]


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
