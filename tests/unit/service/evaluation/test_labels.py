from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from service.errors import BadSetting
from service.evaluation.labels import Label, incidents_of, read_labels

TOKYO = ZoneInfo("Asia/Tokyo")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, "utf-8")
    return path


def window(start: float | None, end: float | None, source: str = "press", key: str | None = None) -> dict[str, object]:
    return {"start": start, "end": end, "source": source, "key": key}


def test_times_without_an_offset_are_in_the_logs_zone(tmp_path: Path) -> None:
    path = written(tmp_path, "start,end\n2026-01-01 09:00,2026-01-01T00:30:00Z\n")
    assert read_labels(path, TOKYO) == [Label(0, None, 1_767_225_600.0, 1_767_227_400.0)]


def test_rows_of_one_name_are_one_incident(tmp_path: Path) -> None:
    path = written(
        tmp_path, "\ufeffstart,end,name\n2026-01-01,2026-01-02,a\n2026-01-03,2026-01-04,b\n2026-01-05,2026-01-06,a\n"
    )
    assert [label.incident for label in read_labels(path, TOKYO)] == [0, 1, 0]


def test_windows_are_marked_by_overlap_in_time_and_by_their_session(tmp_path: Path) -> None:
    labels = [Label(0, None, 100.0, 200.0), Label(1, "press", key="lot 7"), Label(2, "oven", 0.0, 1000.0)]
    windows = [
        window(0.0, 99.0),
        window(50.0, 100.0),
        window(150.0, 160.0),
        window(201.0, 300.0),
        window(201.0, 300.0, key="lot 7"),
        window(500.0, 600.0, source="oven"),
        window(None, None),
    ]
    assert incidents_of(windows, labels).tolist() == [-1, 0, 0, -1, 1, 2, -1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("from,to\n1,2\n", "column 'from'"),
        ("source\npress\n", "lacks columns"),
        ("start,end\n", "no labels"),
        ("start,end\nyesterday,2026-01-01\n", "line 2: cannot read start 'yesterday'"),
        ("start,end\n2026-01-02,2026-01-01\n", "line 2: end lies before start"),
        ("start,end,name\n2026-01-02,,x\n", "line 2: cannot read end"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        read_labels(written(tmp_path, text), TOKYO)
