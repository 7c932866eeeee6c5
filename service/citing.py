"""The lines that carry an alarm: those without which there would be none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from service.detection.detector import Detector, Observed
from service.evidence import line_nats, weigh

# More lines than that are no explanation but the window itself.
MAX_SHARE = 0.25
MIN_LINES = 8
MAX_LINES = 64
# Lines taken out between two looks, as a share of the window: so a long window is looked at no more often.
_STEP = 1 / 64


def cite(detector: Detector, window: Observed, threshold_nats: float) -> list[int]:
    """Return the lines that carry a window's strength, those that carry most first.

    The line that carries most is taken out, and what is left is judged again, until that would be no alarm; so the next
    line is one that carries what the first leaves. Surprisal is that of the whole window.

    Args:
        detector: what judges.
        window: a window it calls an alarm.
        threshold_nats: the strength from which on it does.
    """
    kept = list(range(len(window.tokens)))
    cited: list[int] = []
    step = max(1, round(len(kept) * _STEP))
    limit = min(MAX_LINES, max(MIN_LINES, round(len(kept) * MAX_SHARE)), len(kept) - 1)
    left = window
    while len(cited) < limit:
        judged = detector.judge(left)
        if cited and judged.strength < threshold_nats:
            break
        carried = line_nats(weigh(detector, left, judged))
        if not carried:
            break
        most = sorted(carried, key=lambda line: (-carried[line], line))[: min(step, limit - len(cited))]
        cited += [kept[line] for line in most]
        out = set(most)
        left = without(left, out)
        kept = [line for place, line in enumerate(kept) if place not in out]
    return cited


def without(window: Observed, lines: Sequence[int] | set[int]) -> Observed:
    """Return a window as it would be without some of its lines; the silence around them stays."""
    out = set(lines)
    kept = [index for index in range(len(window.tokens)) if index not in out]
    place = {index: new for new, index in enumerate(kept)}
    extra = list(range(len(window.tokens), len(window.surprisal_nats)))
    before: list[int] = []
    gaps: list[float] = []
    for index in range(len(window.gaps)):
        # A line taken out leaves its gap to the next.
        if index and index - 1 in out:
            token, waited = before.pop(), gaps.pop() + float(window.gaps[index])
        else:
            token, waited = window.before[index], float(window.gaps[index])
        before.append(token)
        gaps.append(waited)
    if len(window.gaps) and len(window.gaps) - 1 in out:
        before.pop()
        gaps.pop()
    return replace(
        window,
        tokens=tuple(window.tokens[index] for index in kept),
        shapes=tuple(window.shapes[index] for index in kept),
        surprisal_nats=window.surprisal_nats[kept + extra],
        before=tuple(before),
        gaps=np.array(gaps),
        readings=tuple(
            replace(reading, event=place[reading.event]) for reading in window.readings if reading.event in place
        ),
        code_excess=window.code_excess[kept] if len(window.code_excess) else window.code_excess,
    )
