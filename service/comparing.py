"""The known-good windows and lines nearest to what is explained, and how it differs from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingestion import UNSEEN
from service.bundle import Bundle
from service.detection.counts import Difference
from service.examples import GoodLine, GoodWindow

NEAREST = 3
# Of a window compared, so many differences and lines are told.
DIFFERENCES = 6
LINES = 6


class Comparing:
    """Compares with the known-good lines of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def nearest(self, tokens: Sequence[int]) -> list[dict[str, Any]]:
        """Return the known-good windows whose counts are nearest to a window's, nearest first.

        Args:
            tokens: the window's events, as the detector knows them.
        """
        known, windows = self._bundle.detector.memory.counts, self._bundle.examples.windows
        return [
            self._compared(windows[row], known.differences(tokens, row), nats, round(float(known.support[row])))
            for row, nats in known.nearest(tokens, NEAREST)
        ]

    def lines(self, head: int, code: int) -> list[dict[str, Any]]:
        """Return the known-good lines that came in the situations nearest to a code, each with the line before."""
        found = self._bundle.examples.codes.get((head, code), ())
        return [_line(near.line) | {"before": near.before and near.before.text} for near in found]

    def _compared(
        self, window: GoodWindow | None, differences: Sequence[Difference], nats: float, windows: int
    ) -> dict[str, Any]:
        told = [
            {
                "template": self._bundle.vocabulary.text(UNSEEN if item.token is None else item.token),
                "seen": item.seen,
                "expected": item.expected,
                "nats": round(item.nats, 3),
            }
            for item in differences[:DIFFERENCES]
        ]
        found: dict[str, Any] = {
            "file": self._bundle.training.file,
            "windows": windows,
            "nats": round(nats, 3),
            "differences": told,
            "more_differences": len(differences) - len(told),
            "first": None,
            "last": None,
            "lines": [],
        }
        if window is None:
            return found
        # Lines of what came here too seldom are what one wants to see; the others show what kind of window it is.
        lacking = {item.token for item in differences if item.expected > item.seen}
        shown = sorted(window.lines, key=lambda line: line.token not in lacking)[:LINES]
        lines = [
            _line(line) | {"lacking": line.token in lacking} for line in sorted(shown, key=lambda line: line.position)
        ]
        return found | {"first": _line(window.first), "last": _line(window.last), "lines": lines}


def _line(line: GoodLine) -> dict[str, Any]:
    return {"position": line.position, "time": line.time, "text": line.text}
