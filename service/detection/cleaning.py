"""Windows that had better not be learnt from: training logs are taken as they come, and some of what came was wrong.

Nobody has labels at first, and one bad window in training excuses all like it. At most a few windows in a hundred are
taken to be bad. A trusted core of the least strange half grows: whatever is least strange to it by what the trusted
windows of other parts hold comes in next, so that a rare habit enters by way of what it resembles, while bad windows
that resemble only each other never do, however often they repeat (the forward search of Atkinson and Riani, Robust
Diagnostic Regression Analysis, 2000). What is still too strange at the end is set aside, to be shown and overruled.

What follows what is counted anew from trusted windows in every round, since any other model has learnt from the bad
ones as well.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from service.detection.combining import Combination
from service.detection.detector import (
    ADDED,
    COUNTS,
    EVENT,
    SUPPORTING,
    Flags,
    Floats,
    HeldOut,
    Memory,
    Numbers,
    Observed,
    parts_in_order,
)
from service.detection.ngrams import NGrams
from service.detection.novelty import Novelty

# Never more than this share of windows is set aside: what is more frequent is a habit.
MAX_SHARE = 0.05
# Shares of the windows that are trusted while the core grows.
GROWTH = (0.5, 0.6, 0.7, 0.8, 0.9, 1 - MAX_SHARE)
# Of a hundred trainings on good windows, one would have a window as strange as this.
EXPECTED = 0.01
# Rounds in which windows within that bound are let in again, at most.
ROUNDS = 4
# What is measured in nats of a likelihood says no more than that likelihood, however little windows vary.
LEAST_SCALE = {COUNTS: 1.0, EVENT: 1.0}
# Fewer windows say too little of what is strange.
MIN_WINDOWS = 100


@dataclass(frozen=True)
class SetAside:
    """A window not to be learnt from.

    Attributes:
        index: which of the windows given.
        strength: how strange it is to the windows that are trusted, in nats.
        parts: what each measurement says, in nats.
        news: what events say that no trusted window of another part holds, in nats.
    """

    index: int
    strength: float
    parts: dict[str, float]
    news: float


def set_aside(
    windows: Sequence[Observed], parts: Sequence[int] | Numbers | None = None, keep: Collection[int] = ()
) -> list[SetAside]:
    """Find the windows that had better not be learnt from.

    Args:
        windows: in order. Their surprisal is not used, but for whether it tells of a session's end.
        parts: which part each is held out with; None cuts them into runs of equal length, as streams need it.
        keep: windows to learn from whatever they hold, by index.

    Returns:
        Those to set aside, strangest first; none of fewer than `MIN_WINDOWS`.
    """
    count = len(windows)
    if count < MIN_WINDOWS:
        return []
    part = parts_in_order(count) if parts is None else np.asarray(parts)
    vouched = np.isin(np.arange(count), list(keep))
    trusted = np.ones(count, bool)
    named = _habits_as_one(windows)
    # A core has no tail and brings no news: how far and how often good windows stray is read from all of them.
    usual = Novelty.fit([window.shapes for window in named], part.tolist())
    whole = Memory.fit(named, part.tolist())
    held_out = _measured(named, part, trusted, usual, whole)
    combination = Combination.fit(held_out.measured, ADDED, SUPPORTING, least_scale=LEAST_SCALE)
    for share in GROWTH:
        trusted = vouched.copy()
        trusted[np.argsort(_strange_among_all(held_out), kind="stable")[: int(share * count)]] = True
        held_out = _measured(named, part, trusted, usual, whole)
    bound = math.log(count / EXPECTED)
    for _ in range(ROUNDS):
        strengths, _ = _judged(held_out, combination)
        entering = ~trusted & (strengths < bound)
        if not entering.any():
            break
        trusted |= entering
        held_out = _measured(named, part, trusted, usual, whole)
    strengths, by = _judged(held_out, combination)
    strange = np.flatnonzero(~trusted & (strengths >= bound)).tolist()
    found = [SetAside(index, float(strengths[index]), by[index], float(held_out.news[index])) for index in strange]
    return sorted(found, key=lambda window: -window.strength)


def _habits_as_one(windows: Sequence[Observed]) -> list[Observed]:
    """Return the events of the windows, with one name for all that too many windows hold to be news, trusted or not."""
    held_by = Counter(shape for window in windows for shape in set(window.shapes))
    habits = {shape for shape, count in held_by.items() if count > MAX_SHARE * len(windows)}
    return [
        Observed(
            window.tokens,
            tuple((None, "") if shape in habits else shape for shape in window.shapes),
            window.surprisal_nats,
        )
        for window in windows
    ]


def _measured(windows: Sequence[Observed], part: Numbers, trusted: Flags, usual: Novelty, like: Memory) -> HeldOut:
    return HeldOut.measure(_read(windows, part, trusted), part, trusted, usual, like)


def _judged(held_out: HeldOut, combination: Combination) -> tuple[Floats, list[dict[str, float]]]:
    """Return how strange each window is, and what each measurement says."""
    rows = held_out.measured
    strengths = [combination.strength(row, news) for row, news in zip(rows, held_out.news.tolist(), strict=True)]
    return np.array(strengths), [combination.parts(row) for row in rows]


def _strange_among_all(held_out: HeldOut) -> Floats:
    """Return how strange each window is among all, in nats, each measurement counting by rank alone.

    The spread of a core says little of what lies beyond it: measured by that, whichever measurement has the narrowest
    core would decide.
    """
    strange = np.zeros(len(held_out.news))
    added = (np.array([measured[name] for measured in held_out.measured]) for name in ADDED)
    for values in (*added, held_out.news):
        at_least = len(values) - np.searchsorted(np.sort(values), values, side="left")
        strange -= np.log(at_least / len(values))
    return strange


def _read(windows: Sequence[Observed], part: Numbers, trusted: Flags) -> list[Observed]:
    """Return the windows with the surprisal their events have after trusted windows of other parts."""
    end = 1 + max(max(window.tokens) for window in windows)
    texts = [
        (*window.tokens, end) if len(window.surprisal_nats) > len(window.tokens) else window.tokens
        for window in windows
    ]
    read = list(windows)
    for number in np.unique(part):
        model = NGrams(texts[index] for index in np.flatnonzero((part != number) & trusted))
        known: dict[tuple[int, ...], npt.NDArray[np.float64]] = {}
        for index in np.flatnonzero(part == number).tolist():
            text = texts[index]
            if text not in known:
                known[text] = model.surprisal(text)
            read[index] = replace(windows[index], surprisal_nats=known[text])
    return read
