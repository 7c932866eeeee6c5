"""One window's events and what the model says of them, to a row of the store: evidence, score, reasons."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingestion import Event
from model import Scorer
from service.bundle import Bundle
from service.detection.detector import Judged as Found
from service.detection.detector import Observed
from service.event_scores import EventScores
from service.explain import Explainer, Verdict
from service.observing import Observer
from service.store import pack


@dataclass(frozen=True)
class Judged:
    """A judged window, and the words an incident takes from it.

    Attributes:
        row: a row of the store's `windows`.
        reason: kind of its strongest evidence.
        signature: what makes two incidents the same kind of thing.
        title: the incident in a few words.
    """

    row: dict[str, Any]
    reason: str
    signature: str
    title: str


class Judge:
    """Judges windows of one bundle against one threshold.

    Args:
        bundle: what windows are judged by.
        scorer: of its model.
        threshold: the strength from which on a window is anomalous.
    """

    def __init__(self, bundle: Bundle, scorer: Scorer, threshold: float) -> None:
        self.threshold = threshold
        self._bundle = bundle
        self._explainer = Explainer(bundle, scorer)
        numeric = {token for token, _, _ in bundle.detector.memory.ranges.ranges}
        by_session = bundle.window.session is not None
        usage = bundle.model.statistics.usage
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
        window, judged, score, strength = self._measure(events, scores)
        verdict = Verdict(score, strength, self.threshold)
        explained = self._explainer.build(events, scores, window, judged, verdict, texts)
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
            "score": score,
            "strength": strength,
            "threshold": self.threshold,
            "anomalous": verdict.anomalous,
            "incident": None,
            "sentence": explained.sentence,
            "record": pack(explained.record),
        }
        return Judged(row, explained.reason, explained.signature, explained.title)

    def strength(self, events: Sequence[Event], scores: EventScores) -> float:
        """Return the strength that a window of these events would have."""
        return self._measure(events, scores)[-1]

    def _measure(self, events: Sequence[Event], scores: EventScores) -> tuple[Observed, Found, float, float]:
        window = self._observer.observe(events, scores.before, scores.gap_seconds, scores)
        judged = self._bundle.detector.judge(window)
        return window, judged, *self._bundle.calibration.score(judged.strength)
