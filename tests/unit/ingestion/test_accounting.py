"""Every line of every envelope and framing accounted for, whatever bytes it holds and wherever a restart falls."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestion import (
    DROP_REASONS,
    EMPTY_REASONS,
    Dropped,
    Event,
    Record,
    SourceFormat,
    SourceParser,
    event_shape,
    split_sources,
)
from ingestion.decoding import line_ending, split_lines
from ingestion.envelopes import (
    DelimitedEnvelope,
    Envelope,
    JsonEnvelope,
    RawEnvelope,
    ShdrEnvelope,
    SyslogEnvelope,
    split_octets,
)
from ingestion.framing import Framing
from ingestion.templates import learn_vocabulary

VOCABULARY = learn_vocabulary([(["door", word], "") for word in ("open", "closed")] * 200)
ENVELOPES: tuple[Envelope, ...] = (
    RawEnvelope(),
    JsonEnvelope(message=("log.message",), time="time", severity=None, source_field="unit"),
    DelimitedEnvelope(columns=("time", "unit", "text"), message=("text",), time="time", source_field="unit"),
    SyslogEnvelope(source_field="host"),
    ShdrEnvelope(),
)
FRAMINGS = (
    Framing(),
    Framing(start="time", max_lines=3, max_characters=300),
    Framing(start="pattern", pattern=r"^\S", max_lines=5),
)
FORMATS = tuple(
    SourceFormat(
        encoding=encoding,
        envelope=envelope,  # type: ignore[arg-type]
        time_pattern=pattern,
        zone="Europe/Berlin",
        framing=framing,
        max_line_bytes=200,
    )
    for encoding in ("utf-8", "cp932", "euc-jp", "utf-16-le", "utf-16-be", "latin-1")
    for envelope in ENVELOPES
    for framing in FRAMINGS
    for pattern in ("iso", "month-name", None)
    if envelope.kind != "shdr" or framing.start == "line"
)
TEXTS = (
    "",
    "   ",
    "2026-01-01 00:00:00",
    "2026-01-01 00:00:00 \u200b",
    "2026-01-01T00:00:00Z|",
    "\x1b[31m\x1b[0m",
    "\u202e\u200b",
    "\x00\x00",
    "2026-01-01 00:00:00 door open",
    "2026-13-41 25:61:00 door open",
    "Dec 31 23:59:59 door closed",
    "9999-12-31T23:59:59-05:00 door open",
    "0001-01-01T00:00:00+14:00 door open",
    "2026-10-25 02:30:00 door open",
    "\tat some.where(x)",
    '{"time": "2026-01-01 00:00:00", "unit": "a", "log": {"message": "door open\\nat x\\nat y"}}',
    '{"time": "2026-99-01 00:00:00", "log": {"message": "door \\ud800"}}',
    '{"time": "2026-01-01 00:00:00", "log": "{\\"message\\": \\"door closed\\"}"}',
    '{"log": ' + "[" * 90,
    "time,unit,text",
    '2026-01-01 00:00:00,b,"door ""open"""',
    '2026-01-01 00:00:00,b,"door',
    '<34>1 2026-01-01T00:00:00Z host app - - [x y="z"] door open',
    "<34>Jan  1 00:00:00 host door open",
    "<999>x",
    "2026-01-01T00:00:00Z|door|open|door|closed|x|y",
    "2026-01-01T00:00:00Z|door|FAULT|1|2|3|gone",
    "プレス07号機 ①㈱髙 温度８８℃",
    "x" * 500,
)
VALUES = st.lists(
    st.one_of(
        st.binary(max_size=250),
        st.builds(
            lambda texts, encoding: "\n".join(texts).encode(encoding, "replace"),
            st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3),
            st.sampled_from(["utf-8", "cp932", "utf-16-le"]),
        ),
        st.sampled_from([b"3 <1>", b"9 <34>a\n<34>", b"12 <34>door open5 <1>ab"]),
        st.sampled_from([b"1 \n2 \n\n", b"8 <34>a\n\n\n3 <1>\n<2>\n"]),
    ),
    max_size=25,
)  # fmt: skip


