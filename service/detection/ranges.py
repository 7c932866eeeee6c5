"""Numbers in lines, against the range they have in known-good lines.

Each numeric slot of a template has a range: the values known-good lines brought, and how far beyond one another their
most extreme ones lie. A value outside is as strange as it is far outside, on a logarithmic scale where all values are
positive and their upper half is drawn out more than the lower. Slots differ: a spindle load hardly ever leaves its
range, a temperature does with the weather, a part counter every day. That is seen by holding out known-good parts in
turn. A slot that leaves its range in more windows than may ever be alarms is strange only farther outside than any part
was, and one that runs away with time has no range. Kept are the extremes alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from service.detection.combining import UpperTail
from service.detection.novelty import MAX_SHARE, PRIOR

Floats = npt.NDArray[np.float64]

# Fewer values do not tell a range.
MIN_VALUES = 50
# Different values that a range rests on at least: a slot of five values is a choice, not a quantity.
MIN_DISTINCT = 8
KEPT = 32
# Values of eight parts that nothing orders rise, or fall, from part to part by more than that in 3 cases of 100, as
# Kendall's tau has it.
MOST_ORDERED = 0.6
# The quartiles lie apart by at least this share of the whole range, or distances would leave the range of floats.
LEAST_UNIT = 1e-12

Slot = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """One number of a window.

    Attributes:
        event: index in the window of the event that brought it.
        slot: token, word and part of the word that it stands in.
        value: the number.
    """

    event: int
    slot: Slot
    value: float


@dataclass(frozen=True)
class Outlier:
    """A number outside its range.

    Attributes:
        reading: the number and where it stands.
        low, high: the range it has in known-good lines.
        nats: how strange it is.
    """

    reading: Reading
    low: float
    high: float
    nats: float


@dataclass(frozen=True)
class Range:
    """The known-good values of one slot.

    Attributes:
        count: how many there were.
        logarithmic: whether distances are those of logarithms.
        lowest: the `KEPT` lowest, negated, ascending; on the scale of distances.
        highest: the `KEPT` highest, ascending; on the scale of distances.
        unit: distance between the quartiles; what distances are measured in.
        step: what is outside by less is as good as inside: the median distance of neighbours among the different
            values, since numbers of alarms lie far apart, and the one after the largest says nothing; or how far parts
            that were held out strayed.
    """

    count: int
    logarithmic: bool
    lowest: Floats
    highest: Floats
    unit: float
    step: float

    @classmethod
    def fit(cls, values: Floats) -> Range | None:
        """Return the range of values; None where there are too few to tell."""
        if len(values) < MIN_VALUES or len(np.unique(values)) < MIN_DISTINCT:
            return None
        low, middle, high = np.quantile(values, [0.0, 0.5, 1.0])
        logarithmic = bool(low > 0 and high - middle > 2 * (middle - low))
        scaled = np.sort(np.log(values) if logarithmic else values)
        lower, upper = np.quantile(scaled, [0.25, 0.75])
        between, whole = float(upper - lower), float(scaled[-1] - scaled[0])
        unit = max(between, LEAST_UNIT * whole) if between else whole
        scaled = scaled / unit
        step = float(np.median(np.diff(np.unique(scaled))))
        return cls(len(values), logarithmic, -scaled[:KEPT][::-1], scaled[-KEPT:], unit, step)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest known-good value."""
        low, high = -self.lowest[-1] * self.unit, self.highest[-1] * self.unit
        return (float(np.exp(low)), float(np.exp(high))) if self.logarithmic else (float(low), float(high))

    def scaled(self, value: float) -> float:
        """Return a value on the scale of distances."""
        if not self.logarithmic:
            return value / self.unit
        return float(np.log(max(value, np.finfo(float).tiny))) / self.unit


class KnownRanges:
    """The ranges of all slots that keep to one.

    Attributes:
        ranges: by slot.
    """

    def __init__(self, ranges: dict[Slot, Range]) -> None:
        self.ranges = ranges
        self._tails = {
            slot: tuple(UpperTail(side, known.count, known.step) for side in (known.lowest, known.highest))
            for slot, known in ranges.items()
        }

    @classmethod
    def fit(cls, windows: Sequence[Iterable[Reading]], parts: Sequence[int]) -> KnownRanges:
        """Learn from good windows, and which part each is held out with."""
        found: defaultdict[Slot, list[tuple[int, int, float]]] = defaultdict(list)
        for number, (window, part) in enumerate(zip(windows, parts, strict=True)):
            for reading in window:
                found[reading.slot].append((part, number, reading.value))
        ranges = {}
        for slot, rows in sorted(found.items()):
            columns = [np.array(column) for column in zip(*rows, strict=True)]
            known = Range.fit(columns[2])
            margin = None if known is None else _margin(known, *columns)
            if known is not None and margin is not None:
                ranges[slot] = replace(known, step=max(known.step, margin))
        return cls(ranges)

    def farthest(self, window: Iterable[Reading]) -> Outlier | None:
        """Return the number of a window that is farthest outside its range; None where all are inside."""
        best: Outlier | None = None
        for reading in window:
            known = self.ranges.get(reading.slot)
            if known is None:
                continue
            at = known.scaled(reading.value)
            side = 1 if at > known.highest[-1] else 0
            beyond = at if side else -at
            if beyond - known.step <= (known.highest if side else known.lowest)[-1]:
                continue
            nats = self._tails[reading.slot][side].nats(beyond)
            if best is None or nats > best.nats:
                best = Outlier(reading, *known.bounds, nats)
        return best


def _margin(known: Range, parts: npt.NDArray[np.int64], windows: npt.NDArray[np.int64], values: Floats) -> float | None:
    """Return how far beyond the others' range values held out in parts lie, on the scale of distances.

    That is none where they stay in it, but for as many windows as may be alarms. Where they do not, they may follow the
    hour or the weather, and what lies farther out than any of them is strange; or they run away with time, which has no
    range: None.
    """
    scaled = np.array([known.scaled(value) for value in values])
    beyond = np.zeros(len(values))
    medians = []
    for part in np.unique(parts):
        mine = parts == part
        rest = scaled[~mine]
        if not len(rest):
            return None
        beyond[mine] = np.maximum(rest.min() - scaled[mine], scaled[mine] - rest.max())
        medians.append(float(np.median(scaled[mine])))
    held, outside = len(np.unique(windows)), len(np.unique(windows[beyond > 0]))
    if (outside + PRIOR) / (held + 1) <= MAX_SHARE:
        return 0.0
    return None if _runs_away(medians) else float(beyond.max())


def _runs_away(medians: Sequence[float]) -> bool:
    """Whether values rise or fall from part to part, by more pairs of parts than chance would order so."""
    later = np.sign([after - before for before, after in combinations(medians, 2)])
    return bool(abs(later.mean()) > MOST_ORDERED)
