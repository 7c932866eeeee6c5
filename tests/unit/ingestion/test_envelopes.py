"""What lines carry their messages in, opened as senders write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import BadFormat
from ingestion.envelopes import (
    DelimitedEnvelope,
    JsonEnvelope,
    ShdrEnvelope,
    SyslogEnvelope,
    Unopened,
    split_octets,
)

SYSLOG = SyslogEnvelope()


def reason(envelope: JsonEnvelope | DelimitedEnvelope | SyslogEnvelope, line: str) -> str:
    with pytest.raises(Unopened) as unopened:
        envelope.open(line)
    return unopened.value.reason


def test_json_fields_are_found_by_path_also_in_text_that_holds_json() -> None:
    envelope = JsonEnvelope(message=("log.message",), time="log.ts", severity="level", source_field="tags.1")
    inner = json.dumps({"message": "door open", "ts": 1117838570.5})
    line = json.dumps({"log": inner, "level": "WARN", "tags": ["a", "press07"]})
    (content,) = envelope.open(line)
    assert (content.message, content.time) == ("WARN door open", "1117838570.5")
    assert content.fields == ("log", "level", "tags")
    assert envelope.source(line) == "press07"


def test_a_name_that_holds_dots_is_a_name() -> None:
    (content,) = JsonEnvelope(message=("log.message",)).open('{"log.message": "flat", "log": {"message": "deep"}}')
    assert content.message == "flat"
    (content,) = JsonEnvelope(message=("a.b.c",)).open('{"a.b": {"c": "mixed"}}')
    assert content.message == "mixed"


def test_several_fields_keep_their_names() -> None:
    (content,) = JsonEnvelope(message=("axis", "load")).open('{"axis": "X", "load": 12.5}')
    assert content.message == "axis=X load=12.5"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("no json", "malformed-json"),
        ('{"m": 1', "malformed-json"),
        ("[1, 2]", "malformed-json"),
        ("[" * 100_000, "malformed-json"),
        ('{"m": ' + "9" * 5000 + "}", "malformed-json"),
        ('{"x": "y"}', "missing-field"),
        ('{"m": null}', "missing-field"),
    ],
)
def test_json_that_is_none_says_why(line: str, expected: str) -> None:
    assert reason(JsonEnvelope(message=("m",)), line) == expected


def test_half_a_surrogate_pair_can_still_be_stored() -> None:
    (content,) = JsonEnvelope(message=("m",)).open('{"m": "a \\ud800 b"}')
    assert content.message.encode("utf-8") == b"a \\ud800 b"


def test_rows_with_quotes_and_headers() -> None:
    envelope = DelimitedEnvelope(columns=("time", "unit", "text"), message=("text",), time="time", source_field="unit")
    (content,) = envelope.open('2026-01-05 09:00:00,7,"door ""A"", open"')
    assert (content.message, content.time) == ('door "A", open', "2026-01-05 09:00:00")
    assert envelope.source("t,7,x") == "7"
    assert reason(envelope, "time,unit,text") == "header"
    assert reason(envelope, '2026,7,"door') == "malformed-row"
    assert reason(envelope, "2026,7") == "missing-field"
    assert envelope.open("2026,7,x,more")[0].fields == ("time", "unit", "text", "4")
    tabs = DelimitedEnvelope(separator="\t", quote="", columns=("a", "b"), message=("b",))
    assert tabs.open('x\tsay "hi"')[0].message == 'say "hi"'


def test_columns_that_are_none_are_refused() -> None:
    with pytest.raises(BadFormat, match="'wrong' is no column; the columns are a, b"):
        DelimitedEnvelope(columns=("a", "b"), message=("wrong",))
    with pytest.raises(BadFormat, match="message"):
        JsonEnvelope(message=())
    with pytest.raises(BadFormat, match="host"):
        SyslogEnvelope(source_field="app")


def test_syslog_of_both_kinds() -> None:
    # The examples of RFC 5424 section 6.5 and RFC 3164 section 5.4.
    line = "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed for lonvick"
    (content,) = SYSLOG.open(line)
    assert content.message == "crit su ID47 'su root' failed for lonvick"
    assert content.time == "2003-10-11T22:14:15.003Z"
    data = '[ex@32473 iut="3" src="a \\" \\] b"][more@1 x="1"]'
    (content,) = SYSLOG.open(f"<165>1 2003-10-11T22:14:15.003Z host evntslog - ID47 {data} An event")
    assert content.message == f"notice evntslog ID47 {data} An event"
    (content,) = SYSLOG.open("<34>Oct 11 22:14:15 mymachine su: 'su root' failed")
    assert (content.message, content.time) == ("crit su: 'su root' failed", "Oct 11 22:14:15")
    (content,) = SYSLOG.open("Oct  1 22:14:15 mymachine su: no priority")
    assert content.message == "su: no priority"
    (content,) = SYSLOG.open("<34>2026-01-31T10:00:00.5+09 mymachine su: offset of hours alone")
    assert (content.message, content.time) == ("crit su: offset of hours alone", "2026-01-31T10:00:00.5+09")
    assert SYSLOG.open("<13>anything at all")[0].message == "notice anything at all"
    assert SyslogEnvelope(source_field="host").source("<34>Oct 11 22:14:15 mymachine su: x") == "mymachine"


@pytest.mark.parametrize("line", ["plain", "<192>x", "<34>1 t h a p m [broken x=1] m", "<34>1 t h a p m nonsense"])
def test_syslog_that_is_none(line: str) -> None:
    assert reason(SYSLOG, line) == "malformed-syslog"


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=8))
def test_octet_counts_cut_where_they_were_joined(messages: list[bytes]) -> None:
    joined = b"".join(b"%d %s" % (len(message), message) for message in messages)
    assert split_octets(joined) == [message.rstrip(b"\n") or message for message in messages]


def test_a_wrong_octet_count_leaves_the_rest_in_one_piece() -> None:
    assert split_octets(b"3 abc99 de") == [b"abc", b"99 de"]


def test_shdr_pairs_are_events_and_conditions_are_one() -> None:
    shdr = ShdrEnvelope()

    def messages(line: str) -> list[str]:
        return [content.message for content in shdr.open(line)]

    time = "2016-10-05T05:27:55.74Z"
    assert messages(f"{time}|execution|ACTIVE") == [f"{time}|execution|ACTIVE"]
    assert messages(f"{time}|Xpos|1.0|Ypos|2.0") == [f"{time}|Xpos|1.0", f"{time}|Ypos|2.0"]
    for one in ("motion|Fault|806|||ILLEGAL ADDRESS", "Xtravel|Unavailable||||", "msg|CHG_INSRT|Change inserts|x"):
        assert messages(f"{time}|{one}")[0].endswith(one) is (one.count("|") != 3)
    assert len(messages(f"{time}|a|UNAVAILABLE|b|UNAVAILABLE|c|1")) == 3
    assert messages(f"{time}|@ASSET@|tool-1|CuttingTool|<xml/>") == [f"{time}|@ASSET@|tool-1|CuttingTool|<xml/>"]
