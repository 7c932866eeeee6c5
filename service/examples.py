"""Known-good windows and lines, kept to be shown beside what is unlike them.

Of every window that the count memory holds (`service.detection.counts`) the latest one like it is kept: when it was,
and the first line of each of its events. Of every code the lines are kept that came in the situations nearest to it,
each with the line before. Lines are cut short and few: at most 1,500 windows with 16 lines of 160 characters, and three
pairs of lines a code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ingestion import Event
from service.detection.counts import KnownWindows
from service.event_scores import EventScores

MAX_LINES = 16
MAX_TEXT = 160
CODE_LINES = 3


class GoodLine(NamedTuple):
    """A known-good line: its token, its position in the good file, epoch seconds if it has a time, its beginning."""

    token: int
    position: int
    time: float | None
    text: str

    @classmethod
    def of(cls, event: Event) -> GoodLine:
        """Take what is kept of an event."""
        return cls(event.token, event.position, event.time, event.text[:MAX_TEXT])


@dataclass(frozen=True)
class GoodWindow:
    """A known-good window.

    Attributes:
        first: its first line.
        last: its last line.
        lines: the first line of each of its events, in order.
    """

    first: GoodLine
    last: GoodLine
    lines: tuple[GoodLine, ...]

    @classmethod
    def of(cls, events: Sequence[Event]) -> GoodWindow:
        """Take what is kept of a window."""
        kept: dict[int, GoodLine] = {}
        for event in events:
            if event.token not in kept and len(kept) < MAX_LINES:
                kept[event.token] = GoodLine.of(event)
        return cls(GoodLine.of(events[0]), GoodLine.of(events[-1]), tuple(kept.values()))


@dataclass(frozen=True)
class NearLine:
    """A known-good line that came in a situation near to a code.

    Attributes:
        line: it.
        before: the line before, which made the situation; None at the beginning.
    """

    line: GoodLine
    before: GoodLine | None


@dataclass(frozen=True)
class Examples:
    """What is kept of a bundle's known-good lines.

    Attributes:
        windows: one for each window of the count memory; None where its like was not found.
        codes: by head and code, the lines nearest to it, nearest first, each of another template.
    """

    windows: tuple[GoodWindow | None, ...]
    codes: Mapping[tuple[int, int], tuple[NearLine, ...]]

    @classmethod
    def collect(
        cls,
        known: KnownWindows,
        windows: Sequence[tuple[Sequence[int], Sequence[Event]]],
        events: Sequence[Event],
        scores: EventScores,
        learnt: Sequence[bool],
    ) -> Examples:
        """Choose what to keep.

        Args:
            known: the count memory, of these windows.
            windows: the detector's tokens and the events of each window that was learnt from, in order.
            events: the last known-good events.
            scores: what the model says of them.
            learnt: which of them were not set aside.
        """
        latest: dict[int, Sequence[Event]] = {}
        rows = known.rows([tokens for tokens, _ in windows])
        for row, (_, of_window) in zip(rows, windows, strict=True):
            if row is not None:
                latest[row] = of_window
        return cls(
            tuple(GoodWindow.of(latest[row]) if row in latest else None for row in range(len(known.levels))),
            _near_codes(events, scores, learnt),
        )

    def save(self, path: Path) -> None:
        """Write as JSON."""
        plain = {
            "windows": [window and [window.first, window.last, window.lines] for window in self.windows],
            "codes": [
                [head, code, [[near.line, near.before] for near in lines]]
                for (head, code), lines in sorted(self.codes.items())
            ],
        }
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
        path.write_bytes(text.encode("utf-8", "replace"))

    @classmethod
    def load(cls, path: Path) -> Examples:
        """Read what `save` wrote.

        Raises:
            OSError, ValueError, KeyError, TypeError: the file is missing or damaged.
        """
        plain: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        return cls(
            tuple(
                window
                and GoodWindow(GoodLine(*window[0]), GoodLine(*window[1]), tuple(GoodLine(*x) for x in window[2]))
                for window in plain["windows"]
            ),
            {
                (head, code): tuple(NearLine(GoodLine(*line), before and GoodLine(*before)) for line, before in lines)
                for head, code, lines in plain["codes"]
            },
        )


def _near_codes(
    events: Sequence[Event], scores: EventScores, learnt: Sequence[bool]
) -> dict[tuple[int, int], tuple[NearLine, ...]]:
    found: dict[tuple[int, int], dict[int, NearLine]] = {}
    for head in range(scores.codes.shape[1]):
        codes = scores.codes[:, head].tolist()
        # Of equally near ones the latest.
        for place in np.lexsort((-np.arange(len(codes)), scores.code_percentile[:, head])).tolist():
            kept, event = found.setdefault((head, codes[place]), {}), events[place]
            if learnt[place] and event.token not in kept and len(kept) < CODE_LINES:
                kept[event.token] = NearLine(GoodLine.of(event), GoodLine.of(events[place - 1]) if place else None)
    return {key: tuple(lines.values()) for key, lines in found.items() if lines}
