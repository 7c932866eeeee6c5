"""An LSTM that predicts the next event, sessions with their end: what most log tools of this kind are.

It has as many weights as our encoder, and the same budget. A window is as strange as its mean event (DeepLog, Du et
al., CCS 2017, counts the events that are not among the likeliest few instead, and has to be told how few).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tests.benchmark.detection.encoding import Encoding
from tests.benchmark.detection.figures import threshold
from tests.benchmark.detection.protocol import Row
from tests.benchmark.mixers import read


def detect(row: Row, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean surprisal of every test window, and which are alarms at a share of held-out good windows."""
    torch.set_num_threads(1)
    encoding = Encoding(row)
    model = encoding.train("lstm", seed)
    later = [*row.fit.tokens[encoding.cut :], *row.test.tokens]
    if row.linked:
        gaps = None
        if row.fit.gaps is not None and row.test.gaps is not None:
            gaps = [*row.fit.gaps[encoding.cut :], *row.test.gaps]
        whole = read(model, encoding.learnt(), [encoding.stream(later, gaps)])[0]
        nats = np.split(whole, np.cumsum([len(window) for window in later])[:-1])
    else:
        nats = read(model, encoding.learnt(), [encoding.stream([window]) for window in later])
    held_out, test = _means(nats[: len(row.fit) - encoding.cut]), _means(nats[len(row.fit) - encoding.cut :])
    return test, test > threshold(held_out, share)


def _means(nats: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([each.mean() for each in nats])
