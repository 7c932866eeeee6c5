"""The evidence of a window, put together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from service.detection.codes import deviations
from service.detection.combining import Combination
from service.detection.composition import KnownRuns
from service.detection.counts import KnownWindows
from service.detection.novelty import PARTS, Novelty
from service.detection.pace import KnownPaces
from service.detection.ranges import KnownRanges, Reading
from service.detection.silence import KnownGaps
from service.detection.surprise import Spread, fresh

COUNTS, COMPOSITION, SEQUENCE, EVENT = ADDED = "counts", "composition", "sequence", "event"
SILENCE, PACE, PARAMETER, CODES = "silence", "pace", "parameter", "codes"
# Which codes a window hits says that it is unfamiliar, and never by itself that something is wrong.
SUPPORTING = frozenset({CODES})

# Known-good windows of a machine that repeats one cycle are all alike, and whatever is larger than all of them by its
# last digits would be as rare as can be. All known windows have an eighth more to compare with than those by which held
# out ones were measured, which alone makes ln 8/7 = .13 nats. In nats, or standard deviations; compositions are shares.
RESOLUTION = dict.fromkeys((COUNTS, SEQUENCE, EVENT, SILENCE, PACE, PARAMETER, CODES), 0.15) | {COMPOSITION: 0.05}

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
_NOTHING: Floats = np.zeros(0)


@dataclass(frozen=True)
class Observed:
    """A window as it came.

    Attributes:
        tokens: its events, in order.
        shapes: what news is told by, each with its family: the event's own shape where the token stands for several.
        surprisal_nats: of each event, by a model that has not learnt from this window, or as if it had not; it may say
            more at the end, such as how surprising it is that the session ended. Empty where nothing of that is known:
            such a window teaches what good windows hold and how they vary, but not how surprising they are.
        before: token of the event that the source wrote before each; empty where there is no clock.
        gaps: seconds since that event.
        readings: numbers of its lines.
        code_excess: by how many standard deviations the codes of each event are rarer than codes are; empty where there
            are none, or where they were made of this window.
    """

    tokens: tuple[int, ...]
    shapes: tuple[tuple[Hashable, str], ...]
    surprisal_nats: Floats = field(default_factory=lambda: _NOTHING)
    before: tuple[int, ...] = ()
    gaps: Floats = field(default_factory=lambda: _NOTHING)
    readings: tuple[Reading, ...] = ()
    code_excess: Floats = field(default_factory=lambda: _NOTHING)

    @cached_property
    def fresh_nats(self) -> Floats:
        """Surprisal of each event to whoever remembers which ones repeat themselves (`surprise.fresh`)."""
        return fresh(self.tokens, self.surprisal_nats)


def some(window: Observed, events: Sequence[int]) -> Observed:
    """Return a window of some of another's events, by their indexes; each has the gap before it that it had."""
    place = {index: new for new, index in enumerate(events)}
    kept = list(events)
    return Observed(
        tokens=tuple(window.tokens[index] for index in kept),
        shapes=tuple(window.shapes[index] for index in kept),
        surprisal_nats=window.surprisal_nats[kept],
        before=tuple(window.before[index] for index in kept) if window.before else (),
        gaps=window.gaps[kept] if len(window.gaps) else window.gaps,
        readings=tuple(replace(r, event=place[r.event]) for r in window.readings if r.event in place),
        code_excess=window.code_excess[kept] if len(window.code_excess) else window.code_excess,
    )


@dataclass(frozen=True)
class Judged:
    """What was found in a window, in nats.

    Attributes:
        strength: all together, minus the log of the share of good windows with as much.
        parts: what each added measurement says, against held-out good windows.
        together: what they amount to.
        alone: what each measurement that stands alone adds.
        news: what events never seen add.
    """

    strength: float
    parts: dict[str, float]
    together: float
    alone: dict[str, float]
    news: float


