"""What a window of events has to say: one number of nats per kind of evidence, and the event that says it.

Kinds, a closed list:

- `unseen-template`  lines of a shape no known-good line had, each new shape priced by how rarely its family brings one
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

from ingestion import Event, SourceFormat, Vocabulary, event_shape
from model import ScoredEvents

UNSEEN_TEMPLATE = "unseen-template"
RARE_TRANSITION = "rare-transition"
UNUSUAL_COUNTS = "unusual-counts"
NOVEL_CODE = "novel-code"
# A code never hit in training is as rare as one hit by every ten-thousandth event.
RAREST_CODE_SHARE = 1e-4
KINDS = (UNSEEN_TEMPLATE, RARE_TRANSITION, UNUSUAL_COUNTS, NOVEL_CODE)


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
    scored: ScoredEvents,
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
        UNSEEN_TEMPLATE: _unseen(events, unseen, vocabulary, source_format),
        RARE_TRANSITION: _rarest(np.where(unseen, 0.0, scored.surprisal_nats)),
        UNUSUAL_COUNTS: _counts([event.token for event in events], usual),
        NOVEL_CODE: _codes(scored, usual),
    }


def _unseen(
    events: Sequence[Event], unseen: np.ndarray, vocabulary: Vocabulary, source_format: SourceFormat
) -> Evidence:
    # A shape counts once a window however often it comes: repetition is not novelty.
    prices: dict[tuple[str, ...], tuple[float, int]] = {}
    for index in np.flatnonzero(unseen).tolist():
        shape = tuple(event_shape(events[index].text, source_format))
        prices.setdefault(shape, (vocabulary.novelty_nats(shape), index))
    if not prices:
        return Evidence(0.0, None)
    dearest = max(prices.values(), key=lambda price: (price[0], -price[1]))
    return Evidence(sum(price for price, _ in prices.values()), dearest[1])


def _rarest(surprisal: np.ndarray) -> Evidence:
    index = int(surprisal.argmax())
    return Evidence(float(surprisal[index]), index)


def _counts(tokens: Sequence[int], usual: Usual) -> Evidence:
    """Poisson deviance of a count against the largest known-good count, the largest over templates.

    c ln(c / m) - (c - m) for c > m, half the deviance of McCullagh and Nelder, Generalized Linear Models, 1989.
    """
    best = Evidence(0.0, None)
    for token, count in Counter(tokens).items():
        most = usual.most.get(token, 0)
        if 0 < most < count:
            nats = count * math.log(count / most) - (count - most)
            if nats > best.nats:
                best = Evidence(nats, tokens.index(token))
    return best


def _codes(scored: ScoredEvents, usual: Usual) -> Evidence:
    heads = np.arange(scored.codes.shape[1])
    rarity = -np.log(usual.code_share[heads, scored.codes] + RAREST_CODE_SHARE).mean(axis=1)
    return Evidence(float(rarity.mean()), int(rarity.argmax()))
