"""What a window has to say, by kind: how much of its strength each kind carries, and which lines carry it.

The detector's measurements are shared out. What speaks through events never seen is `unseen-template`, whichever
measurement heard it; what an event costs after those before it, and runs of events that no good window has, are
`rare-transition`; counts too low are `missing-event`, counts too high `unusual-counts`. Measurements that stand alone
have a kind each.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from service.detection.counts import Difference
from service.detection.detector import (
    CODES,
    COMPOSITION,
    COUNTS,
    EVENT,
    PACE,
    PARAMETER,
    SEQUENCE,
    SILENCE,
    Detector,
    Judged,
    Observed,
)
from service.detection.novelty import MAX_SHARE
from service.detection.pace import Slowness
from service.detection.ranges import Outlier
from service.detection.silence import Gap
from service.kinds import KINDS, MISSING_EVENT, NOVEL_CODE, RARE_TRANSITION, UNSEEN_TEMPLATE, UNUSUAL_COUNTS
from service.kinds import PARAMETER as PARAMETER_KIND
from service.kinds import SILENCE as SILENCE_KIND


@dataclass
class Evidence:
    """One kind of evidence in one window.

    Attributes:
        nats: how much of the window's strength it carries.
        lines: how much of that each line carries, by index in the window.
        about: what it is about, where that is more than lines.
    """

    nats: float = 0.0
    lines: dict[int, float] = field(default_factory=dict)
    about: Difference | Gap | Slowness | Outlier | None = None

    def add(self, nats: float, lines: Sequence[int], weights: Sequence[float] | None = None) -> None:
        """Give lines a part of the strength, in equal shares or by weight."""
        self.nats += nats
        total = sum(weights) if weights is not None else float(len(lines))
        for place, line in enumerate(lines):
            share = (weights[place] if weights is not None else 1.0) / total if total else 0.0
            self.lines[line] = self.lines.get(line, 0.0) + nats * share

    @property
    def line(self) -> int | None:
        """The line that carries most; None where none carries any."""
        return max(self.lines, key=lambda line: (self.lines[line], -line), default=None)


def weigh(detector: Detector, window: Observed, judged: Judged) -> dict[str, Evidence]:
    """Share out what was found in a window.

    Returns:
        Evidence of every kind, in the order of `KINDS`.
    """
    found = {kind: Evidence() for kind in KINDS}
    known = detector.memory.novelty.known
    new = [index for index, (shape, _) in enumerate(window.shapes) if shape not in known]
    _news(found[UNSEEN_TEMPLATE], detector, window, new)
    heard, measured = sum(judged.parts.values()), judged.together + sum(judged.alone.values())
    # Shares add up to the strength, which is calibrated once more after its measurements are added.
    scale = (judged.strength - judged.news) / measured if measured else 0.0
    share = judged.together * scale / heard if heard else 0.0
    _counts(found, detector, window, judged.parts[COUNTS] * share, new)
    _runs(found, detector, window, judged.parts[COMPOSITION] * share, set(new))
    _surprisal(found, detector, window, judged, share, set(new))
    _alone(found, detector, window, {name: nats * scale for name, nats in judged.alone.items()})
    return found


def line_nats(evidence: dict[str, Evidence]) -> dict[int, float]:
    """Return how much of a window's strength each line carries, all kinds together."""
    total: defaultdict[int, float] = defaultdict(float)
    for each in evidence.values():
        for line, nats in each.lines.items():
            total[line] += nats
    return dict(total)


def _news(found: Evidence, detector: Detector, window: Observed, new: Sequence[int]) -> None:
    families: defaultdict[str, list[int]] = defaultdict(list)
    for index in new:
        families[window.shapes[index][1]].append(index)
    for family, lines in sorted(families.items()):
        nats = detector.memory.novelty.family_nats(family)
        if nats >= -math.log(MAX_SHARE):
            found.add(nats, lines)