@dataclass(frozen=True)
class Memory:
    """What some good windows hold.

    Attributes:
        counts: their counts, and how these vary.
        runs: what runs of events they are made of.
        novelty: their events, and how often they brought news.
        gaps: the silences in them.
        paces: how long it takes from each event to the next.
        ranges: the numbers in them.
    """

    counts: KnownWindows
    runs: KnownRuns
    novelty: Novelty
    gaps: KnownGaps
    paces: KnownPaces
    ranges: KnownRanges

    @classmethod
    def fit(cls, windows: Sequence[Observed], parts: Sequence[int], like: Memory | None = None) -> Memory:
        """Learn from good windows; `like` is of nearly the same windows, and shortens the search."""
        tokens = [window.tokens for window in windows]
        timed = [window for window in windows if len(window.gaps)]
        before = [token for window in timed for token in window.before]
        gaps = np.concatenate([window.gaps for window in timed]) if timed else _NOTHING
        return cls(
            KnownWindows.fit(tokens, like.counts if like else None),
            KnownRuns(tokens),
            Novelty.fit([window.shapes for window in windows], parts),
            KnownGaps.fit(before, gaps),
            KnownPaces.fit(before, [token for window in timed for token in window.tokens], gaps),
            KnownRanges.fit([window.readings for window in windows], parts),
        )

    def measure(self, window: Observed, surprisal: Floats, spread: Spread) -> dict[str, float]:
        """Return what can be measured of a window that is not among these.

        Args:
            window: it.
            surprisal: of each event, in nats, as far as it counts; empty where nothing is known.
            spread: of the mean surprisal of good windows.
        """
        found = {COUNTS: self.counts.nats(window.tokens), COMPOSITION: self.runs.distance(window.tokens)}
        if len(surprisal):
            # An event never seen is news, and told as such.
            known = [index for index, (shape, _) in enumerate(window.shapes) if shape in self.novelty.known]
            known += range(len(window.shapes), len(surprisal))
            found[SEQUENCE] = spread.deviations(float(surprisal.mean()), len(surprisal))
            found[EVENT] = max((float(surprisal[index]) for index in known), default=0.0)
        if len(window.gaps):
            gap = self.gaps.longest(window.before, window.gaps)
            found[SILENCE] = gap.nats if gap else 0.0
            found[PACE] = self.paces.mean(window.before, window.tokens, window.gaps)
        outlier = self.ranges.farthest(window.readings)
        found[PARAMETER] = outlier.nats if outlier else 0.0
        if len(window.code_excess):
            found[CODES] = deviations(window.code_excess)
        return found


@dataclass(frozen=True)
class Detector:
    """What known-good windows are like.

    Attributes:
        memory: what all of them hold.
        spread: how their surprisal varies.
        differing: how the distance of their counts varies, per kind of event that a window has.
        pacing: how their pace varies.
        combination: how often a good window that was held out measures as much.
    """

    memory: Memory
    spread: Spread
    differing: Spread
    pacing: Spread
    combination: Combination

    @classmethod
    def fit(cls, windows: Sequence[Observed], parts: Sequence[int] | None = None) -> Detector:
        """Learn from good windows; each part is measured by what the others hold.

        Args:
            windows: known-good windows, in order.
            parts: which part each is held out with; None cuts them into runs of equal length, as streams need it.

        Raises:
            ValueError: no window has surprisal.
        """
        part = parts_in_order(len(windows)) if parts is None else np.asarray(parts)
        whole = Memory.fit(windows, part.tolist())
        surprisal = [window.fresh_nats for window in windows]
        held_out = HeldOut.measure(windows, surprisal, part, np.ones(len(windows), bool), like=whole)
        kinds = [_kinds(window) for window in windows]
        per_kind = [measured[COUNTS] / count for measured, count in zip(held_out.measured, kinds, strict=True)]
        differing = Spread.fit(per_kind, kinds)
        timed = [(found[PACE], len(w.gaps)) for found, w in zip(held_out.measured, windows, strict=True) if len(w.gaps)]
        pacing = Spread.fit(*zip(*timed, strict=True)) if timed else Spread(0.0, 0.0, 0.0)
        # A gap is measured in units of its own spread: where none of the windows strayed, that is no proof of less.
        pacing = replace(pacing, within=max(pacing.within, 1.0))
        measured = [
            _fair(found, window, differing, pacing) for found, window in zip(held_out.measured, windows, strict=True)
        ]
        return cls(whole, held_out.spread, differing, pacing, Combination.fit(measured, ADDED, SUPPORTING, RESOLUTION))

    def measure(self, window: Observed) -> dict[str, float]:
        """Return what can be measured of a window that is not among the known ones."""
        return _fair(self.memory.measure(window, window.fresh_nats, self.spread), window, self.differing, self.pacing)

    def judge(self, window: Observed) -> Judged:
        """Judge one window."""
        measured = self.measure(window)
        news = self.memory.novelty.nats(window.shapes)
        combination = self.combination
        parts, alone = combination.parts(measured), combination.beyond(measured)
        together = combination.together.nats(sum(parts.values()))
        return Judged(combination.strength(measured, news), parts, together, alone, news)


