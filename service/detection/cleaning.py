"""Windows that had better not be learnt from: training logs are taken as they come, and some of what came was wrong.

Nobody has labels at first, and one bad window in training excuses all like it. At most a few windows in a hundred are
taken to be bad.

Sessions fail one by one, at any time, and the same way again and again. A trusted core of the least strange half grows:
whatever is least strange to it by what the trusted windows of other parts hold comes in next, so that a rare habit
enters by way of what it resembles, while bad windows that resemble only each other never do, however often they repeat
(the forward search of Atkinson and Riani, Robust Diagnostic Regression Analysis, 2000).

A machine's stream has rare habits, such as a lubrication every fifty cycles: what comes again at other times is one,
and what came at one time alone is strange. Its windows are therefore measured by all windows of other times.

What is too strange in the end is set aside, to be shown and overruled. What follows what is counted anew from the
windows that are learnt from, since any other model has learnt from the bad ones as well.
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
    RESOLUTION,
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
# Of a hundred trainings on good sessions, one would have a session as strange as this; of a stream, every one a window:
# a fault is a few windows of it, and one that is set aside in vain costs little.
EXPECTED, EXPECTED_IN_TIME = 0.01, 1.0
# How good windows of a stream stray is told by those between these shares of the strangest: among the last may be bad
# ones. Of exponential excesses that end where one in four is left, the mean is 1 - ln 4 / 3 of what it would be.
BULK = (0.2, 0.05)
BULK_MEAN = 1 - math.log(4) / 3
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
    windows: Sequence[Observed],
    parts: Sequence[int] | Numbers | None = None,
    keep: Collection[int] = (),
    *,
    in_time: bool,
) -> list[SetAside]:
    """Find the windows that had better not be learnt from.

    Args:
        windows: in order. Their surprisal is not used, but for whether it tells of a session's end.
        parts: which part each is held out with; None cuts them into runs of equal length, as streams need it.
        keep: windows to learn from whatever they hold, by index.
        in_time: whether they are a stream's, cut in time, and no sessions.

    Returns:
        Those to set aside, strangest first; none of fewer than `MIN_WINDOWS`.
    """
    count = len(windows)
    if count < MIN_WINDOWS:
        return []
    part = parts_in_order(count) if parts is None else np.asarray(parts)
    vouched = np.isin(np.arange(count), list(keep))
    named = _habits_as_one(windows)
    look = _strange_in_time if in_time else _strange_sessions
    strengths, by, news = look(named, part, vouched)
    strange = np.flatnonzero(~np.isnan(strengths)).tolist()
    found = [SetAside(index, float(strengths[index]), by[index], float(news[index])) for index in strange]
    return sorted(found, key=lambda window: -window.strength)[: int(MAX_SHARE * count)]


_Strange = tuple[Floats, list[dict[str, float]], Floats]


def _strange_in_time(windows: Sequence[Observed], part: Numbers, vouched: Flags) -> _Strange:
    """Return how strange windows are to those of all other times; not a number for those to learn from."""
    count = len(windows)
    usual = Novelty.fit([window.shapes for window in windows], part.tolist())
    everyone = np.ones(count, bool)
    held_out = _measured(windows, part, everyone, usual, Memory.fit(windows, part.tolist()))
    apart = _apart(_strange_among_all(held_out))
    sample = [row for row, stands in zip(held_out.measured, apart.tolist(), strict=True) if stands]
    combination = Combination.fit(sample, ADDED, SUPPORTING, RESOLUTION, LEAST_SCALE)
    totals = np.array([combination.total(row) for row in held_out.measured])
    low, high = np.quantile(totals, [1 - share for share in BULK])
    excess = totals[(totals >= low) & (totals < high)] - low
    scale = max(1.0, float(excess.mean()) / BULK_MEAN) if len(excess) else 1.0
    strengths = np.minimum(totals, low) + np.maximum(0.0, totals - low) / scale + held_out.news
    strengths[vouched | (strengths < math.log(count / EXPECTED_IN_TIME))] = np.nan
    return strengths, [combination.parts(row) for row in held_out.measured], held_out.news


def _apart(strange: Floats) -> Flags:
    """Return which windows stand for all: of neighbours among the strangest the strangest one, since a fault is one.

    Runs declustering of Coles, An Introduction to Statistical Modeling of Extreme Values, 2001, section 5.3.
    """
    above = strange > np.quantile(strange, 1 - MAX_SHARE)
    run = np.cumsum(~above)
    stands = ~above
    for number in np.unique(run[above]).tolist():
        mine = np.flatnonzero(above & (run == number))
        stands[mine[np.argmax(strange[mine])]] = True
    return stands


def _strange_sessions(windows: Sequence[Observed], part: Numbers, vouched: Flags) -> _Strange:
    """Return how strange windows are to a trusted core; not a number for those to learn from."""
    count = len(windows)
    trusted = np.ones(count, bool)
    # A core has no tail and brings no news: how far and how often good windows stray is read from all of them.
    usual = Novelty.fit([window.shapes for window in windows], part.tolist())
    whole = Memory.fit(windows, part.tolist())
    held_out = _measured(windows, part, trusted, usual, whole)
    combination = Combination.fit(held_out.measured, ADDED, SUPPORTING, least_scale=LEAST_SCALE)
    for share in GROWTH:
        trusted = vouched.copy()
        trusted[np.argsort(_strange_among_all(held_out), kind="stable")[: int(share * count)]] = True
        held_out = _measured(windows, part, trusted, usual, whole)
    bound = math.log(count / EXPECTED)
    for _ in range(ROUNDS):
        strengths, _ = _judged(held_out, combination)
        entering = ~trusted & (strengths < bound)
        if not entering.any():
            break
        trusted |= entering
        held_out = _measured(windows, part, trusted, usual, whole)
    strengths, by = _judged(held_out, combination)
    strengths[trusted | (strengths < bound)] = np.nan
    return strengths, by, held_out.news


def _habits_as_one(windows: Sequence[Observed]) -> list[Observed]:
    """Return the events of the windows, with one name for all that too many windows hold to be news, trusted or not."""
    held_by = Counter(shape for window in windows for shape in set(window.shapes))
    habits = {shape for shape, count in held_by.items() if count > MAX_SHARE * len(windows)}
    return [
        replace(window, shapes=tuple((None, "") if shape in habits else shape for shape in window.shapes))
        for window in windows
    ]


def _measured(windows: Sequence[Observed], part: Numbers, trusted: Flags, usual: Novelty, like: Memory) -> HeldOut:
    read = _read(windows, part, trusted)
    # All of it counts: that a fault repeats itself is what tells it from a rare habit.
    return HeldOut.measure(read, [window.surprisal_nats for window in read], part, trusted, usual, like)


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
