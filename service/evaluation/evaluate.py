"""A file scored with a bundle, or the windows of a database, against labels."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ingestion import DROP_REASONS, SourceFormat, read_records
from service.alarms.policy import AlarmPolicy
from service.bundle import load_bundle
from service.database import existing
from service.errors import BadSetting
from service.evaluation.baselines import OURS, Lines, row, rows
from service.evaluation.labels import marked, read_labels
from service.evaluation.measuring import measure
from service.held_sources import KEEP_WINDOWS
from service.packing import unpack
from service.settings import Settings
from service.store import Store
from service.whole_files import WholeStore, score_records, source_name


@dataclass(frozen=True)
class EvaluateOptions:
    """What `logvq evaluate` was asked to do; see its command line."""

    bundle: Path
    file: Path | None
    source: str | None
    database: Path | str | None
    labels: Path
    zone: str | None
    policy: AlarmPolicy
    device: str = "cpu"
    database_password_file: Path | None = None
    settings: Settings = field(default_factory=Settings)


def evaluate(options: EvaluateOptions, progress: Callable[[float, str], None]) -> dict[str, Any]:
    """Evaluate a bundle.

    Args:
        options: with what, and against what.
        progress: told the share done, where it is known, and a detail.

    Returns:
        The `zone` of labels without an offset, what became of the `lines`, how many `windows` they make, how many more
        are `open_windows`, and `figures` by name; those by the clock only where windows have times, and None where
        there is nothing to count. `rows` hold the bundle's and those of simple rules beside each other;
        `baselines_left_out` says why there are none of these, or None.

    Raises:
        BadSetting: an option is not usable, or the labels mark no window or every window.
    """
    if (options.file is None) == (options.database is None):
        raise BadSetting("evaluate a file or what is stored: give FILE, or --database DB")
    bundle = load_bundle(options.bundle, options.device)
    source_format, origins = bundle.source_format, dict[str, SourceFormat]()
    if options.file is not None:
        source_format, origins = options.settings.whole_file(source_format, bundle.window, options.file)
    zone = options.zone or source_format.zone
    labels = read_labels(options.labels, zone)
    with ExitStack() as opened:
        store: Store
        if options.database is not None:
            store, source = Store(existing(options.database), options.database_password_file), options.source
        else:
            scratch = opened.enter_context(tempfile.TemporaryDirectory(prefix="logvq-"))
            store, source = WholeStore(Path(scratch, "windows.sqlite")), None
        opened.callback(store.close)
        if options.file is not None:
            records = read_records(options.file, options.source or source_name(options.file), source_format.encoding)
            score_records(
                bundle, store, records, options.policy, lambda lines: progress(0.0, f"{lines:,} lines"), origins
            )
        every = [window for window in store.find_windows(source=source, limit=None) if window["bundle"] == bundle.id]
        # A file that ends with a fault ends with an open window, which is an alarm already.
        windows = [window for window in every if window["status"] == "final" or window["anomalous"]]
        windows.sort(key=lambda window: (window["sequence"], window["id"]))
        held = [_held(store, window["id"]) for window in windows]
        lines = _lines(store, source)
    progress(1.0, f"{len(windows):,} windows")
    if not windows:
        whose = f" and source {source}" if source else ""
        raise BadSetting(f"there is no complete window of bundle {bundle.id}{whose}{_why_none(lines)}")
    found = marked(windows, labels)
    anomalous = np.logical_or.reduce(list(found.values()))
    if not anomalous.any():
        raise BadSetting(
            f"{options.labels} marks none of the {len(windows):,} windows; check its times, their zone and its sources"
        )
    if anomalous.all():
        raise BadSetting(f"{options.labels} marks every one of the {len(windows):,} windows")
    figures = measure(windows, labels, found)
    kept = [each for each in held if each is not None]
    beside, left_out = [row(OURS, figures)], None
    if len(kept) == len(windows):
        beside += rows(bundle.detector.memory.counts, windows, kept, labels, found)
    else:
        left_out = (
            f"the lines of {len(windows) - len(kept):,} of {len(windows):,} windows are no longer stored, and simple "
            f"rules judge by them; a source keeps those of its latest {KEEP_WINDOWS:,}"
        )
    return {
        "bundle": bundle.id,
        "zone": zone,
        "lines": lines,
        "windows": len(windows),
        "open_windows": len(every) - len(windows),
        "figures": figures,
        "rows": beside,
        "baselines_left_out": left_out,
    }


def _held(store: Store, window_id: str) -> Lines | None:
    """Return what simple rules look at in a window; None where its lines have been dropped."""
    window = store.window(window_id)
    if window is None or window["record"] is None:
        return None
    record = unpack(window["record"])
    return Lines([token for _, _, _, token, *_ in record["lines"]], bool(record["unseen"]))


def _lines(store: Store, source: str | None) -> dict[str, Any]:
    """Return what became of the lines of a source, or of all."""
    accounts = [summary["lines"] for summary in store.source_summaries() if source in (None, summary["id"])]
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
