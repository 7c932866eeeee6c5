"""One source's way from records to judged windows; the same code under `try`, the API and Kafka.

A record is parsed and given to its window at once. Its events then wait to be scored, in the order of the source's
whole stream whichever windows they are in, until a block of the encoder is full or somebody will not wait: sources are
scored together, by `score`. A window is judged when it is complete and its last event has been scored.
"""

from __future__ import annotations

import base64
import struct
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from ingestion import PADDING, Dropped, Event, Record, SourceFormat, SourceParser, Windower
from ingestion.format import envelope_table
from ingestion.splitting import origin_of
from ingestion.timestamps import zone
from model import ExplainedEvents, NewEvents, Scorer, SourceState
from service.alarms.alarming import Alarms, Proposed
from service.alarms.confirmed import Heard
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.event_scores import EventScores
from service.explain import iso
from service.judging import Judge, Judged
from service.open_windows import Collected, OpenEvent, OpenWindows, event_values
from service.packing import pack
from service.reach import not_judged
from service.rereading import Rereading, read
from service.store import SourceRow

# Events between exact snapshots of the model state: a restart scores at most this many once more. A snapshot of the
# default encoder has 120 KB, the events since one 16 bytes each in every checkpoint.
SNAPSHOT_EVENTS = 512
# Characters kept of a line that an event attended to.
_ATTENDED_TEXT = 400
# A token and the gap before it, as a checkpoint keeps those since the snapshot.
_STEP = struct.Struct("<qd")


@dataclass
class Produced:
    """What a source's records led to.

    Attributes:
        windows: rows of windows that are final.
        provisional: rows of open windows, judged as they stand.
        incidents: rows of incidents that changed.
        foreseen: rows of incidents as they are with open windows that are alarms already.
        dropped: lines that became no event.
        received: when the last event of each final window was received, epoch seconds, where the input has a clock.
    """

    windows: list[dict[str, Any]] = field(default_factory=list)
    provisional: list[dict[str, Any]] = field(default_factory=list)
    incidents: list[dict[str, Any]] = field(default_factory=list)
    foreseen: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    received: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting:
    """An event that has not been scored."""

    window: int
    event: OpenEvent
    token: int
    gap: float
    before: int


