"""An alarm of which some lines are excused: what it is without them, read again, and the places of what is left.

A line that is left out was there: it changes how surprising the lines after it are, so they are read again as if it had
not been, and it took nothing of a silence away, so each line keeps the gap before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model import NewEvents, SourceState
from service.event_scores import EventScores
from service.rereading import Rereading

Floats = npt.NDArray[np.float64]
# What a record says of each line as it came, whatever is excused.
_AS_IT_CAME = ("surprisal", "lines", "templates", "names", "unseen")


@dataclass(frozen=True)
class Excused:
    """Lines of a window that are left out before it is judged.

    Attributes:
        lines: by index in the window.
        by: who excuses them: rules, what operators said.
    """

    lines: Sequence[int]
    by: Sequence[str]


def surprise_left(
    state: SourceState, tokens: Sequence[int], scores: EventScores, kept: Sequence[int]
) -> Rereading[Floats]:
    """Return how surprising some events of a window are where no others of it came, in nats.

    As what is cited, they are read from the bundle's own state, and count by how much their surprisal changes there.

    Args:
        state: where reading begins; it is not advanced.
        tokens: of the window's events, as the model knows them.
        scores: what the model says of them.
        kept: the indexes of the events, in order.
    """
    gaps = scores.only(kept).gap_seconds.tolist()
    whole, left = yield [
        NewEvents(state.copy(), tokens, scores.gap_seconds.tolist()),
        NewEvents(state.copy(), [tokens[index] for index in kept], gaps),
    ]
    changed = left.surprisal_nats.astype(np.float64) - whole.surprisal_nats[list(kept)]
    return np.maximum(0.0, scores.surprisal_nats[list(kept)] + changed)


def placed(record: Mapping[str, Any], whole: Mapping[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """Return the explanation of what is left of a window as one of the window.

    Args:
        record: of what is left.
        whole: of all of the window.
        kept: the index in the window of each line that is left.
    """
    of = dict(enumerate([*kept, len(whole["lines"])]))
    cited = record["cited"]
    return {
        **record,
        **{name: whole[name] for name in _AS_IT_CAME},
        "reasons": [
            reason | {"line": None if reason["line"] is None else of[reason["line"]]} for reason in record["reasons"]
        ],
        "ranked": [of[line] for line in record["ranked"]],
        "carried": {str(of[int(line)]): share for line, share in record["carried"].items()},
        "surprises": [surprise | {"line": of[surprise["line"]]} for surprise in record["surprises"]],
        "cited": None if cited is None else [of[line] for line in cited],
        "restored": [item | {"line": of[item["line"]]} for item in record["restored"]],
    }