@dataclass(frozen=True)
class HeldOut:
    """Windows measured by what the trusted windows of all other parts hold.

    Attributes:
        measured: every measurement of each window; the distance of its counts in nats.
        news: what events never seen say of each, in nats.
        spread: of the surprisal of trusted windows.
    """

    measured: list[dict[str, float]]
    news: Floats
    spread: Spread

    @classmethod
    def measure(
        cls,
        windows: Sequence[Observed],
        surprisal: Sequence[Floats],
        part: Numbers,
        trusted: Flags,
        usual: Novelty | None = None,
        like: Memory | None = None,
    ) -> HeldOut:
        """Measure every window; what is learnt is learnt from trusted windows alone.

        Args:
            windows: in order.
            surprisal: of the events of each, in nats, as far as it counts.
            part: which part each is held out with.
            trusted: which to learn from.
            usual: how often families bring news, where trusted windows were chosen for bringing none.
            like: of nearly the same windows, to shorten the search.
        """
        scored = [nats for nats, learnt in zip(surprisal, trusted.tolist(), strict=True) if learnt and len(nats)]
        spread = Spread.fit([float(nats.mean()) for nats in scored], [len(nats) for nats in scored])
        measured: list[dict[str, float]] = [{} for _ in windows]
        news = np.zeros(len(windows))
        for number in np.unique(part):
            rest = np.flatnonzero((part != number) & trusted)
            learnt = rest if len(rest) else np.flatnonzero(trusted)
            memory = Memory.fit([windows[index] for index in learnt.tolist()], part[learnt].tolist(), like)
            novelty = memory.novelty if usual is None else replace(usual, known=memory.novelty.known)
            found: dict[Hashable, tuple[dict[str, float], float]] = {}
            for index in np.flatnonzero(part == number).tolist():
                key = _identity(windows[index])
                if key not in found:
                    found[key] = (
                        memory.measure(windows[index], surprisal[index], spread),
                        novelty.nats(windows[index].shapes),
                    )
                measured[index], news[index] = found[key]
        return cls(measured, news, spread)


def parts_in_order(windows: int) -> Numbers:
    """Return which part each window is held out with, where parts are runs of equal length."""
    return np.arange(windows) * PARTS // windows


def _fair(measured: Mapping[str, float], window: Observed, differing: Spread, pacing: Spread) -> dict[str, float]:
    """Return measurements as deviations where windows differ in how much of them is chance."""
    # The more kinds of events a window has, the more of them differ; the fewer gaps, the less they say of its pace.
    kinds = _kinds(window)
    fair = {**measured, COUNTS: differing.deviations(measured[COUNTS] / kinds, kinds)}
    if PACE in measured:
        fair[PACE] = pacing.deviations(measured[PACE], len(window.gaps))
    return fair


def _kinds(window: Observed) -> int:
    return max(1, len(set(window.tokens)))


def _identity(window: Observed) -> Hashable:
    floats = (window.surprisal_nats, window.gaps, window.code_excess)
    return window.tokens, window.shapes, window.readings, window.before, *(values.tobytes() for values in floats)
