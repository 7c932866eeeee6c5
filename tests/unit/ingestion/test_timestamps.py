"""Times as plants write them, read in the source's own zone."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from ingestion.errors import BadFormat
from ingestion.timestamps import Clock, detect_pattern, zone

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


@pytest.mark.parametrize("line", ["2026-13-05 09:00:00 x", "2026-02-30 09:00:00 x", "no time here"])
def test_an_impossible_time_is_none(line: str) -> None:
    assert Clock("iso", "UTC", 2000).read(line)[0] is None


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(BadFormat, match="Asia/Tokyo"):
        zone("Mars/Base")
