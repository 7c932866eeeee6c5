"""The product's own evidence on one row: surprisal of held-out windows by counting, then its detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from service.detection.cleaning import set_aside
from service.detection.combining import threshold_nats
from service.detection.detector import Detector, Judged, Observed
from service.detection.ngrams import ORDER, NGrams, Weights, learn_weights
from service.detection.novelty import PARTS
from tests.benchmark.detection.protocol import Row, Windows

# What is shipped: one alarm a day, where there is no clock one in 500 windows, and never more than one in a hundred.
ALARMS_A_DAY = 1.0
UNTIMED_WINDOWS_A_DAY = 500.0
MAX_SHARE = 0.01
DAY = 86_400.0


def alarm_share(row: Row) -> float:
    """Return the share of good windows that may be alarms."""
    starts = row.fit.starts
    a_day = UNTIMED_WINDOWS_A_DAY
    if starts is not None:
        a_day = len(starts) / max((starts.max() - starts.min()) / DAY, 1 / 24)
    return min(ALARMS_A_DAY / a_day, MAX_SHARE)


def parts_of(row: Row) -> np.ndarray:
    """Return which part each training window is held out with: parts in time where windows go on from each other."""
    count = len(row.fit)
    return np.arange(count) * PARTS // count if row.linked else np.arange(count) % PARTS


def detect(row: Row) -> tuple[np.ndarray, np.ndarray, list[Judged]]:
    """Return the strength of every test window, which are alarms as shipped, and what was found in each.

    All training windows are learnt from.
    """
    detector = fitted(row)
    judged = [detector.judge(window) for window in observe_test(row)]
    strength = np.array([found.strength for found in judged])
    return strength, strength >= threshold_nats(alarm_share(row)), judged


def fitted(row: Row) -> Detector:
    """Return the detector that the training windows teach."""
    return Detector.fit(observe_fit(row), parts_of(row))


def observe_test(row: Row) -> list[Observed]:
    """Return the test windows, read by what all training windows taught."""
    return _observed(row, row.test, _surprisal(row, row.fit, row.test, _weights(row)))


def without_strange(row: Row) -> Row:
    """Return the row without the training windows that are set aside where nobody vouches for them."""
    unread = [np.zeros(len(window) + (not row.linked)) for window in row.fit.tokens]
    gone = [window.index for window in set_aside(_observed(row, row.fit, unread), parts_of(row), in_time=row.linked)]
    kept = np.setdiff1d(np.arange(len(row.fit)), gone)
    return replace(row, fit=_pick(row.fit, kept), fit_anomalous=row.fit_anomalous[kept])


def observe_fit(row: Row) -> list[Observed]:
    """Return the training windows, each part read by what was learnt from the others."""
    part, weights = parts_of(row), _weights(row)
    surprisal: list[np.ndarray] = [np.zeros(0)] * len(part)
    for number in range(PARTS):
        rest, out = (_pick(row.fit, np.flatnonzero(chosen)) for chosen in (part != number, part == number))
        for index, nats in zip(np.flatnonzero(part == number), _surprisal(row, rest, out, weights), strict=True):
            surprisal[index] = nats
    return _observed(row, row.fit, surprisal)


def _pick(windows: Windows, index: np.ndarray) -> Windows:
    starts = None if windows.starts is None else windows.starts[index]
    gaps = windows.gaps and [windows.gaps[i] for i in index]
    return Windows([windows.tokens[i] for i in index], windows.copies[index], starts, gaps)


def _observed(row: Row, windows: Windows, surprisal: list[np.ndarray]) -> list[Observed]:
    def shapes(window: tuple[int, ...]) -> tuple[tuple[int, str], ...]:
        return tuple((token, row.families[token] if row.families else "") for token in window)

    return [Observed(w, shapes(w), nats) for w, nats in zip(windows.tokens, surprisal, strict=True)]


def _weights(row: Row) -> Weights:
    """Return what counts are worth in the training windows."""
    if not row.linked:
        end = _end(row)
        return learn_weights([(*window, end) for window in row.fit.tokens])
    part = parts_of(row)
    return learn_weights([_laid(_pick(row.fit, np.flatnonzero(part == number))) for number in range(PARTS)])


def _surprisal(row: Row, fit: Windows, test: Windows, weights: Weights) -> list[np.ndarray]:
    if row.linked:
        model = NGrams([_laid(fit)], weights)
        before: tuple[int, ...] = ()
        found = []
        for window in test.tokens:
            found.append(model.surprisal(window, before))
            before = (*before, *window)[-ORDER:]
        return found
    end = _end(row)
    model = NGrams([(*window, end) for window in fit.tokens], weights)
    memo: dict[tuple[int, ...], np.ndarray] = {}
    for window in test.tokens:
        if window not in memo:
            memo[window] = model.surprisal((*window, end))
    return [memo[window] for window in test.tokens]


def _laid(windows: Windows) -> list[int]:
    return [token for window in windows.tokens for token in window]


def _end(row: Row) -> int:
    return 1 + max(max(window) for window in (*row.fit.tokens, *row.test.tokens))
