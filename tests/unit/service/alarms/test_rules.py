"""Site rules are read whole or refused with a way out, and say which lines and times they are about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import UNSEEN
from ingestion.decimals import DecimalSign
from ingestion.timestamps import LATEST_SECONDS
from service.alarms.maintenance import Maintenance, Span, muting
from service.alarms.rules import Rules, load_rules
from service.errors import BadSetting

TOKYO = ZoneInfo("Asia/Tokyo")
RULES = r"""
[[rule]]
name = "door"
source = "press*"
match = '扉(開|異常)'
alarm = "always"
severity = "critical"

[[rule]]
name = "too hot"
match = 'temp=(-?[0-9.]+)'
above = 85
below = 5.5
severity = "notice"

[[rule]]
name = "comments"
template = "program_comment <*>"
alarm = "never"

[[maintenance]]
name = "weekly service"
weekly = "Sun 22:00-02:00"
source = "press*"

[[maintenance]]
name = "new year"
from = 2026-12-28T00:00:00
to = 2027-01-04T00:00:00
"""


@dataclass
class Line:
    text: str
    token: int = 2
    message: str = ""


TEMPLATES = {2: "anything else", 3: "program_comment <*>"}


def names(lines: list[Line]) -> list[str]:
    return [TEMPLATES[line.token] for line in lines]


def span(start: float | None = None, end: float | None = None, since: float | None = None) -> Span:
    return Span([time for time in (start, end) if time is not None], since, TOKYO)


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    path = tmp_path / "rules.toml"
    path.write_text(RULES, "utf-8")
    return load_rules(path)


@pytest.mark.parametrize(
    "pattern", ["^b", "a$", r"\Ab", r"b\z", "^b$", r"\bb", "[^a]b", "(?i)B$", "(?-m:^b)", "a|^c", "b.c"]
)
@given(st.lists(st.text("abc \n", max_size=5), max_size=5))
def test_a_quick_look_at_all_lines_misses_none(pattern: str, texts: list[str]) -> None:
    with TemporaryDirectory() as scratch:
        path = Path(scratch, "rules.toml")
        path.write_text(f"[[rule]]\nname = 'x'\nmatch = '{pattern}'\nalarm = 'never'\n")
        (rule,) = load_rules(path).rules
    found = rule.places([Line(text) for text in texts], [""] * len(texts))
    assert found == [place for place, text in enumerate(texts) if rule.expression.search(text)]


def test_a_line_is_found_by_what_pages_call_its_message(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        "[[rule]]\nname = 'hot'\nmatch = 'tag=T1 value=([0-9.]+)'\nabove = 75\nalarm = 'always'\n"
        "[[rule]]\nname = 'row'\nmatch = '^T1,'\nalarm = 'never'\n"
    )
    hot, row = load_rules(path).rules
    values = ("61.9", "80.5", "75")
    lines = [Line(f"T1,{value},GOOD", message=f"tag=T1 value={value} quality=GOOD") for value in values]
    assert hot.places(lines, [""] * 3) == [1]
    assert row.places(lines, [""] * 3) == [0, 1, 2]


def test_brackets_of_a_template_are_its_own(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[[rule]]\nname = 'x'\ntemplate = 'pump [a1] <*>'\nalarm = 'never'\n")
    (rule,) = load_rules(path).rules
    assert rule.places([Line("", 2)] * 3, ["pump [a1] <*>", "pump a <*>", "pump [a1] on"]) == [0]


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=TOKYO).timestamp()


def test_lines_are_found_by_expression_template_and_limit(rules: Rules) -> None:
    lines = [Line("temp=85"), Line("プレス 扉開"), Line("temp=85.1"), Line("x", 3), Line("temp=-4"), Line("temp=7")]
    found = rules.of("press07").look(lines, names(lines), span())
    assert found.rules == ("door", "too hot", "comments")
    assert (found.always, found.severity, dict(found.never)) == (("door", [1]), "critical", {"comments": [3]})
    assert [rule.places(lines, names(lines)) for rule in rules.rules] == [[1], [2, 4], [3]]
    elsewhere = rules.of("lathe").look(lines, names(lines), span())
    assert (elsewhere.rules, elsewhere.severity) == (("too hot", "comments"), "notice")


@pytest.mark.parametrize(
    ("time", "name"),
    [
        ("2026-11-22T21:59:59", None),
        ("2026-11-22T22:00:00", "weekly service"),
        ("2026-11-23T01:59:59", "weekly service"),
        ("2026-11-23T02:00:00", None),
        ("2026-12-27T21:59:59", None),
        ("2026-12-28T03:00:00", "new year"),
        ("2027-01-03T23:59:59", "weekly service"),
        ("2027-01-04T03:00:00", None),
    ],
)
def test_maintenance_is_in_the_zone_of_the_source(rules: Rules, time: str, name: str | None) -> None:
    assert rules.of("press07").look([], [], span(at(time))).maintenance == name


@given(st.integers(0, 6), st.integers(0, 1439), st.integers(1, 1440), st.integers(0, 10079))
def test_a_weekly_time_lasts_as_long_as_it_says(day: int, begin: int, length: int, minute: int) -> None:
    item = Maintenance(name="x", weekly=(day * 1440 + begin, length))
    monday = at("2026-11-23T00:00:00")
    expected = any(0 <= minute - (day * 1440 + begin) + week * 10_080 < length for week in (0, 1))
    assert (muting([item], span(monday + minute * 60)) == "x") == expected


@pytest.mark.parametrize(
    ("since", "start", "end", "muted"),
    [
        (None, "22T21:00:00", "22T21:59:59", False),
        (None, "22T21:00:00", "22T22:00:00", True),
        (None, "22T21:00:00", "23T04:00:00", True),
        (None, "22T21:00:00", "23T05:00:00", False),
        (None, "23T01:59:00", "23T05:00:00", True),
        (None, "23T02:00:00", "23T05:00:00", False),
        # A silence that was the service for the most part, and one that was a weekend.
        ("22T21:50:00", "23T02:10:00", "23T02:20:00", True),
        ("22T15:00:00", "23T02:10:00", "23T02:20:00", False),
        ("20T18:00:00", "23T08:00:00", "23T08:10:00", False),
        # Several weeks of silence hold several services, and are none.
        ("01T18:00:00", "23T08:00:00", "23T08:10:00", False),
    ],
)
def test_maintenance_mutes_what_is_of_its_time_and_the_silence_that_it_is(
    rules: Rules, since: str | None, start: str, end: str, muted: bool
) -> None:
    moments = (None if text is None else at(f"2026-11-{text}") for text in (since, start, end))
    before, first, last = moments
    found = rules.of("press07").look([], [], span(first, last, before)).maintenance
    assert found == ("weekly service" if muted else None)


def test_dated_maintenance_mutes_a_window_around_all_of_it(rules: Rules) -> None:
    lathe = rules.of("lathe")
    for first, last, name in (
        ("2026-12-27T23:00", "2026-12-28T00:00", "new year"),
        ("2026-12-20T00:00", "2026-12-27T23:00", None),
        ("2026-12-27T20:00", "2027-01-05T06:00", "new year"),
        ("2026-12-01T00:00", "2027-02-01T00:00", None),
    ):
        assert lathe.look([], [], span(at(f"{first}:00"), at(f"{last}:00"))).maintenance == name
    assert lathe.look([], [], span()).maintenance is None


def test_maintenance_that_adjoins_or_overlaps_is_one_silence() -> None:
    """A weekend off takes two weekly times, each of which is less than half of it."""
    weekend = [Maintenance(name=name, weekly=(day * 1440, 1440)) for name, day in (("sat", 5), ("sun", 6))]
    off = span(at("2026-11-23T05:00:00"), since=at("2026-11-20T22:00:00"))
    assert [muting(items, off) for items in (weekend, weekend[:1], weekend[1:])] == ["sat", None, None]
    # The same time twice is no more of it.
    assert muting([weekend[0]] * 2, off) is None


def test_a_source_that_writes_little_is_not_muted_by_what_lies_between_its_lines() -> None:
    week = Maintenance(name="service", weekly=(6 * 1440 + 120, 240))
    days = [at(f"2026-11-{day:02}T12:00:00") for day in range(2, 23)]
    assert muting([week], Span(days, None, TOKYO)) is None
    assert muting([week], Span([*days, at("2026-11-22T05:00:00")], None, TOKYO)) == "service"
    # Nor is one whose controller has no time when it boots, or one that is far ahead for a moment.
    boot = [at("2026-11-25T12:00:00"), 5.0, 6.0, at("9999-12-01T00:00:00"), at("2026-11-25T12:01:00")]
    off = [Maintenance(name=f"off {day}", weekly=(day * 1440, 1440)) for day in (0, 4, 5, 6)]
    for items in ([week], off):
        assert muting(items, Span(boot, at("2026-11-25T11:59:00"), TOKYO)) is None


@pytest.mark.parametrize("day", range(7))
def test_a_line_may_name_the_first_and_the_last_second_of_the_calendar(day: int) -> None:
    item = Maintenance(name="x", weekly=(day * 1440, 1440))
    for time in (0.0, float(LATEST_SECONDS)):
        assert muting([item], span(time)) in ("x", None)


def test_a_limit_holds_for_every_number_it_finds_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[[rule]]\nname = 'hot'\nmatch = 'temp=([0-9.,]+)'\nabove = 85\nalarm = 'always'\n", "utf-8-sig")
    (rule,) = load_rules(path).rules
    texts = ["temp=80 temp=99", "temp=99,5", "temp=1,234", "temp=99.", "temp=,", "temp=80,5", "temp=80 temp=84.9"]
    assert rule.places([Line(text) for text in texts], [""] * len(texts)) == [0, 1, 2, 3]


@pytest.mark.parametrize(("decimal", "places"), [(".", [0, 1, 3]), (",", [1, 2, 3])])
def test_a_limit_is_on_numbers_as_the_source_writes_them(
    tmp_path: Path, decimal: DecimalSign, places: list[int]
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[[rule]]\nname = 'hot'\nmatch = 'temp=([0-9.,]+)'\nabove = 85\nalarm = 'always'\n")
    lines = [Line(f"temp={number}") for number in ("4,125", "4125", "4.125", "99,5", "4,5")]
    assert load_rules(path).look(lines, [""] * len(lines), span(), decimal).always == ("hot", places)


def test_a_line_that_no_template_knows_is_found_by_what_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    lines = [Line("", UNSEEN), Line("", UNSEEN), Line("", 2)]
    called = ["motion_cond Fault PUMP PUMP", "motion_cond Fault OIL OIL", "motion_cond Fault PUMP PUMP"]
    for template, places in (
        ("(new) motion_cond Fault PUMP PUMP", [0, 2]),
        ("motion_cond Fault <*> <*>", [0, 1]),
        ("*PUMP*", [0, 2]),
    ):
        path.write_text(f"[[rule]]\nname = 'x'\ntemplate = '{template}'\nalarm = 'never'\n")
        assert load_rules(path).look(lines, called, span()).never == {"x": places}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[rule", "cannot read the rules"),
        ("[rule]\nname = 'x'", r"write each rule as a table of its own, \[\[rule\]\]"),
        ("[[rules]]\nname = 'x'", "unknown key 'rules'; allowed are rule, maintenance"),
        ("[[rule]]\nmatch = 'x'", "number 1 has no name"),
        (
            "[[rule]]\nname = 'x'\nmatch = 'a'\nalarm = 'never'\nseverty = 'notice'",
            "unknown key 'severty'; allowed",
        ),
        ("[[rule]]\nname = 'x'\nalarm = 'never'", "by match = '…' or by template"),
        ("[[rule]]\nname = 'x'\nmatch = 'a'\ntemplate = 'b'\nalarm = 'never'", "one of the two"),
        ("[[rule]]\nname = 'x'\nmatch = 'a'", "say what it does"),
        ("[[rule]]\nname = 'x'\nmatch = 'a*'\nalarm = 'never'", "fits every line"),
        ("[[rule]]\nname = 'x'\nmatch = '(?=a)b'\nalarm = 'never'", "no lookaround"),
        ("[[rule]]\nname = 'x'\nmatch = 'a'\nalarm = 'sometimes'", "none of always, never"),
        ("[[rule]]\nname = 'x'\nmatch = 'a'\nseverity = 3", "no text"),
        ("[[rule]]\nname = 'x'\nmatch = 'a'\nabove = 3\nalarm = 'always'", "the number that the one group"),
        ("[[rule]]\nname = 'x'\nmatch = 'a([0-9])'\nabove = 'hot'\nalarm = 'always'", "no number"),
        ("[[rule]]\nname = 'x'\nmatch = 'a([0-9])'\nabove = nan\nalarm = 'always'", "above = nan is no number"),
        ("[[rule]]\nname = 'x'\nmatch = 'a([0-9])'\nbelow = -inf\nalarm = 'always'", "below = -inf is no number"),
        ("[[maintenance]]\nname = 'x'", "say when"),
        ("[[maintenance]]\nname = 'x'\nweekly = 'Sonntag 2-3'", "Sun 02:00-06:00"),
        ("[[maintenance]]\nname = 'x'\nweekly = 'Sun 25:00-26:00'", "no such time of day"),
        ("[[maintenance]]\nname = 'x'\nfrom = 2026-01-02T00:00:00\nto = 2026-01-01T00:00:00", "ends before it begins"),
        (
            "[[maintenance]]\nname = 'x'\nfrom = 2026-01-01T10:00:00+09:00\nto = 2026-01-01T10:00:00",
            "let both, or neither",
        ),
        ("[[maintenance]]\nname = 'x'\nfrom = 'monday'\nto = 2026-01-01T00:00:00", "without quotes"),
        ("[[maintenance]]\nname = 'x'\nweekly = 'Sun 02:00-06:00'\n" * 2, "two rules named 'x'"),
    ],
)
def test_what_is_no_rule_is_refused_with_a_way_out(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(BadSetting, match=said):
        load_rules(path)


def test_rules_in_another_encoding_are_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(RULES.encode("cp932"))
    with pytest.raises(BadSetting, match="save the file as UTF-8"):
        load_rules(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"nowhere\.toml"):
        load_rules(tmp_path / "nowhere.toml")
