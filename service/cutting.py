"""Known-good events cut into the windows to learn from."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from ingestion import Event, Windower, WindowSpec


@dataclass(frozen=True)
class CutWindows:
    """Windows of known-good events; each is the places of its events among all.

    Attributes:
        fit: how many events, the first ones, the encoder is fitted on.
        fitted: windows of these.
        held_out: windows of the others.
    """

    fit: int
    fitted: Sequence[list[int]]
    held_out: Sequence[list[int]]

    @property
    def all(self) -> list[list[int]]:
        """All windows, in order."""
        return [*self.fitted, *self.held_out]


def cut_windows(events: Sequence[Event], fit: int, window: WindowSpec) -> CutWindows:
    """Cut known-good events into windows, apart where the encoder is fitted and where it is not.

    A session that was open at the cut is neither: what it has on either side is no whole window.
    """
    fitted, straddling = _cut(events[:fit], window)
    held_out, _ = _cut(events[fit:], window, without=straddling)
    return CutWindows(fit, fitted, [[fit + at for at in part] for part in held_out])


def _cut(events: Sequence[Event], window: WindowSpec, without: Container[str] = ()) -> tuple[list[list[int]], set[str]]:
    """Cut events into windows.

    Returns:
        The places of the events of every whole window but those of the keys `without`, and the keys of those that are
        not whole.
    """
    windower = Windower(window)
    places: dict[int, list[int]] = {}
    whole: list[list[int]] = []
    for place, event in enumerate(events):
        joined, complete = windower.add(event)
        places.setdefault(joined.index, []).append(place)
        for closed in complete:
            found = places.pop(closed.index)
            if closed.key is None or closed.key not in without:
                whole.append(found)
    return whole, {closed.key for closed in windower.open.values() if closed.key is not None}
