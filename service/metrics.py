"""The catalogue of metrics: every name, its type, its labels and its meaning.

Labels never carry a template, a code, a window or a path; histograms never carry `source`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Sources beyond this many share the label value `_other`: at most 18 series a source stay within 3,600.
MAX_SOURCES = 200
OTHER = "_other"
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900)


@dataclass(frozen=True)
class Metric:
    """One entry of the catalogue."""

    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()


CATALOGUE: Mapping[str, Metric] = {
    "logvq_build_info": Metric("gauge", ("version",), "Always 1; names the version."),
    "logvq_model_info": Metric("gauge", ("alias", "bundle"), "Always 1; names the bundle that scores."),
    "logvq_records_consumed_total": Metric("counter", ("topic",), "Records read, by Kafka topic, `file` or `http`."),
    "logvq_lines_total": Metric("counter", ("source", "outcome"), "Lines by what became of them."),
    "logvq_dead_letters_total": Metric("counter", ("reason",), "Lines kept as dead letters."),
    "logvq_lines_noticed_total": Metric("counter", ("reason",), "What was odd about lines that became events."),
    "logvq_decode_replacements_total": Metric("counter", ("source",), "Undecodable byte sequences replaced."),
    "logvq_unseen_tokens_total": Metric("counter", ("source",), "Lines of a shape no known-good line had."),
    "logvq_late_events_total": Metric("counter", ("source",), "Events that came behind the watermark."),
    "logvq_clock_steps_total": Metric("counter", ("source",), "Times a source's clock was set back."),
    "logvq_windows_cut_total": Metric(
        "counter", ("source",), "Windows closed before their time because too many were open."
    ),
    "logvq_windows_total": Metric("counter", ("source",), "Final windows scored."),
    "logvq_incidents_opened_total": Metric("counter", ("source",), "Incidents opened."),
    "logvq_incidents_open": Metric("gauge", ("source",), "Incidents open now."),
    "logvq_consumer_lag_records": Metric(
        "gauge", ("topic", "partition"), "Records not yet read; bytes for a followed file."
    ),
    "logvq_watermark_timestamp_seconds": Metric("gauge", ("source",), "Event time up to which windows are final."),
    "logvq_heartbeat_timestamp_seconds": Metric("gauge", ("stage",), "When a stage last finished its round."),
    "logvq_source_score": Metric("gauge", ("source",), "Strength of the source's latest final window."),
    "logvq_source_threshold": Metric("gauge", ("source",), "Strength from which on a window is an alarm."),
    "logvq_alarms_owed": Metric("gauge", ("source",), "Incidents the budget allowed the source's time so far."),
    "logvq_alarms_opened": Metric("gauge", ("source",), "Incidents the model opened in that time."),
    "logvq_windows_held_back": Metric(
        "gauge", ("source",), "Windows strange enough for the budget, held back because it was used up."
    ),
    "logvq_source_drift": Metric("gauge", ("source",), "Log10 of the evidence against the calibration; 4 is drift."),
    "logvq_maintenance_active": Metric("gauge", ("source",), "1 where the latest window was in maintenance."),
    "logvq_feedback_total": Metric("counter", ("verdict",), "What operators have said over this process's API."),
    "logvq_device_fallback": Metric("gauge", (), "1 where the GPU had no memory for one block and the CPU scores."),
    "logvq_inbox_lines": Metric("gauge", (), "Pushed lines that wait."),
    "logvq_scoring_duration_seconds": Metric("histogram", ("stage",), "Time of a batch in a stage.", _FAST),
    "logvq_end_to_end_seconds": Metric(
        "histogram", (), "From the arrival of a window's last event to its stored score.", _SLOW
    ),
    "logvq_http_requests_total": Metric("counter", ("route", "method", "code"), "Requests answered."),
    "logvq_http_request_duration_seconds": Metric("histogram", ("route",), "Time to answer a request.", _FAST),
}
STAGES = ("ingested", "scored", "stored")
OUTCOMES = ("parsed", "unparsed", "dropped")


class Metrics:
    """One process's metrics, by catalogue name."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._sources: set[str] = set()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for name, metric in CATALOGUE.items():
            if metric.kind == "counter":
                self._counters[name] = Counter(
                    name.removesuffix("_total"), metric.meaning, metric.labels, registry=self.registry
                )
            elif metric.kind == "gauge":
                self._gauges[name] = Gauge(name, metric.meaning, metric.labels, registry=self.registry)
            else:
                self._histograms[name] = Histogram(
                    name, metric.meaning, metric.labels, registry=self.registry, buckets=metric.buckets
                )

    def source(self, name: str) -> str:
        """Return the label value for a source."""
        if name in self._sources:
            return name
        if len(self._sources) >= MAX_SOURCES:
            return OTHER
        self._sources.add(name)
        return name

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Increase a counter."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def remove(self, name: str, **labels: str) -> None:
        """Show a gauge no longer: what it is about has gone."""
        with suppress(KeyError):
            self._gauges[name].remove(*(labels[label] for label in CATALOGUE[name].labels))

    def forget_source(self, name: str) -> None:
        """Show a source's gauges no longer; counters go on from where they are when it comes back."""
        label = self.source(name)
        if label == OTHER:
            return
        for gauge, metric in CATALOGUE.items():
            if metric.kind == "gauge" and metric.labels == ("source",):
                self.remove(gauge, source=label)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add an observation to a histogram."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)
