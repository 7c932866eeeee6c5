"""One window's events and what the model says of them, to a row of the store: evidence, score, reasons."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ingestion import Event
from service.bundle import Bundle
from service.detection.detector import PARAMETER, SILENCE, Observed, some
from service.event_scores import EventScores
from service.excusing import Excused, Floats, placed, surprise_left
from service.explain import Explained, Explainer, Verdict
from service.observing import Observer
from service.rereading import Rereading

# A score says how rare a window is, of which nobody knows a thousandth. It is kept as it is shown, so that a search for
# windows of at least a score finds those that show it; thresholds and order go by strength, which is exact.
_SCORE_DIGITS = 3


@dataclass
class Judged:
    """A judged window, and the words an incident takes from it.

    Attributes:
        row: a row of the store's `windows` but for its record.
        record: its explanation, as JSON values.
        heavy: the lines of an alarm that carry most, heaviest first.
        strength_of: returns the strength of the window with only these of its events.
        at_least_of: returns the strength that an open window of these events has, whatever else comes.
        examine: returns the explanation of an alarm with what it rests on, which takes long.
        surprise_left: returns how surprising some of its events are where the others did not come.
        without: returns what it is, and is about, without what is excused of it; by how surprising what is left is
            then, or as it came.
        reason: kind of its strongest evidence.
        signature: what makes two incidents the same kind of thing.
        title: the incident in a few words.
    """

    row: dict[str, Any]
    record: dict[str, Any]
    heavy: Sequence[int]
    strength_of: Callable[[Sequence[int]], float]
    at_least_of: Callable[[Sequence[int]], float]
    examine: Callable[[], Rereading[Explained]]
    surprise_left: Callable[[Sequence[int]], Rereading[Floats]]
    without: Callable[[Excused, Floats | None], Judged]
    reason: str
    signature: str
    title: str

    def examined(self) -> Rereading[None]:
        """Take what a closer look says, which takes long."""
        found = yield from self.examine()
        self.record, self.row["sentence"] = found.record, found.sentence
        self.reason, self.signature, self.title = found.reason, found.signature, found.title


class Judge:
    """Judges windows of one bundle against one threshold.

    Args:
        bundle: what windows are judged by.
        threshold: the strength from which on a window is anomalous.
    """

    def __init__(self, bundle: Bundle, threshold: float) -> None:
        self.threshold = threshold
        self._bundle, self._state = bundle, bundle.warm_state()
        self._explainer = Explainer(bundle)
        numeric = bundle.detector.memory.ranges.ranges.keys()
        by_session, usage = bundle.window.session is not None, bundle.model.statistics.usage
        self._observer = Observer(bundle.vocabulary, bundle.source_format, usage, by_session, numeric)

    def judge(
        self,
        source: str,
        index: int,
        key: str | None,
        events: Sequence[Event],
        scores: EventScores,
        texts: Mapping[int, tuple[int, str]],
    ) -> Judged:
        """Judge one window.

        Args:
            source: whose window it is.
            index: its number among the source's windows.
            key: of a session; None for other windows.
            events: its events, in the order they came.
            scores: what the model says of them.
            texts: position and text of events they may have attended to, by number in the source's stream.
        """
        bundle = self._bundle
        window = self._observer.observe(events, scores.before, scores.gap_seconds, scores)
        times = [event.time for event in events if event.time is not None]
        number = hashlib.sha256(f"{bundle.id}\0{source}\0{index}".encode()).hexdigest()[:12]
        row = {
            "id": f"w-{number}",
            "source": source,
            "index": index,
            "key": key,
            "sequence": max(times) if times else float(index),
            "bundle": bundle.id,
            "status": "final",
            "start": min(times) if times else None,
            "end": max(times) if times else None,
            "stream": events[0].stream,
            "first_position": events[0].position,
            "next_position": events[-1].next_position,
            "events": len(events),
            "threshold": self.threshold,
            "incident": None,
        }
        return self._found(row, events, scores, window, texts)

    def _found(
        self,
        row: dict[str, Any],
        events: Sequence[Event],
        scores: EventScores,
        window: Observed,
        texts: Mapping[int, tuple[int, str]],
    ) -> Judged:
        bundle = self._bundle
        judged = bundle.detector.judge(window)
        score, strength = bundle.calibration.score(judged.strength)
        verdict = Verdict(score, strength, row["threshold"])
        explained = self._explainer.build(events, scores, window, judged, verdict, texts)
        says = {
            "score": round(score, _SCORE_DIGITS),
            "strength": strength,
            "anomalous": verdict.anomalous,
            "sentence": explained.sentence,
        }
        tokens = [bundle.vocabulary.model_token(event.token) for event in events]
        found = Judged(
            row | says,
            explained.record,
            explained.heavy,
            partial(self._strength, window),
            partial(self._at_least, window),
            partial(self._explainer.examine, explained, events, scores, window, verdict, texts),
            partial(surprise_left, self._state, tokens, scores),
            lambda excused, nats: self._without(found, events, scores, window, texts, excused, nats),
            explained.reason,
            explained.signature,
            explained.title,
        )
        return found

    def _without(
        self,
        whole: Judged,
        events: Sequence[Event],
        scores: EventScores,
        window: Observed,
        texts: Mapping[int, tuple[int, str]],
        excused: Excused,
        surprisal: Floats | None,
    ) -> Judged:
        gone = set(excused.lines)
        kept = [index for index in range(len(events)) if index not in gone]
        seen = some(window, kept)
        seen = seen if surprisal is None else replace(seen, surprisal_nats=surprisal)
        left = self._found(whole.row, [events[index] for index in kept], scores.only(kept), seen, texts)
        said = {"lines": excused.lines, "by": excused.by, "strength": round(whole.row["strength"], 3)}

        def of_the_whole(record: dict[str, Any]) -> dict[str, Any]:
            return placed(record, whole.record, kept) | {"excused": said}

        def examine() -> Rereading[Explained]:
            found = yield from left.examine()
            return replace(found, record=of_the_whole(found.record))

        return replace(
            left, record=of_the_whole(left.record), heavy=[kept[line] for line in left.heavy], examine=examine
        )

    def _strength(self, window: Observed, events: Sequence[int]) -> float:
        return self._bundle.calibration.score(self._bundle.detector.judge(some(window, events)).strength)[1]

    def _at_least(self, window: Observed, events: Sequence[int]) -> float:
        # Further events take back neither news nor the longest silence nor the farthest number.
        found = self._bundle.detector.judge(some(window, events))
        alone = sum(found.alone.get(name, 0.0) for name in (SILENCE, PARAMETER))
        return self._bundle.calibration.score(self._bundle.detector.combination.whole.nats(alone) + found.news)[1]
