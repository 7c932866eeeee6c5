"""The worker: inputs to the store, one transaction a batch."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy

from ingestion import Accounting, DeadLettersUndelivered, Input, Outage, Record
from service.bundle import Bundle
from service.dead_letters import DeadLetterShare, DeadLetterSink, kept
from service.errors import StoreUnavailable, Superseded
from service.metrics import STAGES, Metrics
from service.pipeline import Produced, SourcePipeline
from service.store import INBOX_STREAM, Batch, Store

_LOG = logging.getLogger("logvq.worker")
# How long one input may keep the others waiting when it has nothing; Kafka's client needs some time to fetch.
_POLL_SECONDS = 0.05
# Silence after which an open multi-line event is taken to be complete.
FLUSH_SECONDS = 5.0
# Quiet windows of a source that keep their raw lines; alarms keep theirs for good.
KEEP_WINDOWS = 20_000
_SWEEP_WINDOWS = 500
# A dead letter keeps at most this much of its line in the database: hostile input must not fill the disk.
_DEAD_LETTER_BYTES = 1 << 20
# Lines of one transaction at most: packed records can bring tens of thousands at once.
_BATCH_LINES = 4000
# While the store is away: how often the inputs are asked, which keeps a Kafka member in its group.
_AWAY_SECONDS = 0.5


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
        threshold: score from which on a window is an alarm.
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
        threshold: float,
        *,
        dead_letters: DeadLetterSink | None = None,
        max_dead_share: float = 1.0,
    ) -> None:
        self.error: Exception | None = None
        self.waiting_for: Exception | None = None
        self._bundle = bundle
        self._store = store
        self._inputs = list(inputs)
        self._metrics = metrics
        self._threshold = threshold
        self._dead_letters = dead_letters
        self._dead_share = DeadLetterShare(max_dead_share)
        self._scorer = bundle.scorer()
        self._pipelines: dict[str, SourcePipeline] = {}
        # What the store must still say when results of these streams and sources are stored.
        self._positions: dict[str, int | None] = {}
        self._versions: dict[str, int] = {}
        self._streams: dict[str, set[str]] = {}
        self._last_fed: dict[str, float] = {}
        self._lag_streams: dict[Input, set[str]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._published: dict[str, Accounting] = {}
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
            for held in (self._pipelines, self._versions, self._streams, self._last_fed, self._published):
                held.pop(source, None)
            self._metrics.forget_source(source)
        if gone:
            _LOG.info("%s: let go of %d sources", ", ".join(sorted(streams)), len(gone))

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._round()
        except Exception as error:
            # Nothing is lost: a restart goes on from the last stored batch. Whoever started the worker ends it all.
            _LOG.exception("the worker stopped")
            self.error = error

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
            self._beat("ingested")
            self._set_lag(item)
        if not fed:
            self._idle()
            if not away and isinstance(self.waiting_for, StoreUnavailable):
                self._works()

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
        for record in records:
            by_source.setdefault(record.source, []).append(record)
            if record.stream not in positions:
                self._check_start(record)
            positions[record.stream] = record.next_position
        started = time.monotonic()
        produced: dict[str, Produced] = {}
        for source, theirs in by_source.items():
            pipeline = self._pipeline(source)
            self._streams[source].update(record.stream for record in theirs)
            produced[source] = pipeline.feed(theirs)
            self._last_fed[source] = started
        self._metrics.observe("logvq_scoring_duration_seconds", time.monotonic() - started, stage="score")
        self._beat("scored")
        dead = [(source, one) for source, made in produced.items() for one in kept(made.dropped)]
        self._dead_share.check(len(records), dead)
        if dead and self._dead_letters is not None:
            self._dead_letters.send(dead)
        self._store_batch(produced, positions)
        self._dead_share.add(len(records), len(dead))
        item.committed(positions)
        for stream, count in Counter(record.stream for record in records).items():
            self._metrics.add("logvq_records_consumed_total", count, topic=_topic(stream)[0])
        received = records[-1].timestamp
        if received is not None:
            self._metrics.observe("logvq_end_to_end_seconds", max(0.0, time.time() - received))

    def _check_start(self, record: Record) -> None:
        """See that a stream whose position nobody asked for is not read twice."""
        if record.stream in self._positions:
            return
        stored = self.next_position(record.stream)
        if stored is not None and record.position < stored:
            raise Superseded(f"another worker has read {record.stream} on from {record.position}")

    def finish(self) -> None:
        """Close every open event and judge every open window, provisionally: the input has ended."""
        produced = {source: pipeline.flush() for source, pipeline in self._pipelines.items()}
        self._store_batch(produced, {})
        self._provisional()

    def _idle(self) -> None:
        now = time.monotonic()
        silent = {
            source: pipeline
            for source, pipeline in self._pipelines.items()
            if pipeline.parser.is_open and now - self._last_fed.get(source, now) > FLUSH_SECONDS
        }
        try:
            if silent:
                self._store_batch({source: pipeline.flush() for source, pipeline in silent.items()}, {})
            self._provisional()
        except Superseded as lost:
            _LOG.warning("%s; reading again from what is stored", lost)
            self._start_over()
        except StoreUnavailable as away:
            self._start_over()
            self._wait(away)
        else:
            for stage in STAGES:
                self._beat(stage)

    def _start_over(self) -> None:
        streams = set(self._positions)
        self.forget(streams)
        for item in self._inputs:
            item.rewind(streams)

    def _provisional(self) -> None:
        rows = [row for pipeline in self._pipelines.values() if (row := pipeline.provisional()) is not None]
        if rows:
            versions = {row["source"]: self._versions[row["source"]] for row in rows}
            self._store.commit(Batch(windows=rows, versions=versions))

    def _pipeline(self, source: str) -> SourcePipeline:
        pipeline = self._pipelines.get(source)
        if pipeline is None:
            row = self._store.load_source(source)
            pipeline = SourcePipeline(source, self._bundle, self._scorer, self._threshold, row)
            self._pipelines[source] = pipeline
            self._versions[source] = 0 if row is None else row.version
            self._streams[source] = set()
            # What was counted before is another process's to show.
            self._published[source] = deepcopy(pipeline.parser.accounting)
        return pipeline

    def _store_batch(self, produced: Mapping[str, Produced], positions: Mapping[str, int]) -> None:
        started = time.monotonic()
        batch = Batch(
            positions=dict(positions),
            positions_before=self._positions,
            versions={source: self._versions[source] for source in produced},
        )
        for source, made in produced.items():
            batch.sources.append(self._pipelines[source].checkpoint())
            batch.windows += made.windows
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
            self._publish(source, made)
        self._metrics.observe("logvq_scoring_duration_seconds", time.monotonic() - started, stage="store")
        self._beat("stored")

    def _forget_lines(self, batch: Batch) -> None:
        for window in batch.windows:
            if window["index"] >= KEEP_WINDOWS and window["index"] % _SWEEP_WINDOWS == 0:
                self._store.forget_lines(window["source"], window["index"] - KEEP_WINDOWS)

    # --- metrics -------------------------------------------------------------------------------------------------

    def _publish(self, source: str, made: Produced) -> None:
        pipeline, label, metrics = self._pipelines[source], self._metrics.source(source), self._metrics
        now = pipeline.parser.accounting
        before = self._published[source]
        self._published[source] = deepcopy(now)
        dropped = sum(now.dropped.values()) - sum(before.dropped.values())
        metrics.add("logvq_lines_total", now.parsed - before.parsed, source=label, outcome="parsed")
        metrics.add("logvq_lines_total", now.unparsed - before.unparsed, source=label, outcome="unparsed")
        metrics.add("logvq_lines_total", dropped, source=label, outcome="dropped")
        metrics.add("logvq_unseen_tokens_total", now.unparsed - before.unparsed, source=label)
        metrics.add("logvq_decode_replacements_total", now.replaced - before.replaced, source=label)
        metrics.add("logvq_windows_total", len(made.windows), source=label)
        opened = sum(1 for incident in made.incidents if incident["windows"] == 1 and incident["status"] == "open")
        metrics.add("logvq_incidents_opened_total", opened, source=label)
        metrics.set("logvq_incidents_open", float(pipeline.incident_open), source=label)
        metrics.set("logvq_source_threshold", self._threshold, source=label)
        metrics.set("logvq_device_fallback", float(self._scorer.device_fallback))
        for window in made.windows[-1:]:
            metrics.set("logvq_source_score", window["score"], source=label)
        if pipeline.watermark is not None:
            metrics.set("logvq_watermark_timestamp_seconds", pipeline.watermark, source=label)
        for item in kept(made.dropped):
            metrics.add("logvq_dead_letters_total", reason=item.reason)

    def _beat(self, stage: str) -> None:
        self._metrics.set("logvq_heartbeat_timestamp_seconds", time.time(), stage=stage)

    def _set_lag(self, item: Input) -> None:
        try:
            found = item.lag()
        except StoreUnavailable:
            return
        for stream in self._lag_streams.get(item, set()) - set(found):
            topic, partition = _topic(stream)
            self._metrics.remove("logvq_consumer_lag_records", topic=topic, partition=partition)
        self._lag_streams[item] = set(found)
        for stream, lag in found.items():
            topic, partition = _topic(stream)
            self._metrics.set("logvq_consumer_lag_records", lag, topic=topic, partition=partition)
            if topic == INBOX_STREAM:
                self._metrics.set("logvq_inbox_lines", lag)


def _batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Cut records where reading can go on: never within a Kafka record that packs several lines."""
    begin = 0
    for end, record in enumerate(records, start=1):
        if end - begin >= _BATCH_LINES and record.next_position != record.position:
            yield records[begin:end]
            begin = end
    if begin < len(records):
        yield records[begin:]


def _topic(stream: str) -> tuple[str, str]:
    """Return the labels of a stream: Kafka's topic and partition; other inputs are their own topic."""
    kind, *rest = stream.split(":")
    return (rest[0], rest[1]) if kind == "kafka" else (kind, "0")
