"""The product's detector with surprisal by the encoder, trained as the product trains it and for a small budget.

The encoder learns from the first three quarters of the training windows and says how surprising all of them are, and
the test windows. What it says of those it was fitted on counts as in the product; so does every other measurement.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from model import NewEvents, Scorer, SourceState
from service.detection.combining import threshold_nats
from service.detection.detector import Detector, Observed
from service.detection.surprise import as_unread
from tests.benchmark.detection.encoding import Encoding
from tests.benchmark.detection.ours import parts_of, without_strange
from tests.benchmark.detection.protocol import Row, Windows

_WARM_EVENTS = 16_384
# Sessions read side by side, and windows of a stream read at once.
_TOGETHER = 256


def detect(row: Row, share: float, seed: int, *, vouched: bool) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return the strength of every test window, which are alarms at a share of good windows, and what was set aside.

    Where nobody vouches for the training windows, strange ones are set aside before the encoder is trained.
    """
    torch.set_num_threads(1)
    asked = len(row.fit), int(row.fit_anomalous.sum())
    if not vouched:
        row = without_strange(row)
    reader = _Reader(row, seed)
    read = reader.read(row.fit)
    fitted, held_out = read[: reader.read_before], read[reader.read_before :]
    said = [*(as_unread(fitted, held_out) or [np.zeros(0)] * len(fitted)), *held_out]
    fit = [_observed(row, window, nats) for window, nats in zip(row.fit.tokens, said, strict=True)]
    detector = Detector.fit(fit, parts_of(row))
    judged = zip(row.test.tokens, reader.read(row.test), strict=True)
    strength = np.array([detector.judge(_observed(row, window, nats)).strength for window, nats in judged])
    left = len(row.fit), int(row.fit_anomalous.sum())
    return strength, strength >= threshold_nats(share), (asked[0] - left[0], asked[1] - left[1])


class _Reader:
    """An encoder fitted to the first windows of a row; sessions are read from where its training ended."""

    def __init__(self, row: Row, seed: int) -> None:
        self._linked = row.linked
        self._encoding = Encoding(row)
        self.read_before = self._encoding.read
        self._scorer = Scorer(self._encoding.train("centroid", seed))
        self._state = self._scorer.initial_state()
        if row.linked:
            return
        learnt = self._encoding.learnt()
        tokens = np.concatenate([stream.tokens for stream in learnt])[-_WARM_EVENTS:]
        gaps = np.concatenate([stream.gaps for stream in learnt])[-_WARM_EVENTS:]
        self._scorer.score([NewEvents(self._state, tokens.tolist(), gaps.tolist())])

    def read(self, windows: Windows) -> list[np.ndarray]:
        """Return the surprisal of the events of windows; linked ones follow what was read before."""
        found: list[np.ndarray] = []
        for start in range(0, len(windows), _TOGETHER):
            some = _some(windows, slice(start, start + _TOGETHER))
            found += self._follow(some) if self._linked else self._apart(some)
        return found

    def _follow(self, windows: Windows) -> list[np.ndarray]:
        stream = self._encoding.stream(windows.tokens, windows.gaps)
        nats = self._scorer.score([NewEvents(self._state, stream.tokens.tolist(), stream.gaps.tolist())])[0]
        ends = np.cumsum([len(window) for window in windows.tokens])[:-1]
        return [part.astype(np.float64) for part in np.split(nats.surprisal_nats, ends)]

    def _apart(self, windows: Windows) -> list[np.ndarray]:
        states: list[SourceState] = [self._state.copy() for _ in windows.tokens]
        streams = [self._encoding.stream([window]).tokens.tolist() for window in windows.tokens]
        batch = [NewEvents(state, tokens, [0.0] * len(tokens)) for state, tokens in zip(states, streams, strict=True)]
        return [said.surprisal_nats.astype(np.float64) for said in self._scorer.score(batch)]


def _some(windows: Windows, part: slice) -> Windows:
    gaps = windows.gaps and windows.gaps[part]
    return replace(windows, tokens=windows.tokens[part], copies=windows.copies[part], starts=None, gaps=gaps)


def _observed(row: Row, window: tuple[int, ...], nats: np.ndarray) -> Observed:
    return Observed(window, tuple((token, row.families[token] if row.families else "") for token in window), nats)