def lines_of(value: bytes, source_format: SourceFormat) -> list[bytes]:
    if source_format.envelope.kind == "syslog" and value[:1].isdigit():
        return split_octets(value)
    return split_lines(value, line_ending(source_format.encoding))


def records(values: list[bytes], received: float | None) -> list[Record]:
    return [
        Record("s", "file:x" if n % 7 else "kafka:t:1", n, n + 1, value, received and received + n * 3.0)
        for n, value in enumerate(values)
    ]


@settings(max_examples=400)
@given(VALUES, st.sampled_from(FORMATS), st.sampled_from([None, 1.767e9]), st.booleans())
@example([b"\x00"], FORMATS[0], None, False)
def test_consumed_is_parsed_unparsed_and_dropped_and_no_byte_is_lost(
    values: list[bytes], source_format: SourceFormat, received: float | None, is_origin: bool
) -> None:
    origins = {"kafka:t": source_format} if is_origin else {}
    base = SourceFormat(max_line_bytes=200) if is_origin else source_format
    parser = SourceParser(base, VOCABULARY, origins)
    made: list[Event | Dropped] = []
    for record in records(values, received):
        made += parser.feed(record)
        now = parser.accounting
        assert now.consumed == now.parsed + now.unparsed + sum(now.dropped.values())
    made += parser.flush()
    assert not parser.is_open
    fed = [
        line
        for record in records(values, received)
        for line in lines_of(record.value, origins.get(record.stream[:7], base))
    ]
    now = parser.accounting
    events = [item for item in made if isinstance(item, Event)]
    dropped = [item for item in made if isinstance(item, Dropped)]
    assert now.consumed == len(fed) == sum(event.lines for event in events) + len(dropped)
    assert set(now.dropped) <= set(DROP_REASONS)
    # What was dropped and is kept is there byte for byte, in order.
    rest = iter(fed)
    assert all(any(line == item.value for line in rest) for item in dropped if item.reason not in EMPTY_REASONS)
    for event in events:
        event.text.encode("utf-8")
        event.message.encode("utf-8")
        assert event.token == VOCABULARY.token(event_shape(event, base))


@settings(max_examples=200)
@given(VALUES, st.integers(0, 25), st.sampled_from(FORMATS), st.sampled_from([None, 1.767e9]))
def test_a_restart_anywhere_changes_nothing(
    values: list[bytes], cut: int, source_format: SourceFormat, received: float | None
) -> None:
    origins = {"kafka:t": SourceFormat(framing=Framing(start="pattern", pattern="^[a-z]"))}

    def run(parser: SourceParser, some: list[Record]) -> list[Event | Dropped]:
        return [item for record in some for item in parser.feed(record)]

    whole = records(values, received)
    undisturbed = SourceParser(source_format, VOCABULARY, origins)
    expected = [*run(undisturbed, whole), *undisturbed.flush()]
    first = SourceParser(source_format, VOCABULARY, origins)
    found = run(first, whole[:cut])
    second = SourceParser(source_format, VOCABULARY, origins)
    second.restore(json.loads(json.dumps(first.state())))
    found += [*run(second, whole[cut:]), *second.flush()]
    assert found == expected
    assert second.accounting == undisturbed.accounting
    assert second.state() == undisturbed.state()


@given(VALUES, st.sampled_from(FORMATS))
def test_a_record_cut_by_its_sources_is_read_as_it_is_whole(values: list[bytes], source_format: SourceFormat) -> None:
    whole, cut = (SourceParser(source_format, VOCABULARY) for _ in range(2))
    for record in records(values, None):
        parts = split_sources(record, {"file": source_format, "kafka:t": source_format})
        assert [item for part in parts for item in cut.feed(part)] == whole.feed(record)
        assert parts[-1].next_position == record.next_position
        assert all(part.source for part in parts)


