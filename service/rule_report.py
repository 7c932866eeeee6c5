"""Where site rules and the model agree: a rule file held against windows that are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from ingestion.timestamps import zone
from service.alarms.maintenance import Span
from service.alarms.rules import Matched, Rules
from service.kinds import NEW
from service.packing import unpack
from service.store import Store

_EXAMPLES = 3
_PAGE = 500


@dataclass(frozen=True)
class StoredLine:
    """A line of a stored window."""

    text: str
    token: int


def compare(store: Store, rules: Rules, own_zone: tzinfo | None = None) -> dict[str, Any]:
    """Hold rules against every stored window whose lines are still kept.

    Args:
        store: where windows are.
        rules: the rules; they need not be those that served.
        own_zone: in which maintenance has its times; None for that of each source's lines.

    Returns:
        `windows` looked at, `alarms` the model would have raised among them, those `unnamed` by any rule, and for each
        of the `rules` the windows that it fits: with and without the model's alarm, and some of both.
    """
    named = [*(rule.name for rule in rules.rules), *(item.name for item in rules.maintenance)]
    kind = {rule.name: rule.alarm or "severity" for rule in rules.rules}
    found: dict[str, dict[str, Any]] = {
        name: {
            "rule": name,
            "kind": kind.get(name, "maintenance"),
            "with": 0,
            "without": 0,
            "with_ids": [],
            "without_ids": [],
        }
        for name in named
    }
    looked = alarms = unnamed = 0
    summaries = {summary["id"]: summary for summary in store.source_summaries()}
    for window, since in _windows(store):
        matched = _matched(window, since, rules, summaries[window["source"]], own_zone)
        alarm = bool(window["strength"] >= window["threshold"])
        names = [*matched.rules, *([matched.maintenance] if matched.maintenance else [])]
        looked += 1
        alarms += alarm
        unnamed += alarm and not names
        for name in names:
            entry, side = found[name], "with" if alarm else "without"
            entry[side] += 1
            if len(entry[f"{side}_ids"]) < _EXAMPLES:
                entry[f"{side}_ids"].append(window["id"])
    return {"windows": looked, "alarms": alarms, "unnamed": unnamed, "rules": list(found.values())}


def _windows(store: Store) -> Iterator[tuple[Mapping[str, Any], float | None]]:
    """Return each final window whose lines are kept, and when its source wrote before; of a source, latest first."""
    after, later = None, dict[str, dict[str, Any]]()
    while page := store.find_windows(after=after, limit=_PAGE):
        for row in page:
            if row["status"] != "final":
                continue
            if row["source"] in later:
                yield from _kept(store, later[row["source"]], row["end"])
            later[row["source"]] = row
        after = [page[-1]["sequence"], page[-1]["id"]]
    for row in later.values():
        yield from _kept(store, row, None)


def _kept(
    store: Store, row: Mapping[str, Any], since: float | None
) -> Iterator[tuple[Mapping[str, Any], float | None]]:
    window = store.window(row["id"])
    if window is not None and window["record"] is not None:
        yield window, since


def _matched(
    window: Mapping[str, Any], since: float | None, rules: Rules, source: Mapping[str, Any], own_zone: tzinfo | None
) -> Matched:
    record = unpack(window["record"])
    lines = [StoredLine(text, token) for _, _, text, token, *_ in record["lines"]]
    times = [time for _, time, *_ in record["lines"] if time is not None]
    names = [
        record["names"].get(str(place), record["templates"][str(line.token)]).removeprefix(NEW)
        for place, line in enumerate(lines)
    ]
    span = Span(times, since, own_zone or zone(source.get("zone", "UTC")))
    return rules.of(window["source"]).look(lines, names, span, source.get("decimal", "."))
