"""What two runs over the same lines must agree in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingestion import Record
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.routes.incidents import shown
from service.shown_windows import summary
from service.store import Store
from service.whole_files import score_records

SOURCE = "mazak01"
_WINDOW = ("id", "index", "status", "start", "end", "events", "score", "strength", "anomalous", "incident", "sentence")
_INCIDENT = ("id", "status", "start", "end", "windows", "window_ids", "worst_window", "score", "title", "signature")


def comparable(windows: list[dict[str, Any]], incidents: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "windows": sorted((tuple(w[name] for name in _WINDOW) for w in windows), key=lambda row: row[1]),
        "incidents": sorted(tuple(str(i[name]) for name in _INCIDENT) for i in incidents),
    }


def undisturbed(bundle: Bundle, lines: list[bytes], directory: Path) -> dict[str, Any]:
    """What `logvq try` finds in these lines."""
    store = Store(directory / "undisturbed.sqlite")
    records = (Record(SOURCE, "file:x", n, n + 1, line, None) for n, line in enumerate(lines))
    score_records(bundle, store, records, AlarmPolicy(), lambda _: None)
    found = comparable(
        [summary(row) for row in store.find_windows(limit=None)], [shown(row) for row in store.find_incidents(limit=-1)]
    )
    store.close()
    assert len(found["windows"]) == len(lines) // bundle.window.events + 1
    assert found["incidents"], "lines without an incident would prove little"
    return found
