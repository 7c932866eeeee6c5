"""The product's own evidence on one row, cross-fitted for its calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.detection.counts import KnownWindows
from service.detection.ngrams import ORDER, NGrams
from service.detection.novelty import Novelty
from service.detection.surprise import Spread
from tests.benchmark.detection.protocol import Row, Windows

# Parts that training windows are held out in: parts in time where windows go on from each other.
PARTS = 8
KINDS = ("counts", "mean", "peak", "novelty")

Evidence = dict[str, np.ndarray]


def parts_of(row: Row, parts: int = PARTS) -> np.ndarray:
    """Return which part each training window is held out with."""
    count = len(row.fit)
    return np.arange(count) * parts // count if row.linked else np.arange(count) % parts


def measure(row: Row) -> tuple[Evidence, Evidence]:
    """Return the evidence of held-out training windows and of the test windows."""
    part = parts_of(row)
    held: dict[str, list[np.ndarray]] = {}
    means: list[np.ndarray] = []
    order: list[int] = []
    for number in range(PARTS):
        rest, out = np.flatnonzero(part != number), np.flatnonzero(part == number)
        fit, test = _pick(row.fit, rest), _pick(row.fit, out)
        found = _measure(row, fit, test)
        for kind, values in found.items():
            held.setdefault(kind, []).append(values)
        order += out.tolist()
    place = np.argsort(order)
    cross = {kind: np.concatenate(values)[place] for kind, values in held.items()}
    tested = _measure(row, row.fit, row.test)
    lengths = [np.array([len(window) for window in windows.tokens]) for windows in (row.fit, row.test)]
    spread = Spread.fit(cross["mean"], lengths[0])
    for evidence, events in zip((cross, tested), lengths, strict=True):
        pairs = zip(evidence["mean"].tolist(), events.tolist(), strict=True)
        evidence["mean"] = np.array([spread.deviations(*pair) for pair in pairs])
    return cross, tested


def _pick(windows: Windows, index: np.ndarray) -> Windows:
    return Windows([windows.tokens[i] for i in index], windows.copies[index])


def _measure(row: Row, fit: Windows, test: Windows) -> Evidence:
    known = KnownWindows.fit(fit.tokens)
    novelty = Novelty.fit([_named(row, window) for window in fit.tokens])
    surprisal = _surprisal(row, fit, test)
    counts: dict[tuple[int, ...], float] = {}
    found = {kind: np.zeros(len(test)) for kind in KINDS}
    for index, (window, nats) in enumerate(zip(test.tokens, surprisal, strict=True)):
        key = tuple(sorted(window))
        if key not in counts:
            counts[key] = known.nats(window)
        found["counts"][index] = counts[key]
        found["mean"][index] = np.mean(nats)
        told = [n for token, n in zip((*window, -2), nats, strict=False) if token == -2 or token in novelty.known]
        found["peak"][index] = max(told, default=0.0)
        found["novelty"][index] = novelty.nats(_named(row, window))
    return found


def _named(row: Row, window: Sequence[int]) -> list[tuple[int, str]]:
    return [(token, row.families[token] if row.families else "") for token in set(window)]


def _surprisal(row: Row, fit: Windows, test: Windows) -> list[list[float]]:
    if row.linked:
        model = NGrams([[token for window in fit.tokens for token in window]])
        before: tuple[int, ...] = ()
        found = []
        for window in test.tokens:
            found.append(model.surprisal(window, before))
            before = (*before, *window)[-ORDER:]
        return found
    end = 1 + max(max(window) for window in (*fit.tokens, *test.tokens))
    model = NGrams([(*window, end) for window in fit.tokens])
    memo: dict[tuple[int, ...], list[float]] = {}
    for window in test.tokens:
        if window not in memo:
            memo[window] = model.surprisal((*window, end))
    return [memo[window] for window in test.tokens]
