"""Times as plants write them, read in the source's own zone."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.errors import BadFormat
from ingestion.timestamps import PATTERNS, Clock, detect_pattern, zone

LINES = {
    "iso": ("2016-10-05T05:27:55.740706Z|Brfunc|UNAVAILABLE", "2016-10-05T05:27:55.740706+00:00"),
    "bluegene": ("- 2005-06-03-15.42.50.675872 R02 RAS KERNEL", "2005-06-03T15:42:50.675872+00:00"),
    "year-first": ("2026/01/05 09:15:00 press started", "2026-01-05T09:15:00+00:00"),
    "japanese": ("2026年1月5日 9時15分30秒 プレス起動", "2026-01-05T09:15:30+00:00"),
    "month-name": ("Jun 14 15:16:01 combo sshd(pam_unix)[19939]: failure", "2005-06-14T15:16:01+00:00"),
    "common-log": ('::1 - - [10/Oct/2000:13:55:36 -0700] "GET /"', "2000-10-10T20:55:36+00:00"),
    "day-first": ("31.12.2025 23:59:58 Störung", "2025-12-31T23:59:58+00:00"),
    "two-digit-year": ("17/06/09 20:10:40 INFO executor.Backend", "2017-06-09T20:10:40+00:00"),
    "compact": ("081109 203615 148 INFO dfs.DataNode", "2008-11-09T20:36:15+00:00"),
    "epoch": ("1117838570 KERNEL fatal", "2005-06-03T22:42:50+00:00"),
}


@pytest.mark.parametrize("pattern", LINES)
def test_each_pattern_is_detected_and_read(pattern: str) -> None:
    line, expected = LINES[pattern]
    assert detect_pattern([line] * 5) == pattern
    seconds, start, end = Clock(pattern, "UTC", 2005).read(line)
    assert seconds == pytest.approx(datetime.fromisoformat(expected).timestamp(), abs=1e-5)
    assert line[start:end].strip()


def test_log4j_times_have_a_comma() -> None:
    seconds, _, end = Clock("iso", "UTC", 2000).read("2015-10-18 18:01:47,978 INFO [main]")
    assert seconds == datetime(2015, 10, 18, 18, 1, 47, 978000, UTC).timestamp()
    assert end == 23


def test_a_time_without_offset_is_read_in_the_declared_zone_never_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "2026-01-05 09:00:00 start"
    read = []
    for host in ("America/New_York", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", host)
        time.tzset()
        read.append(Clock("iso", "Asia/Tokyo", 2000).read(line)[0])
    monkeypatch.undo()
    time.tzset()
    assert read == [datetime(2026, 1, 5, tzinfo=UTC).timestamp()] * 2


def test_a_year_that_is_not_written_turns_at_new_year() -> None:
    clock = Clock("month-name", "UTC", 2025)
    december = clock.read("Dec 31 23:59:59 x")[0]
    january = clock.read("Jan  1 00:00:01 x")[0]
    assert december is not None
    assert january == december + 2


@pytest.mark.parametrize(
    "line",
    [
        "2026-13-05 09:00:00 x",
        "2026-02-30 09:00:00 x",
        "9999-12-31T23:59:59-05:00 x",
        "0001-01-01T00:00:00+14:00 x",
        "no time here",
    ],
)
def test_an_impossible_time_is_none(line: str) -> None:
    assert Clock("iso", "UTC", 2000).read(line)[0] is None


def test_epoch_seconds_that_no_calendar_shows_are_impossible() -> None:
    clock = Clock(r"(?P<e>-?\d+(\.\d+)?)", "UTC", 2000)
    assert [clock.read(f"{text} x")[0] for text in ("-1", "9" * 12, "9" * 400)] == [None] * 3
    assert clock.read("1767225600.5 x")[0] == 1_767_225_600.5


@pytest.mark.parametrize("second", ["ab", "nan", "inf", "61"])
def test_a_declared_pattern_that_takes_no_number_for_seconds_raises_nothing(second: str) -> None:
    clock = Clock(r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d) (?P<H>\d\d):(?P<M>\d\d):(?P<S>\S+)", "UTC", 2000)
    assert clock.read(f"2026-01-01 00:00:{second} x") == (None, 0, 17 + len(second))


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(BadFormat, match="Asia/Tokyo"):
        zone("Mars/Base")


WRITTEN = {
    "令和8年11月25日 14時05分06秒 異常": ("era", "2026-11-25T14:05:06+09:00"),
    "令和元年５月１日 ０時０分０秒": ("era", "2019-05-01T00:00:00+09:00"),
    "R8.11.25 14:05:06 異常": ("era", "2026-11-25T14:05:06+09:00"),
    "平成31年4月30日(火) 午後11時59分": ("era", "2019-04-30T23:59:00+09:00"),
    "２０２６／１１／２５　１４：０５：０６ 異常": ("year-first", "2026-11-25T14:05:06+09:00"),
    "2026年11月25日（水）14:05:06.250 異常": ("japanese", "2026-11-25T14:05:06.250+09:00"),
    "25.11.2026 14:05:06 Störung": ("day-first", "2026-11-25T14:05:06+09:00"),
    "11/25/2026 2:05:06 PM fault": ("month-first", "2026-11-25T14:05:06+09:00"),
    "25-NOV-2026 14:05:06 ALARM": ("day-month-name", "2026-11-25T14:05:06+09:00"),
    "20261125140506.5 fault": ("compact-year", "2026-11-25T14:05:06.500+09:00"),
    "1795583106123456789 x": ("epoch", "2026-11-25T14:05:06.123457+09:00"),
}


# Each line: its pattern, the time, and what is left for the message. Offsets and halves of a day that lines do write
# count; numbers and words after a time that are neither stay.
OFFSETS = {
    "20260131T100000Z x": ("compact-year", "2026-01-31T10:00:00+00:00", " x"),
    "20260131T100000+0900 x": ("compact-year", "2026-01-31T10:00:00+09:00", " x"),
    "20260131-10:00:00.250 x": ("compact-year", "2026-01-31T10:00:00.250-05:00", " x"),
    "2026/01/31 10:00:00 +0900 x": ("year-first", "2026-01-31T10:00:00+09:00", " x"),
    "2026/01/31,10:00:00,x": ("year-first", "2026-01-31T10:00:00-05:00", ",x"),
    "2026/01/31\t10:00:00\tx": ("year-first", "2026-01-31T10:00:00-05:00", "\tx"),
    "2026/01/31 10:00:00 PM x": ("year-first", "2026-01-31T22:00:00-05:00", " x"),
    "2026年1月31日 午後10時00分 +09:00 x": ("japanese", "2026-01-31T22:00:00+09:00", " x"),
    "Sat, 31 Jan 2026 10:00:00 +0900 x": ("day-month-name", "2026-01-31T10:00:00+09:00", " x"),
    "31-Jan-2026 10:00:00 PM -0500 x": ("day-month-name", "2026-01-31T22:00:00-05:00", " x"),
    "31/01/2026 10:00:00+09:00 x": ("day-first", "2026-01-31T10:00:00+09:00", " x"),
    "31.01.26 10:00:00 x": ("day-first-short", "2026-01-31T10:00:00-05:00", " x"),
    "01/31/26 10:00:00 x": ("month-first-short", "2026-01-31T10:00:00-05:00", " x"),
    "Jan 31, 2026 10:00:00 PM x": ("month-name-year", "2026-01-31T22:00:00-05:00", " x"),
    "January 31, 2026 at 10:00:00 p.m. x": ("month-name-year", "2026-01-31T22:00:00-05:00", " x"),
    "Sat Jan 31 2026 10:00:00 GMT+0900 (JST)": ("month-name-year", "2026-01-31T10:00:00+09:00", " (JST)"),
    "Sat Jan 31 10:00:00 UTC 2026": ("month-name", "2026-01-31T10:00:00+00:00", ""),
    "Sat Jan 31 10:00:00 IST 2026": ("month-name", "2026-01-31T10:00:00-05:00", ""),
    "Jan 31 10:00:00 PLC 2026 x": ("month-name", "2000-01-31T10:00:00-05:00", " PLC 2026 x"),
    "Jan 31 10:00:00 4711 x": ("month-name", "2000-01-31T10:00:00-05:00", " 4711 x"),
    "Jan 31 10:00:00 host 2026": ("month-name", "2000-01-31T10:00:00-05:00", " host 2026"),
    "2026-Jan-31 10:00:00 x": ("year-month-name", "2026-01-31T10:00:00-05:00", " x"),
    "2026-01-31-10.00.00.250000+0900 x": ("bluegene", "2026-01-31T10:00:00.250+09:00", " x"),
    "2026-01-31t10:00:00z x": ("iso", "2026-01-31T10:00:00+00:00", " x"),
    "2026-01-31T10:00:00+09 x": ("iso", "2026-01-31T10:00:00+09:00", " x"),
    "2026-01-31T10:00:00+11 x": ("iso", "2026-01-31T10:00:00+11:00", " x"),
    "2026-01-31 10:00:00 -03 [7] LOG": ("iso", "2026-01-31T10:00:00-03:00", " [7] LOG"),
    "2026-01-31 10:00:00.250 UTC [7] LOG": ("iso", "2026-01-31T10:00:00.250+00:00", " [7] LOG"),
    "2026-01-31 10:00:00 JST [7] LOG": ("iso", "2026-01-31T10:00:00+09:00", " [7] LOG"),
    "2026-01-31 10:00:00 UTC+9 x": ("iso", "2026-01-31T10:00:00+09:00", " x"),
    "2026-01-31 10:00:00PM-0500 x": ("iso", "2026-01-31T22:00:00-05:00", " x"),
    "2026-01-31 10:00:00 CST x": ("iso", "2026-01-31T10:00:00-05:00", " CST x"),
    "2026-01-31 10:00:00 JSTX x": ("iso", "2026-01-31T10:00:00-05:00", " JSTX x"),
    "2026-01-31 10:00:00 -5 mm": ("iso", "2026-01-31T10:00:00-05:00", " -5 mm"),
    "2026-01-31 10:00:00 -12 mm": ("iso", "2026-01-31T10:00:00-05:00", " -12 mm"),
    "2026-01-31 10:00:00 -05% x": ("iso", "2026-01-31T10:00:00-05:00", " -05% x"),
    "2026-01-31 10:00:00 +1234 rpm": ("iso", "2026-01-31T10:00:00-05:00", " +1234 rpm"),
    "2026-01-31 10:00:00+12.5 mm": ("iso", "2026-01-31T10:00:00-05:00", "+12.5 mm"),
    "2026-01-31 10:00:00-10:15:00 x": ("iso", "2026-01-31T10:00:00-05:00", "-10:15:00 x"),
    "2026-01-31 10:00:00 Z axis": ("iso", "2026-01-31T10:00:00-05:00", " Z axis"),
    "2026-01-31 10:00:00 PM-07 x": ("iso", "2026-01-31T10:00:00-05:00", " PM-07 x"),
    "2026-01-31 14:00:00 PM x": ("iso", "2026-01-31T14:00:00-05:00", " x"),
}


@pytest.mark.parametrize("line", OFFSETS)
def test_an_offset_and_a_half_of_the_day_that_a_line_writes_count(line: str) -> None:
    pattern, expected, rest = OFFSETS[line]
    assert detect_pattern([line] * 3) == pattern
    seconds, _, end = Clock(pattern, "America/New_York", 2000).read(line)
    assert seconds == pytest.approx(datetime.fromisoformat(expected).timestamp(), abs=1e-5)
    assert line[end:] == rest


def test_of_orders_that_read_alike_the_one_whose_times_lie_closest_is_taken() -> None:
    for form, pattern in (
        ("%d.%m.%Y", "day-first"),
        ("%m/%d/%Y", "month-first"),
        ("%y/%m/%d", "two-digit-year"),
        ("%d/%m/%y", "day-first-short"),
        ("%m/%d/%y", "month-first-short"),
    ):
        days = [datetime(2006, 5, day, 10, tzinfo=UTC) for day in range(6, 12)]
        assert detect_pattern([f"{day:{form} %H:%M:%S} door open" for day in days]) == pattern


def test_a_name_that_is_no_offset_is_an_impossible_time_and_no_error() -> None:
    pattern = r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d) (?P<H>\d\d):(?P<M>\d\d) (?P<z>\w+)"
    clock = Clock(pattern, "UTC", 2000)
    assert clock.read("2026-01-31 10:00 JST")[0] == datetime(2026, 1, 31, 1, tzinfo=UTC).timestamp()
    assert clock.read("2026-01-31 10:00 MARS") == (None, 0, 21)


@pytest.mark.parametrize("line", WRITTEN)
def test_times_as_plants_write_them(line: str) -> None:
    pattern, expected = WRITTEN[line]
    assert detect_pattern([line] * 3) == pattern
    seconds, start, end = Clock(pattern, "Asia/Tokyo", 2000).read(line)
    assert seconds == pytest.approx(datetime.fromisoformat(expected).timestamp(), abs=1e-5)
    assert start < end <= len(line)


def test_a_pattern_of_ones_own() -> None:
    pattern = r"(?P<H>\d\d)h(?P<M>\d\d) (?P<d>\d\d)-(?P<m>\d\d)-(?P<Y>\d{4})"
    assert (
        Clock(pattern, "UTC", 2000).read("14h05 25-11-2026 x")[0]
        == datetime(2026, 11, 25, 14, 5, tzinfo=UTC).timestamp()
    )
    for bad, words in (("klingon", "unknown time pattern"), (r"(?P<H>\d", "no regular"), (r"(?P<H>\d)", "needs the"),
                       (r"(?P<x>\d)", "unknown groups")):  # fmt: skip
        with pytest.raises(BadFormat, match=words):
            Clock(bad, "UTC", 2000)


def test_an_hour_that_clocks_repeat_is_read_as_declared_and_counted() -> None:
    line = "2026-10-25 02:30:00 x"
    first, second = Clock("iso", "Europe/Berlin", 2000), Clock("iso", "Europe/Berlin", 2000, fold=1)
    assert first.read(line)[0] == datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    assert second.read(line)[0] == datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp()
    first.read(line)
    assert first.noticed == {"ambiguous-time": 2}
    first.read("2027-03-28 02:30:00 x")
    assert first.noticed == {"ambiguous-time": 2, "nonexistent-time": 1}
    assert first.read("2026-10-25 02:30:00+01:00 x")[0] == second.read(line)[0]
    assert first.noticed["ambiguous-time"] == 2


def test_new_year_is_crossed_both_ways_without_a_year() -> None:
    clock = Clock("month-name", "Asia/Tokyo", 2025)
    lines = [
        "Dec 31 23:59:58",
        "Jan  1 00:00:01",
        "Dec 31 23:59:59",
        "Jan  1 00:00:02",
        "Nov 30 12:00:00",
        "Feb  2 00:00:00",
    ]
    read = [clock.read(line)[0] for line in lines]
    years = [datetime.fromtimestamp(seconds, zone("Asia/Tokyo")).year for seconds in read if seconds is not None]
    assert years == [2025, 2026, 2025, 2026, 2026, 2027]
    assert clock.read("Feb 29 00:00:00")[0] is not None  # 2028 is the next year that has it.


def test_the_same_day_a_year_later_is_another_day() -> None:
    clock = Clock("month-name", "UTC", 2025)
    first = clock.read("Jan  5 00:00:01")[0]
    for month in ("Feb", "May", "Aug", "Nov"):
        clock.read(f"{month}  1 00:00:00")
    again = clock.read("Jan  5 00:00:01")[0]
    assert first is not None
    assert again == first + 365 * 86_400


def test_without_a_year_the_first_time_is_of_the_year_before_its_receipt() -> None:
    received = datetime(2026, 1, 1, 0, 10, tzinfo=UTC).timestamp()
    assert Clock("month-name", "UTC", 2000).read("Dec 31 23:59:00", received)[0] == received - 11 * 60
    assert Clock("month-name", "UTC", 2000).read("Jan  1 00:11:00", received)[0] == received + 60


def test_a_clock_that_was_set_is_noticed() -> None:
    clock = Clock("iso", "UTC", 2000)
    received = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
    for line in ("2026-01-01 12:00:00", "2026-01-01 11:59:00", "2026-01-01 10:00:00", "2026-01-01 14:00:00"):
        clock.read(line, received)
    assert clock.noticed == {"clock-back": 1, "clock-ahead": 1}


TIMES = st.datetimes(datetime(1971, 1, 2), datetime(2037, 1, 1))
WAYS = {
    "iso": "%Y-%m-%d %H:%M:%S.%f",
    "day-first": "%d.%m.%Y %H:%M:%S",
    "month-name": "%b %d %H:%M:%S %Y",
    "japanese": "%Y年%m月%d日 %H時%M分%S秒",
    "compact-year": "%Y%m%d%H%M%S.%f",
}


@given(
    st.lists(TIMES, max_size=20), st.sampled_from(list(WAYS)), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Tokyo"])
)
def test_what_is_remembered_changes_nothing(times: list[datetime], pattern: str, name: str) -> None:
    clock = Clock(pattern, name, 2000)
    for moment in times * 2:
        line = moment.strftime(WAYS[pattern])
        exact = moment if "%f" in WAYS[pattern] else moment.replace(microsecond=0)
        expected = exact.replace(tzinfo=zone(name), fold=0).timestamp()
        assert clock.read(line)[0] == pytest.approx(expected, abs=1e-5)
        assert clock.read(line) == Clock(pattern, name, 2000).read(line)


@given(st.text(max_size=120), st.sampled_from(list(PATTERNS)))
def test_no_line_makes_a_clock_raise(line: str, pattern: str) -> None:
    Clock(pattern, "Europe/Berlin", 2000).read(line)
