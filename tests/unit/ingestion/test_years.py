"""The year that lines do not write: no file holds lines from after its last change."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from ingestion import BadInput, SourceFormat, file_year
from ingestion.envelopes import SyslogEnvelope
from ingestion.years import year_after

FORMAT = SourceFormat(time_pattern="month-name")
NEW_YEAR = ("Dec 29 04:00:08 a started", "Dec 31 23:59:00 b", "Jan  2 20:12:10 c stopped", "\tat some.where(x)")


def log(path: Path, lines: Sequence[str], changed: str, encoding: str = "utf-8") -> Path:
    value = "\n".join([*lines, ""]).encode(encoding)
    path.write_bytes(gzip.compress(value) if path.suffix == ".gz" else value)
    moment = datetime.fromisoformat(f"{changed}+00:00").timestamp()
    os.utime(path, (moment, moment))
    return path


@pytest.mark.parametrize(
    ("lines", "changed", "year"),
    [
        (NEW_YEAR, "2026-01-02T20:12:11", 2025),
        (NEW_YEAR, "2026-11-26T10:00:00", 2025),
        # In 2026 the first line would do, the last would not.
        (NEW_YEAR, "2026-12-30T10:00:00", 2025),
        (NEW_YEAR, "2027-01-02T10:00:00", 2026),
        (["Nov 25 10:00:00 x"], "2026-11-26T00:00:00", 2026),
        (["Nov 25 10:00:00 x"], "2026-11-24T12:00:00", 2026),
        (["Nov 25 10:00:00 x"], "2026-11-24T09:00:00", 2025),
        (["Jan  1 07:59:00 x"], "2025-12-31T23:00:00", 2026),
        (["Feb 29 10:00:00 x", "Mar  1 10:00:00 x"], "2027-06-01T00:00:00", 2024),
        (["Dec 20 10:00:00 late", "Dec  1 10:00:00 x"], "2026-12-05T00:00:00", 2025),
        # What lies between the first lines and the last is counted on.
        (["Feb  1 10:00:00 x"] * 3000 + ["Nov  1 10:00:00 x"] * 3000, "2026-06-01T00:00:00", 2025),
        (["Jul  1 10:00:00 x"] * 1500 + ["May  1 10:00:00 x"] * 10, "2026-06-01T00:00:00", 2025),
        (["2019 Nov 25 is no time", "Nov 25 2019 10:00:00 x"], "2026-11-26T00:00:00", 2026),
    ],
)
def test_the_year_is_the_latest_that_dates_no_line_after_the_file(
    tmp_path: Path, lines: Sequence[str], changed: str, year: int
) -> None:
    assert file_year(log(tmp_path / "x.log", lines, changed), FORMAT) == year


def test_compressed_wide_and_enveloped_files_are_dated_alike(tmp_path: Path) -> None:
    changed = "2026-12-30T10:00:00"
    assert file_year(log(tmp_path / "x.log.gz", NEW_YEAR, changed), FORMAT) == 2025
    wide = SourceFormat(time_pattern="month-name", encoding="utf-16-be")
    lines = [NEW_YEAR[0]] * 3000 + [*NEW_YEAR[2:]]
    assert file_year(log(tmp_path / "w.log", lines, changed, "utf-16-be"), wide) == 2025
    syslog = SourceFormat(time_pattern="month-name", envelope=SyslogEnvelope())
    lines = [f"<34>{line}" for line in NEW_YEAR[:3]] + ["<34>last message of no time"]
    assert file_year(log(tmp_path / "s.log", lines, changed), syslog) == 2025


def test_the_year_is_counted_on_from_the_first_line_to_where_a_part_begins(tmp_path: Path) -> None:
    path = log(tmp_path / "x.log", [*NEW_YEAR[:2], *NEW_YEAR[3:], *NEW_YEAR[2:]], "2030-01-01T00:00:00")
    first = SourceFormat(time_pattern="month-name", year=2025)
    assert [year_after(path, first, lines) for lines in range(5)] == [2025, 2025, 2026, 2026, 2026]
    written = SourceFormat(time_pattern="iso", year=2011)
    assert year_after(path, written, 2) == 2011


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        file_year(tmp_path / "none.log", FORMAT)
