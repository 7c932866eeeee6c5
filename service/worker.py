"""The worker: inputs to the store, one transaction a batch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ingestion import DeadLettersUndelivered, Input, Outage, Record, SourceFormat, split_sources
from service.alarms.policy import AlarmPolicy
from service.bundle import Bundle
from service.dead_letters import DeadLetterShare, DeadLetterSink, kept
from service.errors import StoreUnavailable, Superseded
from service.feedback_store import FeedbackStore
from service.metrics import STAGES, Metrics
from service.pipeline import Produced, SourcePipeline, score
from service.showing import Shown
from service.store import Batch, Store

_LOG = logging.getLogger("logvq.worker")
# How long one input may keep the others waiting when it has nothing; Kafka's client needs some time to fetch.
_POLL_SECONDS = 0.05
# By this machine's clock an open multi-line event waits this many times its format's silence: the silence itself is
# measured by when lines were received, so that a replay cuts alike.
FLUSH_PATIENCE = 2.0
_FLUSH_EVERY_SECONDS = 0.5
# How long a complete window may wait for events that fill its last block: scoring whole blocks is twice as fast.
WAIT_SECONDS = 0.25
# Quiet windows of a source that keep their raw lines; alarms keep theirs for good.
KEEP_WINDOWS = 20_000
_SWEEP_WINDOWS = 500
# A dead letter keeps at most this much of its line in the database: hostile input must not fill the disk.
_DEAD_LETTER_BYTES = 1 << 20
# Lines of one transaction at most: packed records can bring tens of thousands at once.
_BATCH_LINES = 4000
# While the store is away: how often the inputs are asked, which keeps a Kafka member in its group.
_AWAY_SECONDS = 0.5
# A source whose complete windows nobody has judged for so long belongs to no worker that lives.
ORPHAN_SECONDS = 5.0
# A thousand silent sources keep those that speak waiting no longer than this a round.
_ORPHANS_ROUND_SECONDS = 0.2


class Worker:
    """Reads inputs, runs every source's pipeline, and stores what comes of it.

    A batch's results, its sources' states and the streams' next positions are stored in one transaction; only then does
    the input hear of it. A crash between any two steps therefore repeats work, never its results.

    Other workers may share the store, and partitions and their sources move between them. A worker that was frozen or
    cut off may not know yet that its partitions have gone; what it then tries to store is refused as a whole, and it
    reads again from what the store says. A store that is away pauses everything in the same way.

    Args:
        bundle: what scores.
        store: where results go.
        inputs: what is read; their owner's positions are `next_position`.
        metrics: this process's metrics.
        policy: budgets and rules.
        origins: formats of streams that differ from the bundle's.
        dead_letters: where dead letters go besides the store.
        max_dead_share: share of dead letters among the latest lines above which the worker stops.

    Attributes:
        error: why the worker stopped by itself.
        waiting_for: what keeps the worker from storing anything; None while it works.
    """

    def __init__(
        self,
        bundle: Bundle,
        store: Store,
        inputs: Sequence[Input],
        metrics: Metrics,
        policy: AlarmPolicy,
        origins: Mapping[str, SourceFormat] | None = None,
        *,
        dead_letters: DeadLetterSink | None = None,
        max_dead_share: float = 1.0,
    ) -> None:
        self.error: Exception | None = None
        self.waiting_for: Exception | None = None
        self._bundle = bundle
        self._store = store
        self._inputs = list(inputs)
        self._shown = Shown(metrics)
        self._policy = policy
        self._feedback = FeedbackStore(store)
        self._heard = 0
        self._origins = dict(origins or {})
        self._dead_letters = dead_letters
        self._dead_share = DeadLetterShare(max_dead_share)
        self._scorer = bundle.scorer()
        self._pipelines: dict[str, SourcePipeline] = {}
        # What the store must still say when results of these streams and sources are stored.
        self._positions: dict[str, int | None] = {}
        self._versions: dict[str, int] = {}
        self._streams: dict[str, set[str]] = {}
        self._last_fed: dict[str, float] = {}
        self._flush_due = 0.0
        self._waiting: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._orphans: dict[str, int] = {}
        self._orphans_due = 0.0
        self._outage = Outage(_LOG.warning, None)

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run in a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the worker has stopped."""
        assert self._thread is not None
        self._thread.join()

    def stop(self) -> None:
        """Finish the batch at hand, store it, and release the inputs."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for item in self._inputs:
            item.close()
        if self._dead_letters is not None:
            self._dead_letters.close()

    @property
    def encoding(self) -> str:
        """The encoding sources write in."""
        return self._bundle.source_format.encoding

    @property
    def is_alive(self) -> bool:
        """Whether the worker is at work."""
        return self._thread is not None and self._thread.is_alive()

    def next_position(self, stream: str) -> int | None:
        """Return where an input goes on with a stream; None for one never read.

        Results of what is read from there can be stored for as long as no other worker moves the stream on.
        """
        self._positions[stream] = self._store.next_position(stream)
        return self._positions[stream]

    def forget(self, streams: Collection[str]) -> None:
        """Drop what is in memory of streams and their sources: the store has it, and another worker may go on there."""
        for stream in streams:
            self._positions.pop(stream, None)
        gone = [source for source, theirs in self._streams.items() if theirs.intersection(streams)]
        for source in gone:
            self._drop(source)
        if gone:
            _LOG.info("%s: let go of %d sources", ", ".join(sorted(streams)), len(gone))

    def _drop(self, source: str) -> None:
        for held in (
            self._pipelines,
            self._versions,
            self._streams,
            self._last_fed,
            self._waiting,
        ):
            held.pop(source, None)
        self._shown.forget(source)

    def _run(self) -> None:
        try:
            self.resume()
            while not self._stop.is_set():
                self._round()
        except Exception as error:
            # Nothing is lost: a restart goes on from the last stored batch. Whoever started the worker ends it all.
            _LOG.exception("the worker stopped")
            self.error = error

    def resume(self) -> None:
        """Judge what nobody had judged yet when the worker before this one ended: whole windows, and open ones.

        Their sources may never speak again: a machine that fails is silent. Where others share the store, it waits
        until it is sure that none of them is at it.
        """
        left = [item["id"] for item in self._store.source_summaries() if item.get("unjudged") or item.get("unshown")]
        rows = {source: row for source in left if (row := self._store.load_source(source)) is not None}
        self._orphans = {source: row.version for source, row in rows.items()}
        self._orphans_due = time.monotonic() + (ORPHAN_SECONDS if self._store.is_shared else 0.0)
        self._judge_orphans()

    def _judge_orphans(self) -> None:
        now = time.monotonic()
        if not self._orphans or now < self._orphans_due:
            return
        for source, version in list(self._orphans.items()):
            if time.monotonic() - now > _ORPHANS_ROUND_SECONDS:
                return
            if source not in self._pipelines:
                try:
                    self._pipeline(source)
                    if self._versions[source] == version:
                        self._store_batch(self._score([source], now=True), {})
                        self._provisional([source])
                finally:
                    # Its partition may be another's.
                    self._drop(source)
            del self._orphans[source]

    def _round(self) -> None:
        fed = away = False
        for item in self._inputs:
            try:
                records = item.poll(_POLL_SECONDS)
                if records:
                    fed = True
                    self._take(item, records)
            except StoreUnavailable as error:
                away = True
                self._wait(error)
            self._shown.beat("ingested")
            self._shown.lag(item)
        self._rest(fed=fed, away=away)

    def _rest(self, *, fed: bool, away: bool) -> None:
        """Do what is due by the clock, after every input had its turn."""
        try:
            self._hear()
            # A source may be silent while others keep the worker busy.
            self._flush_silent()
            self._judge_orphans()
            if fed:
                self._judge_overdue()
            else:
                self._idle()
        except Superseded as lost:
            _LOG.warning("%s; reading again from what is stored", lost)
            self._start_over()
        except StoreUnavailable as error:
            self._start_over()
            self._wait(error)
        else:
            if not fed and not away and isinstance(self.waiting_for, StoreUnavailable):
                self._works()

    def _hear(self) -> None:
        """Take what operators have said since."""
        latest = self._feedback.latest()
        if latest != self._heard:
            for source in self._feedback.sources_since(self._heard) & self._pipelines.keys():
                self._pipelines[source].hear(self._feedback.heard(source, self._bundle.id))
            self._heard = latest

    def _start_over(self) -> None:
        streams = set(self._positions)
        self.forget(streams)
        for item in self._inputs:
            item.rewind(streams)

    def _take(self, item: Input, records: Sequence[Record]) -> None:
        """Process what an input handed over; where it cannot be stored, the input hands it over again."""
        streams = {record.stream for record in records}
        try:
            self.process(item, records)
        except Superseded as lost:
            _LOG.warning("%s; reading again from what is stored", lost)
            self.forget(streams)
            item.rewind(streams)
        except (StoreUnavailable, DeadLettersUndelivered) as away:
            # The transaction may have been stored all the same: only the store knows.
            self.forget(streams)
            item.rewind(streams)
            self._wait(away)
        else:
            self._works()

    def _works(self) -> None:
        self._outage.ended("results are stored again")
        self.waiting_for = None

    def _wait(self, away: StoreUnavailable | DeadLettersUndelivered) -> None:
        self.waiting_for = away
        if self._outage.seconds_to_next_try() <= 0:
            self._outage.failed(f"nothing is stored or read on: {away}", type(away))
        self._stop.wait(_AWAY_SECONDS)

    # --- one batch -----------------------------------------------------------------------------------------------

    def process(self, item: Input, records: Sequence[Record]) -> None:
        """Take records through to the store, in one transaction or several.

        Raises:
            Superseded: another worker has taken over.
            StoreUnavailable: the store is away.
            DeadLettersUndelivered: the topic of dead letters is away.
            TooManyDeadLetters: more lines than allowed cannot be read.
            In all of these, what was not stored must be read again.
        """
        for batch in _batches(records):
            self._process(item, batch)

    def _process(self, item: Input, records: Sequence[Record]) -> None:
        by_source: dict[str, list[Record]] = {}
        positions: dict[str, int] = {}
        marks: dict[str, bytes] = {}
        for record in records:
            if record.stream not in positions:
                self._check_start(record)
            for part in split_sources(record, self._origins):
                by_source.setdefault(part.source, []).append(part)
            positions[record.stream] = record.next_position
            if record.mark is not None:
                marks[record.stream] = record.mark
        started = time.monotonic()
        for source, theirs in by_source.items():
            pipeline = self._pipeline(source)
            self._streams[source].update(record.stream for record in theirs)
            pipeline.feed(theirs)
            self._last_fed[source] = started
        produced = self._score(by_source, now=False)
        self._shown.took("score", time.monotonic() - started)
        self._shown.beat("scored")
        dead = [(source, one) for source, made in produced.items() for one in kept(made.dropped)]
        self._dead_share.check(len(records), dead)
        if dead and self._dead_letters is not None:
            self._dead_letters.send(dead)
        self._store_batch(produced, positions, marks)
        self._dead_share.add(len(records), len(dead))
        item.committed(positions)
        self._shown.consumed(records)

    def _check_start(self, record: Record) -> None:
        """See that a stream whose position nobody asked for is not read twice."""
        if record.stream in self._positions:
            return
        stored = self.next_position(record.stream)
        if stored is not None and record.position < stored:
            raise Superseded(f"another worker has read {record.stream} on from {record.position}")

    def finish(self) -> None:
        """Close every open event and judge every open window, provisionally: the input has ended."""
        for pipeline in self._pipelines.values():
            pipeline.flush()
        self._store_batch(self._score(self._pipelines, now=True), {})
        self._provisional(self._pipelines)

    def _flush_silent(self) -> None:
        now = time.monotonic()
        if now < self._flush_due:
            return
        self._flush_due = now + _FLUSH_EVERY_SECONDS
        silent = [
            source
            for source, pipeline in self._pipelines.items()
            if pipeline.parser.is_open
            and now - self._last_fed.get(source, now) > FLUSH_PATIENCE * pipeline.parser.idle_seconds
        ]
        for source in silent:
            self._pipelines[source].flush()
        if silent:
            self._store_batch(self._score(silent, now=True), {})

    def _score(self, sources: Iterable[str], *, now: bool) -> dict[str, Produced]:
        """Score what is due of sources, together, and judge what is complete."""
        pipelines = {source: self._pipelines[source] for source in sources}
        score(self._scorer, pipelines.values(), now=now)
        produced = {}
        for source, pipeline in pipelines.items():
            produced[source] = pipeline.take()
            if pipeline.is_waiting:
                self._waiting.setdefault(source, time.monotonic())
            else:
                self._waiting.pop(source, None)
        return produced

    def _judge_overdue(self) -> None:
        """Judge windows that have waited for scores long enough, on behalf of sources that are slower than others."""
        now = time.monotonic()
        overdue = [source for source, since in self._waiting.items() if now - since >= WAIT_SECONDS]
        if overdue:
            self._store_batch(self._score(overdue, now=True), {})

    def _idle(self) -> None:
        touched = set(self._waiting)
        touched |= {source for source, pipeline in self._pipelines.items() if pipeline.due(now=True) is not None}
        if touched:
            self._store_batch(self._score(sorted(touched), now=True), {})
        self._provisional(self._pipelines)
        for stage in STAGES:
            self._shown.beat(stage)

    def _provisional(self, sources: Iterable[str]) -> None:
        found = {source: self._pipelines[source].provisional() for source in sources}
        produced = {source: Produced(provisional=rows) for source, rows in found.items() if rows}
        if produced:
            self._store_batch(produced, {})

    def _pipeline(self, source: str) -> SourcePipeline:
        pipeline = self._pipelines.get(source)
        if pipeline is None:
            row = self._store.load_source(source)
            pipeline = SourcePipeline(source, self._bundle, self._scorer, self._policy, row, self._origins)
            pipeline.hear(self._feedback.heard(source, self._bundle.id))
            self._pipelines[source] = pipeline
            self._versions[source] = 0 if row is None else row.version
            self._streams[source] = set()
            self._shown.begin(source, pipeline)
        return pipeline

    def _store_batch(
        self, produced: Mapping[str, Produced], positions: Mapping[str, int], marks: Mapping[str, bytes] | None = None
    ) -> None:
        started = time.monotonic()
        batch = Batch(
            positions=dict(positions),
            marks=dict(marks or {}),
            positions_before=self._positions,
            versions={source: self._versions[source] for source in produced},
        )
        for source, made in produced.items():
            batch.sources.append(self._pipelines[source].checkpoint())
            batch.windows += made.windows + made.provisional
            batch.incidents += made.incidents
            batch.dead_letters += [
                {
                    "source": source,
                    "stream": dropped.stream,
                    "position": dropped.position,
                    "reason": dropped.reason,
                    "value": dropped.value[:_DEAD_LETTER_BYTES],
                }
                for dropped in kept(made.dropped)
            ]
        self._store.commit(batch)
        self._positions.update(positions)
        for source in produced:
            self._versions[source] += 1
        self._forget_lines(batch)
        for source, made in produced.items():
            self._shown.publish(source, self._pipelines[source], made)
        self._shown.device_fallback(self._scorer.device_fallback)
        self._shown.took("store", time.monotonic() - started)
        self._shown.beat("stored")

    def _forget_lines(self, batch: Batch) -> None:
        for window in batch.windows:
            if window["index"] >= KEEP_WINDOWS and window["index"] % _SWEEP_WINDOWS == 0:
                self._store.forget_lines(window["source"], window["index"] - KEEP_WINDOWS)


def _batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Cut records where reading can go on: never within a Kafka record that packs several lines."""
    begin = 0
    for end, record in enumerate(records, start=1):
        if end - begin >= _BATCH_LINES and record.next_position != record.position:
            yield records[begin:end]
            begin = end
    if begin < len(records):
        yield records[begin:]
