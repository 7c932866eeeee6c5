"""What `logvq try` prints: the verdict, what became of the lines, other budgets, the short list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ingestion import clean
from service.alarms.budget import DAY_SECONDS
from service.pages.formatting import duration, moment_of, zone_named

_SHOWN_ENTRIES = 10
_SHOWN_HELD_BACK = 3
_UNSTATED = "no budget stated: one a day on average, three more on the first day"


def print_summary(data: dict[str, Any], output: Path) -> None:
    """Print the data of a report, and where the report is."""
    console = Console()
    read, budget = data["accounting"], data["budget"]
    console.print(f"\n[bold]{escape(clean(data['verdict']))}[/bold]")
    outcomes = read["outcomes"]
    dropped = sum(outcomes["dropped"].values())
    console.print(
        f"{read['read']:,} lines read: {read['trained']:,} trained on, {read['scored']:,} scored "
        f"({outcomes['parsed']:,} known, {outcomes['unparsed']:,} of new shape, {dropped:,} dropped); "
        f"{read['templates']:,} templates; windows of {data['training']['window']}."
    )
    if read["noticed"]:
        console.print(f"Noticed: {', '.join(f'{reason} {times:,}' for reason, times in read['noticed'].items())}.")
    if budget["days"]:
        rate = "" if budget["realised_per_day"] is None else f": {budget['realised_per_day']:.2f} a day"
        incidents = f"{budget['incidents']:,} incident{'s' * (budget['incidents'] != 1)}"
        asked = f"budget {budget['alarms_per_day']:g} a day" if budget["stated"] else _UNSTATED
        console.print(f"{incidents} in {duration(budget['days'] * DAY_SECONDS)}{rate}; {asked}.", soft_wrap=True)
    for choice in budget["choices"]:
        missed = f"; missed: {clean(choice['strongest_missed'])}" if choice["missed"] else ""
        console.print(
            f"  --budget {choice['alarms_per_day']:g}: {choice['alarms']:,} alarms, {choice['kinds']:,} kinds"
            + escape(missed)
            + (f" and {choice['missed'] - 1:,} more" if choice["missed"] > 1 else ""),
            soft_wrap=True,
        )
    if held := budget["held_back"]["kinds"]:
        titles = "; ".join(clean(kind["title"]) for kind in held[:_SHOWN_HELD_BACK])
        rest = f"; and {len(held) - _SHOWN_HELD_BACK:,} more" if len(held) > _SHOWN_HELD_BACK else ""
        enough = next((choice for choice in budget["choices"] if not choice["missed"]), None)
        larger = f"--budget {enough['alarms_per_day']:g} misses none" if enough else "a larger one: --budget"
        console.print(
            f"Held back, because the budget was used up ({larger}): {escape(titles)}{rest}.",
            soft_wrap=True,
        )
    if data["entries"]:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("score", "times"):
            table.add_column(name, justify="right", no_wrap=True)
        zone = zone_named(read["zone"])
        table.add_column(f"first, {read['zone']}", no_wrap=True)
        table.add_column("what")
        for entry in data["entries"][:_SHOWN_ENTRIES]:
            moment = moment_of(entry["first"])
            first = "" if moment is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"
            table.add_row(f"{entry['score']:.1f}", f"{entry['count']:,}", first, escape(clean(entry["title"])))
        console.print(table)
        more = len(data["entries"]) - _SHOWN_ENTRIES
        if more > 0:
            console.print(f"… and {more:,} more in the report")
    console.print(f"report: {output}")
