"""What a report says of other budgets, down to those that raise what is not unusual at all."""

from __future__ import annotations

from pathlib import Path

from ingestion import Record
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
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
