"""Windows that were strange and not raised, because the budget was used up by what came before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from service.explain import iso
from service.packing import unpack
from service.store import Store


def describing(store: Store) -> Callable[[Mapping[str, Any]], tuple[str, str]]:
    """Return what says which kind of anomaly a window holds, and its title; it reads each window once."""

    @cache
    def describe(window_id: str) -> tuple[str, str]:
        row = store.window(window_id)
        assert row is not None
        if row["record"] is None:
            # Of a long log, quiet windows keep no lines.
            return row["sentence"], row["sentence"]
        record = unpack(row["record"])
        if not record["reasons"]:
            # So ordinary that only a budget for every other window raises it.
            return "", "Nothing unusual"
        head = record["reasons"][0]
        line = record["lines"][head["line"]] if head["line"] is not None else None
        shape = record["names"].get(str(head["line"])) or (line and record["templates"][str(line[3])])
        return f"{head['kind']} {shape or head['title']}", head["title"]

    return lambda window: describe(window["id"])


def held_back(
    final: Sequence[Mapping[str, Any]], describe: Callable[[Mapping[str, Any]], tuple[str, str]], floor: float
) -> dict[str, Any]:
    """Return the windows that are strange and were not raised because too much was, by kind, strongest first."""
    kinds: dict[str, dict[str, Any]] = {}
    held = [w for w in final if not w["anomalous"] and w["incident"] is None and w["decided_by"] is None]
    held = sorted((w for w in held if w["strength"] >= floor), key=lambda window: -window["strength"])
    for window in held:
        kind, title = describe(window)
        known = kinds.setdefault(
            kind,
            {
                "title": title,
                "count": 0,
                "strength": round(window["strength"], 3),
                "start": iso(window["start"]),
                "position": window["first_position"],
            },
        )
        known["count"] += 1
    return {"windows": len(held), "kinds": list(kinds.values())}
