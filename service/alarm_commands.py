"""`logvq feedback` and `logvq rules`: what people say of alarms, and what their rules would have said."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ingestion import clean
from ingestion.timestamps import zone
from service.alarms.rules import load_rules
from service.database import existing
from service.errors import BadSetting
from service.feedback_store import FeedbackStore, Said
from service.pages.text import json_text
from service.routes.feedback import shown
from service.rule_report import compare
from service.store import Store


def run_feedback(options: argparse.Namespace) -> int:
    """Say something of an incident or a window, list what was said, or take it back."""
    store = Store(existing(options.database), options.database_password_file)
    try:
        feedback = FeedbackStore(store)
        if options.action == "list":
            _list(feedback.entries(about=options.about, source=options.source), as_json=options.json)
            return 0
        who = options.who or _user()
        if options.action == "undo":
            entry = feedback.undo(options.number, who, options.reason)
            said = f"feedback {options.number} on {entry['about']} is taken back by {entry['id']}"
        else:
            until = None if options.until is None else _time(options.until)
            entry = feedback.say(
                options.about, Said(verdict=options.verdict, who=who, reason=options.reason, until=until)
            )
            said = f"feedback {entry['id']}: {entry['about']} of {entry['source']} is {entry['verdict']}"
        print(json_text(shown(entry)) if options.json else said)
        if not options.json:
            print("a running service takes it in at once", file=sys.stderr)
        return 0
    finally:
        store.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise BadSetting("this machine has no name for the user of this process: say who you are with --who") from error


def _time(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadSetting(f"cannot read --until {text!r}; give a time such as 2026-01-31T06:00") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _list(entries: Iterable[Mapping[str, Any]], *, as_json: bool) -> None:
    rows = [shown(entry) for entry in entries]
    if as_json:
        print(json_text(rows))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    # What is copied into the next command stays whole on a narrow terminal; the rest is folded.
    for name in ("no.", "said", "who", "about", "source", "verdict", "until", "reason"):
        table.add_column(name, no_wrap=name in ("no.", "about"), overflow="fold")
    for row in rows:
        verdict = f"undoes {row['undoes']}" if row["undoes"] else str(row["verdict"])
        if row["undone_by"]:
            verdict += f" (undone by {row['undone_by']})"
        said, until = (str(row[name] or "")[:16].replace("T", " ") for name in ("said", "until"))
        cells = [str(row["id"]), said, row["who"], row["about"], row["source"], verdict, until, row["reason"]]
        table.add_row(*(escape(clean(cell)) for cell in cells))
    Console().print(table)


def run_rules(options: argparse.Namespace) -> int:
    """Check a rule file; with a database, show where its rules and the model agree."""
    rules = load_rules(options.file)
    if options.database is None:
        numbers = ((len(rules.rules), "rule"), (len(rules.maintenance), "time"))
        said, spans = (f"{count} {name}{'s' * (count != 1)}" for count, name in numbers)
        print(f"{options.file}: {said} and {spans} of maintenance, all valid")
        if rules.maintenance:
            print("maintenance without an offset is read in the zone of each source's lines")
        return 0
    own_zone = zone(options.tz) if options.tz else None
    store = Store(existing(options.database), options.database_password_file)
    try:
        found = compare(store, rules, own_zone)
    finally:
        store.close()
    if options.json:
        print(json_text(found))
        return 0
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("rule", "kind", "with the model's alarm", "without", "such as"):
        table.add_column(name)
    for entry in found["rules"]:
        examples = " ".join([*entry["with_ids"][:1], *entry["without_ids"][:1]])
        counts = [f"{entry['with']:,}", f"{entry['without']:,}"]
        table.add_row(escape(clean(entry["rule"])), entry["kind"], *counts, examples)
    Console().print(table)
    print(
        f"{found['windows']:,} windows; the model would raise {found['alarms']:,} of them, "
        f"{found['unnamed']:,} of which no rule names"
    )
    for entry in found["rules"]:
        if entry["why_none"]:
            print(clean(f"no window fits {entry['rule']}: {entry['why_none']}"))
    if rules.maintenance:
        print(clean(f"maintenance without an offset is read in {_zones(found['zones'])}"))
    return 0


def _zones(zones: Mapping[str, str]) -> str:
    """Return zones, each with the sources whose it is where there are several."""
    sources: dict[str, list[str]] = {}
    for source, name in zones.items():
        sources.setdefault(name, []).append(source)
    if len(sources) < 2:
        return next(iter(sources), "no zone: nothing is stored")
    return ", ".join(f"{name} for {' and '.join(whose)}" for name, whose in sources.items())
