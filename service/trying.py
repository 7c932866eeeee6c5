"""`logvq try`: one file in, explained anomalies out, through the same path that serves a plant.

It trains a bundle on the known-good part, runs the worker over the rest into a database of its own, and makes the
report from that database.
"""

from __future__ import annotations

import itertools
import os
import shlex
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingestion import FIRST_TEMPLATE, WindowSpec, read_records, read_sample
from ingestion.guessing import encoding_of_sample
from service import __version__
from service.alarms.budget import AlarmThreshold
from service.alarms.choices import choices
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle, save_bundle
from service.errors import CannotWrite, TooFewLines
from service.explain import iso
from service.held_back import describing, held_back
from service.packing import unpack
from service.report import render_report
from service.routes.windows import explained
from service.settings import Settings
from service.store import Store
from service.training import MAX_GOOD_EVENTS, MIN_GOOD_EVENTS, Report, train_bundle
from service.whole_files import WholeStore, good_lines, rest_of_file, score_records, source_name

# Entries whose worst window is kept whole in the report; the others are one row each.
_EXPLAINED_ENTRIES = 25
_FRAMINGS = {
    "line": "one line, one event",
    "time": "lines without a time belong to the event before",
    "pattern": "lines that a pattern does not start belong to the event before",
    "unless": "lines that a pattern finds belong to the event before",
}
_CURVE = tuple(round(1.0 + step * 0.1, 1) for step in range(31))


@dataclass(frozen=True)
class TryOptions:
    """What `logvq try` was asked to do.

    Attributes:
        file: the log to look at.
        good: a file of known-good lines; None takes the first half of `file`.
        encoding: declared encoding; None for UTF-8.
        zone: IANA zone of times without an offset; None for UTC.
        window: how to cut windows; None decides by the number of events.
        policy: how many alarms the user is willing to look at, and rules.
        bundle: where to keep the bundle; None keeps none.
        command: the command line, for the report.
        settings: what `logvq.toml` declares.
        config: where that lies.
    """

    file: Path
    good: Path | None
    encoding: str | None
    zone: str | None
    window: WindowSpec | None
    policy: AlarmPolicy
    bundle: Path | None
    command: str
    settings: Settings = field(default_factory=Settings)
    config: Path | None = None


def try_file(options: TryOptions, report: Report) -> dict[str, Any]:
    """Train, score and explain one file.

    Returns:
        The data of the report.
    """
    good = good_lines(options.good or options.file, options.encoding, options.zone, options.window, options.settings)
    if options.good is not None:
        encoding_of_sample(read_sample(options.file), good.source_format.encoding, options.file.name)
    total = sum(1 for _ in read_records(options.file, "", good.source_format.encoding))
    trained = total // 2 if options.good is None else 0
    if options.good is None:
        if trained < MIN_GOOD_EVENTS:
            raise TooFewLines(
                f"{options.file.name} has {total:,} line{'s' if total != 1 else ''}. Its first half is taken as "
                f"known-good, and training needs at least {MIN_GOOD_EVENTS:,} good lines: give a file of at least "
                f"{2 * MIN_GOOD_EVENTS:,} lines, or this one with a longer file of good lines, --good FILE"
            )
        good = replace(good, records=itertools.islice(good.records, trained), vouched=False)
    with tempfile.TemporaryDirectory(prefix="logvq-") as scratch:
        trained_bundle = train_bundle(good, report)
        bundle = save_bundle(trained_bundle, options.bundle or Path(scratch, "bundle"))
        bundle = replace(bundle, source_format=rest_of_file(options.file, bundle.source_format, trained))
        store = WholeStore(Path(scratch, "try.sqlite"))
        try:
            records = itertools.islice(
                read_records(options.file, source_name(options.file), bundle.source_format.encoding), trained, None
            )
            score_records(
                bundle, store, records, options.policy, lambda done: report("score", done / max(1, total - trained), "")
            )
            return _report_data(options, bundle, store, total, trained)
        finally:
            store.close()


