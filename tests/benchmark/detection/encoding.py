"""A row's windows as an encoder reads them, and its training on the first of them for a small budget.

Linked windows are read as one stream, sessions each from where the training ended, with an end token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from model import EncoderConfig, TokenStream, TrainedModel, TrainingOptions, train
from model.config import Mixer
from tests.benchmark.detection.protocol import Row

STEPS = 400
FIT_SHARE = 0.75
HELD_OUT_SHARE = 0.1
UNSEEN, FIRST = 1, 2

Window = tuple[int, ...]


class Encoding:
    """Tokens that an encoder knows, and streams of them.

    Args:
        row: what to read.

    Attributes:
        cut: how many of the training windows the encoder learns from; the others say how surprising good windows are.
        read: how many of these its weights are fitted to; the others choose the weights.
    """

    def __init__(self, row: Row) -> None:
        self._row = row
        self.cut = int(len(row.fit) * FIT_SHARE)
        counts = Counter(token for window in row.fit.tokens[: self.cut] for token in window)
        known = sorted(token for token, count in counts.items() if count > 1)
        self._token = {token: FIRST + place for place, token in enumerate(known)}
        self._end = FIRST + len(known)
        events = np.cumsum([0, *(len(window) + (not row.linked) for window in row.fit.tokens[: self.cut])])
        self._held_out = int(events[-1] * (1 - HELD_OUT_SHARE))
        self.read = int((events[:-1] < self._held_out).sum())

    def learnt(self) -> list[TokenStream]:
        """Return what to learn from, and what to choose the weights by."""
        gaps = self._row.fit.gaps
        fit = self.stream(self._row.fit.tokens[: self.cut], gaps and gaps[: self.cut])
        parts = slice(self._held_out), slice(self._held_out, None)
        return [TokenStream(fit.tokens[part], fit.gaps[part]) for part in parts]

    def stream(self, windows: Sequence[Window], gaps: Sequence[np.ndarray] | None = None) -> TokenStream:
        """Lay windows end to end; sessions with their end."""
        ends = () if self._row.linked else (self._end,)
        parts = [[self._token.get(token, UNSEEN) for token in window] for window in windows]
        tokens = np.array([token for part in parts for token in (*part, *ends)], np.int64)
        seconds = np.zeros(len(tokens)) if gaps is None else np.concatenate(gaps)
        return TokenStream(tokens, seconds.astype(np.float32))

    def train(self, mixer: Mixer, seed: int) -> TrainedModel:
        """Train an encoder."""
        fit, held_out = self.learnt()
        options = TrainingOptions(seed=seed, max_steps=STEPS, min_steps=min(300, STEPS), epochs=100)
        return train(EncoderConfig(vocab_size=self._end + 1, mixer=mixer), [fit], [held_out], options)
