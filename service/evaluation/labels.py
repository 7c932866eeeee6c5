"""A file of labels: what was anomalous, by time or by session key.

A CSV file with a header. By time: `start` and `end`, and where wanted `source` and `name`; a time without an offset is
in the zone it is read with. By session: `key`, and where wanted `source` and `name`. One row is one incident; rows of
one `name` are the same incident.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import BadSetting

_COLUMNS = {"start", "end", "key", "source", "name"}


@dataclass(frozen=True)
class Label:
    """One stretch of time, or one session, that is anomalous.

    Attributes:
        incident: number of the incident it belongs to.
        source: whose it is; None for every source.
        start, end: epoch seconds; None for a session.
        key: of the session; None for a stretch of time.
    """

    incident: int
    source: str | None
    start: float | None = None
    end: float | None = None
    key: str | None = None

    def marks(self, window: Mapping[str, Any]) -> bool:
        """Whether a window, a row of the store, is marked by it."""
        if self.source is not None and window["source"] != self.source:
            return False
        if self.key is not None:
            return bool(window["key"] == self.key)
        assert self.start is not None
        assert self.end is not None
        if window["start"] is None:
            return False
        return bool(window["start"] <= self.end and window["end"] >= self.start)


def read_labels(path: Path, zone: tzinfo) -> list[Label]:
    """Read a file of labels.

    Raises:
        BadSetting: it cannot be read, or a row is not valid; the message names the line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"cannot read the labels {path}: {error}") from error
    rows = csv.DictReader(text.splitlines())
    columns = set(rows.fieldnames or ())
    unknown = columns - _COLUMNS
    if unknown or not ({"start", "end"} <= columns or "key" in columns):
        said = f"has a column {min(unknown)!r}" if unknown else "lacks columns"
        raise BadSetting(
            f"{path} {said}: labels are a CSV file with the columns start and end, or key, and at will source and name"
        )
    numbers: dict[str, int] = {}
    found = []
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        name = (row.get("name") or "").strip() or f"row {rows.line_num}"
        number = numbers.setdefault(name, len(numbers))
        source = (row.get("source") or "").strip() or None
        key = (row.get("key") or "").strip()
        if key:
            found.append(Label(number, source, key=key))
            continue
        start, end = (_time(row.get(column), zone, where, column) for column in ("start", "end"))
        if end < start:
            raise BadSetting(f"{where}: end lies before start")
        found.append(Label(number, source, start, end))
    if not found:
        raise BadSetting(f"{path} has no labels; give at least one row below the header")
    return found


def _time(text: str | None, zone: tzinfo, where: str, column: str) -> float:
    try:
        moment = datetime.fromisoformat((text or "").strip())
    except ValueError as error:
        raise BadSetting(
            f"{where}: cannot read {column} {text!r}; give a time such as 2026-01-31T06:00 or 2026-01-31T06:00+09:00"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()


def incidents_of(windows: Sequence[Mapping[str, Any]], labels: Iterable[Label]) -> npt.NDArray[np.int64]:
    """Return the number of the incident that each window belongs to, -1 for none; the first label that marks it."""
    found = np.full(len(windows), -1, np.int64)
    for label in labels:
        for place, window in enumerate(windows):
            if found[place] < 0 and label.marks(window):
                found[place] = label.incident
    return found