def write_report(data: Mapping[str, Any], path: Path) -> None:
    """Write the HTML report; the file appears only when it is complete.

    Raises:
        CannotWrite: the report cannot be written there.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(render_report(data), "utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise CannotWrite(f"cannot write the report {path}: {error.strerror or error}; name another with -o") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _report_data(options: TryOptions, bundle: Bundle, store: Store, total: int, trained: int) -> dict[str, Any]:
    summary = store.source_summaries()[0] if total > trained else None
    budget = options.policy.budget_of(source_name(options.file))
    first = AlarmThreshold(budget, bundle.calibration.windows_per_day)
    threshold, strange = summary["threshold"] if summary else first.value, first.strange_from(bundle.calibration.cap)
    windows = store.find_windows(limit=None)[::-1]
    entries = _entries(store)
    describe, days = describing(store), _days(windows)
    # Of less than a day there are counts: a rate would be a guess about hours that nobody has seen.
    told_days = days if days is not None and days >= 1 else None
    anomalous = [window for window in windows if window["anomalous"]]
    incidents = sum(entry["count"] for entry in entries)
    lines = summary["lines"] if summary else {"parsed": 0, "unparsed": 0, "dropped": {}}
    final = [window for window in windows if window["status"] == "final"]
    return {
        "file": options.file.name,
        "created": iso(datetime.now(UTC).timestamp()),
        "version": __version__,
        "bundle": bundle.id,
        "command": options.command,
        "verdict": _verdict(entries, incidents, len(windows), len(final)),
        "verdict_level": _level(entries, len(final)),
        "accounting": {
            "read": total,
            "trained": trained,
            "scored": total - trained,
            "outcomes": {name: lines[name] for name in ("parsed", "unparsed", "dropped")},
            "events": sum(window["events"] for window in windows),
            "templates": len(bundle.vocabulary.templates),
            "encoding": bundle.source_format.encoding,
            "replacements": summary["replaced"] if summary else 0,
            "noticed": summary["noticed"] if summary else {},
            "schema_changes": summary["schema_changes"] if summary else [],
            "time": bundle.source_format.time_pattern or "none found",
            "zone": bundle.source_format.zone,
            "framing": _FRAMINGS[bundle.source_format.framing.start],
            "envelope": bundle.source_format.envelope.kind,
            "delimiter": bundle.source_format.delimiter,
            "first": iso(min((w["start"] for w in windows if w["start"] is not None), default=None)),
            "last": iso(max((w["end"] for w in windows if w["end"] is not None), default=None)),
        },
        "training": {
            "events": bundle.training.events,
            "held_out_nats": bundle.training.held_out_nats,
            "calibration_windows": bundle.calibration.windows,
            "window": str(bundle.window),
            "perplexity": bundle.training.perplexity,
            "parameters": bundle.training.parameters,
            "vouched": options.good is not None,
            "set_aside": [dict(window) | {"time": iso(window["time"])} for window in bundle.training.set_aside],
        },
        "budget": {
            "alarms_per_day": budget.per_day,
            "stated": budget.stated,
            "threshold": round(threshold, 3),
            "days": days and round(days, 5),
            "incidents": incidents,
            "realised_per_day": round(incidents / told_days, 3) if told_days else None,
            "curve": [
                {
                    "threshold": level,
                    "alarms_per_day": round(_runs(final, level) / told_days, 4) if told_days else None,
                    "alarms": _runs(final, level),
                }
                for level in _CURVE
            ],
            "held_back": held_back(final, describe, strange),
            # Without a clock nothing is a day.
            "choices": [
                choice if told_days else choice | {"realised_per_day": None}
                for choice in choices(final, bundle.calibration.windows_per_day, describe, strange)
            ]
            if final and final[0]["start"] is not None
            else [],
        },
        "windows": {"final": len(final), "anomalous": len(anomalous)},
        "timeline": [
            {
                "id": window["id"],
                "start": iso(window["start"]),
                "end": iso(window["end"]),
                "position": window["first_position"],
                "score": window["score"],
                "anomalous": window["anomalous"],
                "incident": window["incident"],
            }
            for window in windows
        ],
        "entries": entries,
        "templates": _template_rows(bundle, store, windows),
        "limits": _limits(options, bundle, trained, threshold),
        "next": _next(options),
    }


def _entries(store: Store) -> list[dict[str, Any]]:
    """Return incidents of the same signature as one entry with a count, strongest first."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for incident in store.find_incidents(limit=None):
        groups.setdefault(incident["signature"], []).append(incident)
    ordered = sorted(groups.values(), key=lambda group: -max(incident["strength"] for incident in group))
    entries = []
    for number, group in enumerate(ordered):
        worst = max(group, key=lambda incident: incident["strength"])
        entries.append(
            {
                "title": worst["title"],
                "reason": worst["reason"],
                "count": len(group),
                "first": iso(min((i["start"] for i in group if i["start"] is not None), default=None)),
                "last": iso(max((i["end"] for i in group if i["end"] is not None), default=None)),
                "score": worst["score"],
                "strength": round(worst["strength"], 3),
                "incidents": [incident["id"] for incident in group],
                "window": explained(store, worst["worst_window"]) if number < _EXPLAINED_ENTRIES else None,
            }
        )
    return entries


