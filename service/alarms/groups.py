"""Incidents of several sources that are one story.

Each source has incidents of its own, so that what one worker stores is a function of one source's lines, whichever
other worker has the next source. What belongs together is therefore found when somebody asks, by a rule over stored
incidents: two join when they are of one bundle, less than `NEAR_SECONDS` apart, and share the shape of an unusual line;
and what both join with joins. A group is named by its first incident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# A fault takes minutes to spread through a line of machines, and their clocks differ.
NEAR_SECONDS = 300.0


def groups(incidents: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return incidents in groups, each in order of time, groups by their first.

    Args:
        incidents: with `id`, `source`, `bundle`, `start`, `end` in epoch seconds and `shapes`; those without a time
            stand alone.
    """
    ordered = sorted(incidents, key=lambda item: (item["start"] or 0.0, item["source"], item["id"]))
    leader = list(range(len(ordered)))

    def first(place: int) -> int:
        while leader[place] != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    # By shape: the incidents that may still be near one that starts later.
    recent: dict[tuple[str, str], list[int]] = {}
    for place, incident in enumerate(ordered):
        if incident["start"] is None:
            continue
        for shape in incident["shapes"]:
            before = recent.setdefault((incident["bundle"], shape), [])
            before[:] = [other for other in before if ordered[other]["end"] >= incident["start"] - NEAR_SECONDS]
            for other in before:
                ends = sorted((first(other), first(place)))
                leader[ends[1]] = ends[0]
            before.append(place)
    found: dict[int, list[Mapping[str, Any]]] = {}
    for place, incident in enumerate(ordered):
        found.setdefault(first(place), []).append(incident)
    return list(found.values())
