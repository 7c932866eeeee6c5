"""A file scored with a bundle, or the windows of a database, against labels."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ingestion import SourceFormat, read_records
from ingestion.timestamps import zone
from service.alarms.policy import AlarmPolicy
from service.bundle import load_bundle
from service.errors import BadSetting
from service.evaluation.figures import DAY, Ints, area_under_roc, at_budget, average_precision, delays, f1, interval
from service.evaluation.labels import incidents_of, read_labels
from service.settings import Settings
from service.store import Store
from service.trying import score_records, source_name

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
        `figures` by name; those with a clock only where windows have times.

    Raises:
        BadSetting: an option is not usable, or the labels mark no window or every window.
    """
    if (options.file is None) == (options.database is None):
        raise BadSetting("evaluate a file or what is stored: give FILE, or --database FILE")
    bundle = load_bundle(options.bundle, options.device)
    source_format, origins = bundle.source_format, dict[str, SourceFormat]()
    if options.file is not None:
        source_format, origins = options.settings.whole_file(source_format, bundle.window, options.file)
    labels = read_labels(options.labels, zone(options.zone or source_format.zone))
    with ExitStack() as opened:
        if options.database is not None:
            if not options.database.exists():
                raise BadSetting(f"no database {options.database}")
            store = Store(options.database)
        else:
            store = Store(Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="logvq-")), "windows.sqlite"))
        opened.callback(store.close)
        if options.file is not None:
            records = read_records(options.file, options.source or source_name(options.file), source_format.encoding)
            score_records(
                bundle, store, records, options.policy, lambda lines: progress(0.0, f"{lines:,} lines"), origins
            )
        windows = [row for row in store.find_windows(limit=None) if row["bundle"] == bundle.id]
    progress(1.0, f"{len(windows):,} windows")
    windows = sorted((row for row in windows if row["status"] == "final"), key=lambda row: (row["sequence"], row["id"]))
    if not windows:
        raise BadSetting(f"there is no complete window of bundle {bundle.id}; give more lines, or another database")
    incidents = incidents_of(windows, labels)
    if not (incidents >= 0).any():
        raise BadSetting(
            f"{options.labels} marks none of the {len(windows):,} windows; check its times, their zone and its sources"
        )
    if (incidents >= 0).all():
        raise BadSetting(f"{options.labels} marks every one of the {len(windows):,} windows")
    return {"bundle": bundle.id, "windows": len(windows), "figures": measure(windows, incidents, len(labels))}


def measure(windows: Sequence[Mapping[str, Any]], incidents: np.ndarray, labels: int) -> dict[str, Any]:
    """Return every figure of judged windows.

    Args:
        windows: rows of the store, in order.
        incidents: number of the incident of each, -1 for none.
        labels: how many labels there are, found in the windows or not.
    """
    anomalous = incidents >= 0
    scores = np.array([window["strength"] for window in windows], np.float64)
    alarms = np.array([bool(window["anomalous"]) for window in windows])
    copies = np.ones(len(windows), np.int64)
    timed = all(window["start"] is not None for window in windows)
    starts = np.array([window["start"] for window in windows], np.float64) if timed else None
    found: dict[str, Any] = {"labels": labels, "anomalous_windows": int(anomalous.sum()), "alarms": int(alarms.sum())}
    ranked: dict[str, Callable[[Ints], float]] = {
        "auroc": lambda at: area_under_roc(anomalous[at], scores[at], copies[at]),
        "ap": lambda at: average_precision(anomalous[at], scores[at], copies[at]),
        "f1": lambda at: f1(anomalous[at], alarms[at], copies[at]),
    }
    for name, figure in ranked.items():
        found[name] = figure(np.arange(len(windows)))
        found[f"{name}_95"] = list(interval(figure, anomalous, starts))
    found["precision"] = float((anomalous & alarms).sum() / max(1, alarms.sum()))
    found["recall"] = float((anomalous & alarms).sum() / anomalous.sum())
    if starts is not None:
        ends = np.array([window["end"] for window in windows], np.float64)
        days = max((ends.max() - starts.min()) / DAY, 1 / 24)
        found |= {
            "days": float(days),
            "alarms_a_day": float(alarms.sum() / days),
            "false_alarms_a_day": float((alarms & ~anomalous).sum() / days),
        }
        for budget in BUDGETS:
            at = at_budget(anomalous, scores, budget * days)
            found[f"precision_at_{budget}_a_day"], found[f"recall_at_{budget}_a_day"] = at
        count, waited = delays(incidents, alarms, starts, ends)
        found |= {
            "incidents": count,
            "incidents_found": len(waited),
            "median_delay_seconds": median(waited) if waited else None,
        }
    return found
