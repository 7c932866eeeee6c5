"""What every task is made of."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

# The label of positions that nothing is asked at; cross entropy's own default.
IGNORED = -100


@dataclass(frozen=True)
class Examples:
    """Sequences and what is asked of them.

    Attributes:
        inputs: (n, l) tokens of any integer type, or (n, l, f) float32; padding is at the end.
        labels: (n, l) int64, `IGNORED` where nothing is asked, or (n,) int64 for the whole sequence.
        lengths: (n,) int64, positions that are no padding.
    """

    inputs: Tensor
    labels: Tensor
    lengths: Tensor

    @classmethod
    def whole(cls, inputs: Tensor, labels: Tensor) -> Examples:
        """Return examples without padding."""
        return cls(inputs, labels, torch.full((len(inputs),), inputs.shape[1]))

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, rows: Tensor) -> Examples:
        """Return some examples, cut to the longest of them, tokens as int64."""
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        inputs, labels = self.inputs[rows, :longest], self.labels[rows]
        inputs = inputs if inputs.is_floating_point() else inputs.long()
        return Examples(inputs, labels[:, :longest] if labels.dim() == 2 else labels, lengths)

    def weight(self) -> Tensor:
        """Return (n, l) float32: 1, and 0 for padding."""
        places = torch.arange(self.inputs.shape[1], device=self.lengths.device)
        return (places < self.lengths[:, None]).float()

    def to(self, device: torch.device) -> Examples:
        """Return the same on a device."""
        return Examples(self.inputs.to(device), self.labels.to(device), self.lengths.to(device))


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        train: what to learn from.
        tests: held-out examples by name; the first is the task's own figure.
        symbols: token ids of the input; 0 where the input is numbers.
        classes: answers to choose from.
    """

    train: Examples
    tests: Mapping[str, Examples]
    symbols: int
    classes: int

    @property
    def chance(self) -> float:
        """Accuracy of always giving the answer that is the most frequent in training."""
        answers = self.train.labels[self.train.labels != IGNORED]
        common = answers.mode().values
        labels = next(iter(self.tests.values())).labels
        return float((labels == common).sum() / (labels != IGNORED).sum())


def data_directory() -> Path:
    """Return the directory of the public data sets."""
    directory = os.environ.get("LOGVQ_DATA")
    if not directory:
        sys.exit("set LOGVQ_DATA to the directory of the public data sets")
    return Path(directory)
