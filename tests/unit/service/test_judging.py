"""From evidence to scores, windows and incidents."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from service.bundle import Bundle, load_bundle, save_bundle
from service.calibration import Calibration
from service.errors import BadBundle, CannotWrite
from service.incidents import MAX_GAP_SECONDS, IncidentTracker


def test_a_score_is_capped_at_what_the_sample_supports_and_strength_is_not() -> None:
    calibration = Calibration(windows=99, windows_per_day=50.0)
    assert calibration.score(math.log(1000)) == (2.0, pytest.approx(3.0))
    assert calibration.score(math.log(10)) == (pytest.approx(1.0), pytest.approx(1.0))


def test_a_smaller_budget_is_a_higher_threshold_within_bounds() -> None:
    found = Calibration(windows=99, windows_per_day=50.0)
    assert found.threshold(0.1) == pytest.approx(-math.log10(0.1 / 50))
    assert found.threshold(0.1) > found.threshold(0.4) > found.threshold(40) == 2.0


def window(number: int, *, anomalous: bool, strength: float = 3.0, start: float | None = None) -> dict[str, Any]:
    at = number * 60.0 if start is None else start
    return {
        "id": f"w-{number}", "source": "s", "sequence": at, "start": at, "end": at + 59,
        "score": strength, "strength": strength, "anomalous": anomalous, "incident": None,
    }  # fmt: skip


def follow(tracker: IncidentTracker, windows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for item in windows:
        for row in tracker.follow(item, "rare-transition", f"sig-{item['id']}", item["id"]):
            found[row["id"]] = row
    return found


def test_anomalous_windows_join_over_one_quiet_window_and_close_after_two() -> None:
    windows = [window(n, anomalous=n in {1, 3, 8}, strength=5.0 if n == 3 else 3.0) for n in range(12)]
    first, second = follow(IncidentTracker(), windows).values()
    assert (json.loads(first["window_ids"]), first["worst_window"], first["status"]) == (
        ["w-1", "w-3"],
        "w-3",
        "closed",
    )
    assert json.loads(second["window_ids"]) == ["w-8"]
    assert [item["incident"] for item in windows if item["incident"]] == [first["id"], first["id"], second["id"]]


def test_a_long_silence_ends_an_incident() -> None:
    late = window(1, anomalous=True, start=MAX_GAP_SECONDS + 200)
    assert len(follow(IncidentTracker(), [window(0, anomalous=True), late])) == 2


def test_a_tracker_goes_on_from_its_state() -> None:
    windows = [window(n, anomalous=n in {1, 3}) for n in range(6)]
    whole = follow(IncidentTracker(), [dict(item) for item in windows])
    tracker = IncidentTracker()
    found = follow(tracker, windows[:3])
    found |= follow(IncidentTracker(json.loads(json.dumps(tracker.state()))), windows[3:])
    assert found == whole


def test_a_bundle_is_what_was_saved_or_refused(bundle: Bundle, bundle_dir: Path, tmp_path: Path) -> None:
    again = save_bundle(bundle, tmp_path / "again")
    assert again.id == bundle.id == load_bundle(bundle_dir).id
    with pytest.raises(CannotWrite, match="not empty"):
        save_bundle(bundle, tmp_path / "again")
    (tmp_path / "again" / "detector.json").write_text("{}")
    with pytest.raises(BadBundle, match="changed"):
        load_bundle(tmp_path / "again")
    with pytest.raises(BadBundle, match="no manifest"):
        load_bundle(tmp_path)
