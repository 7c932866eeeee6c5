"""Incidents of several sources that are one story.

Each source has incidents of its own, so that what one worker stores is a function of one source's lines, whichever
other worker has the next source. What belongs together is therefore found when somebody asks, by a rule over stored
incidents: two join when they are of one bundle, less than `NEAR_SECONDS` apart, and share the shape of an unusual line;
and what both join with joins. Sister machines write their own number into their lines: PLC07 at plc07 and PLC08 at
plc08 are one shape, while ST20 and ST30, or E41 and E42, stay two at both. A group is named by its first incident.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# A fault takes minutes to spread through a line of machines, and their clocks differ.
NEAR_SECONDS = 300.0
_DIGITS = re.compile("[0-9]+")


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
        for shape in dict.fromkeys([*incident["shapes"], *_unnumbered(incident)]):
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


def _unnumbered(incident: Mapping[str, Any]) -> list[str]:
    """Return the shapes of an incident without the numbers that its source is named by."""
    own = {number.lstrip("0") for number in _DIGITS.findall(incident["source"])}
    return [
        _DIGITS.sub(lambda found: "#" if found[0].lstrip("0") in own else found[0], shape)
        for shape in incident["shapes"]
    ]
