"""What a line's template leaves open is found where it stands, whatever carries the message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import Event, Masks, Record, SourceFormat, SourceParser, Template, Vocabulary
from ingestion.masking import words
from ingestion.varying import message_place, variable_spans

JSON = {"kind": "json", "message": ["msg"], "time": "ts", "severity": "level"}
CSV = {
    "kind": "delimited", "message": ["tag", "value", "quality"], "time": "time",
    "columns": ["time", "tag", "value", "quality"],
}  # fmt: skip
UUID = "6fa459ea-ee8a-3ca4-894e-db77e160355e"


def varying(line: str, template: str = "", **table: Any) -> list[str]:
    source_format = SourceFormat.from_dict({"time": "iso", **table})
    vocabulary = Vocabulary([Template.of(template.split(), (), 3, "")] if template else [])
    (event,) = SourceParser(source_format, vocabulary).feed(Record("s", "file:x", 0, 1, line.encode(), None))
    assert isinstance(event, Event)
    text = vocabulary.text(event.token)
    place = message_place(event.text, event.message)
    spans = variable_spans(event.text, place, text, source_format.delimiter, source_format.mask_set())
    return [event.text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("line", "template", "table", "found"),
    [
        ("2026-10-05T15:00:00 [INFO] PLC08 took 13.6kWh, then 2.", "", {}, ["13.6", "2"]),
        ("2026-10-05T15:00:00 user Sato is in", "user <*> is in", {}, ["Sato"]),
        ("2026-10-05T15:00:00 user Sato is out", "user <*> is in", {}, []),
        (f"2026-10-05T15:00:00 {UUID} of 10.0.0.1 at /var/log/x", "", {}, [UUID, "10.0.0.1", "/var/log/x"]),
        (
            '{"pid":3,"ts":"2026-10-05T15:00:03+09:00","msg":"order 3 of 85 for Ito","ms":456,"level":"INFO"}',
            "INFO order <NUM> of <NUM> for <*>", {"envelope": JSON}, ["3", "85", "Ito"],
        ),
        ('{"ts":"2026-10-05T15:00:03","level":"WARN","msg":"a\\tb 7 c"}', "", {"envelope": JSON}, ["7"]),
        ("2026-10-05T15:00:01,TANK1.TEMP,62.227,GOOD", "", {"envelope": CSV}, ["62.227"]),
        ("2026-10-05T15:00:01Z|axis|X12|-9.5", "axis <*> <NUM>", {"delimiter": "|"}, ["X12", "-9.5"]),
        ("2026-10-05T15:00:01 by op17 on A", "", {"masks": [["op[0-9]+", "USER"]]}, ["op17"]),
    ],
)  # fmt: skip
def test_what_varies_is_found(line: str, template: str, table: dict[str, Any], found: list[str]) -> None:
    assert varying(line, template, **table) == found


def test_of_a_line_that_is_not_its_templates_only_what_is_masked_is_found() -> None:
    assert variable_spans("user 12 is out", 0, "user <*> is in", None, Masks()) == [(5, 7)]
    assert variable_spans("user Ito is out", 0, "user <*> is in", None, Masks()) == []


def test_a_word_is_found_where_it_stands_by_itself() -> None:
    assert variable_spans("TANK,m17,7,17", "tag=TANK value=7", "", None, Masks()) == [(9, 10)]


@given(st.text(max_size=60), st.text(max_size=60), st.booleans())
def test_whatever_lines_hold_what_is_found_is_in_them_in_order(text: str, message: str, inside: bool) -> None:
    text = text + message if inside else text
    place = message_place(text, message)
    template = " ".join("<*>" for _ in words(message, None))
    spans = variable_spans(text, place, template, None, Masks())
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
