"""What the worker did, as metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from ingestion import Accounting, Input, Record
from service.dead_letters import kept
from service.errors import StoreUnavailable
from service.inbox_table import INBOX_STREAM
from service.metrics import Metrics
from service.pipeline import Produced, SourcePipeline

_COUNTS = {
    "late": "logvq_late_events_total",
    "clock_steps": "logvq_clock_steps_total",
    "windows_cut": "logvq_windows_cut_total",
}


class Shown:
    """Keeps a process's metrics up to date with its sources.

    Counters show what this process did: what a source had counted when it came here is another's to show.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._accounts: dict[str, Accounting] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._lag_streams: dict[Input, set[str]] = {}

    def begin(self, source: str, pipeline: SourcePipeline) -> None:
        """Take a source's counts as shown."""
        self._accounts[source] = pipeline.parser.accounting.copy()
        self._counts[source] = pipeline.counts

    def forget(self, source: str) -> None:
        """Drop a source that has gone elsewhere."""
        self._accounts.pop(source, None)
        self._counts.pop(source, None)
        self._metrics.forget_source(source)

    def publish(self, source: str, pipeline: SourcePipeline, made: Produced) -> None:
        """Show what was stored of a source."""
        label, metrics = self._metrics.source(source), self._metrics
        now, before = pipeline.parser.accounting, self._accounts[source]
        self._accounts[source] = now.copy()
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
        counts, known = pipeline.counts, self._counts[source]
        self._counts[source] = counts
        for name, metric in _COUNTS.items():
            metrics.add(metric, counts[name] - known[name], source=label)
        opened = {(incident["first_window"], incident["id"]) for incident in made.incidents}
        opened &= {(window["id"], window["incident"]) for window in made.windows}
        metrics.add("logvq_incidents_opened_total", len(opened), source=label)
        for name, value in pipeline.alarms.figures().items():
            metrics.set(name, value, source=label)
        for received in made.received:
            metrics.observe("logvq_end_to_end_seconds", max(0.0, time.time() - received))
        for window in made.windows[-1:]:
            metrics.set("logvq_source_score", window["strength"], source=label)
        if pipeline.watermark is not None:
            metrics.set("logvq_watermark_timestamp_seconds", pipeline.watermark, source=label)
        for item in kept(made.dropped):
            metrics.add("logvq_dead_letters_total", reason=item.reason)

    def consumed(self, records: Sequence[Record]) -> None:
        """Count records that are stored."""
        for stream, count in Counter(record.stream for record in records).items():
            self._metrics.add("logvq_records_consumed_total", count, topic=_topic(stream)[0])

    def took(self, stage: str, seconds: float) -> None:
        """Show how long a stage took."""
        self._metrics.observe("logvq_scoring_duration_seconds", seconds, stage=stage)

    def beat(self, stage: str) -> None:
        """Show that a stage is alive."""
        self._metrics.set("logvq_heartbeat_timestamp_seconds", time.time(), stage=stage)

    def device_fallback(self, fallen: bool) -> None:
        """Show whether the CPU took over from a GPU."""
        self._metrics.set("logvq_device_fallback", float(fallen))

    def lag(self, item: Input) -> None:
        """Show how much of an input is unread."""
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


def _topic(stream: str) -> tuple[str, str]:
    """Return the labels of a stream: Kafka's topic and partition; other inputs are their own topic."""
    kind, *rest = stream.split(":")
    return (rest[0], rest[1]) if kind == "kafka" else (kind, "0")
