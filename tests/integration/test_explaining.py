"""What is stored is evaluated and explained from either kind of database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingestion import Record
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.cli import main
from service.explain import iso
from service.explained_text import incident_text
from service.routes.incidents import with_lines
from service.whole_files import score_records
from tests.integration.conftest import Database


def test_stored_windows_are_evaluated_and_explained_where_they_are(
    bundle: Bundle,
    bundle_dir: Path,
    machine_lines: list[bytes],
    database: Database,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = database.open()
    records = (Record("mazak01", "file:x", n, n + 1, line, None) for n, line in enumerate(machine_lines))
    score_records(bundle, store, records, AlarmPolicy(), lambda _: None)
    (incident, *_) = store.find_incidents()
    told = incident_text(*with_lines(store, incident["id"]))
    windows = sum(row["status"] == "final" for row in store.find_windows(limit=None))
    store.close()
    labels = tmp_path / "labels.csv"
    labels.write_text(f"start,end\n{iso(incident['start'])},{iso(incident['end'])}\n")
    asked = ["evaluate", str(bundle_dir), "--labels", str(labels), "--json"]
    assert main([*asked, *database.arguments()]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["windows"], len(found["rows"])) == (windows, 4)
    assert main(["explain", incident["id"], *database.arguments()]) == 0
    assert capsys.readouterr().out == told
