"""One source's way from records to judged windows; the same code under `try`, the API and Kafka."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingestion import Dropped, Event, Record, SourceFormat, SourceParser, Windower
from model import NewEvents, Scorer, SourceState
from service.bundle import Bundle
from service.evidence import measure
from service.explain import Explainer, Verdict, iso
from service.incidents import IncidentTracker
from service.store import SourceRow, pack

# Events between exact snapshots of the model state. A restart replays at most this many through the encoder.
SNAPSHOT_EVENTS = 2048
# Events whose text explanations can name: the encoder's attention window never reaches further back.
_RECENT_EVENTS = 128


@dataclass
class Produced:
    """What a source's records led to."""

    windows: list[dict[str, Any]] = field(default_factory=list)
    incidents: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


class SourcePipeline:
    """The state of one source: parser, open window, model state, open incident.

    Everything it produces is a function of the bundle, the threshold and the source's own records; how the records were
    cut into calls, and restarts in between, change nothing.
    """

    def __init__(
        self,
        source: str,
        bundle: Bundle,
        scorer: Scorer,
        threshold: float,
        row: SourceRow | None,
        origins: Mapping[str, SourceFormat] | None = None,
    ) -> None:
        self.source = source
        self.threshold = threshold
        self._bundle = bundle
        self._scorer = scorer
        self._explainer = Explainer(bundle)
        self.parser = SourceParser(bundle.source_format, bundle.vocabulary, origins)
        self._model: SourceState = bundle.warm_state()
        self._snapshot: bytes | None = self._model.to_bytes()
        self._since: list[tuple[int, float]] = []
        self._recent: deque[tuple[int, int, str]] = deque(maxlen=_RECENT_EVENTS)
        self._tracker = IncidentTracker()
        self._last_time: float | None = None
        self._windower = Windower(bundle.window)
        self._shown_events = 0
        self._windows = 0
        self._last_score: float | None = None
        if row is not None and row.bundle == bundle.id:
            self._restore(row)
        elif row is not None:
            # Another bundle's windows and model state mean nothing here; what became of the lines still counts.
            self.parser.restore(row.state["parser"])

    def feed(self, records: Sequence[Record]) -> Produced:
        """Take records, in order; return what they complete."""
        produced = Produced()
        for record in records:
            self._take(self.parser.feed(record), produced)
        return produced

    def flush(self) -> Produced:
        """Close the open event: the input has ended, or has been silent for long."""
        produced = Produced()
        self._take(self.parser.flush(), produced)
        return produced

    def provisional(self) -> dict[str, Any] | None:
        """Return the open window as it stands, judged but not final; None where it has not changed since."""
        events = self._windower.events
        if not events or len(events) == self._shown_events:
            return None
        self._shown_events = len(events)
        model = self._model.copy()
        row, _ = self._judge(events, self._windower.index, model, self._last_time)
        return row | {"status": "provisional", "anomalous": False}

    @property
    def incident_open(self) -> bool:
        """Whether the source has an open incident."""
        return self._tracker.is_open

    @property
    def watermark(self) -> float | None:
        """Time of the source's latest event, epoch seconds."""
        return next((e.time for e in reversed(self._windower.events) if e.time is not None), self._last_time)

    def _take(self, parsed: Sequence[Event | Dropped], produced: Produced) -> None:
        for item in parsed:
            if isinstance(item, Dropped):
                produced.dropped.append(item)
                continue
            for index, events in self._windower.add(item):
                self._close(index, events, produced)

    def _close(self, index: int, events: Sequence[Event], produced: Produced) -> None:
        before = self._model.position
        row, words = self._judge(events, index, self._model, self._last_time)
        for number, event in enumerate(events, start=before):
            self._recent.append((number, event.position, event.text))
        self._remember(events)
        produced.incidents += self._tracker.follow(row, *words)
        produced.windows.append(row)
        self._windows += 1
        self._shown_events = 0
        self._last_score = row["score"]

    def _remember(self, events: Sequence[Event]) -> None:
        self._since += self._steps(events, self._last_time)
        self._last_time = next((e.time for e in reversed(events) if e.time is not None), self._last_time)
        if len(self._since) >= SNAPSHOT_EVENTS:
            self._snapshot = self._model.to_bytes()
            self._since = []

    def _steps(self, events: Sequence[Event], last: float | None) -> list[tuple[int, float]]:
        steps = []
        for event in events:
            gap = 0.0
            if event.time is not None:
                gap = max(0.0, event.time - last) if last is not None else 0.0
                last = event.time
            steps.append((self._bundle.vocabulary.model_token(event.token), gap))
        return steps

    def _judge(
        self, events: Sequence[Event], index: int, model: SourceState, last: float | None
    ) -> tuple[dict[str, Any], tuple[str, str, str]]:
        bundle = self._bundle
        first = model.position
        tokens, gaps = zip(*self._steps(events, last), strict=True)
        scored = self._scorer.explain(model, tokens, gaps)
        evidence = measure(events, scored, bundle.vocabulary, bundle.source_format, bundle.usual)
        score, strength, strengths = bundle.calibration.judge({kind: e.nats for kind, e in evidence.items()})
        verdict = Verdict(score, strength, strengths, self.threshold)
        explained = self._explainer.build(events, scored, evidence, verdict, self._recent, first)
        times = [event.time for event in events if event.time is not None]
        number = hashlib.sha256(f"{bundle.id}\0{self.source}\0{index}".encode()).hexdigest()[:12]
        row = {
            "id": f"w-{number}",
            "source": self.source,
            "index": index,
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
        return row, (verdict.reason, explained.signature, explained.title)

    # --- checkpoint ----------------------------------------------------------------------------------------------

    def checkpoint(self) -> SourceRow:
        """Return what a restart needs; the snapshot only where it is newer than the last one returned."""
        snapshot, self._snapshot = self._snapshot, None
        return SourceRow(
            source=self.source,
            bundle=self._bundle.id,
            state={
                "parser": self.parser.state(),
                "index": self._windower.index,
                "open": [
                    [e.stream, e.position, e.next_position, e.time, e.received, e.text, e.lines, e.message, e.token]
                    for e in self._windower.events
                ],
                "since": self._since,
                "recent": list(self._recent),
                "last_time": self._last_time,
                "incident": self._tracker.state(),
                "windows": self._windows,
                "last_score": self._last_score,
            },
            snapshot=snapshot,
            summary=self.summary(),
        )

    def _restore(self, row: SourceRow) -> None:
        state = row.state
        assert row.snapshot is not None
        self.parser.restore(state["parser"])
        self._windower = Windower(self._bundle.window, state["index"], [Event(*values) for values in state["open"]])
        self._model = SourceState.from_bytes(row.snapshot, self._bundle.model)
        self._snapshot = None
        self._since = [(token, gap) for token, gap in state["since"]]
        if self._since:
            tokens, gaps = zip(*self._since, strict=True)
            self._scorer.score([NewEvents(self._model, tokens, gaps)])
        self._recent.extend((number, position, text) for number, position, text in state["recent"])
        self._last_time = state["last_time"]
        self._tracker = IncidentTracker(state["incident"])
        self._windows = state["windows"]
        self._last_score = state["last_score"]

    def summary(self) -> dict[str, Any]:
        """Return what the API shows of the source."""
        accounting = self.parser.accounting
        return {
            "id": self.source,
            "lines": {
                "consumed": accounting.consumed,
                "parsed": accounting.parsed,
                "unparsed": accounting.unparsed,
                "dropped": dict(accounting.dropped),
            },
            "replaced": accounting.replaced,
            "noticed": dict(accounting.noticed),
            "schema_changes": self.parser.schema_changes,
            "windows": self._windows,
            "open_events": len(self._windower.events),
            "last_event": iso(self.watermark),
            "last_score": self._last_score,
            "threshold": self.threshold,
            "open_incidents": int(self._tracker.is_open),
            "bundle": self._bundle.id,
        }