class SourcePipeline:
    """The state of one source: parser, open windows, model state, threshold, open incident.

    Everything it produces is a function of the bundle, the policy, what operators have said and the source's own
    records; how the records were cut into calls, when they were scored, and restarts in between, change nothing.
    """

    def __init__(
        self,
        source: str,
        bundle: Bundle,
        scorer: Scorer,
        policy: AlarmPolicy,
        row: SourceRow | None,
        origins: Mapping[str, SourceFormat] | None = None,
    ) -> None:
        self.source = source
        self.parser = SourceParser(bundle.source_format, bundle.vocabulary, origins)
        self._bundle = bundle
        self._config = bundle.model.encoder.config
        self._policy, self._origins = policy, dict(origins or {})
        self.alarms = self._new_alarms(None)
        self._judge = Judge(bundle, self.alarms.threshold)
        self._model: SourceState = bundle.warm_state()
        self._snapshot: bytes | None = self._model.to_bytes()
        self._since = bytearray()
        self._next_number = self._model.position
        self._last_time: float | None = None
        self._last_token = PADDING
        self._windower = Windower(bundle.window)
        self._open = OpenWindows()
        self._waiting: list[_Waiting] = []
        self._complete: deque[int] = deque()
        # No event attends further back than the block before its own.
        self._recent: deque[tuple[int, int, str]] = deque(maxlen=2 * self._config.block + 1)
        self._dropped: list[Dropped] = []
        self._windows = 0
        self._last_strength: float | None = None
        if row is not None and row.bundle == bundle.id:
            self._restore(row, scorer)
        elif row is not None:
            # Another bundle's windows and model state mean nothing here; what became of the lines still counts.
            self.parser.restore(row.state["parser"])
            self._open.restore((), row.chunks)

    # --- records in, windows out ---------------------------------------------------------------------------------

    def feed(self, records: Iterable[Record]) -> None:
        """Take records, in order."""
        for record in records:
            self._take(self.parser.feed(record))

    def flush(self) -> None:
        """Close the open event: the input has ended, or has been silent for long."""
        self._take(self.parser.flush())

    def due(self, *, now: bool) -> NewEvents | None:
        """Return the events to be scored: those that fill blocks or, with `now`, all that wait."""
        count = len(self._waiting)
        if not now:
            count -= (self._model.position + count) % self._config.block
        if count <= 0:
            return None
        tokens, gaps = zip(*((item.token, item.gap) for item in self._waiting[:count]), strict=True)
        return NewEvents(self._model, tokens, gaps)

    def scored(self, explained: ExplainedEvents) -> None:
        """Take what the model says of the events that were due."""
        done = self._waiting[: len(explained.surprisal_nats)]
        before, gaps = zip(*((item.before, item.gap) for item in done), strict=True)
        scores = EventScores.of(explained, before, gaps, self._config)
        parts, surprisals, attended = scores.apart(), scores.surprisal_nats.tolist(), scores.recent_positions
        self._waiting = self._waiting[len(done) :]
        unseen = self._bundle.vocabulary.is_unseen
        for place, (item, part, nats) in enumerate(zip(done, parts, surprisals, strict=True)):
            event = item.event
            event.scores = part
            if self._open.windows[item.window].surprising(nats) or unseen(event.event.token):
                event.attended = self._attended(attended[place].tolist())
            self._open.scored(item.window, event)
            self._recent.append((event.number, event.event.position, event.event.text[:_ATTENDED_TEXT]))
            self._since += _STEP.pack(item.token, item.gap)
        if len(self._since) >= SNAPSHOT_EVENTS * _STEP.size:
            self._snapshot, self._since = self._model.to_bytes(), bytearray()

    def take(self) -> Rereading[Produced]:
        """Return what is complete: windows whose events are all scored, in the order they were completed."""
        produced = Produced(dropped=self._dropped)
        self._dropped = []
        while self._complete and self._open.windows[self._complete[0]].events[-1].scores:
            window = self._open.close(self._complete.popleft())
            proposed = self._proposed(window, complete=True)
            produced.incidents += yield from self.alarms.follow(proposed)
            judged = proposed.judged
            produced.windows.append(judged.row | {"record": pack(judged.record)})
            if (received := window.events[-1].event.received) is not None:
                produced.received.append(received)
            self._windows += 1
            self._last_strength = judged.row["strength"]
        return produced

    def provisional(self) -> Produced:
        """Return the open windows that have changed since, judged as they stand but not final, as far as scored."""
        produced = Produced()
        # Of many that are open, which are alarms and whom they join depends on which is complete first.
        alone = self._bundle.window.session is None and len(self._open.windows) - len(self._complete) == 1
        for window in self._open.windows.values():
            if len(window.events) != window.shown and window.events[-1].scores:
                window.shown = len(window.events)
                open_as_yet = self._proposed(window, complete=False)
                produced.foreseen += self.alarms.foresee(open_as_yet, alone=alone)
                judged = open_as_yet.judged
                produced.provisional.append(judged.row | {"status": "provisional", "record": pack(judged.record)})
        return produced

    @property
    def is_waiting(self) -> bool:
        """Whether a window is complete but for scores."""
        return bool(self._complete)

    def hear(self, heard: Heard) -> None:
        """Take all that operators have said of the source, in place of what was heard before."""
        self.alarms.hear(heard)

    @property
    def watermark(self) -> float | None:
        """Event time up to which windows are final, epoch seconds."""
        return self._windower.watermark.value

    @property
    def counts(self) -> dict[str, int]:
        """What the source's clock and windows have met since the source was first seen."""
        watermark = self._windower.watermark
        return {"late": watermark.late, "clock_steps": watermark.steps, "windows_cut": self._windower.cut}

    def _take(self, parsed: Sequence[Event | Dropped]) -> None:
        for item in parsed:
            if isinstance(item, Dropped):
                self._dropped.append(item)
                continue
            gap = 0.0
            if item.time is not None:
                gap = max(0.0, item.time - self._last_time) if self._last_time is not None else 0.0
                self._last_time = item.time
            event = OpenEvent(self._next_number, item)
            self._next_number += 1
            window, complete = self._windower.add(item)
            self._open.join(window.index, window.key, event)
            token = self._bundle.vocabulary.model_token(item.token)
            self._waiting.append(_Waiting(window.index, event, token, gap, self._last_token))
            self._last_token = item.token
            self._complete.extend(closed.index for closed in complete)

    def _attended(self, numbers: Sequence[int]) -> tuple[tuple[int, int, str], ...]:
        last = self._recent[-1][0] if self._recent else 0
        places = (number - last - 1 for number in numbers if number >= 0)
        return tuple(self._recent[place] for place in places if -len(self._recent) <= place < 0)

    def _judged(self, window: Collected) -> tuple[Judged, list[Event]]:
        events = [event.event for event in window.events]
        scores = EventScores.joined([event.scores for event in window.events], self._config)
        texts = {number: (position, text) for event in window.events for number, position, text in event.attended}
        texts |= {event.number: (event.event.position, event.event.text) for event in window.events}
        return self._judge.judge(self.source, window.index, window.key, events, scores, texts), events

    def _proposed(self, window: Collected, *, complete: bool) -> Proposed:
        self._judge.threshold = self.alarms.threshold
        proposed = Proposed(*self._judged(window))
        if self.alarms.is_news(proposed, complete=complete):
            self._judge.threshold = self.alarms.first_threshold
            proposed = Proposed(*self._judged(window))
        return proposed

    def _new_alarms(self, state: Mapping[str, Any] | None) -> Alarms:
        bundle = self._bundle
        return Alarms(
            self._policy.budget_of(self.source),
            bundle.calibration.windows_per_day,
            bundle.calibration.cap,
            self._policy.rules.of(self.source),
            bundle.vocabulary,
            bundle.source_format,
            self._zone_of,
            state,
        )

    def _zone_of(self, stream: str) -> tzinfo:
        return zone(self._origins.get(origin_of(stream), self._bundle.source_format).zone)

    # --- checkpoint ----------------------------------------------------------------------------------------------

    def checkpoint(self) -> SourceRow:
        """Return what a restart needs; the snapshot only where it is newer than the last one returned."""
        snapshot, self._snapshot = self._snapshot, None
        return SourceRow(
            source=self.source,
            bundle=self._bundle.id,
            state={
                "parser": self.parser.state(),
                "windower": self._windower.state(),
                "complete": [[index, self._open.windows[index].key] for index in self._complete],
                "shown": self._open.shown(),
                "waiting": [
                    [item.window, item.event.number, item.token, item.gap, item.before, *event_values(item.event.event)]
                    for item in self._waiting
                ],
                "since": base64.b64encode(self._since).decode(),
                "recent": list(self._recent),
                "number": self._next_number,
                "last_time": self._last_time,
                "last_token": self._last_token,
                "alarms": self.alarms.state(),
                "windows": self._windows,
                "last_strength": self._last_strength,
            },
            snapshot=snapshot,
            chunks=self._open.changes(),
            summary=self.summary(),
        )

    def _restore(self, row: SourceRow, scorer: Scorer) -> None:
        state = row.state
        assert row.snapshot is not None
        self.parser.restore(state["parser"])
        self._windower.restore(state["windower"])
        self._complete = deque(index for index, _ in state["complete"])
        unjudged = [(window.index, window.key) for window in self._windower.open.values()]
        self._open.restore([*unjudged, *((index, key) for index, key in state["complete"])], row.chunks)
        for index, shown in state["shown"].items():
            self._open.windows[int(index)].shown = shown
        for window in self._open.windows.values():
            if window.events:
                scores = EventScores.joined([event.scores for event in window.events], self._config)
                for nats in scores.surprisal_nats.tolist():
                    window.surprising(nats)
        for index, number, token, gap, before, *values in state["waiting"]:
            event = OpenEvent(number, Event(*values))
            self._open.windows[index].events.append(event)
            self._waiting.append(_Waiting(index, event, token, gap, before))
        self._model = SourceState.from_bytes(row.snapshot, self._bundle.model)
        self._snapshot = None
        self._since = bytearray(base64.b64decode(state["since"]))
        if self._since:
            tokens, gaps = zip(*_STEP.iter_unpack(self._since), strict=True)
            scorer.score([NewEvents(self._model, tokens, gaps)])
        self._recent.extend((number, position, text) for number, position, text in state["recent"])
        self._next_number = state["number"]
        self._last_time = state["last_time"]
        self._last_token = state["last_token"]
        self.alarms = self._new_alarms(state["alarms"])
        self._windows = state["windows"]
        self._last_strength = state["last_strength"]

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
            "zone": self.parser.format.zone,
            "envelope": envelope_table(self.parser.format.envelope),
            "decimal": self._bundle.source_format.decimal,
            "schema_changes": self.parser.schema_changes,
            "digit_sensitive_masks": list(self._bundle.source_format.mask_set().digit_sensitive),
            "windows": self._windows,
            "unjudged": len(self._complete),
            "unshown": self._open.events - sum(self._open.shown().values()),
            "open_windows": len(self._open.windows),
            "open_events": self._open.events,
            "last_event": iso(self._windower.watermark.latest),
            "watermark": iso(self.watermark),
            **self.counts,
            "last_strength": self._last_strength,
            "threshold": self.alarms.threshold,
            "alarms": self.alarms.summary(),
            "open_incidents": int(self.alarms.incident_open),
            "bundle": self._bundle.id,
            "not_judged": not_judged(self._bundle),
        }


def score(scorer: Scorer, pipelines: Iterable[SourcePipeline], *, now: bool) -> None:
    """Score what is due of sources, together; with `now` everything that waits."""
    due = [(pipeline, events) for pipeline in pipelines if (events := pipeline.due(now=now)) is not None]
    for (pipeline, _), explained in zip(due, scorer.explain([events for _, events in due]), strict=True):
        pipeline.scored(explained)


def take(scorer: Scorer, pipelines: Iterable[SourcePipeline]) -> list[Produced]:
    """Return what is complete of each; alarms are examined together."""
    return read(scorer, [pipeline.take() for pipeline in pipelines])
