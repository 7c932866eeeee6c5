"""Spoken digits from raw samples: the Free Spoken Digit Dataset (Jackson et al., doi 10.5281/zenodo.1342401)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from tests.benchmark.tasks.examples import Examples, Task


def speech(data: Path, *, samples: int = 16, tokens: int = 500, held_out: str = "theo") -> Task:
    """Return 3,000 recordings of six speakers at 8,000 samples a second, and the digit said.

    Nothing is computed of the sound but its loudness, which tells who speaks and not what is said: theo's recordings
    have a tenth of the peak of most others'. So the mean square of each is made 1. Its peak would be no measure of
    loudness, being 3 to 17 times the root mean square.

    Args:
        data: the directory of the public data sets.
        samples: to a token.
        tokens: of a recording, at most; what is after them is cut off. 500 tokens of 16 are one second.
        held_out: the speaker to test with; nothing of them is learnt from.
    """
    with np.load(data / "fsdd/fsdd_8khz.npz", allow_pickle=False) as kept:
        audio, offsets, names = kept["audio"].astype(np.float32), kept["offsets"], kept["names"]
    size = samples * tokens
    sounds = np.zeros((len(names), size), np.float32)
    for row, (start, end) in zip(sounds, pairwise(offsets), strict=True):
        sound = audio[start : min(end, start + size)]
        row[: len(sound)] = sound / np.sqrt(np.square(sound).mean())
    lengths = torch.from_numpy(np.minimum(-(-np.diff(offsets) // samples), tokens))
    said, speaker = zip(*(str(name).split("_")[:2] for name in names), strict=True)
    inputs = torch.from_numpy(sounds).view(len(names), tokens, samples)
    every = Examples(inputs, torch.tensor([int(digit) for digit in said]), lengths)
    tested = torch.tensor([name == held_out for name in speaker])
    train, test = (every.rows(rows.nonzero()[:, 0]) for rows in (~tested, tested))
    return Task(train, {"test": test}, 0, 10)
