"""What a window of events has to say: one number of nats per kind of evidence, and the event that says it.

Kinds, a closed list:

- `unseen-template`  a line of a shape no known-good line had: how surprising a new shape is at this point of the
                     stream, and how rarely its family brings one
- `rare-transition`  the most surprising event of known shape, given everything the source wrote before it
- `unusual-counts`   a template far more often in the window than in any known-good window
- `novel-code`       situations far from every codeword the encoder learned, or codes hardly ever used
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ingestion import UNSEEN, Event, SourceFormat, Vocabulary, event_shape
from service.event_scores import EventScores
from service.kinds import NOVEL_CODE, RARE_TRANSITION, UNSEEN_TEMPLATE, UNUSUAL_COUNTS

# A code never hit in training is as rare as one hit by every ten-thousandth event.
RAREST_CODE_SHARE = 1e-4
COUNT_TAIL = 2.0
COUNT_PRIOR = 1.0


@dataclass(frozen=True)
class Evidence:
    """One kind of evidence in one window.

    Attributes:
        nats: how strange, larger is stranger; 0 says nothing.
        event: index in the window of the event that says it; None where none does.
    """

    nats: float
    event: int | None


@dataclass(frozen=True)
class Usual:
    """What known-good windows hold.

    Attributes:
        most: per token, the largest count in one known-good window.
        code_share: (h, s) share of each head's codes in training.
    """

    most: dict[int, int]
    code_share: np.ndarray

    @classmethod
    def of(cls, windows: Iterable[Sequence[int]], code_share: np.ndarray) -> Usual:
        """Count the tokens of known-good windows."""
        most: Counter[int] = Counter()
        for tokens in windows:
            most |= Counter(tokens)
        return cls(dict(most), code_share)


def measure(
    events: Sequence[Event],
    scored: EventScores,
    vocabulary: Vocabulary,
    source_format: SourceFormat,
    usual: Usual,
) -> dict[str, Evidence]:
    """Measure every kind of evidence in one window.

    Args:
        events: the window's events.
        scored: what the model says of the same events.
        vocabulary: the bundle's vocabulary.
        source_format: how the source writes its lines.
        usual: what known-good windows hold.
    """
    unseen = np.array([vocabulary.is_unseen(event.token) for event in events])
    return {
        UNSEEN_TEMPLATE: _unseen(events, scored, unseen, vocabulary, source_format),
        RARE_TRANSITION: _rarest(np.where(unseen, 0.0, scored.surprisal_nats)),
        UNUSUAL_COUNTS: _counts([event.token for event in events], usual),
        NOVEL_CODE: _codes(scored, usual),
    }


def _unseen(
    events: Sequence[Event],
    scored: EventScores,
    unseen: np.ndarray,
    vocabulary: Vocabulary,
    source_format: SourceFormat,
) -> Evidence:
    # Novelty has its place: a machine brings a new program comment with a new program, and hardly ever a new fault.
    best = Evidence(0.0, None)
    for index in np.flatnonzero(unseen).tolist():
        shape = event_shape(events[index], source_format)
        nats = float(scored.surprisal_nats[index]) + vocabulary.family_nats(shape)
        if nats > best.nats:
            best = Evidence(nats, index)
    return best


def _rarest(surprisal: np.ndarray) -> Evidence:
    index = int(surprisal.argmax())
    return Evidence(float(surprisal[index]), index)


def _counts(tokens: Sequence[int], usual: Usual) -> Evidence:
    """Return how far a count is beyond the largest known-good count, the largest over templates.

    Bursts have heavy tails: beyond the largest of many windows, m, a Pareto tail of index `COUNT_TAIL` gives a count c
    the chance (m / c) ** index, or index * ln(c / m) nats (Embrechts et al., Modelling Extremal Events, 1997, ch. 6).
    Both counts are taken `COUNT_PRIOR` larger, so that two of what came once says nothing yet.
    """
    best = Evidence(0.0, None)
    for token, count in Counter(tokens).items():
        most = usual.most.get(token, 0)
        if token != UNSEEN and 0 < most < count:
            nats = COUNT_TAIL * math.log((count + COUNT_PRIOR) / (most + 2 * COUNT_PRIOR))
            if nats > best.nats:
                best = Evidence(nats, tokens.index(token))
    return best


def _codes(scored: EventScores, usual: Usual) -> Evidence:
    """Return how far the window's codes are from their usual shares: the mean rarity of its codes, standardised.

    Standardised by the number of events, so that a short window of rare codes does not outweigh a long one.
    """
    share = usual.code_share + RAREST_CODE_SHARE
    rarity = -np.log(share)
    mean = (share * rarity).sum(axis=1) / share.sum(axis=1)
    spread = np.sqrt((share * (rarity - mean[:, None]) ** 2).sum(axis=1) / share.sum(axis=1)) + RAREST_CODE_SHARE
    heads = np.arange(scored.codes.shape[1])
    excess = ((rarity[heads, scored.codes] - mean) / spread).mean(axis=1)
    return Evidence(max(0.0, float(excess.sum()) / math.sqrt(len(excess))), int(excess.argmax()))
