"""Simple rules and models: what must stand in every table.

A rule says yes or no. A scored baseline has its threshold where ours has: at the same share of held-out training
windows.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from tests.benchmark.detection.protocol import Row, Windows
from tests.benchmark.markov import Markov

ORDER = 5
END = -1
MAX_NEIGHBOURS = 3000

Scores = tuple[np.ndarray, np.ndarray]


def new_event(row: Row) -> np.ndarray:
    """An event no training window has."""
    known = {token for window in row.fit.tokens for token in window}
    return np.array([not known.issuperset(window) for window in row.test.tokens])


def new_event_or_length(row: Row) -> np.ndarray:
    """The same, or a number of events no training window has."""
    lengths = {len(window) for window in row.fit.tokens}
    return new_event(row) | np.array([len(window) not in lengths for window in row.test.tokens])


def unseen_counts(row: Row) -> np.ndarray:
    """A vector of event counts no training window has."""
    known = {tuple(sorted(window)) for window in row.fit.tokens}
    return np.array([tuple(sorted(window)) not in known for window in row.test.tokens])


def nearest_counts(fit: Windows, test: Windows) -> np.ndarray:
    """Least difference of event counts to a training window, summed over events."""
    distinct = sorted({tuple(sorted(window)) for window in fit.tokens})[:MAX_NEIGHBOURS]
    column = {token: index for index, token in enumerate(sorted({token for window in distinct for token in window}))}
    known = np.array([vector(window, column) for window in distinct], np.float32)
    found, memo = np.zeros(len(test)), {}
    for index, window in enumerate(test.tokens):
        key = tuple(sorted(window))
        if key not in memo:
            memo[key] = float(np.abs(known - vector(key, column)).sum(1).min())
        found[index] = memo[key]
    return found


def vector(window: tuple[int, ...], column: dict[int, int]) -> np.ndarray:
    """Return a window's counts; the last is of events without a column."""
    vector = np.zeros(len(column) + 1, np.float32)
    for token, count in Counter(window).items():
        vector[column.get(token, len(column))] += count
    return vector


def markov_mean(fit: Windows, test: Windows, linked: bool) -> np.ndarray:
    """Mean surprise of a Markov model of five events; sessions have an end token, and start anew."""
    if linked:
        model = Markov(ORDER, [token for window in fit.tokens for token in window])
        flat = np.array(list(model.surprisal([token for window in test.tokens for token in window])))
        ends = np.cumsum([len(window) for window in test.tokens])
        return np.array([part.mean() for part in np.split(flat, ends[:-1])])
    model = Markov(ORDER, [token for window in fit.tokens for token in (*window, END)])
    found, memo = np.zeros(len(test)), {}
    for index, window in enumerate(test.tokens):
        if window not in memo:
            model.past = [END] * ORDER
            memo[window] = float(np.mean(list(model.surprisal([*window, END]))))
        found[index] = memo[window]
    return found
