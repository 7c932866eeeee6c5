"""The product's detector with surprisal by the encoder, trained as the product trains it and for a small budget.

The encoder learns from the first three quarters of the training windows and says how surprising the last are, and the
test windows: linked windows are read as one stream, sessions each from where the training ended, with their end. How
the windows it was fitted on vary in all else is known as in the product; so is every other measurement.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import torch

from model import EncoderConfig, NewEvents, Scorer, SourceState, TokenStream, TrainedModel, TrainingOptions, train
from service.detection.combining import threshold_nats
from service.detection.detector import Detector, Observed
from tests.benchmark.detection.ours import parts_of
from tests.benchmark.detection.protocol import Row, Windows

STEPS = 400
FIT_SHARE = 0.75
HELD_OUT_SHARE = 0.1
UNSEEN, FIRST = 1, 2
_WARM_EVENTS = 16_384
# Sessions read side by side, and windows of a stream read at once.
_TOGETHER = 256


def detect(row: Row, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the strength of every test window, and which are alarms at a share of good windows."""
    torch.set_num_threads(1)
    cut = int(len(row.fit) * FIT_SHARE)
    reader = _Reader(row, cut)
    said = [np.zeros(0)] * cut + reader.read(_some(row.fit, slice(cut, None)))
    fit = [_observed(row, window, nats) for window, nats in zip(row.fit.tokens, said, strict=True)]
    detector = Detector.fit(fit, parts_of(row))
    judged = zip(row.test.tokens, reader.read(row.test), strict=True)
    strength = np.array([detector.judge(_observed(row, window, nats)).strength for window, nats in judged])
    return strength, strength >= threshold_nats(share)


class _Reader:
    """An encoder fitted to the first windows of a row, and where its training ended."""

    def __init__(self, row: Row, cut: int) -> None:
        self._linked = row.linked
        counts = Counter(token for window in row.fit.tokens[:cut] for token in window)
        known = sorted(token for token, count in counts.items() if count > 1)
        self._token = {token: FIRST + place for place, token in enumerate(known)}
        self._end = FIRST + len(known)
        fit = self._stream(_some(row.fit, slice(cut)))
        held_out = int(len(fit.tokens) * (1 - HELD_OUT_SHARE))
        options = TrainingOptions(max_steps=STEPS, min_steps=min(300, STEPS), epochs=100)
        self._scorer = Scorer(_train(self._end + 1, fit, held_out, options))
        self._state = self._scorer.initial_state()
        last = TokenStream(fit.tokens[-_WARM_EVENTS:], fit.gaps[-_WARM_EVENTS:])
        self._scorer.score([NewEvents(self._state, last.tokens.tolist(), last.gaps.tolist())])

    def read(self, windows: Windows) -> list[np.ndarray]:
        """Return the surprisal of the events of windows; linked ones follow what was read before."""
        found: list[np.ndarray] = []
        for start in range(0, len(windows), _TOGETHER):
            some = _some(windows, slice(start, start + _TOGETHER))
            found += self._follow(some) if self._linked else self._apart(some)
        return found

    def _follow(self, windows: Windows) -> list[np.ndarray]:
        stream = self._stream(windows)
        nats = self._scorer.score([NewEvents(self._state, stream.tokens.tolist(), stream.gaps.tolist())])[0]
        ends = np.cumsum([len(window) for window in windows.tokens])[:-1]
        return [part.astype(np.float64) for part in np.split(nats.surprisal_nats, ends)]

    def _apart(self, windows: Windows) -> list[np.ndarray]:
        states: list[SourceState] = [self._state.copy() for _ in windows.tokens]
        streams = [
            self._stream(_some(windows, slice(place, place + 1))).tokens.tolist() for place in range(len(windows))
        ]
        batch = [NewEvents(state, tokens, [0.0] * len(tokens)) for state, tokens in zip(states, streams, strict=True)]
        return [said.surprisal_nats.astype(np.float64) for said in self._scorer.score(batch)]

    def _stream(self, windows: Windows) -> TokenStream:
        ends = () if self._linked else (self._end,)
        parts = [[self._token.get(token, UNSEEN) for token in window] for window in windows.tokens]
        tokens = np.array([token for part in parts for token in (*part, *ends)], np.int64)
        gaps = np.zeros(len(tokens)) if windows.gaps is None else np.concatenate(windows.gaps)
        return TokenStream(tokens, gaps.astype(np.float32))


def _train(vocabulary: int, fit: TokenStream, cut: int, options: TrainingOptions) -> TrainedModel:
    parts = [TokenStream(fit.tokens[part], fit.gaps[part]) for part in (slice(cut), slice(cut, None))]
    return train(EncoderConfig(vocab_size=vocabulary), [parts[0]], [parts[1]], options)


def _some(windows: Windows, part: slice) -> Windows:
    gaps = windows.gaps and windows.gaps[part]
    return replace(windows, tokens=windows.tokens[part], copies=windows.copies[part], starts=None, gaps=gaps)


def _observed(row: Row, window: tuple[int, ...], nats: np.ndarray) -> Observed:
    return Observed(window, tuple((token, row.families[token] if row.families else "") for token in window), nats)