@pytest.mark.parametrize(
    "value",
    [
        b"19 <34>1 - a app - - -20 <34>1 - b app - - - ",
        b"20 <34>1 - a app - - -\n20 <34>1 - b app - - -\n",
        b"23 <34>1 - a app - - - x\ny22 <34>1 - b app - - - x\n",
        b" <34>1 - a app - - -\n\x00<34>1 - b app - - -\x00",
    ],
)
def test_every_syslog_message_of_a_record_goes_to_the_source_it_names(value: bytes) -> None:
    source_format = SourceFormat(envelope=SyslogEnvelope(source_field="host"))
    parts = split_sources(Record("s", "kafka:t:0", 7, 8, value, None), {"kafka:t": source_format})
    assert [part.source for part in parts] == ["a", "b"]
    for part in parts:
        (event,) = SourceParser(source_format, VOCABULARY).feed(part)
        assert isinstance(event, Event)


@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "euc-jp", "utf-16-le", "utf-16-be"])
def test_a_packed_record_is_cut_in_its_encoding(encoding: str) -> None:
    # In UTF-16 neighbours such as U+0A01 U+4E00 hold the bytes of a line feed across their border; in CP932 the second
    # byte of 表 is a backslash.
    lines = ["一行目 表示", "second", "三行目 ①" if encoding != "euc-jp" else "三行目"]
    lines += ["\u0a01\u4e00\u0a01 x"] if encoding.startswith("utf-16") else []
    parser = SourceParser(SourceFormat(encoding=encoding), VOCABULARY)
    made = parser.feed(Record("s", "kafka:t:0", 7, 8, "\n".join(lines).encode(encoding), None))
    assert [item.text for item in made if isinstance(item, Event)] == lines
    assert [(item.position, item.next_position) for item in made if isinstance(item, Event)][-1] == (7, 8)
    assert all(item.next_position == 7 for item in made[:-1] if isinstance(item, Event))


def test_a_line_of_several_pairs_counts_once() -> None:
    parser = SourceParser(SourceFormat(envelope=ShdrEnvelope(), time_pattern="iso", delimiter="|"), VOCABULARY)
    line = b"2026-01-01T00:00:00Z|door|open|door|closed"
    first, second = parser.feed(Record("s", "x", 0, 1, line, None))
    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert [first.text, second.text] == ["2026-01-01T00:00:00Z|door|open", "2026-01-01T00:00:00Z|door|closed"]
    assert (first.lines, second.lines, first.token == second.token) == (1, 0, False)
    assert (parser.accounting.consumed, parser.accounting.parsed) == (1, 1)


@pytest.mark.parametrize("rest", ["", "  ", "|", " \u200b", "||\t"])
@pytest.mark.parametrize("envelope", [RawEnvelope(), ShdrEnvelope()])
def test_a_line_with_nothing_but_its_time_is_blank(rest: str, envelope: RawEnvelope | ShdrEnvelope) -> None:
    parser = SourceParser(SourceFormat(envelope=envelope, time_pattern="iso", delimiter="|"), VOCABULARY)
    (made,) = parser.feed(Record("s", "x", 0, 1, f"2026-01-01 00:00:00{rest}".encode(), None))
    assert isinstance(made, Dropped)
    assert parser.accounting.dropped == {"blank": 1}


def test_a_time_on_a_line_of_its_own_begins_an_event_of_the_lines_after_it() -> None:
    parser = SourceParser(SourceFormat(time_pattern="iso", framing=Framing(start="time")), VOCABULARY)
    lines = ["2026-01-01 00:00:00", "door open", "2026-01-01 00:00:01", "2026-01-01 00:00:02", " ", "door closed"]
    made = [item for line in lines for item in parser.feed(Record("s", "x", 0, 1, line.encode(), None))]
    made += parser.flush()
    events = [(item.message.split(), item.lines) for item in made if isinstance(item, Event)]
    assert events == [(["door", "open"], 2), (["door", "closed"], 2)]
    assert parser.accounting.dropped == {"blank": 2}
    assert parser.accounting.consumed == len(lines)


def test_an_event_that_a_pattern_begins_is_known_by_the_first_lines_that_say_something() -> None:
    framing = Framing(start="pattern", pattern="^[a-z]")
    parser = SourceParser(SourceFormat(time_pattern="iso", framing=framing), VOCABULARY)
    for line in ("2026-01-01 00:00:00", "2026-01-01 00:00:00", "2026-01-01 00:00:00  DOOR OPEN"):
        assert parser.feed(Record("s", "x", 0, 1, line.encode(), None)) == []
    (event,) = parser.flush()
    assert isinstance(event, Event)
    assert (event.message.split(), event.lines) == (["DOOR", "OPEN"], 3)


