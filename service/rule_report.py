"""Where site rules and the model agree: a rule file held against windows that are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import tzinfo
from fnmatch import fnmatchcase
from typing import Any

from ingestion import SourceFormat
from ingestion.envelopes import Envelope, RawEnvelope, Unopened
from ingestion.format import envelope_table
from ingestion.splitting import unpadded
from ingestion.timestamps import zone
from service.alarms.maintenance import Maintenance, Span
from service.alarms.rules import Matched, Rule, Rules
from service.kinds import NEW
from service.packing import unpack
from service.store import Store

_EXAMPLES = 3
_PAGE = 500
# What an earlier version stored of a source names no envelope.
_RAW = envelope_table(RawEnvelope())


@dataclass(frozen=True)
class StoredLine:
    """A line of a stored window."""

    text: str
    message: str
    token: int


def compare(store: Store, rules: Rules, own_zone: tzinfo | None = None) -> dict[str, Any]:
    """Hold rules against every stored window whose lines are still kept.

    Args:
        store: where windows are.
        rules: the rules; they need not be those that served.
        own_zone: in which maintenance has its times; None for that of each source's lines.

    Returns:
        `windows` looked at, `alarms` the model would have raised among them, those `unnamed` by any rule, and for each
        of the `rules` the windows that it fits: with and without the model's alarm, some of both, and where there is
        none `why_none`, which else is None. `zones` are those in which maintenance has its times, by source.
    """
    items: list[Rule | Maintenance] = [*rules.rules, *rules.maintenance]
    kind = {rule.name: rule.alarm or "severity" for rule in rules.rules}
    found: dict[str, dict[str, Any]] = {
        item.name: {
            "rule": item.name,
            "kind": kind.get(item.name, "maintenance"),
            "with": 0,
            "without": 0,
            "with_ids": [],
            "without_ids": [],
            "why_none": None,
        }
        for item in items
    }
    looked = alarms = unnamed = 0
    summaries = {summary["id"]: summary for summary in store.source_summaries()}
    zones = {name: str(own_zone or summary.get("zone", "UTC")) for name, summary in summaries.items()}
    for window, since in _windows(store):
        matched = _matched(window, since, rules, summaries[window["source"]], zones[window["source"]])
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
    for item in items:
        entry = found[item.name]
        if not entry["with"] + entry["without"]:
            entry["why_none"] = _why_none(item, summaries)
    return {"windows": looked, "alarms": alarms, "unnamed": unnamed, "rules": list(found.values()), "zones": zones}


def _why_none(item: Rule | Maintenance, sources: Iterable[str]) -> str:
    """Return why no window fits a rule."""
    if not any(fnmatchcase(source, item.source) for source in sources):
        return f'source = "{item.source}" is no source stored here; there are {", ".join(sources) or "none"}'
    if isinstance(item, Maintenance):
        return "no window has a line of its time"
    if item.match is None:
        return "no line is called so: template is all of what pages call a line, and * fits anything"
    what = "match" if item.above is None and item.below is None else "match with a number beyond its limit"
    return f"{what} is found in no line, neither as it came nor in its message"


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
    window: Mapping[str, Any], since: float | None, rules: Rules, source: Mapping[str, Any], zone_name: str
) -> Matched:
    record = unpack(window["record"])
    envelope = SourceFormat.from_dict({"envelope": source.get("envelope", _RAW)}).envelope
    lines = [StoredLine(text, _message(text, envelope), token) for _, _, text, token, *_ in record["lines"]]
    times = [time for _, time, *_ in record["lines"] if time is not None]
    names = [
        record["names"].get(str(place), record["templates"][str(line.token)]).removeprefix(NEW)
        for place, line in enumerate(lines)
    ]
    span = Span(times, since, zone(zone_name))
    return rules.of(window["source"]).look(lines, names, span, source.get("decimal", "."))


def _message(text: str, envelope: Envelope) -> str:
    """Return what an event says, as it was when it was read: that of its first line and of its second."""
    said = []
    for line in text.split("\n", 2)[:2]:
        with suppress(Unopened):
            said += [content.message for content in envelope.open(unpadded(line))]
    return " ".join(said)
