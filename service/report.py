"""The one-file report of `logvq try`: everything inline, nothing fetched, size bounded whatever the input."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from service.pages.charts import curve, timeline
from service.pages.environment import asset, environment
from service.pages.evidence import WindowView, window_view, worst_indexes
from service.pages.formatting import number, zone_named

OPENED_ENTRIES = 3
TOP_ENTRIES = 10
FULL_ENTRIES = 25
ROW_ENTRIES = 1000
LINES_PER_ENTRY = 12
SURPRISES_PER_ENTRY = 2
OPENED_TEMPLATES = 20
LISTED_TEMPLATES = 500


def render_report(data: Mapping[str, Any]) -> str:
    """Render the report of one file.

    Args:
        data: report data: `verdict`, `accounting`, `training`, `budget`, `timeline`, `entries` (strongest first, each
            with its worst `window`), `templates`, `limits`, `next` and the facts of the run. Any part may be missing.

    Returns:
        One HTML file. Only the first 25 entries carry their evidence; the others are one row each.
    """
    accounting = data.get("accounting") or {}
    budget = data.get("budget") or {}
    entries: Sequence[Mapping[str, Any]] = data.get("entries") or []
    windows: Sequence[Mapping[str, Any]] = data.get("timeline") or []
    templates: Sequence[Mapping[str, Any]] = data.get("templates") or []
    zone = zone_named(accounting.get("zone"))
    full = [_entry(place, entry) for place, entry in enumerate(entries[:FULL_ENTRIES], start=1)]
    style, script = asset("logvq.css"), asset("report.js")
    return (
        environment()
        .get_template("report.html")
        .render(
            data=data,
            accounting=accounting,
            budget=budget,
            training=data.get("training") or {},
            sums=_sums(accounting),
            zone=accounting.get("zone"),
            zone_shown=str(zone),
            timeline=timeline(windows, budget.get("threshold"), _entry_numbers(entries), zone),
            highest=max((score for item in windows if (score := number(item.get("score"))) is not None), default=None),
            entries=entries,
            top=full[:TOP_ENTRIES],
            more=full[TOP_ENTRIES:],
            rows=[
                _row(place, entry)
                for place, entry in enumerate(entries[FULL_ENTRIES:ROW_ENTRIES], start=FULL_ENTRIES + 1)
            ],
            unlisted=max(len(entries) - ROW_ENTRIES, 0),
            curve=curve(budget.get("curve") or [], budget.get("threshold"), budget.get("alarms_per_day")),
            templates=templates[:OPENED_TEMPLATES],
            more_templates=templates[OPENED_TEMPLATES:LISTED_TEMPLATES],
            templates_unlisted=max(len(templates) - LISTED_TEMPLATES, 0),
            style=Markup(style),  # noqa: S704 (our own file)
            script=Markup(script),  # noqa: S704 (our own file)
            style_hash=_digest(style),
            script_hash=_digest(script),
        )
    )


def _digest(text: str) -> str:
    """The hash by which the report's own content policy admits its style and script, and no other."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _entry(place: int, entry: Mapping[str, Any]) -> dict[str, Any]:
    view: WindowView = window_view(entry.get("window") or {}, LINES_PER_ENTRY, SURPRISES_PER_ENTRY)
    return {"number": place, "entry": entry, "view": view, "opened": place <= OPENED_ENTRIES}


def _row(place: int, entry: Mapping[str, Any]) -> dict[str, Any]:
    lines = (entry.get("window") or {}).get("lines") or []
    return {"number": place, "entry": entry, "worst": lines[worst_indexes(lines, 1)[0]] if lines else None}


def _entry_numbers(entries: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Entry number by incident id and by id of the worst window."""
    numbers: dict[str, int] = {}
    for place, entry in enumerate(entries[:ROW_ENTRIES], start=1):
        for key in (*(entry.get("incidents") or ()), (entry.get("window") or {}).get("id")):
            if key is not None:
                numbers.setdefault(str(key), place)
    return numbers


def _sums(accounting: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The two sums a reader can check: read = trained + scored, scored = parsed + unparsed + dropped by reason."""
    outcomes = accounting.get("outcomes") or {}
    dropped = outcomes.get("dropped") or {}
    scored = [
        {"name": "parsed", "value": outcomes.get("parsed")},
        {"name": "unparsed", "value": outcomes.get("unparsed")},
        *({"name": f"dropped ({reason})", "value": value} for reason, value in dropped.items()),
    ]
    if not dropped:
        scored.append({"name": "dropped", "value": 0})
    read = [
        {"name": "trained on", "value": accounting.get("trained")},
        {"name": "scored", "value": accounting.get("scored")},
    ]
    return [
        _sum("lines read", accounting.get("read"), read),
        _sum("lines scored", accounting.get("scored"), scored),
    ]


def _sum(name: str, total: Any, terms: list[dict[str, Any]]) -> dict[str, Any]:
    known = [number(term["value"]) for term in terms]
    whole = number(total)
    missing = None
    if whole is not None and all(value is not None for value in known):
        missing = round(whole - sum(value for value in known if value is not None))
    return {"name": name, "total": total, "terms": terms, "missing": missing}
