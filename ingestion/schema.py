"""Noticing that the fields of a source's lines change in mid-stream: one appears, or one always there is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

APPEARED = "field-appeared"
VANISHED = "field-vanished"
# Lines that settle which fields there are; what differs before is how the source writes.
SETTLING_LINES = 100
# Hostile lines may bring a new name each; beyond these nothing is remembered, and so nothing is noticed.
MAX_FIELDS = 256
_SHOWN_CHANGES = 8
_SHOWN_CHARACTERS = 64


class Schema:
    """The fields one source's lines have had.

    Attributes:
        changes: the latest changes, such as `load vanished`, oldest first.
    """

    def __init__(self) -> None:
        self.changes: list[str] = []
        self._lines = 0
        self._last: tuple[str, ...] = ()
        self._known: dict[str, None] = {}
        self._always: dict[str, None] = {}

    def follow(self, names: tuple[str, ...], noticed: dict[str, int]) -> None:
        """Take the fields of one line; count each that appeared or vanished in `noticed`."""
        self._lines += 1
        if names == self._last:
            return
        self._last = names
        if self._lines == 1:
            self._always = dict.fromkeys(names[:MAX_FIELDS])
        present = set(names)
        settled = self._lines > SETTLING_LINES
        for name in [name for name in self._always if name not in present]:
            del self._always[name]
            if settled:
                self._note(name, VANISHED, noticed)
        for name in names:
            if name not in self._known and len(self._known) < MAX_FIELDS:
                self._known[name] = None
                if settled:
                    self._note(name, APPEARED, noticed)

    def _note(self, name: str, what: str, noticed: dict[str, int]) -> None:
        noticed[what] = noticed.get(what, 0) + 1
        self.changes = [*self.changes, f"{name[:_SHOWN_CHARACTERS]} {what.removeprefix('field-')}"][-_SHOWN_CHANGES:]

    def state(self) -> dict[str, Any]:
        """Return what a restart needs, as JSON values."""
        return {
            "changes": self.changes,
            "lines": self._lines,
            "last": list(self._last),
            "known": list(self._known),
            "always": list(self._always),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.changes, self._lines, self._last = list(state["changes"]), state["lines"], tuple(state["last"])
        self._known, self._always = dict.fromkeys(state["known"]), dict.fromkeys(state["always"])