def _template_rows(bundle: Bundle, store: Store, windows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    scored: Counter[int] = Counter()
    for window in windows:
        row = store.window(window["id"])
        if row is not None and row["record"] is not None:
            scored.update(line[3] for line in unpack(row["record"])["lines"])
    return [
        {
            "template": template.text,
            "token": token,
            "trained": template.count,
            "scored": scored[token],
            "example": template.example[:300],
        }
        for token, template in sorted(
            enumerate(bundle.vocabulary.templates, start=FIRST_TEMPLATE), key=lambda item: -scored[item[0]]
        )
        if template.count or scored[token]
    ]


def _runs(windows: Sequence[Mapping[str, Any]], level: float) -> int:
    """Return how many alarms a threshold would raise: runs of windows at or above it."""
    above = [window["decided_by"] is None and window["strength"] >= level for window in windows]
    return sum(1 for before, now in zip([False, *above], above, strict=False) if now and not before)


def _days(windows: Sequence[Mapping[str, Any]]) -> float | None:
    times = [time for window in windows for time in (window["start"], window["end"]) if time is not None]
    return (max(times) - min(times)) / 86_400 if times else None


def _verdict(entries: Sequence[Mapping[str, Any]], incidents: int, windows: int, final: int) -> str:
    if not entries and not final:
        return (
            "No window is complete: these lines are too few to be called normal, and none is new enough to be an alarm."
        )
    if not entries:
        return f"Nothing in {final:,} windows is more unusual than the known-good lines allow for."
    kinds = "kind of anomaly" if len(entries) == 1 else "kinds of anomaly"
    times = "once" if incidents == 1 else f"{incidents:,} times"
    return f"{len(entries):,} {kinds}, {times} in {windows:,} windows. The strongest: {entries[0]['title']}."


def _level(entries: Sequence[Mapping[str, Any]], final: int) -> str:
    if not entries:
        return "calm" if final else "notice"
    return "alarm" if entries[0]["score"] >= 2 else "notice"


def _limits(options: TryOptions, bundle: Bundle, trained: int, threshold: float) -> list[str]:
    limits = [
        f"A score cannot exceed {bundle.calibration.cap:.2f}: it rests on {bundle.calibration.windows:,} known-good "
        "windows. More good lines allow rarer claims.",
        "What was already wrong in the known-good lines counts as normal."
        + ("" if options.good else f" They are the first {trained:,} lines of the file; nobody has checked them."),
        "Shift patterns, seasons and planned changes that the known-good lines do not cover look unusual at first.",
        "An anomaly is unusual, not necessarily harmful: the codes and lines show association, not cause.",
    ]
    if bundle.training.lines > MAX_GOOD_EVENTS:
        limits.append(f"Only the last {MAX_GOOD_EVENTS:,} known-good events were trained on, to bound memory and time.")
    if bundle.source_format.time_pattern is None:
        limits.append("The lines carry no time the parser knows: gaps and rates per day could not be judged.")
    if threshold > bundle.calibration.cap:
        limits.append(
            f"The budget asks for alarms rarer than {bundle.calibration.windows:,} windows can show: beyond them the "
            "tail is extrapolated."
        )
    return limits


def _next(options: TryOptions) -> list[str]:
    """Return the commands that go on from here: they read the lines as this one did."""
    config = {"--config": options.config}
    as_declared = config | {"--encoding": options.encoding, "--tz": options.zone, "--window": options.window}
    good, file = (shlex.quote(str(path)) for path in (options.good or options.file, options.file))
    # Nobody has vouched for the lines of the file itself: they hold what was found in them.
    trusted = "" if options.good else " --as-it-comes"
    return [
        f"logvq train {good}{_given(as_declared)}{trusted} --out press.bundle",
        f"logvq serve --all --bundle press.bundle --file {file}{_given(config)}",
    ]


def _given(options: Mapping[str, object]) -> str:
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in options.items() if value is not None)