def test_an_impossible_time_falls_back_to_the_brokers_or_is_dropped() -> None:
    source_format = SourceFormat(time_pattern="iso")
    line = b"2026-02-30 00:00:00 door open"
    parser = SourceParser(source_format, VOCABULARY)
    assert parser.feed(Record("s", "x", 0, 1, line, None)) == [Dropped("x", 0, "impossible-time", line)]
    (event,) = parser.feed(Record("s", "x", 1, 2, line, 1.75e9))
    assert isinstance(event, Event)
    assert event.time == 1.75e9
    assert parser.accounting.noticed == {"impossible-time": 1}


@pytest.mark.parametrize("received", [None, 1.75e9])
def test_a_record_without_its_time_is_an_event_in_the_place_of_the_one_before(received: float | None) -> None:
    lines = {
        JsonEnvelope(message=("m",), time="at.ts"): [
            '{"m": "order due 2026-01-31 10:00:00 failed"}',
            '{"m": "failed", "at": {}}',
            '{"m": "failed", "at": {"ts": null}}',
            '{"m": "failed", "at": {"ts": ""}}',
        ],
        DelimitedEnvelope(columns=("t", "m", "at"), message=("m",), time="at"): ["7,failed", "7,failed,", "7,failed, "],
    }
    for envelope, untimed in lines.items():
        parser = SourceParser(SourceFormat(envelope=envelope, time_pattern="iso"), VOCABULARY)
        made = [item for line in untimed for item in parser.feed(Record("s", "x", 0, 1, line.encode(), received))]
        assert all(isinstance(item, Event) for item in made)
        assert [item.time for item in made if isinstance(item, Event)] == [received] * len(untimed)
        assert parser.accounting.noticed == {"missing-time": len(untimed)}
        assert parser.accounting.dropped == {}
    (odd,) = parser.feed(Record("s", "x", 0, 1, b"7,failed,soon", None))
    assert isinstance(odd, Dropped)
    assert odd.reason == "impossible-time"
    (mute,) = parser.feed(Record("s", "x", 0, 1, b"7", None))
    assert isinstance(mute, Dropped)
    assert mute.reason == "missing-field"


def test_a_line_in_another_encoding_is_kept_whole_and_one_that_is_damaged_goes_on() -> None:
    parser = SourceParser(SourceFormat(), VOCABULARY)
    foreign = "2026-01-01 00:00:00 プレス温度異常".encode("cp932")
    assert parser.feed(Record("s", "x", 0, 1, foreign, None)) == [Dropped("x", 0, "undecodable", foreign)]
    (event,) = parser.feed(Record("s", "x", 1, 2, b"door \xff open", None))
    assert isinstance(event, Event)
    assert event.text == "door \\xff open"
    # An attack that Linux logs show: a few wild bytes in a long line must not hide it.
    attack = b"rpc.statd[1636]: gethostbyname error for ^X\xf7\xff\xbf^X\xf7\xff\xbf" + b"%8x" * 30
    assert isinstance(parser.feed(Record("s", "x", 2, 3, attack, None))[0], Event)
    assert parser.accounting.replaced == 7


def test_fields_that_appear_or_vanish_are_noticed_by_name() -> None:
    parser = SourceParser(SourceFormat(envelope=JsonEnvelope(message=("m",))), VOCABULARY)

    def feed(line: dict[str, object]) -> None:
        parser.feed(Record("s", "x", 0, 1, json.dumps(line).encode(), None))

    for number in range(150):
        feed({"m": "a", "load": 1} | ({"note": 1} if number % 3 else {}))
    assert parser.accounting.noticed == {}
    feed({"m": "a", "note": 1})
    feed({"m": "a", "Load": 1})
    assert parser.accounting.noticed == {"field-vanished": 1, "field-appeared": 1}
    assert parser.schema_changes == ["load vanished", "Load appeared"]
    for number in range(1000):
        feed({"m": "a", f"hostile{number}": 1})
    assert len(json.dumps(parser.state())) < 8_000
