"""A file scored with a bundle, or the windows of a database, against labels."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ingestion import DROP_REASONS, SourceFormat, read_records
from service.alarms.policy import AlarmPolicy
from service.bundle import load_bundle
from service.database import existing
from service.errors import BadSetting
from service.evaluation.figures import (
    DAY,
    Bools,
    Floats,
    Ints,
    area_under_roc,
    average_precision,
    f1,
    interval,
    strongest_alarms,
)
from service.evaluation.labels import Label, marked, read_labels
from service.settings import Settings
from service.store import Store
from service.whole_files import score_records, source_name

BUDGETS = (1, 5, 20)


@dataclass(frozen=True)
class EvaluateOptions:
    """What `logvq evaluate` was asked to do; see its command line."""

    bundle: Path
    file: Path | None
    source: str | None
    database: Path | None
    labels: Path
    zone: str | None
    policy: AlarmPolicy
    device: str = "cpu"
    settings: Settings = field(default_factory=Settings)


def evaluate(options: EvaluateOptions, progress: Callable[[float, str], None]) -> dict[str, Any]:
    """Evaluate a bundle.

    Args:
        options: with what, and against what.
        progress: told the share done, where it is known, and a detail.

    Returns:
        What became of the `lines`, how many `windows` they make, and `figures` by name; those by the clock only where
        windows have times, and None where there is nothing to count.

    Raises:
        BadSetting: an option is not usable, or the labels mark no window or every window.
    """
    if (options.file is None) == (options.database is None):
        raise BadSetting("evaluate a file or what is stored: give FILE, or --database FILE")
    bundle = load_bundle(options.bundle, options.device)
    source_format, origins = bundle.source_format, dict[str, SourceFormat]()
    if options.file is not None:
        source_format, origins = options.settings.whole_file(source_format, bundle.window, options.file)
    labels = read_labels(options.labels, options.zone or source_format.zone)
    with ExitStack() as opened:
        if options.database is not None:
            store = Store(existing(options.database))
        else:
            store = Store(Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="logvq-")), "windows.sqlite"))
        opened.callback(store.close)
        if options.file is not None:
            records = read_records(options.file, options.source or source_name(options.file), source_format.encoding)
            score_records(
                bundle, store, records, options.policy, lambda lines: progress(0.0, f"{lines:,} lines"), origins
            )
        windows = [row for row in store.find_windows(limit=None) if row["bundle"] == bundle.id]
        lines = _lines(store)
    progress(1.0, f"{len(windows):,} windows")
    windows = sorted((row for row in windows if row["status"] == "final"), key=lambda row: (row["sequence"], row["id"]))
    if not windows:
        raise BadSetting(f"there is no complete window of bundle {bundle.id}{_why_none(lines)}")
    found = marked(windows, labels)
    anomalous = np.logical_or.reduce(list(found.values()))
    if not anomalous.any():
        raise BadSetting(
            f"{options.labels} marks none of the {len(windows):,} windows; check its times, their zone and its sources"
        )
    if anomalous.all():
        raise BadSetting(f"{options.labels} marks every one of the {len(windows):,} windows")
    figures = measure(windows, labels, found)
    return {"bundle": bundle.id, "lines": lines, "windows": len(windows), "figures": figures}


def _lines(store: Store) -> dict[str, Any]:
    """Return what became of the lines of all sources."""
    accounts = [summary["lines"] for summary in store.source_summaries()]
    dropped: Counter[str] = Counter()
    for account in accounts:
        dropped.update(account["dropped"])
    summed = {name: sum(account[name] for account in accounts) for name in ("consumed", "parsed", "unparsed")}
    return summed | {"dropped": dict(dropped)}


def _why_none(lines: Mapping[str, Any]) -> str:
    dropped = sum(lines["dropped"].values())
    if not dropped:
        return "; give more lines, or another database"
    reasons = ", ".join(
        f"{count:,} as {reason} ({DROP_REASONS[reason]})" for reason, count in sorted(lines["dropped"].items())
    )
    return (
        f": of {lines['consumed']:,} lines {dropped:,} were dropped, {reasons}; say with --config how they are "
        "written, as `logvq inspect FILE -o TOML` proposes, or give more lines"
    )


def measure(
    windows: Sequence[Mapping[str, Any]], labels: Sequence[Label], found: Mapping[int, Bools]
) -> dict[str, Any]:
    """Return every figure of judged windows.

    An alarm is an incident opened, and true where one of its windows is marked. What people marked is an incident of
    theirs, found where a window of an alarm is marked by it, once, however many are. Figures a day need a day at least.

    Args:
        windows: rows of the store, in order.
        labels: what people marked.
        found: which windows each incident of theirs marks, by its number.
    """
    anomalous = np.logical_or.reduce(list(found.values()))
    raised: dict[str, list[int]] = {}
    for place, window in enumerate(windows):
        if window["incident"] is not None:
            raised.setdefault(window["incident"], []).append(place)
    names = {label.incident: label.name for label in labels}
    missed = [number for number, mine in found.items() if not _touched(raised.values(), mine)]
    true = sum(bool(anomalous[places].any()) for places in raised.values())
    figures: dict[str, Any] = {
        "labels": len(labels),
        "incidents": len(found),
        "incidents_found": len(found) - len(missed),
        "missed": [names[number] for number in missed],
        "missed_without_a_window": [names[number] for number in missed if not found[number].any()],
        "recall": 1 - len(missed) / len(found),
        "alarms": len(raised),
        "false_alarms": len(raised) - true,
        "precision": true / len(raised) if raised else None,
    }
    timed = all(window["start"] is not None for window in windows)
    if timed:
        figures |= _by_the_clock(windows, labels, found, anomalous, figures)
    starts = np.array([window["start"] for window in windows], np.float64) if timed else None
    return figures | _of_windows(windows, anomalous, starts)


def _touched(alarms: Iterable[Sequence[int]], marked: Bools) -> bool:
    return any(marked[places].any() for places in alarms)


def _by_the_clock(
    windows: Sequence[Mapping[str, Any]],
    labels: Sequence[Label],
    found: Mapping[int, Bools],
    anomalous: Bools,
    figures: Mapping[str, Any],
) -> dict[str, Any]:
    starts, ends = (np.array([window[name] for window in windows], np.float64) for name in ("start", "end"))
    alarms = np.array([window["incident"] is not None for window in windows])
    days = float(ends.max() - starts.min()) / DAY
    clock: dict[str, Any] = {"days": days}
    for name in ("alarms", "false_alarms"):
        clock[f"{name}_a_day"] = figures[name] / days if days >= 1 else None
    for budget in BUDGETS:
        strongest = strongest_alarms(windows, round(budget * days))
        hits = sum(bool(anomalous[places].any()) for places in strongest)
        credit = sum(_touched(strongest, mine) for mine in found.values())
        clock[f"precision_at_{budget}_a_day"] = hits / len(strongest) if strongest else None
        clock[f"recall_at_{budget}_a_day"] = credit / len(found) if strongest else None
    waited: list[float] = []
    for number, mine in found.items():
        began = [label.start for label in labels if label.incident == number and label.start is not None]
        if (hit := mine & alarms).any():
            waited.append(float(ends[hit].min() - min(began or starts[mine])))
    return clock | {"median_delay_seconds": median(waited) if waited else None}


def _of_windows(windows: Sequence[Mapping[str, Any]], anomalous: Bools, starts: Floats | None) -> dict[str, Any]:
    scores = np.array([window["strength"] for window in windows], np.float64)
    alarms = np.array([bool(window["anomalous"]) for window in windows])
    copies = np.ones(len(windows), np.int64)
    ranked: dict[str, Callable[[Ints], float]] = {
        "window_auroc": lambda at: area_under_roc(anomalous[at], scores[at], copies[at]),
        "window_ap": lambda at: average_precision(anomalous[at], scores[at], copies[at]),
        "window_f1": lambda at: f1(anomalous[at], alarms[at], copies[at]),
    }
    found: dict[str, Any] = {"anomalous_windows": int(anomalous.sum()), "alarm_windows": int(alarms.sum())}
    for name, figure in ranked.items():
        found[name] = figure(np.arange(len(windows)))
        found[f"{name}_95"] = list(interval(figure, anomalous, starts))
    found["window_precision"] = float((anomalous & alarms).sum() / alarms.sum()) if alarms.any() else None
    found["window_recall"] = float((anomalous & alarms).sum() / anomalous.sum())
    return found
