"""Events and what is known of them, as the detector wants them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ingestion import (
    FIRST_TEMPLATE,
    PADDING,
    UNSEEN,
    Event,
    SourceFormat,
    Vocabulary,
    event_shape,
    masked_words,
    number_of,
)
from ingestion.masking import MAX_WORDS, prepare
from service.detection.codes import KnownCodes
from service.detection.detector import Observed
from service.detection.ranges import Reading, Slot
from service.event_scores import EventScores

Numbers = npt.NDArray[np.generic]

_UNKNOWN = -2
_DIGIT = re.compile(r"\d")
_NOTHING: npt.NDArray[np.float64] = np.zeros(0)


class Observer:
    """Makes windows of one bundle ready to be judged.

    A line of unknown shape has no token of its own: every shape of a window that nobody knows gets one here, below
    zero, so that the same line twice and two new lines are told apart.

    The lines of many sessions come mixed: how long a session takes from step to step is seen within it alone.

    Args:
        vocabulary: the bundle's.
        source_format: how the source writes its lines.
        usage: (h, s) share of each head's codes in training; None while there is no model.
        by_session: whether windows are sessions; gaps are then those between the events of one window.
        numeric: where in lines numbers are read; None reads all.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        source_format: SourceFormat,
        usage: npt.NDArray[np.floating] | None,
        by_session: bool,
        numeric: Collection[Slot] | None = None,
    ) -> None:
        self._vocabulary, self._format, self._by_session = vocabulary, source_format, by_session
        self._numeric = None if numeric is None else _by_token(numeric)
        self._masks = source_format.mask_set()
        self._families = [vocabulary.text(token).partition(" ")[0] for token in range(len(vocabulary))]
        self._codes = None if usage is None else KnownCodes(usage)

    def observe(
        self, events: Sequence[Event], before: Numbers, gaps: Numbers, scores: EventScores | None = None
    ) -> Observed:
        """Return a window.

        Args:
            events: its events, in order.
            before: token of the event that the source wrote before each.
            gaps: seconds since that event.
            scores: what the model says of them; None where there is none yet.
        """
        tokens, shapes = self._named(events)
        timed = any(event.time is not None for event in events)
        if self._by_session:
            before, gaps = _within(events)
        window = Observed(
            tokens,
            shapes,
            before=tuple(before.tolist()) if timed else (),
            gaps=gaps.astype(np.float64) if timed else _NOTHING,
            readings=self._readings(events),
        )
        return window if scores is None else self.scored(window, scores)

    def scored(self, window: Observed, scores: EventScores) -> Observed:
        """Return a window with what the model says of its events."""
        return replace(
            window,
            surprisal_nats=scores.surprisal_nats.astype(np.float64),
            code_excess=_NOTHING if self._codes is None else self._codes.excess(scores.codes),
        )

    def _named(self, events: Sequence[Event]) -> tuple[tuple[int, ...], tuple[tuple[int | str, str], ...]]:
        tokens: list[int] = []
        shapes: list[tuple[int | str, str]] = []
        unknown: dict[str, int] = {}
        for event in events:
            token = event.token
            if token == UNSEEN:
                words = event_shape(event, self._format)
                shape = " ".join(words)
                tokens.append(unknown.setdefault(shape, _UNKNOWN - len(unknown)))
                shapes.append((shape, words[0] if words else ""))
            else:
                tokens.append(token)
                shapes.append((token, self._families[token]))
        return tuple(tokens), tuple(shapes)

    def _readings(self, events: Sequence[Event]) -> tuple[Reading, ...]:
        found: list[Reading] = []
        for index, event in enumerate(events):
            token, message = event.token, event.message
            places = None if self._numeric is None else self._numeric.get(token)
            if token < FIRST_TEMPLATE or (self._numeric is not None and places is None):
                continue
            if _DIGIT.search(message) is None:
                continue
            if places is not None and message.isascii() and message.isprintable():
                found += self._at(places, index, token, message)
                continue
            line = masked_words(message, self._format.delimiter, self._masks)
            found += [
                Reading(index, (token, parameter.slot, parameter.part), parameter.number)
                for parameter in self._vocabulary.parameters(token, message, line, self._format.decimal)
                if parameter.number is not None and (places is None or (parameter.slot, parameter.part) in places)
            ]
        return tuple(found)

    def _at(self, places: Collection[tuple[int, int]], index: int, token: int, message: str) -> list[Reading]:
        """Return the numbers at some places of a line of printable ASCII, whose words all stand for themselves."""
        words = prepare(message, self._format.delimiter).split(None, MAX_WORDS)
        found = []
        for slot, part in places:
            if slot < min(len(words), MAX_WORDS):
                values = self._masks.parts(words[slot])[0].values
                if part < len(values) and values[part].name == "NUM":
                    text = words[slot][values[part].start : values[part].end]
                    number = number_of(text, self._format.decimal)
                    if number is not None:
                        found.append(Reading(index, (token, slot, part), number))
        return found


def _by_token(slots: Collection[Slot]) -> dict[int, list[tuple[int, int]]]:
    places: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for token, slot, part in sorted(slots):
        places[token].append((slot, part))
    return dict(places)


def _within(events: Sequence[Event]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the token of the event before each in its own window, and the seconds since; nothing before the first."""
    before = np.array([PADDING, *(event.token for event in events[:-1])])
    gaps = np.zeros(len(events))
    last: float | None = None
    for place, event in enumerate(events):
        if event.time is not None:
            gaps[place] = 0.0 if last is None else max(0.0, event.time - last)
            last = event.time
    return before, gaps
