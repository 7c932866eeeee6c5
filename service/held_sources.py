"""The sources one process has in memory: each from its checkpoint in the store to the rows of the next one."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from ingestion import Record, SourceFormat
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.dead_letters import kept
from service.feedback_store import FeedbackStore
from service.pipeline import Produced, SourcePipeline, score, take
from service.showing import Shown
from service.store import Batch, SourceRow, Store

_LOG = logging.getLogger("logvq.worker")
# By this machine's clock an open multi-line event waits this many times its format's silence: the silence itself is
# measured by when lines were received, so that a replay cuts alike.
FLUSH_PATIENCE = 2.0
# How long a complete window may wait for events that fill its last block: scoring whole blocks is twice as fast.
WAIT_SECONDS = 0.25
# A source without a line for so long has its open windows shown, though others keep the worker busy: what a machine
# wrote last before it failed is what people look for. So many sources at a time, so that others do not wait for them.
REST_SECONDS = 2.0
_RESTING_AT_ONCE = 64
# Quiet windows of a source that keep their raw lines; alarms keep theirs for good.
KEEP_WINDOWS = 20_000
_SWEEP_WINDOWS = 500
# A dead letter keeps at most this much of its line in the database, and says how long the line is: hostile input must
# not fill the disk.
DEAD_LETTER_BYTES = 1 << 20


@dataclass
class _Held:
    """One source.

    Attributes:
        pipeline: its state.
        version: how often the store holds it; what is stored next must find it so.
        ended: rows of incidents that another bundle left open, closed, until they are stored.
        streams: that brought its lines.
        fed: when it last had lines, on this machine's clock; None for one that has had none here.
        waiting: since when it has a complete window that is not scored; None where it has none.
        shown: whether its open windows are shown as they stand.
    """

    pipeline: SourcePipeline
    version: int
    ended: list[dict[str, Any]] = field(default_factory=list)
    streams: set[str] = field(default_factory=set)
    fed: float | None = None
    waiting: float | None = None
    shown: bool = False


class HeldSources:
    """Loads, feeds, scores and stores sources; what they hold is dropped when another worker may go on with them.

    Args:
        bundle: what scores.
        store: where sources come from and results go.
        shown: told what was stored.
        policy: budgets and rules.
        origins: how streams are written that differ from the bundle's format.
    """

    def __init__(
        self,
        bundle: Bundle,
        store: Store,
        shown: Shown,
        policy: AlarmPolicy,
        origins: Mapping[str, SourceFormat],
    ) -> None:
        self._bundle = bundle
        self._store = store
        self._shown = shown
        self._policy = policy
        self._feedback = FeedbackStore(store)
        self._heard = 0
        self._origins = origins
        self._scorer = bundle.scorer()
        self._held: dict[str, _Held] = {}

    def __contains__(self, source: str) -> bool:
        return source in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._held))

    def version(self, source: str) -> int:
        """Return how often a source had been stored, loading it where it is not held."""
        return self._load(source).version

    def drop(self, sources: Iterable[str]) -> None:
        """Let go of sources: the store has them."""
        for source in sources:
            if self._held.pop(source, None) is not None:
                self._shown.forget(source)

    def drop_streams(self, streams: Collection[str]) -> None:
        """Let go of the sources that streams brought."""
        gone = [source for source, held in self._held.items() if held.streams.intersection(streams)]
        self.drop(gone)
        if gone:
            _LOG.info("%s: let go of %d sources", ", ".join(sorted(streams)), len(gone))

    def feed(self, by_source: Mapping[str, Sequence[Record]]) -> dict[tuple[str, str], int]:
        """Take records, in order, by source; return the lines whose fate that decided, by stream and source."""
        now = time.monotonic()
        lines: dict[tuple[str, str], int] = {}
        for source, records in by_source.items():
            held = self._load(source)
            for stream, some in groupby(records, key=attrgetter("stream")):
                before = held.pipeline.parser.accounting.consumed
                held.pipeline.feed(some)
                consumed = held.pipeline.parser.accounting.consumed - before
                lines[stream, source] = lines.get((stream, source), 0) + consumed
                held.streams.add(stream)
            held.fed, held.shown = now, False
        return lines

    def hear(self) -> None:
        """Take what operators have said since."""
        latest = self._feedback.latest()
        if latest != self._heard:
            for source in self._feedback.sources_since(self._heard) & self._held.keys():
                self._held[source].pipeline.hear(self._feedback.heard(source, self._bundle.id))
            self._heard = latest

    def flush(self, sources: Iterable[str]) -> None:
        """Close the open events of sources."""
        for source in sources:
            self._held[source].pipeline.flush()
            self._held[source].shown = False

    def silent(self) -> list[str]:
        """Return the sources whose open event has waited long enough for another line."""
        now = time.monotonic()
        return [
            source
            for source, held in self._held.items()
            if held.pipeline.parser.is_open
            and held.fed is not None
            and now - held.fed > FLUSH_PATIENCE * held.pipeline.parser.idle_seconds
        ]

    def resting(self) -> list[str]:
        """Return sources that have been silent for a while and are not shown as they stand, not all at once."""
        before = time.monotonic() - REST_SECONDS
        found = (
            source
            for source, held in self._held.items()
            if not held.shown and held.fed is not None and held.fed <= before
        )
        return list(islice(found, _RESTING_AT_ONCE))

    def overdue(self) -> list[str]:
        """Return the sources whose complete windows have waited for scores long enough; others are faster."""
        now = time.monotonic()
        return [
            source
            for source, held in self._held.items()
            if held.waiting is not None and now - held.waiting >= WAIT_SECONDS
        ]

    def unfinished(self) -> list[str]:
        """Return the sources that have events to score or windows to judge."""
        return sorted(
            source
            for source, held in self._held.items()
            if held.waiting is not None or held.pipeline.due(now=True) is not None
        )

    def score(self, sources: Iterable[str], *, now: bool) -> dict[str, Produced]:
        """Score what is due of sources, together, and judge what is complete."""
        held = {source: self._held[source] for source in sources}
        score(self._scorer, (one.pipeline for one in held.values()), now=now)
        produced = dict(zip(held, take(self._scorer, (one.pipeline for one in held.values())), strict=True))
        for one in held.values():
            if not one.pipeline.is_waiting:
                one.waiting = None
            elif one.waiting is None:
                one.waiting = time.monotonic()
        return produced

    def provisional(self, sources: Iterable[str]) -> dict[str, Produced]:
        """Judge the open windows of sources that have changed since."""
        found = {}
        for source in sources:
            found[source] = self._held[source].pipeline.provisional()
            self._held[source].shown = True
        return {source: produced for source, produced in found.items() if produced.provisional}

    def store(self, produced: Mapping[str, Produced], batch: Batch | None = None) -> None:
        """Store what sources led to with their checkpoints, in one transaction.

        Args:
            produced: by source.
            batch: the positions it was read from; None where nothing was read.

        Raises:
            Superseded: another worker has taken over; nothing was stored.
            StoreUnavailable: the store is away; whether it was stored, only the store knows.
        """
        started = time.monotonic()
        batch = batch or Batch()
        batch.versions = {source: self._held[source].version for source in produced}
        for source, made in produced.items():
            batch.sources.append(self._held[source].pipeline.checkpoint())
            batch.windows += made.windows + made.provisional
            batch.incidents += self._held[source].ended + made.incidents + made.foreseen
            batch.dead_letters += [
                {
                    "source": source,
                    "stream": dropped.stream,
                    "position": dropped.position,
                    "reason": dropped.reason,
                    "value": dropped.value[:DEAD_LETTER_BYTES],
                    "length": len(dropped.value) if dropped.length is None else dropped.length,
                    "received": dropped.received,
                }
                for dropped in kept(made.dropped)
            ]
        self._store.commit(batch)
        for source in produced:
            self._held[source].version += 1
            self._held[source].ended = []
        self._forget_lines(batch)
        for source, made in produced.items():
            self._shown.publish(source, self._held[source].pipeline, made)
        self._shown.device_fallback(self._scorer.device_fallback)
        self._shown.took("store", time.monotonic() - started)
        self._shown.beat("stored")

    def _load(self, source: str) -> _Held:
        held = self._held.get(source)
        if held is None:
            row: SourceRow | None = self._store.load_source(source)
            pipeline = SourcePipeline(source, self._bundle, self._scorer, self._policy, row, self._origins)
            pipeline.hear(self._feedback.heard(source, self._bundle.id))
            held = self._held[source] = _Held(pipeline, 0 if row is None else row.version)
            if row is not None and row.bundle != self._bundle.id:
                left = self._store.left_open(source, self._bundle.id)
                held.ended = [incident | {"status": "closed"} for incident in left]
            self._shown.begin(source, pipeline)
        return held

    def _forget_lines(self, batch: Batch) -> None:
        for window in batch.windows:
            if window["index"] >= KEEP_WINDOWS and window["index"] % _SWEEP_WINDOWS == 0:
                self._store.forget_lines(window["source"], window["index"] - KEEP_WINDOWS)
