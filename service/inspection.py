"""`logvq inspect`: what a file looks like, which format would read it, and what that format does to its lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from ingestion import clean, read_sample
from ingestion.files import file_changed, read_end
from ingestion.inspecting import Inspection, inspect_sample
from service.pages.text import json_text
from service.settings import format_table, load_settings, save_table


def inspect_file(path: Path, encoding: str | None, zone: str | None) -> Inspection:
    """Look at the beginning of a file."""
    sample, end, changed = read_sample(path), read_end(path), file_changed(path)
    return inspect_sample(sample, name=path.name, encoding=encoding, zone_name=zone, changed=changed, end=end)


def comments(found: Inspection) -> dict[str, str]:
    """Return what to say beside each key of the written table: how sure the choice is."""
    return {choice.name: f"{choice.certainty}: {clean(choice.reason)}" for choice in found.choices}


def as_json(found: Inspection) -> str:
    """Return everything as JSON."""
    plain: dict[str, Any] = {
        "file": found.name,
        "lines": found.lines,
        "format": found.source_format.to_dict(),
        "choices": [asdict(choice) for choice in found.choices],
        "templates": found.templates,
        "accounting": asdict(found.accounting),
        "unknown": list(found.unknown),
    }
    return json_text(plain)


def show(found: Inspection, kind: str, name: str) -> None:
    """Print what was found, for a person."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{escape(clean(found.name))}[/bold], its first {found.lines:,} lines looked at\n")
    for choice in found.choices:
        console.print(
            f"[bold]{choice.name:<10}[/bold] {escape(clean(choice.value))}  "
            f"[dim]{choice.certainty}: {escape(clean(choice.reason))}[/dim]"
        )
        for line in choice.shows:
            console.print(f"           {escape(clean(line))}")
        for line in choice.otherwise:
            console.print(f"           [dim]or {escape(clean(line))}[/dim]")
    console.print(f"\n[bold]templates[/bold]  {_counts(found.templates)}")
    if found.unknown:
        console.print("\n[bold]What the sample cannot tell[/bold]")
        for line in found.unknown:
            console.print(f"  - {escape(clean(line))}")
    console.print(f"\n{escape(format_table(kind, name, found.source_format, comments(found)))}", end="")


def _counts(templates: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in templates.items())


def write(found: Inspection, path: Path, kind: str, name: str) -> None:
    """Add the proposed format to a `logvq.toml`, and read it back."""
    save_table(path, kind, name, found.source_format, comments(found))
    load_settings(path)
