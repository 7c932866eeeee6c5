"""What a report says of other budgets, down to those that raise what is not unusual at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingestion import Record
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.cli import main
from service.store import Store
from service.trying import _choices, score_records


def test_larger_budgets_raise_more_and_miss_less(bundle: Bundle, machine_lines: list[bytes], tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    records = (Record("mazak01", "file:x", n, n + 1, line, None) for n, line in enumerate(machine_lines))
    score_records(bundle, store, records, AlarmPolicy(), lambda _: None)
    final = [row for row in store.find_windows(limit=None)[::-1] if row["status"] == "final"]
    found = _choices(bundle, store, final)
    assert len(found) > 2
    for name, order in (("alarms", 1), ("missed", -1)):
        values = [order * choice[name] for choice in found]
        assert values == sorted(values)
    assert found[-1]["missed"] == 0
    assert found[0]["strongest_missed"]
    quiet = [row for row in final if row["strength"] < 1.0]
    assert sum(choice["alarms"] for choice in _choices(bundle, store, quiet)) > 0
    store.close()


def test_a_file_of_less_than_a_day_has_counts_and_no_rates(
    machine_lines: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, report = tmp_path / "mazak01.log", tmp_path / "report.html"
    log.write_bytes(b"\n".join(machine_lines[-2000:]) + b"\n")
    assert main(["try", str(log), "-o", str(report), "--json"]) == 0
    budget = json.loads(capsys.readouterr().out)["budget"]
    assert budget["days"] < 1
    assert budget["realised_per_day"] is None
    assert {choice["realised_per_day"] for choice in budget["choices"]} == {None}
    assert {point["alarms_per_day"] for point in budget["curve"]} == {None}
    assert "covers less than a day" in report.read_text("utf-8")
