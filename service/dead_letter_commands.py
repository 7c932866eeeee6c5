"""`logvq dead-letters`: what could not be read, as the API shows it."""

from __future__ import annotations

import argparse

from ingestion import clean
from service.database import existing
from service.errors import NotFound
from service.pages.text import json_text
from service.routes.dead_letters import shown
from service.store import Store

_SHOWN_CHARACTERS = 120


def run_dead_letters(options: argparse.Namespace) -> int:
    """Print the latest dead letters, of one source or of all."""
    store = Store(existing(options.database), options.database_password_file)
    try:
        if options.source is not None and not store.is_source(options.source):
            raise NotFound(f"no source {options.source} in {options.database}")
        rows = [shown(row) for row in store.find_dead_letters(source=options.source, limit=options.limit)]
    finally:
        store.close()
    if options.json:
        print(json_text(rows))
        return 0
    for row in rows:
        value = row["value"][:_SHOWN_CHARACTERS] + ("…" if len(row["value"]) > _SHOWN_CHARACTERS else "")
        where = f"{row['source']}  {row['stream']} {row['position']}"
        print(f"{row['received'] or '-':24}  {clean(where)}  {row['reason']}  {row['length']:,} bytes  {value}")
    return 0
