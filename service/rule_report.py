"""Where site rules and the model agree: a rule file held against windows that are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from service.alarms.rules import Matched, Rules
from service.packing import unpack
from service.store import Store

_EXAMPLES = 3
_PAGE = 500


@dataclass(frozen=True)
class StoredLine:
    """A line of a stored window."""

    text: str
    token: int


def compare(store: Store, rules: Rules, zone: tzinfo) -> dict[str, Any]:
    """Hold rules against every stored window whose lines are still kept.

    Args:
        store: where windows are.
        rules: the rules; they need not be those that served.
        zone: in which maintenance has its times.

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
    for window in _windows(store):
        matched = _matched(window, rules, zone)
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


def _windows(store: Store) -> Iterator[Mapping[str, Any]]:
    after = None
    while page := store.find_windows(after=after, limit=_PAGE):
        for row in page:
            window = store.window(row["id"])
            if window is not None and window["record"] is not None and window["status"] == "final":
                yield window
        after = [page[-1]["sequence"], page[-1]["id"]]


def _matched(window: Mapping[str, Any], rules: Rules, zone: tzinfo) -> Matched:
    record = unpack(window["record"])
    lines = [StoredLine(text, token) for _, _, text, token, *_ in record["lines"]]
    templates = {int(token): text for token, text in record["templates"].items()}
    times = [time for time in (window["start"], window["end"]) if time is not None]
    return rules.of(window["source"]).look(lines, templates, times, zone)
