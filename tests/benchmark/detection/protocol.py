"""What a row of the table is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Windows:
    """Windows in order.

    Attributes:
        tokens: events of each; an event never seen in training has a token of its own.
        copies: how many windows are like each; all ones but for sessions without a clock.
        starts: when each began, in seconds; None where there is no clock.
        gaps: seconds from each event to the one before; None where there is no clock.
    """

    tokens: list[tuple[int, ...]]
    copies: np.ndarray
    starts: np.ndarray | None = None
    gaps: list[np.ndarray] | None = None

    @classmethod
    def of(
        cls,
        tokens: Sequence[Sequence[int]],
        starts: np.ndarray | None = None,
        gaps: list[np.ndarray] | None = None,
    ) -> Windows:
        """Take every window as one."""
        return cls([tuple(window) for window in tokens], np.ones(len(tokens), np.int64), starts, gaps)

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Row:
    """One protocol on one data set.

    Attributes:
        name: of the row.
        fit: windows to learn from, one a session or in the order of time.
        fit_anomalous: which of them a label calls anomalous; they are left in, and reported.
        test: windows to judge.
        anomalous: labels of the test windows.
        linked: whether each window goes on from the one before.
        families: family of each token; empty where tokens have no words.
        incidents: number of the incident of each test window, -1 for none; None where each stands alone.
        window_seconds: length of a window; None where there is no clock.
    """

    name: str
    fit: Windows
    fit_anomalous: np.ndarray
    test: Windows
    anomalous: np.ndarray
    linked: bool = False
    families: Sequence[str] = field(default_factory=list)
    incidents: np.ndarray | None = None
    window_seconds: float | None = None
