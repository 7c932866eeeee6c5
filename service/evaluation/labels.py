"""A file of labels: what was anomalous, by time or by session key.

A CSV file with a header. By time: `start` and `end`, and where wanted `source` and `name`; a time without an offset is
in the zone it is read with. By session: `key`, and where wanted when, `source` and `name`. One row is one incident;
rows of one `name` are the same incident.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ingestion.timestamps import Clock
from ingestion.timestamps import zone as zone_named
from service.errors import BadSetting

Bools = npt.NDArray[np.bool_]

# Forms of a time beside ISO 8601 in which no day can be taken for a month; Excel writes the first in Japan.
_PATTERNS = ("year-first", "japanese", "era")
# They write the year themselves.
_NO_YEAR = 2000
_COLUMNS = {"start", "end", "key", "source", "name"}


@dataclass(frozen=True)
class Label:
    """One stretch of time, or one session, that is anomalous.

    Attributes:
        incident: number of the incident it belongs to.
        source: whose it is; None for every source.
        start, end: epoch seconds; None for a session whenever it was.
        key: of the session; None for every window of a stretch of time.
        name: of the incident.
    """

    incident: int
    source: str | None
    start: float | None = None
    end: float | None = None
    key: str | None = None
    name: str = ""


def read_labels(path: Path, zone: str) -> list[Label]:
    """Read a file of labels.

    Args:
        path: the file, in UTF-8 or, as Excel saves CSV in Japan, in CP932.
        zone: IANA zone of times without an offset.

    Raises:
        BadSetting: it cannot be read, or a row is not valid; the message names the line.
    """
    rows = csv.DictReader(_text(path).splitlines())
    columns = set(rows.fieldnames or ())
    unknown = columns - _COLUMNS
    if unknown or not ({"start", "end"} <= columns or "key" in columns):
        said = f"has a column {min(unknown)!r}" if unknown else "lacks columns"
        commas = ", separated by commas" if any(";" in column or "\t" in column for column in columns) else ""
        raise BadSetting(
            f"{path} {said}: labels are a CSV file with the columns start and end, or key, and at will source and "
            f"name{commas}"
        )
    numbers: dict[str, int] = {}
    found = []
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        if any(row.get(None) or ()):
            raise BadSetting(f"{where}: there are more values than columns; put quotes around one that holds a comma")
        name = (row.get("name") or "").strip() or f"line {rows.line_num}"
        number = numbers.setdefault(name, len(numbers))
        source = (row.get("source") or "").strip() or None
        key = (row.get("key") or "").strip()
        if key and not (row.get("start") or row.get("end")):
            found.append(Label(number, source, key=key, name=name))
            continue
        start, end = (_time(row.get(column), zone, where, column) for column in ("start", "end"))
        if end < start:
            raise BadSetting(f"{where}: end lies before start")
        found.append(Label(number, source, start, end, key or None, name))
    if not found:
        raise BadSetting(f"{path} has no labels; give at least one row below the header")
    return found


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadSetting(f"cannot read the labels {path}: {error}") from error
    # UTF-16 has zero bytes, which CP932 would read as text.
    for encoding in () if b"\0" in raw else ("utf-8-sig", "cp932"):
        with suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    raise BadSetting(f"the labels {path} are neither UTF-8 nor CP932: save the file as CSV in UTF-8")


def _time(text: str | None, zone: str, where: str, column: str) -> float:
    text = (text or "").strip()
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone_named(zone))).timestamp()
    for pattern in _PATTERNS:
        seconds, start, end = Clock(pattern, zone, _NO_YEAR).read(text)
        if seconds is not None and (start, end) == (0, len(text)):
            return seconds
    raise BadSetting(
        f"{where}: cannot read {column} {text!r}; give a time such as 2026-01-31T06:00, 2026-01-31T06:00+09:00 or "
        "2026/01/31 6:00"
    )


def marked(windows: Sequence[Mapping[str, Any]], labels: Sequence[Label]) -> dict[int, Bools]:
    """Return which windows each incident of the labels marks, by its number; one of which there is none marks none.

    A window begins with the event before it: it judges the silence before its first event, too. One of a session
    begins with its own first event.

    Args:
        windows: rows of the store, final and of one bundle.
        labels: at least one.
    """
    sources, keys = (np.array([window[name] for window in windows], dtype=object) for name in ("source", "key"))
    ends = np.array([np.nan if window["end"] is None else window["end"] for window in windows], np.float64)
    before = {(window["source"], window["index"] + 1): window["end"] for window in windows if window["key"] is None}
    begins = np.full(len(windows), np.nan)
    for place, window in enumerate(windows):
        if window["start"] is not None:
            earlier = before.get((window["source"], window["index"])) if window["key"] is None else None
            begins[place] = window["start"] if earlier is None else min(earlier, window["start"])
    found: dict[int, Bools] = {}
    for label in labels:
        mine = np.ones(len(windows), bool)
        if label.key is not None:
            mine = mine & (keys == label.key)
        if label.start is not None and label.end is not None:
            mine = mine & (begins <= label.end) & (ends >= label.start)
        if label.source is not None:
            mine = mine & (sources == label.source)
        found[label.incident] = found.get(label.incident, np.zeros(len(windows), bool)) | mine
    return found
