"""Files read whole: what their lines leave open, such as the year, follows from the file."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingestion import SourceFormat, WindowSpec
from service.cli import main
from service.settings import Settings, load_settings
from service.whole_files import good_lines

WINDOW = WindowSpec.parse("16")


@pytest.fixture
def syslog(tmp_path: Path) -> Path:
    """Lines without a year, in the middle of which the year turns; copied eleven months later."""
    path, first = tmp_path / "hmi.syslog", datetime(2025, 12, 31, 12, tzinfo=UTC)
    lines = []
    for number in range(1800):
        moment = first + timedelta(minutes=number * 0.9)
        lines.append(f"{moment:%b %d %H:%M:%S} hmi app: {'cycle ended' if number % 5 else 'pressure low'}\n")
    path.write_text("".join(lines))
    os.utime(path, (datetime(2026, 11, 26, tzinfo=UTC).timestamp(),) * 2)
    return path


def test_no_line_of_a_file_is_dated_in_another_year(
    syslog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["try", str(syslog), "-o", str(tmp_path / "report.html"), "--json"]) == 0
    accounting = json.loads(capsys.readouterr().out)["accounting"]
    assert accounting["first"].startswith("2026-01-01T01:")
    assert accounting["last"].startswith("2026-01-01T14:")


def test_inspect_says_which_year_and_why(syslog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "logvq.toml"
    assert main(["inspect", str(syslog), "-o", str(config)]) == 0
    said = "the latest in which no line is later than the file's last change, on 2026-11-26"
    assert said in capsys.readouterr().out
    assert f"year = 2025  # a guess: the lines write none; it is {said}" in config.read_text()


def test_a_table_that_a_file_lacks_is_told_once_and_a_default_is_none(
    syslog: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "logvq.toml"
    config.write_text('[file."mixed.syslog"]\ntime = "month-name"\n[file."b*"]\ntime = "iso"\n')
    settings = load_settings(config)
    said = "logvq.toml has no table for hmi.syslog; it has mixed.syslog, b*: reading hmi.syslog "
    good_lines(syslog, None, None, None, settings)
    settings.whole_file(SourceFormat(), WINDOW, syslog)
    assert [record.getMessage() for record in caplog.records] == [
        f"{said}by what its lines look like",
        f"{said}as the lines that the bundle was trained on",
    ]
    caplog.clear()
    for text in ('[topic.t]\ntime = "iso"', '[file."hmi*"]\ntime = "month-name"', '[default]\ntime = "month-name"'):
        config.write_text(f'{text}\n[file."x" ]\ntime = "iso"\n' if "topic" not in text else text)
        good_lines(syslog, None, None, None, load_settings(config))
        load_settings(config).whole_file(SourceFormat(), WINDOW, syslog)
    good_lines(syslog, None, None, None)
    assert not caplog.records


def test_values_that_line_breaks_cut_are_told_before_anything_is_trained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "export.csv"
    rows = [f'2026-01-05 00:00:{n % 60:02};7;"one\ntwo";{n}' for n in range(200)]
    table.write_text("\n".join(["at;unit;text;value", *rows]))
    good_lines(table, None, None, None)
    (record,) = caplog.records
    assert "export.csv: values in quotes hold line breaks, 200 in" in record.getMessage()
    assert "export one row a line" in record.getMessage()


def test_a_declared_year_holds_and_any_other_file_has_its_own(syslog: Path, tmp_path: Path) -> None:
    trained = SourceFormat(time_pattern="month-name", year=2011)
    config = tmp_path / "logvq.toml"
    config.write_text('[file."hmi*"]\ntime = "month-name"\n')
    for settings in (Settings(), load_settings(config)):
        assert settings.whole_file(trained, WINDOW, syslog)[0].year == 2025
        assert good_lines(syslog, None, None, None, settings).source_format.year == 2025
    config.write_text('[file."hmi*"]\ntime = "month-name"\nyear = 2019\n')
    settings = load_settings(config)
    assert settings.whole_file(trained, WINDOW, syslog)[0].year == 2019
    assert good_lines(syslog, None, None, None, settings).source_format.year == 2019
