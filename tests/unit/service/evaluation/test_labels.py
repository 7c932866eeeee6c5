from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.errors import BadSetting
from service.evaluation.labels import Label, marked, read_labels

TOKYO = "Asia/Tokyo"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, "utf-8")
    return path


def window(
    index: int, start: float | None, end: float | None, source: str = "press", key: str | None = None
) -> dict[str, object]:
    return {"index": index, "start": start, "end": end, "source": source, "key": key}


def test_times_without_an_offset_are_in_the_logs_zone(tmp_path: Path) -> None:
    path = written(tmp_path, "start,end\n2026-01-01 09:00,2026-01-01T00:30:00Z\n")
    assert read_labels(path, TOKYO) == [Label(0, None, 1_767_225_600.0, 1_767_227_400.0, name="line 2")]


@pytest.mark.parametrize(
    "time", ["2026/01/01 09:00", "2026/1/1 9:00:00", "2026年1月1日 9時00分", "令和8年1月1日 9:00", "2026-01-01T00:00Z"]
)
def test_times_are_read_as_spreadsheets_write_them(tmp_path: Path, time: str) -> None:
    (label,) = read_labels(written(tmp_path, f"start,end\n{time},{time}\n"), TOKYO)
    assert label.start == label.end == 1_767_225_600.0


def test_a_file_that_excel_saved_in_japan_is_read_and_any_other_encoding_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("start,end,name\n2026/01/01 09:00,2026/01/01 09:30,断線\n".encode("cp932"))
    assert [label.name for label in read_labels(path, TOKYO)] == ["断線"]
    path.write_bytes("start,end,name\n2026-01-01,2026-01-02,断線\n".encode("utf-16"))
    with pytest.raises(BadSetting, match="save the file as CSV in UTF-8"):
        read_labels(path, TOKYO)


def test_rows_of_one_name_are_one_incident(tmp_path: Path) -> None:
    path = written(
        tmp_path, "\ufeffstart,end,name\n2026-01-01,2026-01-02,a\n2026-01-03,2026-01-04,b\n2026-01-05,2026-01-06,a\n"
    )
    assert [label.incident for label in read_labels(path, TOKYO)] == [0, 1, 0]


def test_windows_are_marked_by_overlap_in_time_and_by_their_session() -> None:
    labels = [Label(0, None, 100.0, 200.0), Label(1, "press", key="lot 7"), Label(2, "oven", 0.0, 1000.0)]
    windows = [
        window(0, 0.0, 99.0),
        window(1, 50.0, 100.0),
        window(2, 150.0, 160.0),
        window(3, 201.0, 300.0, key="lot 6"),
        window(4, 201.0, 300.0, key="lot 7"),
        window(5, 500.0, 600.0, source="oven"),
        window(6, None, None),
    ]
    found = {number: np.flatnonzero(mine).tolist() for number, mine in marked(windows, labels).items()}
    assert found == {0: [1, 2], 1: [4], 2: [5]}


def test_a_session_with_times_is_marked_at_these_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "key,start,end\nlot 7,1970-01-01T00:01Z,1970-01-01T00:02Z\nlot 8,,\n")
    windows = [window(n, 60.0 * n, 60.0 * n + 30, key=f"lot {7 + n % 2}") for n in range(8)]
    found = marked(windows, read_labels(path, TOKYO))
    assert [np.flatnonzero(mine).tolist() for mine in found.values()] == [[2], [1, 3, 5, 7]]


def test_a_row_may_end_in_empty_values(tmp_path: Path) -> None:
    assert len(read_labels(written(tmp_path, "start,end,name\n2026-01-01,2026-01-02,a,,\n"), TOKYO)) == 1


def test_a_silence_is_marked_where_it_is_judged_by_the_window_after_it() -> None:
    windows = [window(0, 0.0, 60.0), window(1, 61.0, 120.0), window(2, 3720.0, 3780.0), window(0, 0.0, 60.0, "oven")]
    (mine,) = marked(windows, [Label(0, None, 600.0, 1200.0)]).values()
    assert mine.tolist() == [False, False, True, False]
    sessions = [dict(row) | {"key": "lot 7"} for row in windows]
    assert not marked(sessions, [Label(0, None, 600.0, 1200.0)])[0].any()


def test_a_window_that_two_incidents_touch_counts_for_both() -> None:
    found = marked([window(0, 0.0, 60.0)], [Label(0, None, 5.0, 6.0), Label(1, None, 30.0, 40.0)])
    assert [mine.tolist() for mine in found.values()] == [[True], [True]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("from,to\n1,2\n", "column 'from'"),
        ("source\npress\n", "lacks columns"),
        ("start;end;name\n1;2;x\n", "column 'start;end;name'.* source and name, separated by commas"),
        ("start\tend\n1\t2\n", "separated by commas"),
        ("start,end\n", "no labels"),
        ("start,end\nyesterday,2026-01-01\n", "line 2: cannot read start 'yesterday'"),
        ("start,end\n2026-01-02,2026-01-01\n", "line 2: end lies before start"),
        ("start,end\n01/02/2026 10:00,01/02/2026 10:30\n", "line 2: cannot read start"),
        ("start,end,name\n2026-01-02,,x\n", "line 2: cannot read end"),
        ("start,end,name\n2026-01-02,2026-01-02,servo, axis X\n", "line 2: there are more values than columns"),
        ("key,start,end\nlot 7,2026-01-02,\n", "line 2: cannot read end"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        read_labels(written(tmp_path, text), TOKYO)
