"""The worker: inputs to the store, one transaction a batch."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy

from ingestion import DROP_REASONS, EMPTY_REASONS, Accounting, Input, Record, SourceFormat, split_sources
from service.bundle import Bundle
from service.metrics import STAGES, Metrics
from service.pipeline import Produced, SourcePipeline, score
from service.store import INBOX_STREAM, Batch, Store

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
# A dead letter keeps at most this much of its line: hostile input must not fill the disk.
_DEAD_LETTER_BYTES = 1 << 20
# What says nothing is counted and not kept.
DEAD_LETTER_REASONS = tuple(reason for reason in DROP_REASONS if reason not in EMPTY_REASONS)
_COUNTS = {
    "late": "logvq_late_events_total",
    "clock_steps": "logvq_clock_steps_total",
    "windows_cut": "logvq_windows_cut_total",
}


class Worker:
    """Reads inputs, runs every source's pipeline, and stores what comes of it.

    A batch's results, its sources' states and the streams' next positions are stored in one transaction; only then does
    the input hear of it. A crash between any two steps therefore repeats work, never its results.
    """

    def __init__(
        self,
        bundle: Bundle,
        store: Store,
        inputs: Sequence[Input],
        metrics: Metrics,
        threshold: float,
        origins: Mapping[str, SourceFormat] | None = None,
    ) -> None:
        self.error: Exception | None = None
        self._bundle = bundle
        self._store = store
        self._inputs = list(inputs)
        self._metrics = metrics
        self._threshold = threshold
        self._origins = dict(origins or {})
        self._scorer = bundle.scorer()
        self._pipelines: dict[str, SourcePipeline] = {}
        self._last_fed: dict[str, float] = {}
        self._flush_due = 0.0
        self._waiting: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._published: dict[str, Accounting] = {}
        self._counted: dict[str, dict[str, int]] = {}

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

    @property
    def encoding(self) -> str:
        """The encoding sources write in."""
        return self._bundle.source_format.encoding

    @property
    def is_alive(self) -> bool:
        """Whether the worker is at work."""
        return self._thread is not None and self._thread.is_alive()

    def forget(self, streams: Sequence[str]) -> None:
        """Drop the states in memory, because streams now belong to another worker; the store has them all."""
        _LOG.info("handing over %s", ", ".join(streams))
        self._pipelines.clear()
        self._waiting.clear()

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
        """Judge the windows that were complete but for scores when the worker before this one ended.

        Their sources may never speak again: a machine that fails is silent.
        """
        waiting = [summary["id"] for summary in self._store.source_summaries() if summary.get("unjudged")]
        for source in waiting:
            self._pipeline(source)
        if waiting:
            self._store_batch(self._score(waiting, now=True), {})

    def _round(self) -> None:
        fed = False
        for item in self._inputs:
            records = item.poll(_POLL_SECONDS)
            if records:
                fed = True
                self.process(item, records)
            self._beat("ingested")
            self._set_lag(item)
        # A source may be silent while others keep the worker busy.
        self._flush_silent()
        if not fed:
            self._idle()
        else:
            self._judge_overdue()

    # --- one batch -----------------------------------------------------------------------------------------------

    def process(self, item: Input, records: Sequence[Record]) -> None:
        """Take one batch of records through to the store."""
        by_source: dict[str, list[Record]] = {}
        positions: dict[str, int] = {}
        marks: dict[str, bytes] = {}
        for record in records:
            for part in split_sources(record, self._origins):
                by_source.setdefault(part.source, []).append(part)
            positions[record.stream] = record.next_position
            if record.mark is not None:
                marks[record.stream] = record.mark
        started = time.monotonic()
        for source, theirs in by_source.items():
            self._pipeline(source).feed(theirs)
            self._last_fed[source] = started
        produced = self._score(by_source, now=False)
        self._metrics.observe("logvq_scoring_duration_seconds", time.monotonic() - started, stage="score")
        self._beat("scored")
        self._store_batch(produced, positions, marks)
        item.committed(positions)
        for stream, count in Counter(record.stream for record in records).items():
            self._metrics.add("logvq_records_consumed_total", count, topic=_topic(stream)[0])
        received = records[-1].timestamp
        if received is not None:
            self._metrics.observe("logvq_end_to_end_seconds", max(0.0, time.time() - received))

    def finish(self) -> None:
        """Close every open event and judge every open window, provisionally: the input has ended."""
        for pipeline in self._pipelines.values():
            pipeline.flush()
        self._store_batch(self._score(self._pipelines, now=True), {})
        self._provisional()

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
        self._provisional()
        for stage in STAGES:
            self._beat(stage)

    def _provisional(self) -> None:
        rows = [row for pipeline in self._pipelines.values() for row in pipeline.provisional()]
        if rows:
            self._store.commit(Batch(windows=rows))

    def _pipeline(self, source: str) -> SourcePipeline:
        pipeline = self._pipelines.get(source)
        if pipeline is None:
            row = self._store.load_source(source)
            pipeline = SourcePipeline(source, self._bundle, self._scorer, self._threshold, row, self._origins)
            self._pipelines[source] = pipeline
        return pipeline

    def _store_batch(
        self, produced: dict[str, Produced], positions: dict[str, int], marks: dict[str, bytes] | None = None
    ) -> None:
        started = time.monotonic()
        batch = Batch(positions=dict(positions), marks=marks or {})
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
                for dropped in made.dropped
                if dropped.reason in DEAD_LETTER_REASONS
            ]
        self._store.commit(batch)
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
        before = self._published.get(source, Accounting())
        self._published[source] = deepcopy(now)
        dropped = sum(now.dropped.values()) - sum(before.dropped.values())
        metrics.add("logvq_lines_total", now.parsed - before.parsed, source=label, outcome="parsed")
        metrics.add("logvq_lines_total", now.unparsed - before.unparsed, source=label, outcome="unparsed")
        metrics.add("logvq_lines_total", dropped, source=label, outcome="dropped")
        metrics.add("logvq_unseen_tokens_total", now.unparsed - before.unparsed, source=label)
        for reason, count in now.noticed.items():
            if count > before.noticed.get(reason, 0):
                metrics.add("logvq_lines_noticed_total", count - before.noticed.get(reason, 0), reason=reason)
        metrics.add("logvq_decode_replacements_total", now.replaced - before.replaced, source=label)
        metrics.add("logvq_windows_total", len(made.windows), source=label)
        counts, known = pipeline.counts, self._counted.get(source, {})
        self._counted[source] = counts
        for name, metric in _COUNTS.items():
            metrics.add(metric, counts[name] - known.get(name, 0), source=label)
        opened = sum(1 for incident in made.incidents if incident["windows"] == 1 and incident["status"] == "open")
        metrics.add("logvq_incidents_opened_total", opened, source=label)
        metrics.set("logvq_incidents_open", float(pipeline.incident_open), source=label)
        metrics.set("logvq_source_threshold", self._threshold, source=label)
        metrics.set("logvq_device_fallback", float(self._scorer.device_fallback))
        for window in made.windows[-1:]:
            metrics.set("logvq_source_score", window["score"], source=label)
        if pipeline.watermark is not None:
            metrics.set("logvq_watermark_timestamp_seconds", pipeline.watermark, source=label)
        for item in made.dropped:
            if item.reason in DEAD_LETTER_REASONS:
                metrics.add("logvq_dead_letters_total", reason=item.reason)

    def _beat(self, stage: str) -> None:
        self._metrics.set("logvq_heartbeat_timestamp_seconds", time.time(), stage=stage)

    def _set_lag(self, item: Input) -> None:
        for stream, lag in item.lag().items():
            topic, partition = _topic(stream)
            self._metrics.set("logvq_consumer_lag_records", lag, topic=topic, partition=partition)
            if topic == INBOX_STREAM:
                self._metrics.set("logvq_inbox_lines", lag)


def _topic(stream: str) -> tuple[str, str]:
    """Return the labels of a stream: Kafka's topic and partition; other inputs are their own topic."""
    kind, *rest = stream.split(":")
    return (rest[0], rest[1]) if kind == "kafka" else (kind, "0")