def _counts(found: dict[str, Evidence], detector: Detector, window: Observed, nats: float, new: Sequence[int]) -> None:
    differences = detector.memory.counts.differences(window.tokens)
    total = sum(difference.nats for difference in differences)
    if not total:
        found[UNUSUAL_COUNTS].nats += nats
    surprisal = window.surprisal_nats
    crowding = _crowding(differences, len(window.tokens), len(new))
    crowded_out = [difference for difference in differences if crowding and difference.seen < difference.expected]
    pushed = sum(difference.nats for difference in crowded_out) / max(1, len(crowding))
    for difference in differences:
        part = nats * (difference.nats + pushed * (difference in crowding)) / total
        if difference in crowded_out:
            continue
        if difference.token is None:
            found[UNSEEN_TEMPLATE].add(part, new)
        elif difference.seen < difference.expected:
            found[MISSING_EVENT].nats += part
            found[MISSING_EVENT].about = found[MISSING_EVENT].about or difference
        else:
            places = [index for index, token in enumerate(window.tokens) if token == difference.token]
            # Of so many alike, those are too many that came where they were least expected.
            places.sort(key=lambda index: -surprisal[index])
            found[UNUSUAL_COUNTS].add(part, places[: difference.seen - difference.expected])
            found[UNUSUAL_COUNTS].about = found[UNUSUAL_COUNTS].about or difference


def _crowding(differences: Sequence[Difference], events: int, new: int) -> list[Difference]:
    """Return what came so often that other events had no place in the window; nothing where that explains none.

    In windows of so many events, events are missing whenever others are too many: a burst that fills half a window is
    no lack of all else.
    """
    excess = {d.token: (new if d.token is None else d.seen) - d.expected for d in differences}
    most = max(excess.values(), default=0)
    lacking = [-count for count in excess.values() if count < 0]
    if (
        not lacking
        or most <= max(lacking)
        or 2 * most < events
        or sum(count for count in excess.values() if count > 0) < sum(lacking)
    ):
        return []
    return [difference for difference in differences if 2 * excess[difference.token] >= most]


def _runs(found: dict[str, Evidence], detector: Detector, window: Observed, nats: float, new: set[int]) -> None:
    unknown = detector.memory.runs.unknown(window.tokens)
    total = int(unknown.sum())
    if not total:
        found[UNUSUAL_COUNTS].nats += nats
    for index in np.flatnonzero(unknown).tolist():
        kind = UNSEEN_TEMPLATE if index in new else RARE_TRANSITION
        found[kind].add(nats * int(unknown[index]) / total, [index])


def _surprisal(
    found: dict[str, Evidence], detector: Detector, window: Observed, judged: Judged, share: float, new: set[int]
) -> None:
    surprisal = window.fresh_nats[: len(window.tokens)]
    excess = np.maximum(0.0, surprisal - detector.spread.mean_nats)
    total = float(excess.sum())
    if not total:
        found[RARE_TRANSITION].nats += judged.parts[SEQUENCE] * share
    for index in np.flatnonzero(excess).tolist():
        kind = UNSEEN_TEMPLATE if index in new else RARE_TRANSITION
        found[kind].add(judged.parts[SEQUENCE] * share * float(excess[index]) / total, [index])
    if len(new) < len(surprisal):
        rarest = max((index for index in range(len(surprisal)) if index not in new), key=lambda i: surprisal[i])
        found[RARE_TRANSITION].add(judged.parts[EVENT] * share, [rarest])


def _alone(found: dict[str, Evidence], detector: Detector, window: Observed, alone: Mapping[str, float]) -> None:
    if alone.get(SILENCE) and (gap := detector.memory.gaps.longest(window.before, window.gaps)):
        found[SILENCE_KIND].add(alone[SILENCE], [gap.event])
        found[SILENCE_KIND].about = gap
    if alone.get(PACE) and (slowness := detector.memory.paces.slowness(window.before, window.tokens, window.gaps)):
        found[SILENCE_KIND].add(alone[PACE], list(slowness.slow), list(slowness.slow.values()))
        if alone[PACE] > alone.get(SILENCE, 0.0):
            found[SILENCE_KIND].about = slowness
    if alone.get(PARAMETER) and (outlier := detector.memory.ranges.farthest(window.readings)):
        found[PARAMETER_KIND].add(alone[PARAMETER], [outlier.reading.event])
        found[PARAMETER_KIND].about = outlier
    if alone.get(CODES):
        rare = np.flatnonzero(window.code_excess > 0).tolist()
        found[NOVEL_CODE].add(alone[CODES], rare, window.code_excess[rare].tolist())
