"""An explanation as plain text, for a terminal or a ticket: what the API answers, in the order of the pages.

Log lines are hostile: whatever they hold, no control character and no line break of theirs is in the text. The variable
parts of a line are listed beneath it, for no mark is safe from coming in a line itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import Any

from ingestion import clean
from service.detection.counts import EXACT
from service.pages.evidence import LineRow, SurpriseView, WindowView, window_view
from service.pages.formatting import count, fixed, local_time, one_in, percent, reason_name, signed, zone_named
from service.pages.text import clip, visible

# Characters that are shown of a line, of a template and of a variable part; how many lines, and parts of each.
_LINE, _TEMPLATE, _PART = 300, 160, 40
_LINES, _PARTS = 12, 16
_TIMES = frozenset({"time", "start", "end"})

Values = Mapping[str, Any]


def window_text(window: Values, zone: str = "UTC") -> str:
    """Return a window, as the API gives it, as text; times are in the zone of that name."""
    return _safe(_window(_local(window, zone_named(zone))))


def incident_text(incident: Values, worst: Values, zone: str = "UTC") -> str:
    """Return an incident and its worst window, as the API gives them, as text; times are in the zone of that name."""
    incident, worst = (_local(each, zone_named(zone)) for each in (incident, worst))
    return _safe([*_incident(incident), "", *_window(worst)])


def _local(values: Values, zone: tzinfo) -> dict[str, Any]:
    """Return what the API gives with its times in a zone, and the name of that."""
    return {name: _shown(name, value, zone) for name, value in values.items()} | {"zone": str(zone)}


def _shown(name: str, value: Any, zone: tzinfo) -> Any:
    if name in _TIMES:
        return value and local_time(value, zone)
    if isinstance(value, Mapping):
        return {inner: _shown(inner, each, zone) for inner, each in value.items()}
    return [_shown("", each, zone) for each in value] if isinstance(value, list) else value


def _safe(lines: Iterable[str]) -> str:
    return "".join(f"{visible(clean(line)).rstrip()}\n" for line in lines)


def _incident(incident: Values) -> Iterator[str]:
    decided = f", decided by {incident['decided_by']}" if incident["decided_by"] else ""
    yield f"{incident['id']}: {incident['title']}"
    yield f"{incident['status']}, {incident['severity']}{decided}; {reason_name(incident['reason']).lower()}"
    yield f"source {incident['source']}, {_period(incident)}"
    yield (
        f"{_many(incident['windows'], 'window')} of {_many(incident['events'], 'event')}; highest score "
        f"{fixed(incident['score'])}, {one_in(incident['score'])} windows"
    )
    if incident["verdict"]:
        yield f"somebody said: {incident['verdict']}"
    first = incident["first_event"]
    yield f"first unusual line, {_where(first)}: {clip(first['text'], _LINE)}"
    for other in incident["joined_with"]:
        yield f"at the same time, with a line of the same shape: {other['id']} of {other['source']}: {other['title']}"
    yield "its worst window:"


def _window(window: Values) -> Iterator[str]:
    view = window_view(window)
    yield window["sentence"]
    yield ""
    yield from _head(window, view)
    if not window["lines_kept"]:
        yield ""
        yield "Its lines are no longer stored, nor is the rest of its explanation: quiet windows lose them in time."
    else:
        for title, lines in (
            ("Reasons, each with its contribution", _reasons(window, view)),
            ("Lines, each with its contribution", _lines(view)),
            ("Expected next, where it surprised", _surprises(view)),
            ("Codes: learnt situations that its events came in or attended to", _codes(window)),
            ("Nearest known-good windows", _nearest(window)),
        ):
            told = list(lines)
            if told:
                yield from ("", title, *(f"  {line}" for line in told))
    yield ""
    calibrated = f", calibrated on {count(window['calibration_windows'])} windows" if window["lines_kept"] else ""
    yield f"bundle {window['bundle']}{calibrated}"
    yield f"stream {window['stream']}, offsets {window['first_position']} to before {window['next_position']}"


def _head(window: Values, view: WindowView) -> Iterator[str]:
    open_yet = window["status"] == "provisional"
    state = "anomalous" if window["anomalous"] else "not decided yet" if open_yet else "not anomalous"
    by = f", decided by {window['decided_by']}" if window["decided_by"] else ""
    rare = f", as high as {count(window['calibration_windows'])} calibration windows can tell" if view.capped else ""
    yield f"{window['id']}: {state}{by}{', provisional' if open_yet else ''}"
    against = f" against a threshold of {fixed(window['threshold'])}"
    if open_yet and not window["anomalous"]:
        against = "; when it is complete, the threshold that the source has then counts"
    yield (
        f"score {fixed(window['score'])}, {one_in(window['score'])} windows{rare}; strength "
        f"{fixed(window['strength'])}{against}"
    )
    key = f", key {clip(window['key'], _TEMPLATE)}" if window["key"] else ""
    part = f", part of {window['incident']}" if window["incident"] else ""
    yield f"source {window['source']}{key}, {_period(window)}, {_many(window['events'], 'event')}{part}"


def _reasons(window: Values, view: WindowView) -> Iterator[str]:
    for reason in window["reasons"]:
        yield f"{percent(reason['share']):>7}  {reason_name(reason['kind'])}, strength {fixed(reason['strength'])}"
        yield f"         {clip(reason['text'], 2 * _LINE)}"
        yield f"         expected  {clip(reason['expected'], _LINE)}"
        yield f"         seen      {clip(reason['seen'], _LINE)}"
    if not window["reasons"]:
        yield "none stands out: every line came about where it usually does"
    if view.excused:
        yield (
            f"all this is of the window without {_many(view.excused, 'line')} excused by "
            f"{' and '.join(window['excused']['by'])}; with all lines it would have a strength of "
            f"{fixed(window['excused']['strength'])}"
        )
    if view.cited:
        yield f"without the {_many(view.cited, 'cited line')} {_would(window, window['without_cited'])}"
    elif window["without_cited"] is not None:
        yield "no line by itself carries the alarm: without those that weigh most it would be no weaker"
    for item in window["restored"]:
        before = f" before {_where(window['lines'][item['line']])}" if item["line"] < len(window["lines"]) else ""
        yield f"lacking {count(item['count'])}{before}: {clip(item['template'], _TEMPLATE)}"
    if window["restored"]:
        yield f"with what it lacks {_would(window, window['with_restored'])}"


def _would(window: Values, strength: float) -> str:
    still = "be no" if strength < window["threshold"] else "still be an"
    return f"it would have a strength of {fixed(strength)}, and {still} alarm"


def _lines(view: WindowView) -> Iterator[str]:
    rows = [row for row in view.rows if isinstance(row, LineRow) and row.line["rank"]]
    rows.sort(key=lambda row: (-(row.line["share"] or 0.0), row.line["rank"]))
    for row in rows[:_LINES]:
        line = row.line
        notes = ["cited"] * bool(line["cited"]) + ["new template"] * line["unseen"]
        notes += ["excused"] * line["excused"]
        yield f"{percent(line['share']):>7}  {', '.join([_where(line), *notes])}; surprisal {fixed(row.nats, 1)} nats"
        yield f"         {clip(line['text'], _LINE)}"
        if row.template:
            yield f"         template  {clip(row.template, _TEMPLATE)}"
        parts = [line["text"][start:end] for start, end in line["spans"]]
        if parts:
            more = f" and {len(parts) - _PARTS:,} more" if len(parts) > _PARTS else ""
            yield f"         variable  {' '.join(clip(part, _PART) for part in parts[:_PARTS])}{more}"
    if len(rows) > _LINES:
        yield f"and {_many(len(rows) - _LINES, 'line')} more, which carry less"


def _surprises(view: WindowView) -> Iterator[str]:
    for item in view.surprises:
        line = item.line
        assert line is not None
        yield f"at {_where(line)}"
        for option in item.surprise["expected"]:
            yield f"  {percent(option['probability']):>8}  {clip(option['template'], _TEMPLATE)}"
        yield f"  {percent(item.probability):>8}  came: {clip(line['template'], _TEMPLATE)}"
        yield "  attention"
        yield from _attention(item)


def _attention(item: SurpriseView) -> Iterator[str]:
    found = item.surprise
    to = [(near["mass"], f"position {near['position']}: {clip(near['text'], _TEMPLATE)}") for near in found["recent"]]
    to.append((found["other_recent_mass"], "other lines just before"))
    to += [
        (code["mass"], f"older lines through code {code['code']}: {_templates(code['usual_templates'])}")
        for code in found["codes"]
    ]
    to.append((found["other_codes_mass"], "older lines through other codes"))
    for mass, name in to:
        if mass:
            yield f"  {percent(mass):>8}  {name}"


def _codes(window: Values) -> Iterator[str]:
    for code in window["codes"]:
        hit, distance = "not hit here", code["distance_percentile"]
        if distance is not None:
            hit = f"{_many(code['hits'], 'event')}, distance percentile {fixed(distance, 1)}"
        effect = code["effect_nats"]
        without = f"; without it {signed(effect)} nats of surprise" if effect is not None else ""
        yield (
            f"code {code['code']}: {hit}; {percent(code['share'])} of events here, usually "
            f"{percent(code['usual_share'])}; attention {percent(code['attention_mass'])}{without}"
        )
        yield f"    usually   {_templates(code['usual_templates'])}"
        for near in code["nearest"]:
            yield f"    nearest   {_where(near)}: {clip(near['text'], _TEMPLATE)}"
    if window["codes"] and window["without_codes"] is not None:
        yield f"without those attended to most {_would(window, window['without_codes'])}"


def _nearest(window: Values) -> Iterator[str]:
    for near in window["nearest"]:
        first, last = near["first"], near["last"]
        where = f"{near['file']}, {_where(first)} to {_where(last)}" if first else f"a window of {near['file']}"
        yield f"{where}; {_many(near['windows'], 'window')} like it, {fixed(near['nats'], 1)} nats away"
        for item in near["differences"]:
            fewer = "fewer" if item["seen"] < item["expected"] else "more "
            at_least = "at least " * (item["expected"] > EXACT)
            counts = f"{count(item['seen'])} here, {at_least}{count(item['expected'])} there"
            yield f"    {fewer}     {counts}: {clip(item['template'], _TEMPLATE)}"
        if near["more_differences"]:
            yield f"    and {_many(near['more_differences'], 'smaller difference')}"
        for line in near["lines"]:
            yield f"    {'lacking ' if line['lacking'] else 'its line'}  {clip(line['text'], _TEMPLATE)}"


def _templates(templates: Sequence[str]) -> str:
    return "; ".join(clip(template, _TEMPLATE) for template in templates) or "-"


def _where(line: Values) -> str:
    return f"position {line['position']}" + (f", {line['time']}" if line["time"] else "")


def _period(item: Values) -> str:
    return f"{item['start']} to {item['end']} {item['zone']}" if item["start"] else "without a time"


def _many(number: int, name: str) -> str:
    return f"{number:,} {name}{'s' * (number != 1)}"
