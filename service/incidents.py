"""Joining a source's anomalous windows into incidents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# An incident stays open over this many quiet windows, and over this long without any event.
MAX_QUIET_WINDOWS = 1
MAX_GAP_SECONDS = 3600.0
MAX_WINDOWS = 500


class IncidentTracker:
    """Follows one source's final windows, in order; its state is the open incident, if there is one."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self._open: dict[str, Any] | None = dict(state["open"]) if state and state["open"] else None
        self._quiet: int = state["quiet"] if state else 0

    @property
    def is_open(self) -> bool:
        """Whether an incident is open."""
        return self._open is not None

    def state(self) -> dict[str, Any]:
        """Return what a restart needs, as JSON values."""
        return {"open": self._open, "quiet": self._quiet}

    def follow(self, window: dict[str, Any], reason: str, signature: str, title: str) -> list[dict[str, Any]]:
        """Take the next final window; name its incident in it.

        Args:
            window: a row of the store's `windows`; its `incident` is set where it belongs to one.
            reason: kind of its strongest evidence.
            signature: what makes two incidents the same kind of thing.
            title: the incident in a few words.

        Returns:
            Rows of the store's `incidents` that changed.
        """
        changed: list[dict[str, Any]] = []
        if self._open is not None and not self._joins(window):
            changed.append(self._close())
        if not window["anomalous"]:
            self._quiet += 1
            if self._open is not None and self._quiet > MAX_QUIET_WINDOWS:
                changed.append(self._close())
            return [_row(incident) for incident in changed]
        self._quiet = 0
        incident = self._open
        if incident is None:
            number = hashlib.sha256(window["id"].encode()).hexdigest()[:12]
            incident = self._open = {
                "id": f"i-{number}",
                "source": window["source"],
                "status": "open",
                "start": window["start"],
                "first_window": window["id"],
                "window_ids": [],
                "strength": -1.0,
            }
        incident["window_ids"] = [*incident["window_ids"], window["id"]]
        incident["end"] = window["end"]
        incident["sequence"] = window["sequence"]
        if window["strength"] > incident["strength"]:
            incident |= {
                "strength": window["strength"],
                "score": window["score"],
                "worst_window": window["id"],
                "reason": reason,
                "signature": signature,
                "title": title,
            }
        window["incident"] = incident["id"]
        return [_row(item) for item in [*changed, incident]]

    def _joins(self, window: Mapping[str, Any]) -> bool:
        assert self._open is not None
        end, start = self._open["end"], window["start"]
        gap = start - end if start is not None and end is not None else 0.0
        return bool(gap <= MAX_GAP_SECONDS and len(self._open["window_ids"]) < MAX_WINDOWS)

    def _close(self) -> dict[str, Any]:
        assert self._open is not None
        closed, self._open = self._open | {"status": "closed"}, None
        return closed


def _row(incident: Mapping[str, Any]) -> dict[str, Any]:
    ids = incident["window_ids"]
    return dict(incident) | {"window_ids": json.dumps(ids), "windows": len(ids)}
